"""One worker's training step against PyTorch eager with fused Adam, one thread, rows already in memory.

Run: make bench-step, or with BENCH="cnn lstm" for some cases. Both sides make the same forward, backward and update on
the same fixed batch; blocks of steps are interleaved and the median of the blocks' medians counts. A second line a case
is the time to compile it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import nn

import report
from stoker.engine import load_torch
from stoker.frontend.torch import compile as compile_program
from stoker.program import TensorSpec

LEARNING_RATE = 1e-3
BLOCKS = 7
BLOCK_SECONDS = 0.3
COMPILE_BAR = 0.4  # of torch.export's own time for the model's two modes, without loss and checks


class Recurrent(nn.Module):
    """An LSTM of two layers over 32 steps of 32 numbers, and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    """A transformer encoder of two layers over 32 steps of 64 numbers, and a linear layer on the mean."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, nhead=4, dim_feedforward=128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    network: Callable[[], nn.Module]
    batch: int
    row: tuple[int, ...]  # shape of one row
    bar: float
    binary: bool = False

    def loss(self) -> nn.Module:
        return nn.BCEWithLogitsLoss() if self.binary else nn.CrossEntropyLoss()

    def label(self) -> TensorSpec:
        return TensorSpec("label", "float32", (1,)) if self.binary else TensorSpec("label", "int64", ())

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(5)
        features = random.standard_normal((self.batch, *self.row), dtype=np.float32)
        labels = random.integers(0, 2 if self.binary else 10, self.batch)
        return features, labels.astype(np.float32)[:, None] if self.binary else labels


CASES = {
    "mlp-tabular-32": Case(lambda: mlp(30, 128, 64, 1), 32, (30,), 2.0, binary=True),
    "mlp-tabular-256": Case(lambda: mlp(30, 128, 64, 1), 256, (30,), 2.0, binary=True),
    "mlp-mnist": Case(lambda: mlp(784, 256, 128, 10), 128, (784,), 1.0),
    "cnn": Case(convolutions, 64, (1, 28, 28), 1.0),
    "lstm": Case(Recurrent, 64, (32, 32), 1.0),
    "transformer": Case(Attention, 32, (32, 64), 1.0),
}


class Eager:
    """PyTorch's side. Called with a number of steps, gives the median seconds of one."""

    def __init__(self, case: Case, network: nn.Module) -> None:
        self.network, self.loss = network, case.loss()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
        self.features, self.labels = map(torch.from_numpy, case.draw())

    def __call__(self, steps: int) -> float:
        return median(self._step() for _ in range(steps))

    def _step(self) -> float:
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss(self.network(self.features), self.labels).backward()
        self.optimizer.step()
        return time.perf_counter() - start


class Ours:
    """The engine's side: the same step in C++, commit included."""

    def __init__(self, case: Case, network: nn.Module) -> None:
        features = TensorSpec("features", "float32", case.row)
        compiled = compile_program(network, case.loss(), [features], [case.label()])
        self.weights = compiled.to_files()["weights.safetensors"]
        self.inputs = list(case.draw())
        self.spec = json.dumps({
            "program": compiled.train,
            "optimizer": {"name": "adam", "groups": [{"lr": LEARNING_RATE}]},
            "columns": [{"name": s.name, "dtype": s.dtype, "shape": s.shape} for s in (features, case.label())],
            "batch_size": case.batch, "epochs": 1, "seed": 1, "shuffle": False, "shards": 1, "threads": 1,
        })  # fmt: skip

    def __call__(self, steps: int) -> float:
        return load_torch().bench_steps(self.spec, self.weights, self.inputs, steps)


def measure(case: Case) -> tuple[float, float]:
    """Seconds of a step: ours, PyTorch's."""
    torch.manual_seed(3)
    network = case.network()
    ours, eager = Ours(case, network), Eager(case, network)
    ours(3)
    steps = max(5, int(BLOCK_SECONDS / eager(5)))
    blocks = [(ours(steps), eager(steps)) for _ in range(BLOCKS)]
    return median(block[0] for block in blocks), median(block[1] for block in blocks)


def measure_compile(case: Case) -> tuple[float, float]:
    """Seconds to compile a model and its loss, and of torch.export of the model alone, in training and evaluation."""
    network, features = case.network(), torch.from_numpy(case.draw()[0])
    batch = {0: torch.export.Dim("batch", min=2)}
    specs = [TensorSpec("features", "float32", case.row)], [case.label()]

    def export() -> None:
        for mode in (True, False):
            torch.export.export(network.train(mode), (features,), dynamic_shapes=(batch,), strict=False)

    pairs = [(timed(lambda: compile_program(network, case.loss(), *specs)), timed(export)) for _ in range(BLOCKS)]
    return median(ours for ours, _ in pairs[1:]), median(plain for _, plain in pairs[1:])


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    asked = report.asked(__doc__, CASES)
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if name in asked:
            ours, eager = (seconds * 1e3 for seconds in measure(case))
            report.row("step", name, ours, eager, "PyTorch", "ms", eager / ours, case.bar, eager / ours >= case.bar)
            compiling, export = (seconds * 1e3 for seconds in measure_compile(case))
            holds = export / compiling >= COMPILE_BAR
            report.row("compile", name, compiling, export, "torch.export", "ms", export / compiling, COMPILE_BAR, holds)
    report.finish()


if __name__ == "__main__":
    main()
