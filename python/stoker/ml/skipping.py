"""What became of rows that onBadRow='skip' left out."""

from __future__ import annotations

import warnings
from typing import Any

from stoker.progress import Progress


class SkipCounts:
    """Passes a fit's events on, but for those that tell of skipped rows. A worker that comes again tells again."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._of_rank: dict[int, dict[str, int]] = {}

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "metrics" and "skipped" in data:
            self._of_rank[data["rank"]] = data["skipped"]
        else:
            self._progress.event(kind, data)

    def close(self) -> None:
        self._progress.close()

    def total(self) -> dict[str, int]:
        """By reason, over all workers; said aloud where there are any."""
        reasons = sorted({reason for told in self._of_rank.values() for reason in told})
        total = {reason: sum(told.get(reason, 0) for told in self._of_rank.values()) for reason in reasons}
        if total:
            text = ", ".join(f"{reason}: {count:,}" for reason, count in total.items())
            warnings.warn(f"rows were left out (onBadRow='skip'): {text}", stacklevel=4)
        return total
