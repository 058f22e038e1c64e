"""Columns: what is refused, how they are cast, and which row goes to which shard."""

import numpy as np
import pytest
from pyspark.errors import utils as origins
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField

from conftest import blobs, table
from stoker.errors import UserError
from stoker.spark import checks, columns, compat, placement, shards
from stoker.spark.columns import Source
from stoker.spark.placement import Placement
from stoker.spark.table import Table

X = Source("x", ("features",), "featuresCol", shape=(4,))


@pytest.fixture(scope="module")
def df(spark):
    return table(spark, *blobs(200), id=np.arange(200)).repartition(3).cache()


def one(frame, source):
    return frame.select(columns.expression(Table.of(frame), source).alias("v"))


def parts(frame):
    """partition -> set of ids"""
    rows = frame.select("id", F.spark_partition_id().alias("p")).collect()
    return {p: {r.id for r in rows if r.p == p} for p in {r.p for r in rows}}


def test_a_missing_column_is_named_with_those_that_exist(df):
    with pytest.raises(UserError, match=r"featuresCol: .* no column 'fetures'. It has: features, label, id"):
        Table.of(df).type_of("fetures", "featuresCol")


def test_names_match_as_spark_matches_them(df):
    assert Table.of(df).type_of("FEATURES", "featuresCol").simpleString() == "array<float>"


def test_a_field_of_a_struct_is_a_column(spark):
    nested = spark.range(2).select(F.struct(F.col("id").alias("inner")).alias("outer"))
    assert Table.of(nested).type_of("outer.inner", "featuresCol").simpleString() == "bigint"
    source = Source("x", ("outer.inner",), "featuresCol", shape=(1,))
    assert [r.v for r in one(nested, source).collect()] == [[0.0], [1.0]]


def test_a_name_with_a_dot_is_a_column(spark):
    dotted = spark.range(2).withColumnRenamed("id", "a.b")
    assert Table.of(dotted).type_of("a.b", "featuresCol").simpleString() == "bigint"
    assert one(dotted, Source("x", ("a.b",), "p", shape=(1,))).count() == 2


def test_text_is_refused_as_a_feature(df):
    text = df.withColumn("features", F.lit("a"))
    with pytest.raises(
        UserError, match="featuresCol: column 'features' has type string; it must be a numeric type, an"
    ):
        checks.check_values(Table.of(text), X)


def test_an_array_among_several_feature_columns_is_refused(df):
    with pytest.raises(UserError, match=r"'features' has type array<float>; it must be a numeric type$"):
        checks.check_values(Table.of(df), Source("x", ("id", "features"), "featuresCols"))


def test_a_table_is_asked_once_and_needs_no_spark():
    number, word = (StructField(name, kind) for name, kind in (("N", LongType()), ("w.x", StringType())))
    loose, exact = Table((number, word)), Table((number, word), case_sensitive=True)
    assert loose.type_of("n", "p") == LongType() and loose.sql_name("w.x") == "`w.x`"
    with pytest.raises(UserError, match=r"p: the DataFrame has no column 'n'. It has: N, w.x"):
        exact.type_of("n", "p")


def test_an_existing_output_column_is_refused(df):
    with pytest.raises(UserError, match="predictionCol='Label': the DataFrame has a column of this name already"):
        checks.check_absent(Table.of(df), {"predictionCol": "Label"})


def test_two_outputs_of_one_name_are_refused(df):
    with pytest.raises(UserError, match="two output columns have the same name"):
        checks.check_absent(Table.of(df), {"predictionCol": "p", "probabilityCol": "P"})


def test_all_forms_of_features_become_the_same_floats(spark):
    rows = [(1.0, 0, True, [1.0, 0.0, 1.0], [1, 0, 1], Vectors.dense(1, 0, 1), Vectors.sparse(3, [0, 2], [1, 1]))]
    frame = spark.createDataFrame(rows, ["a", "b", "c", "d", "i", "v1", "v2"])
    several = Source("x", ("a", "b", "c"), "featuresCols", shape=(3,))
    single = [Source("x", (name,), "featuresCol", shape=(3,)) for name in ("d", "i", "v1", "v2")]
    for source in [several, *single]:
        got = one(frame, source)
        assert got.schema["v"].dataType.simpleString() == "array<float>"
        assert got.first().v == [1.0, 0.0, 1.0]


def test_class_labels_keep_fractions_for_the_engine_to_refuse(spark):
    frame = spark.createDataFrame([(1.5, 2, True)], "d double, i smallint, b boolean")
    rules = {"integral": True}
    got = {name: one(frame, Source("y", (name,), "labelCol", "int64", rules=rules)).first().v for name in "dib"}
    assert got == {"d": 1.5, "i": 2, "b": 1}


def test_width_is_known_from_the_number_of_columns_and_from_ml_metadata(df, spark):
    assert Table.of(df).width_of(["id", "label"], "featuresCols") == 2
    assert Table.of(df).width_of(["features"], "featuresCol") is None
    assembled = VectorAssembler(inputCols=["id", "label"], outputCol="v").transform(df)
    assert Table.of(assembled).width_of(["v"], "featuresCol") == 2


def test_width_of_the_first_row_skips_nulls_and_reports_no_rows(df, spark):
    holed = df.withColumn("features", F.when(F.col("id") > 5, F.col("features")))
    assert columns.width_of_first_row(Table.of(holed), X) == 4
    with pytest.raises(UserError, match="no rows with a value in 'features'"):
        columns.width_of_first_row(Table.of(df.where("id < 0")), X)


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 16])
def test_spark_4_0_places_rows_as_repartition_by_id_does(df, partitions):
    ids = F.pmod(F.col("id"), F.lit(partitions)).cast("int")
    old = parts(compat.place_by_key(df, partitions, ids))
    assert old == parts(compat.place_by_id(df, partitions, ids))
    assert old == {p: set(range(p, 200, partitions)) for p in range(partitions)}


def test_a_fit_s_rows_are_described_without_a_search_for_the_user_s_lines(df, monkeypatch):
    """Which took half of the time, and comes back for the user's own columns."""
    asked = []
    capture = origins._capture_call_site
    monkeypatch.setattr(origins, "_capture_call_site", lambda depth: asked.append(depth) or capture(depth))
    shards.place(Table.of(df), [X, ID], Placement(2, 3))
    assert not asked
    with pytest.raises(ZeroDivisionError), compat.without_call_sites():
        raise ZeroDivisionError
    F.col("a") + 1
    assert asked


def test_keys_hash_as_spark_hashes(spark):
    got = spark.sql("select hash(cast(col1 as int)) h from values (0), (1), (-1), (2147483647)").collect()
    assert [r.h for r in got] == [compat._signed(compat.murmur3_int(v & 0xFFFFFFFF)) for v in (0, 1, -1, 2147483647)]


ID = Source("id", ("id",), "labelCol", "int64")


def placed(frame, workers, count, **how):
    return with_partitions(shards.place(Table.of(frame), [X, ID], Placement(workers, count, **how)))


def with_partitions(rows):
    return rows.withColumn("p", F.spark_partition_id()).withColumnRenamed(ID.sent_as, "id").collect()


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_row_has_the_same_shard_whatever_the_number_of_workers(df, workers):
    twelve = {r.id: r["__shard"] for r in placed(df, 5, 12)}
    rows = placed(df, workers, 12)
    assert {r.id: r["__shard"] for r in rows} == twelve
    for r in rows:
        assert r.p == placement.owner_of(r["__shard"], workers, 12)


def test_owners_have_contiguous_blocks_as_the_engine_cuts_them():
    for workers in range(1, 8):
        for count in range(workers, 20):
            for rank in range(workers):
                block = range(rank * count // workers, (rank + 1) * count // workers)
                assert all(placement.owner_of(s, workers, count) == rank for s in block)


@pytest.mark.parametrize("most", range(1, 9))
def test_late_workers_hold_what_leaves_nobody_more_than_a_fair_share(most):
    for workers in range(1, most):
        for count in range(most, 20):
            fair = -(-count // most)
            late = placement.late_shards(workers, most, count)
            taken = [shard for held in late for shard in held]
            assert len(late) <= most - workers
            assert all(late)
            assert len(set(taken)) == len(taken)
            assert max(map(len, late), default=0) <= fair
            for worker in range(workers):
                owned = placement.owned_shards(worker, workers, count)
                assert 0 < len(set(owned) - set(taken)) <= fair
                assert all(len(held) < len(owned) for held in late if set(held) & set(owned))


def test_late_workers_get_the_rows_of_the_shards_that_they_hold(df):
    shard_of = {r.id: r["__shard"] for r in placed(df, 5, 12)}
    late = with_partitions(shards.place_late(Table.of(df), [X, ID], Placement(2, 12), 5))
    held = placement.late_shards(2, 5, 12)
    assert {r.id: r.p for r in late} == {i: p for i, s in shard_of.items() for p, mine in enumerate(held) if s in mine}
    assert all(shard_of[r.id] == r["__shard"] for r in late)


def test_one_shard_a_worker_needs_no_shard_column(df):
    assert "__shard" not in placed(df, 2, 2)[0]
    assert "__shard" not in placed(df, 1, 1)[0]


def test_shards_do_not_depend_on_how_rows_were_partitioned_before(df):
    before = {r.id: r.p for r in placed(df, 2, 2)}
    assert before == {r.id: r.p for r in placed(df.repartition(7), 2, 2)}
    assert len(set(before.values())) == 2


def test_the_id_column_alone_decides(df):
    before = {r.id: r.p for r in placed(df, 2, 2, id_column="id")}
    other = df.withColumn("features", F.transform("features", lambda v: v * 2).cast("array<float>"))
    assert before == {r.id: r.p for r in placed(other, 2, 2, id_column="id")}
    assert before != {r.id: r.p for r in placed(other, 2, 2)}


def test_signs_of_zero_and_kinds_of_nan_do_not_move_a_row(spark):
    frame = spark.sql("select array(cast(x as float)) features, 0 id from values (0d), (-0d) t(x)")
    assert len({r.p for r in placed(frame, 7, 7)}) == 1


def test_assign_partition_moves_nothing(df):
    rows = placed(df.select("features", "id"), 3, 3, assign="partition")
    assert {r.id: r.p for r in rows} == {i: p for p, ids in parts(df).items() for i in ids}
