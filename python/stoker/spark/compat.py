"""Every Spark call that is newer than 4.0, with what stands in for it on 4.0; and what is PySpark's own affair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.errors import utils as origins
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, StructField, StructType

_SEED = 42  # of Spark's hash partitioning
_MASK = 0xFFFFFFFF


@contextlib.contextmanager
def without_call_sites() -> Iterator[None]:
    """PySpark notes the user's line for each Column that is made, in ten calls of the JVM: half of the time that it
    takes to describe a fit's rows, whose columns are made on no line of the user's. Another thread's columns may lose
    their lines meanwhile; afterwards PySpark looks its setting up anew."""
    if not hasattr(origins, "_enable_debugging_cache"):  # no part of its interface
        yield
        return
    origins._enable_debugging_cache = False  # type: ignore[assignment]
    try:
        yield
    finally:
        origins._enable_debugging_cache = None


def place_by_id(df: DataFrame, partitions: int, ids: Column) -> DataFrame:
    """Sends each row to partition `ids`, an int column with values in [0, partitions)."""
    if hasattr(DataFrame, "repartitionById"):
        return df.repartitionById(partitions, ids)
    return place_by_key(df, partitions, ids)


def place_by_key(df: DataFrame, partitions: int, ids: Column) -> DataFrame:
    """The same on Spark 4.0, whose repartition hashes its column: by keys whose hash is the wanted partition."""
    keys = F.array(*[F.lit(key) for key in partition_keys(partitions)])
    return df.repartition(partitions, F.element_at(keys, ids + F.lit(1)))


def partition_keys(partitions: int) -> list[int]:
    """keys[p] is an int that Spark's hash partitioning into `partitions` puts into partition p."""
    keys: dict[int, int] = {}
    candidate = 0
    while len(keys) < partitions:
        keys.setdefault(_signed(murmur3_int(candidate)) % partitions, candidate)
        candidate += 1
    return [keys[p] for p in range(partitions)]


def murmur3_int(value: int, seed: int = _SEED) -> int:
    """Murmur3_x86_32 of one 4-byte integer, as org.apache.spark.unsafe.hash.Murmur3_x86_32.hashInt."""
    k = (value * 0xCC9E2D51) & _MASK
    k = (_rotated(k, 15) * 0x1B873593) & _MASK
    h = _rotated((seed ^ k) & _MASK, 13)
    h = (h * 5 + 0xE6546B64) & _MASK
    h ^= 4
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


def _rotated(x: int, by: int) -> int:
    return ((x << by) | (x >> (32 - by))) & _MASK


def _signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


Batches = Iterator[tuple]
"""Tuples of pyarrow arrays, one per input column."""


def append_outputs(df: DataFrame, run: Callable[[Batches], Iterator[Any]], inputs: list[Column],
                   outputs: StructType) -> DataFrame:  # fmt: skip
    """`df` with the columns that `run` gives: for each tuple of arrays it yields one struct array as long."""
    if hasattr(F, "arrow_udf"):
        return append_by_udf(df, run, inputs, outputs)
    return append_by_map(df, run, inputs, outputs)


def append_by_udf(df: DataFrame, run: Callable, inputs: list[Column], outputs: StructType) -> DataFrame:
    """The inputs are columns of a projection of their own, and the first is given twice, so that Spark does not fold
    the projection into the UDF: over columnar children it would then read each value through a generic row, which took
    a quarter of the JVM's time for 30 columns. A column that is given twice crosses once."""

    def predict(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        return run(arrays[1:] for arrays in batches)

    predict.__annotations__ = {"batches": Iterator[tuple[pa.Array, ...]], "return": Iterator[pa.Array]}
    taken = [*df.columns, *outputs.names]
    names = [free_name(taken, f"__stoker_in{i}") for i in range(len(inputs))]
    held = free_name(taken, "__stoker_out")
    carried = df.select("*", *[column.alias(name) for name, column in zip(names, inputs)])
    whole = carried.withColumn(
        held,
        F.arrow_udf(predict, crossing(outputs))(  # type: ignore[call-overload]
            names[0], *names
        ),
    )
    fields = {field.name: landed(field, F.col(held).getField(field.name)) for field in outputs}
    return whole.withColumns(fields).drop(held, *names)


def arrow_function(run: Callable[[Iterator[Any]], Iterator[Any]], returns: DataType) -> Any:
    """A function of Columns: `run` gets an array for each batch, or a tuple of several, and yields an array as long."""
    return by_arrow(run, returns) if hasattr(F, "arrow_udf") else by_pandas(run, returns)


def by_arrow(run: Callable, returns: DataType) -> Any:
    def predict(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        return run(batches)

    predict.__annotations__ = {"batches": Iterator[tuple[pa.Array, ...]], "return": Iterator[pa.Array]}
    return F.arrow_udf(predict, returns)  # type: ignore[call-overload]


def by_pandas(run: Callable, returns: DataType) -> Any:
    """The same on Spark 4.0."""
    import pandas as pd

    def to_arrow(given: Any) -> pa.Array:
        if isinstance(given, pd.DataFrame):
            return pa.RecordBatch.from_pandas(given, preserve_index=False).to_struct_array()
        return pa.Array.from_pandas(given)

    def predict(batches):
        many = (tuple(map(to_arrow, given)) if isinstance(given, tuple) else to_arrow(given) for given in batches)
        for result in run(many):
            is_struct = pa.types.is_struct(result.type)
            yield pa.RecordBatch.from_struct_array(result).to_pandas() if is_struct else result.to_pandas()

    given = pd.DataFrame if isinstance(returns, StructType) else pd.Series
    predict.__annotations__ = {"batches": Iterator[tuple[pd.Series, ...]], "return": Iterator[given]}  # type: ignore[valid-type]
    return F.pandas_udf(predict, returns)  # type: ignore[call-overload]


def append_by_map(df: DataFrame, run: Callable, inputs: list[Column], outputs: StructType) -> DataFrame:
    """The same on Spark 4.0, which has no Arrow UDFs: whole batches go through Python and back."""
    kept = len(df.columns)
    names = [*df.columns, *outputs.names]
    carried = df.select("*", *[column.alias(f"__stoker_in{i}") for i, column in enumerate(inputs)])
    plain = carried.toDF(*[f"c{i}" for i in range(len(carried.columns))])  # mapInArrow stumbles over dots in names

    def predict(batches):
        under_way = []

        def inputs():
            for batch in batches:
                under_way.append(batch)
                yield tuple(batch.columns[kept:])

        for out in run(inputs()):
            batch = under_way.pop()
            yield pa.RecordBatch.from_arrays([*batch.columns[:kept], *out.flatten()], names=names)

    whole = plain.mapInArrow(predict, StructType([*df.schema.fields, *crossing(outputs).fields]))
    return whole.withColumns({field.name: landed(field, F.col(f"`{field.name}`")) for field in outputs})


def crossing(outputs: StructType) -> StructType:
    """The fields as they cross from Python: vectors as arrays, for columnar readers take no user-defined types."""
    return StructType([replace_vector(field) for field in outputs])


def replace_vector(field: StructField) -> StructField:
    if not isinstance(field.dataType, VectorUDT):
        return field
    return StructField(field.name, ArrayType(DoubleType(), False), field.nullable)


def landed(field: StructField, value: Column) -> Column:
    return array_to_vector(value) if isinstance(field.dataType, VectorUDT) else value


def free_name(taken: Iterable[str], wanted: str) -> str:
    lower = {name.lower() for name in taken}
    while wanted.lower() in lower:
        wanted += "_"
    return wanted
