"""Models as SQL functions, in batch and in streams; large weights; what is told before a job."""

import numpy as np
import pytest
import torch
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

import stoker
from conftest import blobs, table
from stoker import StokerClassificationModel
from stoker.errors import UserError, WorldError
from stoker.frontend.torch import compile as compile_program
from stoker.ml.functions import function_of
from stoker.program import TensorSpec
from stoker.spark import compat, weights

NAMES = ["a", "b", "c", "d"]


def classifier(network=None, width=4, **params):
    torch.manual_seed(0)
    specs = [TensorSpec("features", "float32", (width,))], [TensorSpec("label", "int64", ())]
    compiled = compile_program(network or torch.nn.Linear(width, 3), torch.nn.CrossEntropyLoss(), *specs)
    return StokerClassificationModel(compiled, output_kind="logits").setParams(**params)


@pytest.fixture(scope="module")
def rows(spark):
    """Four numbers in every form that people have them in."""
    df = table(spark, *blobs(500), id=np.arange(500)).repartition(3)
    each = [F.col("features")[i].cast(kind).alias(name)
            for i, (name, kind) in enumerate(zip(NAMES, ("float", "double", "int", "decimal(10,3)")))]  # fmt: skip
    df = df.select("*", *each, array_to_vector(F.col("features").cast("array<double>")).alias("vector"))
    df.cache().createOrReplaceTempView("functions_rows")
    return df


@pytest.fixture(scope="module")
def model():
    return classifier(featuresCol="features")


def wanted(model, df, column="prediction"):
    return {row.id: row[column] for row in model.transform(df).collect()}


def selected(spark, call, view="functions_rows"):
    return {row.id: row.got for row in spark.sql(f"SELECT id, {call} AS got FROM {view}").collect()}


@pytest.mark.parametrize("argument", ["features", "cast(features AS array<double>)", "vector"])
def test_a_function_gives_what_transform_does(spark, rows, model, argument):
    stoker.register_function(spark, "score", model)
    assert selected(spark, f"score({argument})") == wanted(model, rows)


def test_columns_one_by_one_or_packed(spark, rows):
    model = classifier(featuresCols=NAMES)
    stoker.register_function(spark, "score_columns", model, output="probability")
    expected = {id: list(values) for id, values in wanted(model, rows, "probability").items()}
    assert selected(spark, "score_columns(a, b, c, d)") == expected
    packed = selected(spark, "score_columns(array(a, b, c, cast(d AS double)))")
    assert packed.keys() == expected.keys()
    np.testing.assert_allclose(list(packed.values()), [expected[id] for id in packed], rtol=1e-6)


def test_sparse_vectors_and_those_that_are_null(spark, model):
    values = [(0, Vectors.sparse(4, {1: 2.0, 3: -1.0})), (1, Vectors.dense(0, 2, 0, -1)), (2, None)]
    df = spark.createDataFrame(values, StructType([StructField("id", LongType()), StructField("v", VectorUDT())]))
    df.createOrReplaceTempView("functions_vectors")
    stoker.register_function(spark, "score", model, output="rawPrediction")
    got = selected(spark, "score(v)", "(SELECT * FROM functions_vectors WHERE id < 2)")
    assert got[0] == got[1]
    with pytest.raises(Exception, match=r"column 'features', partition .*: is null"):
        selected(spark, "score(v)", "functions_vectors")


def test_everything_as_a_struct_and_one_that_there_is_not(spark, rows, model):
    function = stoker.register_function(spark, "score_all", model, output="*")
    out = spark.sql("SELECT id, features, score_all(features) AS got FROM functions_rows")
    arrays = ArrayType(DoubleType(), False)
    assert [field.dataType for field in out.schema["got"].dataType] == [arrays, arrays, DoubleType()]
    assert {row.id: row.got.prediction for row in out.collect()} == wanted(model, rows)
    assert rows.select(function("features").alias("got")).select("got.*").columns[2] == "prediction"
    with pytest.raises(UserError, match=r"output='p': the model gives rawPrediction, probability, prediction, or '\*'"):
        stoker.register_function(spark, "score", model, output="p")


def test_a_name_that_is_registered_again_is_replaced(spark, rows, model):
    other = classifier(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Flatten(), torch.nn.Linear(3, 3)),
                       featuresCol="features")  # fmt: skip
    stoker.register_function(spark, "again", other)
    stoker.register_function(spark, "again", model)
    assert selected(spark, "again(features)") == wanted(model, rows)


def test_a_function_without_a_name_works_on_columns(spark, rows, model):
    scored = rows.select("id", stoker.function(spark, model)("features").alias("a"))
    assert {row.id: row.a for row in scored.collect()} == wanted(model, rows)
    with pytest.raises(Exception, match=r"the function is called with 2 arguments; it is the function\(features\)"):
        rows.select(stoker.function(spark, model)("features", "features")).collect()


def test_a_call_with_too_few_columns_is_told_how(spark, rows):
    stoker.register_function(spark, "score_columns", classifier(featuresCols=NAMES))
    message = r"score_columns is called with 2 arguments; it is score_columns\(a, b, c, d\) or .*\(features\)"
    with pytest.raises(Exception, match=message):
        selected(spark, "score_columns(a, b)")
    with pytest.raises(Exception, match=r"featuresCols \(a, b, c, d\)', .*has type string, expected an array of 4 n"):
        selected(spark, "score_columns('x')")


def test_what_is_no_model_of_ours_is_told(spark):
    with pytest.raises(UserError, match="a model that was fit by Stoker can be a function, not a str"):
        stoker.register_function(spark, "score", "model")


def test_spark_4_0_gives_the_same(spark, rows, model):
    for output in ("prediction", "probability", "*"):
        function, kind = function_of(spark, "score", model, output, model._scorer(spark))
        both = rows.select(compat.by_arrow(function, kind)("features"), compat.by_pandas(function, kind)("features"))
        assert all(row[0] == row[1] for row in both.collect())
    wide = classifier(featuresCols=NAMES)
    function, kind = function_of(spark, "score", wide, None, wide._scorer(spark))
    both = rows.select(compat.by_arrow(function, kind)(*NAMES), compat.by_pandas(function, kind)(*NAMES))
    assert all(row[0] == row[1] for row in both.collect())


def test_a_stream_is_transformed_like_a_table(spark, rows, model, tmp_path):
    rows.select("id", "features").write.parquet(str(tmp_path / "in"))
    source = spark.readStream.schema("id bigint, features array<float>").option("maxFilesPerTrigger", 1)
    stream = source.parquet(str(tmp_path / "in"))
    stoker.register_function(spark, "score", model)
    out = model.transform(stream).withColumn("by_function", F.expr("score(features)"))
    query = out.writeStream.format("memory").queryName("functions_stream").trigger(availableNow=True).start()
    query.awaitTermination(120)
    got = spark.table("functions_stream").collect()
    assert {row.id: row.prediction for row in got} == wanted(model, rows)
    assert all(row.prediction == row.by_function for row in got) and len(got) == 500


def test_workers_map_large_weights_from_one_file(spark, rows):
    network = torch.nn.Sequential(torch.nn.Linear(4, 800), torch.nn.Linear(800, 800), torch.nn.Linear(800, 3))
    model = classifier(network, featuresCol="features")
    expected = wanted(model, rows)
    name = model._scorer(spark).weights.name

    def mapped(batches):
        from pathlib import Path

        for batch in batches:
            yield batch.slice(0, 1).drop_columns(["features"]).append_column("maps", maps(Path, len(batch)))

    def maps(Path, rows):
        import pyarrow as pa

        lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if name in line]
        return pa.array([";".join(lines)] * min(rows, 1))

    found = rows.select("id", "features").mapInArrow(mapped, "id bigint, maps string").collect()
    lives_on = all(spark.conf.get(f"spark.python.{key}", "true") == "true" for key in ("worker.reuse", "use.daemon"))
    assert any(row.maps for row in found) == lives_on and all("r--" in row.maps for row in found if row.maps)
    assert {row.id: row.prediction for row in model.copy().transform(rows).collect()} == expected


def test_weights_that_are_damaged_or_gone_are_told(tmp_path, monkeypatch):
    from pyspark import SparkFiles

    monkeypatch.setattr(SparkFiles, "get", lambda name: str(tmp_path / name))
    (tmp_path / "w").write_bytes(b"abd")
    shipped = weights.Shipped("w", weights.digest_of(b"abc"))
    with pytest.raises(WorldError, match="file w of the Spark session, are damaged on this host"):
        shipped.open()
    (tmp_path / "w").write_bytes(b"abc")
    assert bytes(shipped.open()) == b"abc"
    (tmp_path / "w").unlink()
    with pytest.raises(WorldError, match=r"file w of the Spark session, cannot be read: .*No such file"):
        shipped.open()


def test_columns_that_do_not_fit_are_told_before_a_job(spark, rows, model):
    def told(df, model=model):
        with pytest.raises(UserError) as error:
            model.transform(df)
        return str(error.value)

    assert told(rows.drop("features", "label")) == (
        "featuresCol: the DataFrame has no column 'features'. It has: id, a, b, c, d, vector"
    )
    assert told(rows.withColumn("features", F.lit("x"))) == (
        "featuresCol: column 'features' has type string; it must be a numeric type, an array of one, or an ML vector"
    )
    many = classifier(featuresCols=NAMES)
    assert told(rows.withColumn("c", F.lit("x")), many) == (
        "featuresCols: column 'c' has type string; it must be a numeric type"
    )
    assert told(rows.withColumn("features", F.col("a"))) == (
        "featuresCol: 'features' has 1 values a row, but the model takes 4 (shape [4])"
    )
    assert told(rows.withColumn("prediction", F.lit(1))).startswith("predictionCol='prediction': the DataFrame has")
