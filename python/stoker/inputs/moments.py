"""Means and deviations of columns, from sums that are never rounded: the order in which Spark brings rows cannot show,
and large values that differ little are told apart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stoker.engine import core

_UNIT = 1074  # every double is a whole number of 2^-1074
_LIMB = 32
_MORE = 64  # bits of a root beyond its whole part
_SMALLEST = math.ulp(0.0)


@dataclass(frozen=True)
class Moments:
    """Of one column, over those of its values that are numbers."""

    count: int
    sum: int  # in units of 2^-1074
    squares: int  # in units of 2^-2148

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.sum + other.sum, self.squares + other.squares)

    def mean(self) -> float:
        return self.sum / (self.count << _UNIT)

    def variance(self) -> float:
        """Raises OverflowError where no double is as large."""
        return self._spread() / (self.count**2 << 2 * _UNIT)

    def deviation(self) -> float:
        """0 for columns of one value, and for no others."""
        root = math.isqrt(self._spread() << 2 * _MORE) / (self.count << _UNIT + _MORE)
        return max(root, _SMALLEST) if self._spread() else 0.0

    def _spread(self) -> int:
        """The variance times count^2."""
        return self.count * self.squares - self.sum**2


def of_columns(df: DataFrame, names: Sequence[str]) -> list[Moments]:
    """Of numeric columns, named as SQL names them; in one pass over the rows."""
    table = df.select(F.expr(f"array({', '.join(f'cast({name} as double)' for name in names)})").alias("numbers"))
    parts = [_parsed(row.moments) for row in table.mapInArrow(_OfPartition(len(names)), "moments string").collect()]
    return reduce(_added, parts, [Moments(0, 0, 0)] * len(names))


def _added(some: Sequence[Moments], more: Sequence[Moments]) -> list[Moments]:
    return [a + b for a, b in zip(some, more)]


@dataclass(frozen=True)
class _OfPartition:
    """Runs in Spark's workers: one text for all columns of a partition."""

    width: int

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        moments = core().ExactMoments(self.width)
        for batch in batches:
            values = batch.column(0).flatten().to_numpy(zero_copy_only=False)  # nulls become NaN
            moments.add(np.ascontiguousarray(values).reshape(batch.num_rows, self.width))
        yield pa.RecordBatch.from_pydict({"moments": [json.dumps([_told(*one) for one in moments.totals()])]})


Limbs = tuple[int, Sequence[int]]


def _told(count: int, total: Limbs, squares: Limbs) -> list[Any]:
    return [count, *_hex(total), *_hex(squares)]


def _hex(total: Limbs) -> tuple[int, str]:
    """(first limb, the rest in hexadecimal digits)."""
    first, limbs = total
    return first, f"{sum(limb << _LIMB * i for i, limb in enumerate(limbs)):x}"


def _parsed(told: str) -> list[Moments]:
    return [Moments(count, int(total, 16) << _LIMB * first, int(squares, 16) << _LIMB * begin)
            for count, first, total, begin, squares in json.loads(told)]  # fmt: skip
