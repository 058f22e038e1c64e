"""Which shard a row goes to: the engine over a file's columns against Spark's xxhash64 over the same columns, cast."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from stoker.engine import core

SHARDS = 997
ROWS = 300


def numbers(type_, *special):
    draw = np.random.default_rng(5)
    info = np.iinfo(type_.to_pandas_dtype()) if pa.types.is_integer(type_) else None
    values = [draw.integers(info.min, info.max) for _ in range(ROWS)] if info else list(draw.normal(0, 1e3, ROWS))
    return with_nulls([*special, *values][:ROWS], type_)


def with_nulls(values, type_):
    return pa.array([None if i % 17 == 3 else value for i, value in enumerate(values)], type_)


def lists(values):
    """Lists of 0 to 6 values, alike for some rows on end, some of them null."""
    flat, found = values.to_pylist() * 4, []
    for i in range(ROWS):
        size = 5 if i < 40 else i % 7
        found.append(None if i % 29 == 11 else [flat.pop() for _ in range(size)])
    return pa.array(found, pa.list_(values.type))


FLOATS = (0.0, -0.0, float("nan"), -float("nan"), float("inf"), 1e-45)
COLUMNS = {
    "boolean": with_nulls([i % 3 == 0 for i in range(ROWS)], pa.bool_()),
    "tinyint": numbers(pa.int8()),
    "smallint": numbers(pa.int16()),
    "int": numbers(pa.int32(), 2**31 - 1, -(2**31), 16777217),
    "bigint": numbers(pa.int64(), 2**63 - 1, -(2**63), 2**53 + 1, 2**24 + 1),
    "float": numbers(pa.float32(), *FLOATS),
    "double": numbers(pa.float64(), *FLOATS, 1e300, 1e-300, 0.1, 16777217.0),
}
COLUMNS |= {f"list_{name}": lists(COLUMNS[name]) for name in ("boolean", "int", "bigint", "float", "double")}
TEXTS = {
    "string": with_nulls(["", "ä", *("x" * (i % 70) + str(i) for i in range(ROWS))][:ROWS], pa.string()),
    "binary": with_nulls([bytes(range(i % 40)) for i in range(ROWS)], pa.binary()),
    "decimal": with_nulls([Decimal(i * 7919 - 10**6).scaleb(-2) for i in range(ROWS)], pa.decimal128(18, 2)),
    "short_decimal": with_nulls([Decimal(i - 90).scaleb(-1) for i in range(ROWS)], pa.decimal128(5, 1)),
}
WIDER = {"float": COLUMNS, "double": COLUMNS, "bigint": ["boolean", "tinyint", "int", "bigint", "list_int"],
         "int": ["boolean", "smallint", "int", "list_int"], "smallint": ["boolean", "tinyint", "smallint"]}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return pa.table({**COLUMNS, **TEXTS})


@pytest.fixture(scope="module")
def rows(spark, table, tmp_path_factory):
    """A DataFrame of one partition, in the table's order."""
    path = tmp_path_factory.mktemp("hash") / "rows.parquet"
    pq.write_table(table, path)
    return spark.read.parquet(str(path)).coalesce(1)


def crossing(type_, *columns, packed=False):
    return {"name": "x", "type": type_, "columns": list(columns), "packed": packed}


def shards(table, *crossings, id_column=""):
    dealer = core().Dealer(json.dumps({"columns": crossings, "shards": SHARDS, "id": id_column}), [0])
    return [shard for batch in table.to_batches(max_chunksize=77) for shard in dealer.shards_of(batch)]


def spark_shards(rows, **expressions):
    picked = [F.expr(f"cast(pmod(xxhash64({expression}), {SHARDS}) as int)").alias(name)
              for name, expression in expressions.items()]  # fmt: skip
    return rows.select(*picked).toArrow().to_pydict()


def test_numbers_and_arrays_of_them_after_every_cast(rows, table):
    cases = {f"{name}_to_{to}": (name, to) for to, names in WIDER.items() for name in names}

    def cast(name, to):
        return f"cast({name} as {f'array<{to}>' if name.startswith('list_') else to})"

    want = spark_shards(rows, **{case: cast(*of) for case, of in cases.items()})
    assert len(cases) > 30
    for case, (name, to) in cases.items():
        assert shards(table, crossing(to, name)) == want[case], case


def test_several_columns_in_their_order_and_packed_ones(rows, table):
    want = spark_shards(
        rows,
        chain="cast(int as float), list_double, bigint",
        packed="array(cast(double as float), cast(int as float), cast(boolean as float)), bigint",
    )
    assert (
        shards(table, crossing("float", "int"), crossing("", "list_double"), crossing("bigint", "bigint"))
        == want["chain"]
    )
    packed = crossing("float", "double", "int", "boolean", packed=True)
    assert shards(table, packed, crossing("bigint", "bigint")) == want["packed"]


@pytest.mark.parametrize("name", [*TEXTS, "boolean", "tinyint", "bigint", "double"])
def test_ids_of_every_kind_that_is_read(rows, table, name):
    assert shards(table, crossing("float", "float"), id_column=name) == spark_shards(rows, x=name)["x"]
