"""Gangs over two network namespaces, two workers in each, of whom some are killed: one to three, or a whole host."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from faulty_gang import FaultyGang
from test_exact import make_fit, without_times
from test_two_hosts import killed, two_hosts

EPOCHS, WORKERS = 20, 4


def draw(chance: random.Random) -> list[tuple[int, int]]:
    """Different (rank, epoch) in the order of epochs."""
    if chance.random() < 0.25:
        first, epoch = chance.choice((0, 2)), middle(chance)
        return [(first, epoch), (first + 1, epoch)]
    kills = {(chance.randrange(WORKERS), middle(chance)) for _ in range(chance.randint(1, 3))}
    return sorted(kills, key=lambda kill: kill[1])


def middle(chance: random.Random) -> int:
    return chance.randrange(EPOCHS // 10, EPOCHS * 9 // 10)


def many(name: str, times: int, seed: int, report: Callable[..., None]) -> bool:
    chance = random.Random(f"{name}-{seed}")
    fit = make_fit("mlp", shards=4, rows=600, epochs=EPOCHS, batch_size=16)
    wanted = without_times(FaultyGang(fit, 1).run().history)
    with two_hosts() as hosts:
        held = [one(name, number, hosts, fit, draw(chance), wanted, report) for number in range(times)]
    report(scenario=name, held=sum(held), of=len(held), wanted=times)
    return all(held)


def one(name: str, number: int, hosts: list[tuple[str, str]], fit: Any, kills: list[tuple[int, int]], wanted: dict,
        report: Callable[..., None]) -> bool:  # fmt: skip
    began, error = time.monotonic(), ""
    try:
        same = killed(hosts, fit, kills) == wanted
    except Exception as failed:
        same, error = False, f"{type(failed).__name__}: {failed}"[:600]
    report(scenario=name, fit=number, kills=kills, seconds=round(time.monotonic() - began, 1), holds=same, error=error)
    return same
