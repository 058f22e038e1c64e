"""A schedule carried out on a gang of processes without Spark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.killer import Killer
from faults.schedule import Schedule
from faulty_gang import FaultyGang
from local_gang import LocalFit
from stoker.events import Event

OnEvent = Callable[[FaultyGang, Event], None]
HEARTBEAT = {"heartbeat": 0.1, "heartbeat_timeout": 2.0}


def outcome(history: dict[str, Any]) -> dict[str, Any]:
    """What must be the same with deaths and without, and the ledger."""
    losses = [(epoch["loss"], epoch["accuracy"], epoch["rows"]) for epoch in history["epochs"]]
    return {"digest": history["digest"], "losses": losses, "micro_batches": history["micro_batches"]}


def undisturbed(fit: LocalFit, workers: int) -> dict[str, Any]:
    return outcome(FaultyGang(fit, workers).run().history)


def carry_out(schedule: Schedule, fit: LocalFit, skip: str = "", then: OnEvent = lambda *_: None,
              **options: Any) -> tuple[Killer, dict[str, Any]]:  # fmt: skip
    """The account and the outcome. `skip` is what the engine leaves out, `then` is told of events too."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        killer = Killer(schedule, log)
        gang = FaultyGang(
            fit, schedule.workers, on_event=lambda gang, event: (killer.event(event), then(gang, event)),
            environment=lambda place, attempt: variables(schedule, log, place, attempt, skip),
            options={**HEARTBEAT, "force_tcp": schedule.tcp, **options}, timeout=60,
        )  # fmt: skip
        try:
            return killer, outcome(gang.run().history)
        finally:
            killer.end()


def variables(schedule: Schedule, log: Path, place: int, attempt: int, skip: str) -> dict[str, str]:
    entries = ";".join(filter(None, [schedule.environment(place, attempt), skip and f"{skip}@1=skip"]))
    return {"STOKER_FAULTS": entries, "STOKER_FAULTS_LOG": os.fspath(log)} if entries else {}
