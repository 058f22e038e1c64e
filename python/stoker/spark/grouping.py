"""Transform for models whose answer for a row depends on the rows beside it: by groups that the user declares, never by
the batches that Spark happens to make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StructType

from stoker.errors import UserError
from stoker.spark import compat
from stoker.spark.table import Table


def told(place: str) -> str:
    return f"this model's answer for a row depends on the rows beside it, first at {place}"


def check(table: Table, group: Sequence[str] | None, place: str | None) -> None:
    """A model that couples rows needs its groups declared."""
    if place is not None and not group:
        raise UserError(
            f"{told(place)}; Spark's batches would decide what it is. Let the model answer each row by itself "
            "(batch_first=True, running statistics, no means, sums or order over the batch), or set transformGroup "
            "to the column whose equal values say which rows belong together"
        )
    for name in group or ():
        table.type_of(name, "transformGroup")
    if group and table.rows.isStreaming:
        raise UserError("transformGroup needs all rows of a group, and a stream never has them: use foreachBatch")


def append_outputs(table: Table, run: Callable, inputs: Mapping[str, Column], outputs: StructType,
                   group: Sequence[str]) -> DataFrame:  # fmt: skip
    """The rows with the columns that `run` gives for each group, in the order of the names that follow the group's."""
    name, *order = group
    given = F.struct(*[column.alias(key) for key, column in inputs.items()])
    sorted_by = F.struct(*[table.column(key) for key in order], given)
    row = F.struct(*[table.column(key).alias(f"c{i}") for i, key in enumerate(table.names)])
    entry = F.struct(sorted_by.alias("order"), given.alias("given"), row.alias("row"))
    groups = table.rows.groupBy(table.column(name)).agg(F.collect_list(entry).alias("rows"))
    groups = groups.select(F.array_sort("rows", _earlier).alias("rows"))
    together = compat.arrow_function(run, ArrayType(compat.crossing(outputs)))
    answered = groups.withColumn("out", together(F.col("rows.given")))
    each = answered.select(F.explode(F.arrays_zip("rows", "out")).alias("one"))
    kept = [F.col(f"one.rows.row.c{i}").alias(key) for i, key in enumerate(table.names)]
    added = [compat.landed(f, F.col("one.out").getField(f.name)).alias(f.name) for f in outputs]
    return each.select(*kept, *added)


def _earlier(a: Column, b: Column) -> Any:
    left, right = a["order"], b["order"]
    return F.when(left < right, -1).when(left > right, 1).otherwise(0)
