"""Which row goes to which shard and task, as Spark computes it; what owns which shard is said in placement.py."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stoker.spark import compat
from stoker.spark.columns import Source, travelling
from stoker.spark.placement import Held, Placement, late_shards
from stoker.spark.table import Table, quoted

SHARD = "__shard"
_HELD = "held out"  # tells this hash of a row from the one of its shard
_PARTS = 1_000_000


@compat.without_call_sites()
def place(table: Table, sources: Sequence[Source], how: Placement) -> DataFrame:
    """The columns that travel for the sources, in one partition per worker, with SHARD where a worker owns
    several shards."""
    named = travelling(table, sources)
    values = [value.alias(name) for name, value in named.items()]
    if how.assign == "partition":
        return table.rows.select(*values) if how.held is None else _marked(table, named, how)[0]
    if how.shards == 1:
        return (table.rows.select(*values) if how.held is None else _marked(table, named, how)[0]).repartition(1)
    marked, owner = _marked(table, named, how)
    placed = compat.place_by_id(marked, how.workers, owner)
    return placed.drop(SHARD) if how.shards == how.workers and how.held is None else placed


@compat.without_call_sites()
def place_part(table: Table, sources: Sequence[Source], how: Placement, worker: int) -> DataFrame:
    """What place() gives to one worker, in one partition."""
    if how.shards == 1:
        return place(table, sources, how)
    marked, owner = _marked(table, travelling(table, sources), how)
    placed = marked.where(owner == worker).repartition(1)
    return placed.drop(SHARD) if how.shards == how.workers and how.held is None else placed


@compat.without_call_sites()
def place_late(table: Table, sources: Sequence[Source], how: Placement, most: int) -> DataFrame:
    """What the late workers hold, in one partition each."""
    late = late_shards(how.workers, most, how.shards)
    shard = F.pmod(F.col(SHARD), F.lit(how.shards))
    holders = [next((i for i, shards in enumerate(late) if shard in shards), -1) for shard in range(how.shards)]
    marked, _ = _marked(table, travelling(table, sources), how)
    holder = F.element_at(F.array(*[F.lit(i) for i in holders]), shard + 1)
    return compat.place_by_id(marked.where(holder >= 0), len(late), holder)


def _marked(table: Table, named: dict[str, Column], how: Placement) -> tuple[DataFrame, Column]:
    """The travelling columns with SHARD, and the number of the worker that owns it."""
    values = [value.alias(name) for name, value in named.items()]
    keys = [table.column(how.id_column)] if how.id_column else list(named.values())
    if how.id_column or how.held:
        marked = table.rows.select(*values, _shard(table, keys, how))
    else:
        marked = table.rows.select(*values).select("*", _shard(table, [F.col(quoted(name)) for name in named], how))
    shard = F.col(SHARD) if how.held is None else F.pmod(F.col(SHARD), F.lit(how.shards))
    if how.shards == how.workers:
        return marked, shard
    return marked, F.floor(((shard + 1) * how.workers - 1) / how.shards).cast("int")


def _shard(table: Table, keys: Sequence[Column], how: Placement) -> Column:
    """Rows that are held out are of shards of their own, as many numbers after those of the rest."""
    own = F.spark_partition_id() if how.assign == "partition" else F.pmod(F.xxhash64(*keys), F.lit(how.shards))
    if how.held is None:
        return own.cast("int").alias(SHARD)
    return (own + F.when(_held(table, keys, how.held), how.shards).otherwise(0)).cast("int").alias(SHARD)


def _held(table: Table, keys: Sequence[Column], held: Held) -> Column:
    """Whether a row is held out, from its keys: always the same rows, whatever the number of shards is."""
    if not held.column:
        return F.pmod(F.xxhash64(F.xxhash64(*keys), F.lit(_HELD)), F.lit(_PARTS)) < round(held.fraction * _PARTS)
    mark = table.column(held.column)
    told = F.raise_error(F.lit(f"validationIndicatorCol: column '{held.column}' has a null: each row needs true "
                               "(held out for validation) or false"))  # fmt: skip
    return F.when(mark.isNull(), told.cast("boolean")).otherwise(mark)
