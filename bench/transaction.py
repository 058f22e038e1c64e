"""What a step's transaction costs when nobody dies, for `make bench-recovery`: against the same step that updates the
state where it lies. Two workers of one host, as in the README's fit; `alone` shows a worker without peers.
"""

from __future__ import annotations

import math
from statistics import median

import torch

import report
from step import Case, Ours, convolutions, mlp
from stoker.engine import load_torch
from tasks import large_network

PAIRS = 40
BLOCK_SECONDS = 0.15
NO_BAR = 0.0
CASES = {  # workers, each with its part of the batch, and the ratio that is allowed
    "cost-mlp": (2, Case(lambda: mlp(784, 256, 128, 10), 128, (784,), 1), 1.03),
    "cost-mlp-alone": (1, Case(lambda: mlp(784, 256, 128, 10), 256, (784,), 1), NO_BAR),
    "cost-cnn": (2, Case(convolutions, 64, (1, 28, 28), 1), 1.03),
    "cost-25m": (2, Case(large_network, 256, (784,), 1), 1.10),
}


def interval(ratios: list[float]) -> tuple[float, float]:
    """Of the median, by order statistics: 95 %, whatever the distribution."""
    ordered, n = sorted(ratios), len(ratios)
    low = max(math.floor(n / 2 - 0.98 * math.sqrt(n)), 0)
    return ordered[low], ordered[n - 1 - low]


def seconds(side: Ours, steps: int, workers: int, in_place: bool) -> float:
    return load_torch().bench_steps(side.spec, side.weights, side.inputs, steps, workers, in_place)


def ratios_of(workers: int, case: Case, pairs: int) -> tuple[list[float], float, float]:
    """Ratios of the pairs, and the median seconds of a step with and without the transaction."""
    torch.manual_seed(3)
    side = Ours(case, case.network())
    once = seconds(side, 3, workers, False)
    steps = max(5, int(BLOCK_SECONDS / once))
    both = []
    for i in range(pairs):
        order = (False, True) if i % 2 else (True, False)
        took = {in_place: seconds(side, steps, workers, in_place) for in_place in order}
        both.append((took[False], took[True]))
    return [a / b for a, b in both], median(a for a, _ in both), median(b for _, b in both)


def cost(pairs: int = PAIRS) -> None:
    for name, (workers, case, bar) in CASES.items():
        ratios, safe, bare = ratios_of(workers, case, pairs)
        low, high = interval(ratios)
        print(f"{name}: {len(ratios)} pairs, median ratio {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f}")
        report.row("recovery", name, safe * 1e3, bare * 1e3, "in place", "ms", high, bar, bar == NO_BAR or high <= bar)
