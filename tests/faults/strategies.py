"""Kills fits whose shards take steps alone, and fits whose workers lend each other their rows; seeded, one line each.

    python tests/faults/strategies.py [--from 0] [--to 40]

Part of make test-faults. Each schedule draws a strategy, the number of workers, whether they talk as if on hosts of
their own, whether rows are lent at once, and up to four deaths, at points inside of the engine or from outside. The
outcome must be that of two workers that nobody disturbs, bit for bit. Where shards push as they arrive that is of the
order that was recorded, which two workers make again that nobody disturbs, and others to whom the same happens.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.gang import HEARTBEAT
from faults.models import local_fit
from faulty_gang import FaultyGang, Outcome
from local_gang import LocalFit
from stoker import AEASGD, AGN, EAMSGD, SSP, DiLoCo, Downpour, DynSGD, Hogwild, LocalSGD, PowerSGD, Threshold, TopK
from stoker.events import Event, Failed, Metrics, Started
from stoker.strategy import as_strategy, spec_of

ROWS, BATCH, EPOCHS = 600, 48, 40  # 13 steps an epoch
STRATEGIES: dict[str, Any] = {
    "local": LocalSGD(every=4),
    "reset": LocalSGD(every=5, innerState="reset"),
    "int8": DiLoCo(every=4, innerState="reset", compress="int8"),
    "diloco": DiLoCo(every=3),
    "kept": DiLoCo(every=3, innerState="keep"),
    "downpour": Downpour(window=3),
    "dynsgd": DynSGD(window=4),
    "agn": AGN(window=5, innerState="reset"),
    "aeasgd": AEASGD(window=3),
    "eamsgd": EAMSGD(window=4),
    "hogwild": Hogwild(),
    "power": PowerSGD(rank=2, every=4),
    "top": TopK(share=0.05, every=4),
    "signs": Threshold(every=4),
    "arrival": DynSGD(window=4, order="arrival"),
    "elastic": AEASGD(window=3, order="arrival"),
    "gradients": Hogwild(order="arrival"),
    "ssp": SSP(bound=1, window=2),
    "allreduce": "allreduce",
}
POINTS = ("local", "window", "ticket", "forward", "partials", "exchange", "exchanged", "slice", "written", "flip",
          "flipped", "replicas", "lefts", "rights", "messages", "lend", "meet", "take-over", "handed-out")  # fmt: skip
STEP_POINTS = POINTS[:15]


@dataclass
class Schedule:
    """Drawn from its seed."""

    seed: int
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(f"strategies-{self.seed}")
        self.strategy = list(STRATEGIES)[self.seed % len(STRATEGIES)]
        self.workers = self.dice.randint(2, 4)
        self.tcp = self.dice.random() < 0.3 and not arrives(self.strategy)
        self.lends = self.dice.random() < 0.7
        self.commits = EPOCHS * -(-13 // spec_every(self.strategy))
        self.faults = {(self.dice.randrange(self.workers), attempt): self.fault() for attempt in range(2)}
        self.kills = sorted(self.dice.randrange(10, EPOCHS * 12) for _ in range(self.dice.randrange(3)))

    def fault(self) -> str:
        point = self.dice.choice(POINTS)
        at = self.dice.randrange(3, self.commits - 3) if point in STEP_POINTS else 1
        return f"{point}@{at}=die"

    def environment(self, place: int, attempt: int) -> dict[str, str]:
        return {"STOKER_FAULTS": self.faults[place, attempt]} if (place, attempt) in self.faults else {}

    def event(self, gang: FaultyGang, event: Event) -> None:
        if isinstance(event, Metrics) and self.kills and event.step >= self.kills[0]:
            self.kills.pop(0)
            gang.kill(self.dice.randrange(self.workers))

    def __str__(self) -> str:
        how = f"{self.workers} workers{' as hosts' if self.tcp else ''}{', lending' if self.lends else ''}"
        return f"{self.seed:3} {self.strategy:9} {how}: {', '.join(self.faults.values())}, kills at {self.kills}"


def spec_every(strategy: str) -> int:
    spec = spec_of(as_strategy(STRATEGIES[strategy])).get("strategy", {})
    window = spec.get("window", 1)
    return spec.get("every") or window * (-(-64 // window) if "order" in spec else 1)


def arrives(strategy: str) -> bool:
    return "order" in spec_of(as_strategy(STRATEGIES[strategy])).get("strategy", {})


def fit_of(strategy: str, lends: bool, order: str = "") -> LocalFit:
    """`order`: as a history has it, of pushes that arrive."""
    fit = local_fit("cnn", ROWS, BATCH, EPOCHS)
    spec = spec_of(as_strategy(STRATEGIES[strategy]))
    if order:
        spec["strategy"]["order"] = order
    return replace(fit, more={**fit.more, **spec, "lend_after": 0.0 if lends else 1e6})


def result(history: dict[str, Any]) -> tuple[Any, ...]:
    return history["digest"], [(epoch["loss"], epoch["rows"], epoch["steps"]) for epoch in history["epochs"]]


class References:
    """Of strategies, what two workers make that nobody disturbs."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def of(self, strategy: str, order: str = "") -> Any:
        if order:
            return self._made(strategy, order)
        if strategy not in self._known:
            self._known[strategy] = self._made(strategy)
        return self._known[strategy]

    def _made(self, strategy: str, order: str = "") -> Any:
        return result(FaultyGang(fit_of(strategy, False, order), 2).run().history)


def carry_out(seed: int, order: str = "") -> Outcome:
    schedule = Schedule(seed)
    return FaultyGang(
        fit_of(schedule.strategy, schedule.lends, order), schedule.workers, on_event=schedule.event,
        environment=schedule.environment, options={**HEARTBEAT, "force_tcp": schedule.tcp}, timeout=300,
    ).run()  # fmt: skip


def try_out(seed: int, references: References) -> tuple[Outcome, bool]:
    """How it came out, and whether that is what it should be."""
    strategy = Schedule(seed).strategy
    came = carry_out(seed)
    order = came.history.get("order", "")
    same = result(came.history) == references.of(strategy, order)
    if order:
        same &= result(carry_out(seed, order).history) == result(came.history)
    return came, same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    parser.add_argument("--to", type=int, default=40, help="seed after the last one")
    options = parser.parse_args()
    references = References()
    wrong = deaths = lent = 0
    for seed in range(options.first, options.to):
        schedule = Schedule(seed)
        told = str(schedule)
        print(told, flush=True)
        start = time.monotonic()
        came, same = try_out(seed, references)
        fewer = sum(event.workers < schedule.workers for event in came.told(Started))
        deaths, lent, wrong = deaths + len(came.told(Failed)), lent + fewer, wrong + (not same)
        print(f"{'same bits' if same else 'DIFFERENT'} {len(came.told(Failed))} deaths, {fewer} times with fewer, "
              f"{time.monotonic() - start:.1f} s; {told}", flush=True)  # fmt: skip
    print(f"{options.to - options.first - wrong} of {options.to - options.first} schedules gave the same bits; "
          f"{deaths} deaths, {lent} generations that went on with others' rows")  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
