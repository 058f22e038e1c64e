"""Rows that workers read from Parquet files by themselves, against those of Spark's pipe; and when they may."""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyspark.ml.functions import array_to_vector
from pyspark.sql import functions as F
from torch import nn

from stoker import StokerClassifier
from stoker.errors import WorldError
from stoker.fit.run import no_rows
from stoker.inputs import Category, DateParts, Hashed, Numeric, Padded, Present, fields
from stoker.spark import parquet, scan, shards
from stoker.spark.columns import Source
from stoker.spark.placement import Placement, owned_shards
from stoker.spark.table import Table

ROWS = 900
TWO = Placement(2, 2)
CLASSES = {"integral": True, "classes": 3, "finite": True}


def table(rows=ROWS, seed=0):
    draw = np.random.default_rng(seed)
    values = {f"f{i}": draw.normal(size=rows).astype(np.float32) for i in range(30)}
    values["f3"][::5] = -0.0
    values["f4"][::7] = np.nan
    flat = draw.normal(size=(rows, 12)).astype(np.float32)
    lists = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * 12, pa.array(flat.reshape(-1)))
    mixed = {
        "b": draw.integers(0, 2, rows).astype(bool), "i8": draw.integers(-99, 99, rows).astype(np.int8),
        "i16": draw.integers(-999, 999, rows).astype(np.int16), "i32": draw.integers(-(2**31), 2**31, rows, np.int32),
        "i64": draw.integers(-(2**62), 2**62, rows), "d": draw.normal(0, 1e30, rows),
    }  # fmt: skip
    label = draw.integers(0, 3, rows)
    key = pa.array([f"key {i % 100}" for i in range(rows)])
    return pa.table({**values, "list": lists, "doubles": lists.cast(pa.list_(pa.float64())), **mixed, "label": label,
                     "whole": label.astype(np.float64), "weight": np.abs(mixed["d"]), "key": key})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, one of them without rows."""
    folder = tmp_path_factory.mktemp("scan") / "a folder, with 100% odd = signs"
    folder.mkdir()
    whole = table()
    for name, part in (("a", whole[:500]), ("b", whole[500:]), ("c", whole[:0])):
        pq.write_table(part, folder / f"{name}.parquet", row_group_size=130)
    return folder


@pytest.fixture(scope="module")
def df(spark, folder):
    return spark.read.parquet(str(folder))


def features(*names, dtype="float32", shape=None):
    shape = (len(names),) if shape is None else shape
    return Source("features", names, "featuresCols", dtype, shape)


def label(name="label", dtype="int64"):
    return Source("label", (name,), "labelCol", dtype, (), CLASSES)


def stored(df, sources, how, scan_spec):
    """(shard, rows, digest) of every shard, as workers hold them after ingest."""
    spec = json.dumps(
        {"columns": [source.spec() for source in sources], "threads": 1, "on_bad_row": "error", "scan": scan_spec}
    )
    task = partial(ingest_task, spec, how.workers, how.shards)
    rows = (
        shards.place(Table.of(df), sources, how)
        if scan_spec is None
        else no_rows(df.sparkSession, how.shards).whole(how.workers)
    )
    found = rows.mapInArrow(task, "shard int, rows bigint, high string, low string").collect()
    return sorted(tuple(row) for row in found)


def ingest_task(spec, workers, shards, batches):
    from pyspark import TaskContext

    from stoker.engine import core
    from stoker.spark.ingest import ingest

    partition = TaskContext.get().partitionId()
    silent = SimpleNamespace(ingesting=lambda rows: None, resting=contextlib.nullcontext)
    store = ingest(core(), silent, json.loads(spec), owned_shards(partition, workers, shards), partition, batches)
    shard, rows, high, low = zip(*store.shard_rows())
    arrays = [pa.array(shard, pa.int32()), pa.array(rows), pa.array(map(str, high)), pa.array(map(str, low))]
    yield pa.RecordBatch.from_arrays(arrays, ["shard", "rows", "high", "low"])


def pid_task(spec, batches):
    for _ in ingest_task(spec, 2, 2, batches):
        yield pa.RecordBatch.from_arrays([pa.array([os.getpid()])], ["pid"])


def both_ways(df, sources, how):
    found, told = scan.look(Table.of(df), sources, how, True)
    assert told["by"] == "scan", told
    ours = stored(df, sources, how, found.spec())
    assert sum(row[1] for row in ours) % ROWS == 0
    assert ours == stored(df, sources, how, None)


F30 = tuple(f"f{i}" for i in range(30))
CASES = {
    "30 floats": [features(*F30), label()],
    "an array": [features("list", shape=(12,)), label()],
    "doubles to floats": [features("doubles", shape=(12,)), label("whole")],
    "mixed numbers": [features("b", "i8", "i16", "i32", "i64", "d"), label()],
    "mixed numbers as doubles": [features("i64", "f1", "b", dtype="float64"), label("whole", "int32")],
    "whole numbers": [features("i8", "i16", "b", dtype="int64"), label(dtype="int32")],
    "small numbers": [features("b", dtype="uint8"), label()],
    "one number": [features("f1"), label(), Source("weight", ("weight",), "weightCol", rules={"finite": True})],
}


@pytest.mark.parametrize("case", CASES)
def test_the_rows_are_those_of_the_pipe(df, case):
    both_ways(df, CASES[case], TWO)


@pytest.mark.parametrize("how", [Placement(1, 1), Placement(1, 3), Placement(2, 5)], ids=str)
def test_so_they_are_for_any_number_of_workers_and_shards(df, how):
    both_ways(df, CASES["mixed numbers"], how)


def declared_inputs(df, *items):
    return [fields.source("features", list(items), Table.of(df)), label()]


def test_declared_inputs_are_those_of_the_pipe(df):
    items = [
        *Numeric.each("f1", "f2", "f4", nulls="mask"), *Numeric.each("i8"), *Numeric.each("i16", "i32", lossy=True),
        Numeric("b"), *Numeric.each("b", "b"), Numeric("i64", lossy=True), Category("key", vocabulary=["key 1"]),
        Category("i8", vocabulary=[-1, 5, 7]), Hashed("key", 50), Hashed("i64", 300), Hashed("b", 9),
        Padded(Numeric("doubles"), 5), Present("f4"), Present("key"),
    ]  # fmt: skip
    both_ways(df, declared_inputs(df, *items), TWO)
    both_ways(df, declared_inputs(df, *items), Placement(1, 3))


@pytest.mark.parametrize("name", ["key", "i64", "d", "b", "f4"])
def test_an_id_alone_decides_the_shard(df, name):
    both_ways(df, CASES["an array"], Placement(2, 7, id_column=name))


def test_columns_chosen_renamed_and_put_in_another_order(df):
    turned = df.select("label", F.col("f2").alias("f1"), *reversed(F30[3:]), F.col("f1").alias("f2"))
    both_ways(turned, [features(*F30[1:]), label()], TWO)


def test_folders_named_by_a_column_that_is_not_used(spark, df, tmp_path):
    df.withColumn("part", F.col("label") % 2).write.partitionBy("part").parquet(str(tmp_path / "parted"))
    both_ways(spark.read.parquet(str(tmp_path / "parted")), CASES["mixed numbers"], TWO)


def test_a_table_of_the_catalog(spark, df):
    df.write.mode("overwrite").saveAsTable("stoker_scan")
    both_ways(spark.table("stoker_scan"), CASES["mixed numbers"], TWO)
    spark.sql("drop table stoker_scan")


def test_python_workers_are_used_again(df):
    sources = CASES["30 floats"]
    found, _ = scan.look(Table.of(df), sources, TWO, True)
    spec = json.dumps({"columns": [source.spec() for source in sources], "threads": 1, "on_bad_row": "error",
                       "scan": found.spec()})  # fmt: skip
    rows = no_rows(df.sparkSession, 2).whole(2)
    before, after = (
        {row.pid for row in rows.mapInArrow(partial(pid_task, spec), "pid bigint").collect()} for _ in "ab"
    )
    assert before & after


def test_a_whole_fit_gives_the_same_bits_and_tells_which_way_its_rows_came(df):
    torch.manual_seed(1)
    module = nn.Linear(12, 3)

    def fit(**params):
        return StokerClassifier(model=module, featuresCol="list", batchSize=64, numWorkers=2, verbose=0, **params).fit(
            df
        )

    ours, piped = fit().history.info, fit(directScan=False).history.info
    assert ours["digest"] == piped["digest"]
    assert ours["ingest"] == {"by": "scan", "files": 3}
    assert piped["ingest"] == {"by": "pipe", "because": "directScan is off"}


def refusal(df, sources=None, how=TWO):
    _, told = scan.look(Table.of(df), sources or CASES["an array"], how, True)
    assert told["by"] == "pipe"
    return told["because"]


def again(df, *counts):
    """Reads so many of the first files by their paths."""
    paths = [unquote(urlsplit(uri).path) for uri in df.inputFiles()]
    return df.sparkSession.read.parquet(*[path for count in counts for path in paths[:count]])


PLANS = {
    "filtered": (lambda df: df.where("f1 > 0"), "its plan has 'Filter' above the scan of the files"),
    "computed": (lambda df: df.withColumn("label", F.col("label") % 2), "its columns are computed"),
    "limited": (lambda df: df.limit(10), "its plan has 'CollectLimit' above the scan of the files"),
    "sampled": (lambda df: df.sample(0.5, seed=1), "its plan has 'Sample' above the scan of the files"),
    "shuffled": (lambda df: df.repartition(3), "its plan has 'Exchange' above the scan of the files"),
    "joined": (lambda df: df.join(df.select("key").distinct(), "key"), "its plan has"),
    "in two": (lambda df: df.union(df), "its plan has"),
    "made here": (lambda df: df.sparkSession.createDataFrame(df.toArrow()), "which is no scan of Parquet files"),
    "other paths": (lambda df: again(df, 2), "it reads 2 paths at once"),
    "one path twice": (lambda df: again(df, 1, 1), "it reads 2 paths at once"),
    "vectors": (lambda df: df.withColumn("list", array_to_vector("list")), "column 'list' has type vector"),
    "decimals": (lambda df: df.withColumn("label", F.col("label").cast("decimal(9,0)")), "has type decimal(9,0)"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_other_plans_are_refused(df, name):
    change, reason = PLANS[name]
    assert reason in refusal(change(df))


def test_a_cached_frame_is_refused(spark, folder):
    cached = spark.read.parquet(str(folder)).select("list", "label").cache()
    assert "InMemory" in refusal(cached)
    cached.unpersist()


def test_what_the_fit_asks_for_is_refused(df):
    assert refusal(df, how=Placement(2, 2, "partition")) == "assign is 'partition'"
    assert refusal(df, how=Placement(5, 5)) == "numWorkers is above 4, and each worker would read all rows"
    mixed = refusal(df, [features("i64", "d", dtype="int64"), label()])
    assert mixed == "column 'i64' of type bigint is packed with doubles"
    assert refusal(df.withColumn("day", F.current_date()), how=Placement(2, 2, id_column="day")) == \
        "idCol 'day' has type date"  # fmt: skip


def test_sources_of_a_kind_that_is_not_known_here_are_refused(df):
    @dataclass(frozen=True)
    class Newer(Source):
        more: bool = True

    assert refusal(df, [Newer("features", ("key",), "inputs"), label()]) == \
        "'key' is of a kind that only the pipe brings"  # fmt: skip


def test_declared_inputs_of_other_types_are_refused(spark, df):
    dated = df.withColumn("day", F.current_date())
    assert refusal(dated, declared_inputs(dated, DateParts("day", ["month"]))) == "column 'day' has type date"


@pytest.mark.parametrize("key", scan._CONFIGURED)
def test_settings_that_change_what_spark_reads_are_refused(spark, df, key):
    spark.conf.set(key, "true")
    try:
        assert refusal(df) == f"{key} is set"
    finally:
        spark.conf.unset(key)


def test_a_column_of_the_paths_is_refused(spark, df, tmp_path):
    path = str(tmp_path / "parted")
    df.withColumn("Label 1", F.col("label")).drop("label").write.partitionBy("Label 1").parquet(path)
    told = "column 'Label 1' is part of the files' paths"
    assert refusal(spark.read.parquet(path), [features("f1"), label("Label 1")]) == told
    pq.write_table(table(), next((tmp_path / "parted").glob("*=1")) / "more.parquet")
    assert refusal(spark.read.parquet(path), [features("f1"), label("Label 1")]) == told


def test_files_of_other_schemas_are_refused(spark, tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(table().drop(["f1"]), tmp_path / "b.parquet")
    merged = spark.read.option("mergeSchema", "true").parquet(str(tmp_path))
    assert "b.parquet has no column of its own that is named exactly 'f1'" in refusal(merged, [features("f1"), label()])
    both_ways(merged, [features("f2"), label()], TWO)


def test_a_type_or_name_that_the_reader_was_told_is_refused(spark, tmp_path):
    pq.write_table(table().select(["i32", "f1", "label"]), tmp_path / "a.parquet")
    told = spark.read.schema("i32 bigint, F1 float, label bigint").parquet(str(tmp_path))
    assert "column 'i32' is stored as int32" in refusal(told, [features("i32"), label()])
    assert "no column of its own that is named exactly 'F1'" in refusal(told, [features("F1"), label()])


def test_lists_of_the_older_form_are_refused(spark, df, tmp_path):
    spark.conf.set("spark.sql.parquet.writeLegacyFormat", "true")
    df.select("list", "label").write.parquet(str(tmp_path / "old"))
    spark.conf.unset("spark.sql.parquet.writeLegacyFormat")
    assert "column 'list' is stored as list" in refusal(spark.read.parquet(str(tmp_path / "old")))


def test_files_that_are_gone_many_or_empty_are_refused(spark, df, tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pq.write_table(table(5), path)
    gone = spark.read.parquet(str(tmp_path))
    path.unlink()
    assert refusal(gone) == f"{path} cannot be read (FileNotFoundError)"
    pq.write_table(table(0), path)
    assert refusal(spark.read.parquet(str(tmp_path))) == "it has no rows"
    monkeypatch.setattr(scan, "MAX_FILES", 2)
    assert refusal(df) == "it has more than 2 files"


def read_all(path, identity):
    return list(parquet.batches(str(path), identity, ["f1"], 100, 1))


def test_a_file_that_changed_since_the_fit_began_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path)
    with parquet.opened(str(path)) as (_, identity):
        pass
    assert sum(batch.num_rows for batch in read_all(path, identity)) == ROWS
    pq.write_table(table(seed=1), path)
    with pytest.raises(WorldError, match=r"a\.parquet has changed since the fit began: fit again"):
        read_all(path, identity)
    path.unlink()
    with pytest.raises(WorldError, match=r"a\.parquet cannot be read any more: "):
        read_all(path, identity)


def test_a_file_that_is_written_to_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path)
    with parquet.opened(str(path)) as (_, identity):
        pass
    reading = parquet.batches(str(path), identity, ["f1"], 100, 1)
    next(reading)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WorldError, match="has changed since the fit began"):
        list(reading)


def test_a_null_gets_the_same_words_as_through_the_pipe(spark, tmp_path):
    values = pa.array([None if i == 3 else i / 2 for i in range(8)], pa.float32())
    pq.write_table(table(8).drop(["f1"]).append_column("f1", values), tmp_path / "a.parquet")
    df, errors = spark.read.parquet(str(tmp_path)), []
    for direct in (True, False):
        torch.manual_seed(1)
        estimator = StokerClassifier(model=nn.Linear(2, 3), featuresCols=["f1", "f2"], batchSize=4, verbose=0,
                                     directScan=direct)  # fmt: skip
        with pytest.raises(ValueError) as caught:
            estimator.fit(df)
        errors.append(re.sub(r"pid \d+", "", str(caught.value)))
    assert errors[0] == errors[1]
    assert "(element 0)" in errors[0]
