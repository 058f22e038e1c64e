"""Kills fits whose course follows scores and callbacks: evaluation, early stop, best weights, plateaus, averages of the
weights, clipping, limits and wishes; and fits whose steps need more than one sum: batch norms of the whole batch,
L-BFGS, Adafactor, mixed precision, rounded sums. Seeded, one line each.

    python tests/faults/evaluations.py [--from 0] [--to 60]

Part of make test-faults. Each schedule draws a course, the number of workers, whether they talk as if on hosts of their
own, and up to four deaths, at points inside of the engine or from outside. The outcome must be that of two workers that
nobody disturbs: the same bits, scores and last step. What a callback has wished is said to that fit from the first.
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

import numpy as np

from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import LocalFit
from stoker import LocalSGD
from stoker.events import Event, Failed, Metrics
from stoker.strategy import as_strategy, spec_of
from test_exact import make_fit

ROWS, HELD, STEPS, EPOCHS, RATE = 400, 120, 13, 14, 1e-2
COMMITS = STEPS + 1  # of an epoch: its evaluation too
EVERY = 4  # steps from one evaluation to the next, where an epoch has several
STOP = {"monitor": "val_loss", "patience": 2, "restore_best": True}
PLATEAU = {"monitor": "val_loss", "larger": False, "patience": 0, "threshold": 0.0, "relative": True, "cooldown": 1}
CURVE = {"name": "plateau", "factor": 0.5, "min_lr": 0.0, "eps": 0.0, "unit": "steps"}
EMA = {"name": "ema", "decay": 0.9, "start": 3, "every": 2}
LOCAL = spec_of(as_strategy(LocalSGD(every=4)))
LBFGS = {"name": "lbfgs", "groups": [{"history_size": 4}]}
ADAFACTOR = {"name": "adafactor", "groups": [{"lr": 0.05, "weight_decay": 0.01}], "average": EMA}
NEVER_CLIPS = {"clip_norm": 0.0}

# By name: fields of the evaluation, of the optimizer, and of the TrainSpec.
COURSES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "stop": (STOP, {}, {}),
    "plateau": ({"plateau": PLATEAU}, {"schedule": CURVE}, {}),
    "average": (STOP, {"average": EMA}, {}),
    "clipping": ({"monitor": "val_loss", "restore_best": True}, {}, {"clip_norm": 0.3, "clip_value": 0.02}),
    "local": (STOP, {}, LOCAL),
    "limit": ({}, {}, {"max_steps": 6 * STEPS + 5}),
    "callback": ({}, {}, {"epochs": 2000}),
    "interval": ({**STOP, "patience": 5, "every": EVERY}, {"average": EMA}, {}),
    "parts": ({"plateau": PLATEAU, "every": EVERY}, {"schedule": CURVE}, {"batch_size": 8, "accumulate": 4}),
    "all": ({**STOP, "patience": 4, "plateau": PLATEAU}, {"average": EMA, "schedule": CURVE}, {"clip_value": 0.02}),
    "batch norm": (STOP, {"average": EMA}, {"whole_batch": True}),
    "lbfgs": ({**STOP, "patience": 5}, LBFGS, NEVER_CLIPS),
    "bf16": (STOP, {"average": EMA}, {"precision": "bf16"}),
    "adafactor": ({**STOP, "plateau": PLATEAU}, {**ADAFACTOR, "schedule": CURVE}, {}),
    "rounded sums": (STOP, {"average": EMA}, {"reduce_dtype": "bf16"}),
}
POINTS = ("forward", "partials", "exchange", "exchanged", "slice", "written", "flip", "flipped", "evaluate", "aside",
          "meet", "take-over")  # fmt: skip
STEP_POINTS = (*POINTS[:10], "statistics", "measures", "moments", "changes")
OWN_POINTS = {"batch norm": ["statistics"], "lbfgs": ["measures"], "adafactor": ["measures", "moments", "changes"]}


def commits_of(course: str) -> int:
    """Of an epoch, its evaluation included."""
    return 2 if course == "lbfgs" else COMMITS


@dataclass
class Schedule:
    """Drawn from its seed."""

    seed: int
    dice: random.Random = field(init=False, repr=False)
    told_at: int = 0  # by a callback's wish
    stops: bool = False

    def __post_init__(self) -> None:
        self.dice = random.Random(f"evaluations-{self.seed}")
        self.course = list(COURSES)[self.seed % len(COURSES)]
        self.workers = self.dice.randint(2, 4)
        self.tcp = self.dice.random() < 0.3
        self.faults = {(self.dice.randrange(self.workers), attempt): self.fault() for attempt in range(2)}
        self.kills = sorted(self.dice.randrange(1, 5 * STEPS) for _ in range(self.dice.randrange(3)))

    def fault(self) -> str:
        own, each = OWN_POINTS.get(self.course, []), commits_of(self.course)
        point = self.dice.choice(own if own and self.dice.random() < 0.5 else POINTS)
        commits = self.dice.randrange(1, 5 * each) if point in STEP_POINTS else 1
        if point in ("evaluate", "aside") and "every" in COURSES[self.course][0]:
            legs = self.dice.randrange(1, 16)
            commits = legs // 4 * (STEPS + 4) + min(legs % 4 * (EVERY + 1), STEPS + 4) + (point == "aside")
        elif point in ("evaluate", "aside"):
            commits = self.dice.randrange(1, 5) * each - (point == "evaluate") + (point == "aside")
        return f"{point}@{commits}=die"

    def environment(self, place: int, attempt: int) -> dict[str, str]:
        return {"STOKER_FAULTS": self.faults[place, attempt]} if (place, attempt) in self.faults else {}

    def event(self, gang: FaultyGang, event: Event) -> None:
        if not isinstance(event, Metrics):
            return
        if self.kills and event.step >= self.kills[0]:
            self.kills.pop(0)
            gang.kill(self.dice.randrange(self.workers))
        if self.course == "callback":
            self.wish(gang, event)

    def wish(self, gang: FaultyGang, event: Metrics) -> None:
        if not self.told_at:
            gang.coordinator.wish(rate=RATE / 2)
        self.told_at = event.told_at
        if event.told_rate and event.step > 8 * STEPS and not self.stops:
            self.stops = True
            gang.coordinator.wish(stop=True)

    def undisturbed(self, history: dict[str, Any]) -> LocalFit:
        fit = fit_of(self.course)
        if self.course != "callback":
            return fit
        known = {"name": "multi_step", "milestones": [self.told_at], "gamma": 0.5, "unit": "steps"}
        steps = sum(epoch["steps"] for epoch in history["epochs"])
        return replace(fit, optimizer={**fit.optimizer, "schedule": known}, more={**fit.more, "max_steps": steps})

    def __str__(self) -> str:
        how = f"{self.workers} workers{' as hosts' if self.tcp else ''}"
        return f"{self.seed:3} {self.course:12} {how}: {', '.join(self.faults.values())}, kills at {self.kills}"


def fit_of(course: str) -> LocalFit:
    """Labels that say nothing of the features: the score is soon at its best."""
    evaluation, optimizer, more = COURSES[course]
    model = "mlp" if course == "lbfgs" else "cnn"  # whose full batches are kept, and whose loss is a kernel
    fit = make_fit(model, 4, ROWS + HELD, evaluated=True, **{"epochs": EPOCHS, **more})
    told = {"name": "adam", "groups": [{"lr": RATE}], **optimizer}
    return replace(fit, held=np.arange(ROWS + HELD) >= ROWS, evaluation=evaluation, optimizer=told)


def result(history: dict[str, Any]) -> tuple[Any, ...]:
    epochs = [(epoch["loss"], epoch["steps"], epoch.get("val_loss")) for epoch in history["epochs"]]
    return history["digest"], history.get("best_epoch"), history.get("evaluations"), epochs


def judged(schedule: Schedule) -> tuple[bool, int]:
    """Whether the outcome is right, and the deaths on the way."""
    came = FaultyGang(
        fit_of(schedule.course), schedule.workers, on_event=schedule.event, environment=schedule.environment,
        options={**HEARTBEAT, "force_tcp": schedule.tcp}, timeout=300,
    ).run()  # fmt: skip
    wanted = FaultyGang(schedule.undisturbed(came.history), 2).run()
    same_weights = all(came.weights[name].tobytes() == wanted.weights[name].tobytes() for name in wanted.weights)
    return same_weights and result(came.history) == result(wanted.history), len(came.told(Failed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    parser.add_argument("--to", type=int, default=60, help="seed after the last one")
    options = parser.parse_args()
    wrong = deaths = 0
    for seed in range(options.first, options.to):
        schedule = Schedule(seed)
        told, start = str(schedule), time.monotonic()
        same, died = judged(schedule)
        deaths, wrong = deaths + died, wrong + (not same)
        print(f"{'same bits' if same else 'DIFFERENT'} {died} deaths, {time.monotonic() - start:.1f} s; {told}",
              flush=True)  # fmt: skip
    count = options.to - options.first
    print(f"{count - wrong} of {count} schedules gave the same bits and the same last step; {deaths} deaths")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
