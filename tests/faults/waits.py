"""At each named point a worker works for longer than every limit, and gets on all the time: the others wait for it,
nobody is lost, no generation is cut, and the bits are the same.

Run: part of make test-faults; WAITS="--points meet forward" asks for some. A line of JSON for each case; the exit
status says whether all held.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from faults.account import complaints, deaths_of
from faults.gang import carry_out, undisturbed
from faults.killer import Killer
from faults.models import SHARDS, local_fit
from faults.points import BY_NAME, POINTS, Point
from faults.schedule import Order, Schedule
from local_gang import LocalFit
from stoker.checkpoint.course import Course, Wish
from stoker.events import Started

EPOCHS, STEPS = 6, 6 * 13
PATIENCE = {"heartbeat": 0.1, "heartbeat_timeout": 1.0}
LONG = 3500  # milliseconds; three times heartbeatTimeout is the longest limit that there is
OF_ONE_HOST = {"take-over"}  # who comes to another host gets the state by its connections
OF_RANK_0 = {"hand-out", "result"}  # the fit may end without the others'
NOT_OF_TRAINING = {"peer", "payload", "link"}  # frames, one of them the link's own thread


@dataclass(frozen=True)
class Case:
    point: Point
    workers: int
    apart: bool  # each worker on a host of its own, as far as they can tell

    @property
    def deaths(self) -> int:
        """Such points are passed by who comes after one that died."""
        return min(self.point.attempt, 1)

    def schedule(self) -> Schedule:
        alone = 0 if self.point.name in OF_RANK_0 else self.point.rank
        place = self.workers - 1 if alone is None else alone
        kill = [Order(place, "kill", STEPS // 3)] * self.deaths
        at = 2 * STEPS // 3 if self.point.steps else 1
        # The first one of a host asks for all of it, and parts of a checkpoint are a host's, whichever comes first.
        anyone = self.point.checkpoints or self.point.name == "fetch"
        work = [Order(who, f"busy:{LONG}", at, self.point.name, self.point.attempt)
                for who in (range(self.workers) if anyone else [place])]  # fmt: skip
        return Schedule(0, "waits", "cnn", self.workers, STEPS, self.apart, orders=(*kill, *work))

    def complaints(self, fit: LocalFit, reference: dict[str, Any]) -> list[str]:
        """What was broken; none: nobody noticed but by the clock."""
        with tempfile.TemporaryDirectory() as folder:
            fit = with_checkpoints(fit, folder) if self.point.checkpoints else fit
            killer, came = carry_out(self.schedule(), fit, **PATIENCE)
        return [*complaints(killer, came, reference, SHARDS), *self._disturbed(killer)]

    def _disturbed(self, killer: Killer) -> Iterator[str]:
        if not any(hit.point == self.point.name for hit in killer.hits):
            yield "the point was not passed"
        if (deaths := deaths_of(killer)) != self.deaths:
            yield f"{deaths} deaths: {killer.told('failed')}"
        if (formed := len(killer.told(Started))) != 1 + self.deaths:
            yield f"{formed} generations: {[event.text for event in killer.told(Started)]}"


def with_checkpoints(fit: LocalFit, folder: str) -> LocalFit:
    course = Course(Wish(folder, 20, "steps", 100), json.loads(fit.spec()), fit.compiled.weights, "2.13.0", print)
    return replace(fit, more={**fit.more, "checkpoint": course.spec()})


def cases() -> Iterator[Case]:
    for point in POINTS:
        for workers in range(max(2, point.workers), 5):
            for apart in (False, True):
                elsewhere = point.tcp if not apart else point.name in OF_ONE_HOST
                if point.name not in NOT_OF_TRAINING and not elsewhere:
                    yield Case(point, workers, apart)


def case(name: str, workers: int, apart: bool = False) -> Case:
    return Case(BY_NAME[name], workers, apart)


def the_fit() -> LocalFit:
    return local_fit("cnn", rows=600, batch=48, epochs=EPOCHS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", help="only these")
    names = parser.parse_args().points
    fit = the_fit()
    reference = undisturbed(fit, 1)
    held = True
    for asked in cases():
        if names and asked.point.name not in names:
            continue
        began = time.monotonic()
        try:
            wrong = asked.complaints(fit, reference)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"[:600]]
        held &= not wrong
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({"point": asked.point.name, "workers": asked.workers, "apart": asked.apart,
                          "seconds": seconds, "wrong": wrong}), flush=True)  # fmt: skip
    return 0 if held else 1
