"""Where NaN and infinities are among plain features, which may hold them: some models know what to do with them. Looked
up after a loss became NaN, for then they are the likely cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyspark.errors import PySparkException
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType

from stoker.errors import UserError
from stoker.spark.columns import Source
from stoker.spark.table import Table, is_vector

_LOST = "the loss became"
_TWO_SIGNS = "label -1 is outside the 2 classes"
_ROW_BITS = 33  # of monotonically_increasing_id; the rest is the partition


def with_place(error: UserError, table: Table, sources: Sequence[Source]) -> UserError:
    """The error of a fit, with the first row that has NaN or infinity where the loss was lost. Often a Spark job."""
    if _TWO_SIGNS in str(error):
        return UserError(f"{error}. Classes -1 and 1 are 0 and 1 here: give (label + 1) / 2, or texts")
    if _LOST not in str(error):
        return error
    try:
        found = first_place(table, sources)
    except PySparkException:  # the rows cannot be read once more: the error itself says enough
        found = None
    return error if found is None else UserError(f"{error}. {found}")


def first_place(table: Table, sources: Sequence[Source]) -> str | None:
    named = dict(_looked_at(table, sources))
    if not named:
        return None
    marks = [F.coalesce(odd, F.lit(False)).alias(f"odd{i}") for i, odd in enumerate(named.values())]
    numbered = table.rows.select(F.monotonically_increasing_id().alias("at"), *marks)
    row = numbered.where(" or ".join(f"odd{i}" for i in range(len(marks)))).first()
    if row is None:
        return None
    partition, number = row.at >> _ROW_BITS, row.at & ((1 << _ROW_BITS) - 1)
    name = list(named)[row[1:].index(True)]
    return f"Column '{name}' has NaN or infinity, first in partition {partition} of the DataFrame, row {number}"


def _looked_at(table: Table, sources: Sequence[Source]) -> Iterator[tuple[str, Column]]:
    """Columns of floats that are not declared, and whether a row of theirs has no numbers."""
    for source in sources:
        for name in () if source.fields or source.rules.get("finite") else source.columns:
            kind, value = table.type_of(name, source.param), table.column(name)
            if is_vector(kind):
                kind, value = ArrayType(DoubleType()), vector_to_array(value)
            if isinstance(kind, (FloatType, DoubleType)):
                yield name, _is_odd(value)
            elif isinstance(kind, ArrayType) and isinstance(kind.elementType, (FloatType, DoubleType)):
                yield name, F.exists(value, _is_odd)


def _is_odd(value: Column) -> Column:
    return F.isnan(value) | (F.abs(value) == float("inf"))
