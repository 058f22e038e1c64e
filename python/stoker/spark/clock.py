"""What the clock of a time zone shows, for workers, which have no Spark: a table of its offsets, asked of Spark itself,
so that SQL functions read times as transform and Spark's own functions do. Names of zones, rules and old local mean
times are Java's; other libraries differ in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import SparkSession

from stoker.spark.sql import text_literal

_DAY = 86_400
_PART = 300
_FIRST = -98_615 * _DAY  # 1700: zones had no rules yet
_CYCLE = 146_097 * _DAY  # of the calendar, 400 years with their weekdays: rules repeat
_LAST_RULES = 47_482 * _DAY  # 2100: all changes follow rules by then
_MICROS = 1_000_000


@dataclass(frozen=True)
class Clock:
    """Offsets in seconds: the first until changes[0], then one from each change on."""

    changes: Sequence[int]  # in seconds since 1970
    offsets: Sequence[int]

    def local(self, micros: np.ndarray) -> np.ndarray:
        """What the clock shows at instants, both in microseconds since 1970. The very last instants, which belong to no
        calendar of four digits, come a day early rather than overflow."""
        seconds = micros // _MICROS
        late = seconds >= _LAST_RULES + _CYCLE
        seconds = np.where(late, _LAST_RULES + (seconds - _LAST_RULES) % _CYCLE, seconds)
        offsets = np.array(self.offsets, np.int64)[np.searchsorted(self.changes, seconds, side="right")]
        reach = np.iinfo(np.int64)
        return np.clip(micros, reach.min + _DAY * _MICROS, reach.max - _DAY * _MICROS) + offsets * _MICROS


def of_zone(spark: SparkSession, zone: str) -> Clock:
    """Looks for changes day by day, and within those days more closely: a Spark job."""
    days = spark.range(_FIRST // _DAY, (_LAST_RULES + _CYCLE) // _DAY).selectExpr(f"id * {_DAY} as s")
    parts = days.where(_changes(zone, _DAY)).selectExpr(f"explode(sequence(s, s + {_DAY - _PART}, {_PART})) as s")
    seconds = parts.where(_changes(zone, _PART)).selectExpr(f"explode(sequence(s, s + {_PART - 1})) as s")
    found = seconds.where(_changes(zone, 1)).selectExpr("s + 1 as s", f"{_offset('s + 1', zone)} as offset").collect()
    (first,) = spark.sql(f"select {_offset(f'{_FIRST}L', zone)} as offset").collect()
    ordered = sorted((row.s, row.offset) for row in found)
    return Clock([s for s, _ in ordered], [first.offset, *(offset for _, offset in ordered)])


def _offset(seconds: str, zone: str) -> str:
    return f"(unix_seconds(from_utc_timestamp(timestamp_seconds({seconds}), {text_literal(zone)})) - ({seconds}))"


def _changes(zone: str, within: int) -> str:
    return f"{_offset('s', zone)} != {_offset(f's + {within}', zone)}"
