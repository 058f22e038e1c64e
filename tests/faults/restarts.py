"""Restarts of the job with the driver on another host: workers are killed at drawn steps, the rest of their job is
given up, and another one goes on from what a living worker had. No checkpoints.

    python tests/faults/restarts.py [--from 0] [--to 50]

Part of make test-faults, where RESTARTS="--to 5" asks for a part. The driver is in a network namespace of its own where
this machine lets us make one; else the coordinator is told to hold no memory of the workers. A line of JSON for each
schedule; the exit status says whether all kept the bits and lost no more than the step at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.gang import HEARTBEAT, outcome, undisturbed
from faults.models import SHARDS, local_fit
from faulty_gang import NAMESPACE, FaultyGang, Outcome
from local_gang import LocalFit
from stoker.events import Admitted, Event, Failed, Metrics, Started

EPOCHS, STEPS = 12, 12 * 13
Places = list[tuple[str, str]]  # (namespace, address): the driver's, the workers'


@dataclass(frozen=True)
class Round:
    """At a step these are killed, and the next job has so many workers."""

    step: int
    victims: tuple[int, ...]
    workers: int


@dataclass
class Restarts:
    """Carries out rounds, one after the other; told of every event of a fit."""

    rounds: list[Round]
    step: int = 0  # last one heard of
    reached: list[int] = field(default_factory=list)  # that step, before each restart
    _waits: Round | None = None

    def __call__(self, gang: FaultyGang, event: Event) -> None:
        if isinstance(event, Metrics):
            self.step = max(self.step, event.step)
        if isinstance(event, Metrics) and self._waits is None and self.rounds and self.step >= self.rounds[0].step:
            self._waits = self.rounds.pop(0)
            for victim in self._waits.victims:
                gang.kill(victim)
        if isinstance(event, Failed) and not event.on_purpose and self._waits is not None:
            workers, self._waits = self._waits.workers, None
            self.reached.append(self.step)
            gang.begin_again(workers)


def train(fit: LocalFit, workers: int, act: Callable[..., None], most: int = 0, faults: dict[int, str] | None = None,
          places: Places | None = None, **options: Any) -> Outcome:  # fmt: skip
    """`faults` are those of places in the first job. Nobody is started again but by a restart."""

    def environment(place: int, number: int) -> dict[str, str]:
        mine = {NAMESPACE: places[1][0]} if places else {}
        return {**mine, "STOKER_FAULTS": faults[place]} if faults and place in faults and number == 0 else mine

    where = {"namespace": places[0][0], "host": places[0][1]} if places else {}
    gang = FaultyGang(fit, workers, most, on_event=act, environment=environment, restarts=False,
                      options={**HEARTBEAT, "distant": not places, **options}, **where)  # fmt: skip
    return gang.run()


def complaints(came: Outcome, reached: list[int], reference: dict[str, Any]) -> list[str]:
    """What was broken; none: the undisturbed model, and each restart cost no more than the step at hand."""
    told = outcome(came.history)
    wrong = [f"other {name} than without deaths" for name in ("digest", "losses") if told[name] != reference[name]]
    begun = [event.commit - 1 for event in came.told(Started)][1:]  # steps that were done
    if len(begun) != len(reached):
        return [*wrong, f"{len(reached)} restarts, and {len(begun)} generations after the first"]
    wrong += [f"went on from step {done}, though {step} had been told of"
              for done, step in zip(begun, reached, strict=True) if done < step - 1]  # fmt: skip
    limit = reference["micro_batches"] + len(reached) * SHARDS
    if (done := max(told["micro_batches"], run_by_workers(came))) > limit:
        wrong.append(f"{done} micro-batches where {limit} were enough")
    return wrong


def run_by_workers(came: Outcome) -> int:
    """Micro-batches that processes have told of; they forget nothing."""
    ran: dict[int, int] = {}
    pids: dict[int, int] = {}  # of the newest process of each place
    for event in came.events:
        if isinstance(event, Admitted):
            pids[event.rank] = event.pid
        if isinstance(event, Metrics):
            ran[pids[event.rank]] = event.micro_batches
    return sum(ran.values())


@dataclass(frozen=True)
class Schedule:
    model: str
    workers: int
    rounds: list[Round]
    faults: dict[int, str]  # of survivors, while they send


def draw(seed: int) -> Schedule:
    chance = random.Random(f"restarts-{seed}")
    workers = first = chance.randint(2, 4)
    rounds = []
    for step in sorted(chance.sample(range(STEPS // 8, STEPS * 7 // 8), chance.randint(1, 3))):
        victims = chance.sample(range(workers), chance.randint(1, workers - 1)) if workers > 1 else []
        if not victims:
            break
        workers = chance.randint(max(1, workers - len(victims)), workers)
        rounds.append(Round(step, tuple(victims), workers))
    living = [place for place in range(first) if place not in rounds[0].victims]
    how = chance.choice(["die", "freeze", "slow:300"])
    faults = {living[0]: f"state-chunk@1={how}"} if len(living) > 1 and chance.random() < 0.4 else {}
    return Schedule(chance.choice(["mlp", "cnn"]), first, rounds, faults)


@contextlib.contextmanager
def two_places() -> Iterator[Places | None]:
    from test_two_hosts import two_hosts

    with contextlib.ExitStack() as stack:
        try:
            places = stack.enter_context(two_hosts())
        except Exception as error:
            print(f"no network namespaces here ({type(error).__name__}): the coordinator holds no memory instead")
            places = None
        yield places


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    parser.add_argument("--to", type=int, default=50, help="seed after the last one")
    options = parser.parse_args()
    fits = {model: local_fit(model, rows=600, batch=48, epochs=EPOCHS) for model in ("mlp", "cnn")}
    references = {model: undisturbed(fit, 2) for model, fit in fits.items()}
    held = 0
    with two_places() as places:
        for seed in range(options.first, options.to):
            held += one(seed, fits, references, places)
    wanted = options.to - options.first
    print(json.dumps({"schedules": wanted, "held": held, "driver": "elsewhere" if places else "told so"}))
    return int(held < wanted)


def one(seed: int, fits: dict[str, LocalFit], references: dict[str, Any], places: Places | None) -> bool:
    schedule, began = draw(seed), time.monotonic()
    restarts = Restarts(list(schedule.rounds))
    try:
        came = train(fits[schedule.model], schedule.workers, restarts, faults=schedule.faults, places=places)
        wrong = complaints(came, restarts.reached, references[schedule.model])
    except Exception as error:
        wrong = [f"{type(error).__name__}: {error}"[:600]]
    print(json.dumps({"seed": seed, **asdict(schedule), "restarts": len(restarts.reached), "wrong": wrong,
                      "seconds": round(time.monotonic() - began, 1)}), flush=True)  # fmt: skip
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
