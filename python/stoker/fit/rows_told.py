"""What a fit says aloud of its rows when it is over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.spark.placement import Placement

MOST_SKEW = 1.5
_FEW = 100  # rows of a mean shard; below that chance makes shards unequal


def warn_of_skipped(rows: Mapping[str, int]) -> None:
    """Those that onBadRow='skip' left out, by reason."""
    if rows:
        text = ", ".join(f"{reason}: {count:,}" for reason, count in rows.items())
        warnings.warn(f"rows were left out (onBadRow='skip'): {text}", stacklevel=4)


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


def warn_of_one_class(epochs: Sequence[Mapping[str, Any]]) -> None:
    """Of a curve that no epoch has."""
    names = [name for name in (epochs[-1] if epochs else ()) if name.startswith("val_roc_auc")]
    if missing := [name for name in names if all(epoch.get(name) is None for epoch in epochs)]:
        warnings.warn(f"{', '.join(missing)} is None in every epoch: a curve needs rows of the class and others, and "
                      "the rows that are held out have none of one of them; hold out other rows",
                      stacklevel=4)  # fmt: skip
