"""What the history tells of a fit's course: deaths and what was done about them, and what became of the rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stoker.events import Disturbed, Event, Failed, Metrics, NotKept, RescueJob, Restart, RowsTold, Started


class Story:
    """A sink. `inexact`: why the model is not that of an undisturbed fit; others may look at it and add to it."""

    def __init__(self, inexact: list[str]) -> None:
        self._deaths: list[dict[str, Any]] = []
        self._rescues = 0
        self._restarts: list[str] = []
        self._growth: list[dict[str, int]] = []
        self._told: dict[int, float] = {}  # learning rates that callbacks have set, by the steps before them
        self._inexact = inexact
        self._rows: dict[int, RowsTold] = {}  # by rank
        self.not_kept: dict[int, str] = {}  # why what frozen parts give is not, by rank

    def event(self, event: Event) -> None:
        match event:
            case Failed(on_purpose=False):
                self._deaths.append(asdict(event))
            case RescueJob():
                self._rescues += 1
            case Restart():
                self._restarts.append(event.text)
            case Started() if event.late:
                self._growth.append({"workers": event.workers, "step": event.step})
            case Disturbed():
                self._inexact.append(event.text)
            case Metrics(told_rate=float(rate)):
                self._told[event.told_at] = rate
            case NotKept():
                self.not_kept[event.rank] = event.not_kept
            case RowsTold():
                self._rows[event.rank] = event

    def info(self) -> dict[str, Any]:
        return {"deaths": self._deaths, "rescues": self._rescues, "restarts": self._restarts, "growth": self._growth,
                "told": [{"step": step, "learning_rate": rate} for step, rate in sorted(self._told.items())],
                "inexact": self._inexact, "skipped": total(told.skipped for told in self._rows.values()),
                "disk": total(told.disk for told in self._rows.values())}  # fmt: skip


def total(counts: Any) -> dict[str, int]:
    """The sum of counts, key by key."""
    summed: dict[str, int] = {}
    for one in counts:
        for key, count in one.items():
            summed[key] = summed.get(key, 0) + count
    return dict(sorted(summed.items()))
