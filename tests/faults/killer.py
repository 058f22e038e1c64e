"""Carries out a schedule's orders, and keeps the account of what has hit whom."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from faults.points import BY_NAME
from faults.schedule import Order, Schedule
from stoker.events import Admitted, Event, Failed, Metrics

E = TypeVar("E", bound=Event)
LOOK_EVERY = 0.02  # seconds between looks at the log


@dataclass
class Hit:
    place: int
    pid: int
    point: str
    step: int
    how: str


@dataclass
class Killer:
    """Told of every event of a fit, in order. `log` is the file where workers write what they do to themselves."""

    schedule: Schedule
    log: Path
    pids: dict[int, list[int]] = field(default_factory=dict)  # of all attempts, by place
    events: list[tuple[float, Event]] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    ledger: dict[int, int] = field(default_factory=dict)  # micro-batches that each pid has told of
    step: int = 0  # last one heard of

    def __post_init__(self) -> None:
        self._open = self.schedule.outside()
        self._lost: set[int] = set()  # pids
        self._seen = 0  # lines of the log
        self._wakes: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def event(self, event: Event) -> None:
        self.events.append((time.monotonic(), event))
        if isinstance(event, Admitted):
            self.pids.setdefault(event.rank, []).append(event.pid)
        if isinstance(event, Failed):
            self._lost.add(event.pid)
        if isinstance(event, Metrics):
            self.step = max(self.step, event.step)
            self.ledger[self.pids[event.rank][-1]] = event.micro_batches
        for order in [order for order in self._open if self._is_due(order, event)]:
            self._open.remove(order)
            self._carry_out(order)

    def end(self) -> None:
        self._ended.set()
        self._watcher.join()
        self._read_log()

    def told(self, kind: type[E]) -> list[E]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def when(self, kind: type[Event]) -> list[float]:
        return [when for when, event in self.events if isinstance(event, kind)]

    def _is_due(self, order: Order, event: Event) -> bool:
        alive = order.place in self.pids and self.pids[order.place][-1] not in self._lost
        return event.name == order.after and alive and (not isinstance(event, Metrics) or self.step >= order.at)

    def _carry_out(self, order: Order) -> None:
        pid = self.pids[order.place][-1]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if order.how == "kill" else signal.SIGSTOP)
            self.hits.append(Hit(order.place, pid, "outside", self.step, order.how))
            self._wake_later(order, pid)

    def _wake_later(self, order: Order, pid: int) -> None:
        if order.wake_after is not None:
            self._wakes.append((time.monotonic() + order.wake_after, pid))

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            self._read_log()
            now = time.monotonic()
            for due, pid in [wake for wake in self._wakes if wake[0] <= now]:
                self._wakes.remove((due, pid))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _read_log(self) -> None:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        for line in lines[self._seen :]:
            pid, name, at, how = line.split()
            order = next(order for order in self.schedule.orders if order.point == name)
            self.hits.append(Hit(order.place, int(pid), name, int(at) if BY_NAME[name].steps else self.step, how))
            if how == "freeze":
                self._wake_later(order, int(pid))
        self._seen = len(lines)
