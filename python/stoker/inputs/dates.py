"""Dates and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql.types import DataType, DateType, TimestampType

from stoker.errors import UserError
from stoker.inputs.declared import Declared
from stoker.inputs.kinds import is_time
from stoker.inputs.spec import Field, base, filled
from stoker.spark.columns import Sent

PARTS = {"year": 0, "month": 12, "day": 31, "weekday": 7, "yearday": 366, "hour": 24, "minute": 60, "second": 60}
COUNTED_FROM_ONE = ("month", "day", "yearday")
CLOCK_PARTS = ("hour", "minute", "second")


@dataclass(frozen=True, repr=False)
class DateParts(Declared):
    """Parts of a date or timestamp as numbers: year, month (1-12), day, weekday (Monday is 0), yearday (1-366), hour,
    minute, second. cyclic: each as a sine and a cosine. zone: whose clock is read (default: the session's at fit).

    Example:
        >>> from stoker.inputs import DateParts, sizes, width
        >>> sizes(DateParts("day", ["month", "weekday"])), width(DateParts("day", ["month", "weekday"], cyclic=True))
        ([13, 7], 4)
    """

    parts: Sequence[str] = ("month", "day", "weekday")
    cyclic: bool = False
    nulls: str = "error"
    zone: str | None = None

    def _check(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UserError(f"{self}: parts are some of {', '.join(PARTS)}; {unknown or 'none'} given")
        if self.cyclic and "year" in self.parts:
            raise UserError(f"{self}: the year is not cyclic; declare it apart")

    expected = "a date or a timestamp"

    def fits(self, kind: DataType) -> bool:
        return is_time(kind)

    def check_type(self, kind: DataType, where: str, outer: str = "") -> None:
        super().check_type(kind, where, outer)
        if isinstance(kind, DateType) and set(self.parts) & set(CLOCK_PARTS):
            raise self.wrong_type(kind, where, "a timestamp, for dates have no " + " or ".join(CLOCK_PARTS))

    @property
    def whole(self) -> bool:
        return not self.cyclic

    @property
    def row_shape(self) -> tuple[int, ...]:
        width = len(self.parts) * (2 if self.cyclic else 1)
        return (width,) if width > 1 else ()

    @property
    def tops(self) -> list[int]:
        if self.cyclic:
            return super().tops
        return [9999 if part == "year" else PARTS[part] - (part not in COUNTED_FROM_ONE) for part in self.parts]

    def sizes(self) -> list[int]:
        if self.cyclic or "year" in self.parts:
            return super().sizes()
        return [PARTS[part] + (part in COUNTED_FROM_ONE) for part in self.parts]

    def zoned(self, zone: str) -> DateParts:
        return replace(self, zone=self.zone or zone)

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        zoned = kind is None or isinstance(kind, TimestampType)
        sent = Sent((self.column,), self.zone if zoned else None)
        small = not {"year", "yearday"} & set(self.parts)
        field = base("part", sent.columns, sent, "float32" if self.cyclic else "uint8" if small else "uint16")
        field["parts"] = [{"part": part, **({"table": _circle(part)} if self.cyclic else {})} for part in self.parts]
        return {**field, **filled(self.nulls, [0])}, sent


def _circle(part: str) -> list[list[float]]:
    """Sine and cosine for each value, so that the last is a neighbour of the first."""
    steps = PARTS[part]
    return [[math.sin(2 * math.pi * i / steps), math.cos(2 * math.pi * i / steps)] for i in range(steps)]
