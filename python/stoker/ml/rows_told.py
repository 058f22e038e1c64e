"""What the workers tell of their rows: those that onBadRow='skip' left out, and what went to disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from stoker.progress import Progress
from stoker.spark.columns import Placement

MOST_SKEW = 1.5
_FEW = 100  # rows of a mean shard; below that chance makes shards unequal


class RowsTold:
    """Passes a fit's events on, but for those that tell of rows. A worker that comes again tells again."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._of_rank: dict[int, dict[str, Any]] = {}

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "metrics" and ("skipped" in data or "disk" in data):
            self._of_rank[data["rank"]] = data
        else:
            self._progress.event(kind, data)

    def close(self) -> None:
        self._progress.close()

    def skipped(self) -> dict[str, int]:
        """By reason, over all workers; said aloud where there are any."""
        total = self._total("skipped")
        if total:
            text = ", ".join(f"{reason}: {count:,}" for reason, count in total.items())
            warnings.warn(f"rows were left out (onBadRow='skip'): {text}", stacklevel=4)
        return total

    def disk(self) -> dict[str, int]:
        """Of the workers whose rows did not fit into storeMemory: bytes of their rows, and those taken on disk."""
        return self._total("disk")

    def _total(self, what: str) -> dict[str, int]:
        told = [data.get(what, {}) for data in self._of_rank.values()]
        return {key: sum(one.get(key, 0) for one in told) for key in sorted({key for one in told for key in one})}


def warn_of_skew(rows: Sequence[int], how: Placement) -> None:
    """Everybody waits for the worker of the largest shard."""
    mean = sum(rows) / len(rows)
    skew = max(rows) / mean if mean else 1.0
    if skew <= MOST_SKEW or mean < _FEW:
        return
    if how.assign == "partition":
        cure = "repartition the DataFrame evenly"
    elif how.id_column:
        cure = f"idCol='{how.id_column}' has values that many rows share: choose another one, or repartition the " \
               "DataFrame evenly and use assign='partition'"  # fmt: skip
    else:
        cure = "many rows are equal: give a column that tells them apart as idCol, or repartition the DataFrame " \
               "evenly and use assign='partition'"  # fmt: skip
    warnings.warn(f"the largest shard has {max(rows):,} rows, {skew:.1f} times the mean of {mean:,.0f}, and the "
                  f"others wait for it in each step: {cure}", stacklevel=4)  # fmt: skip
