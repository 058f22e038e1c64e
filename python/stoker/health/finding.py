"""One fault, with its cure."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Finding:
    level: str  # "error": a fit will not run; "warning": it may suffer; "note"
    name: str  # of the kind of fault
    place: str  # worker, executors, driver, session, cluster
    text: str
    cure: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}. Cure: {self.cure}"
