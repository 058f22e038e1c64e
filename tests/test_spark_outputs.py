"""From a program's outputs to Spark's columns."""

import math

import numpy as np
import pytest
from pyspark.ml.linalg import DenseVector, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType

from stoker.spark import compat
from stoker.spark.outputs import Classification, Values, scores, to_struct


def test_two_logits_become_a_softmax():
    raw, probability = scores(np.array([[0.0, math.log(3)]]), "logits")
    np.testing.assert_allclose(probability, [[0.25, 0.75]])
    np.testing.assert_array_equal(raw, [[0, math.log(3)]])


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_logit_is_the_score_of_class_one(shape):
    raw, probability = scores(np.array([-1000.0, 0.0, math.log(3)]).reshape(shape), "logits")
    np.testing.assert_allclose(probability, [[1, 0], [0.5, 0.5], [0.25, 0.75]])
    np.testing.assert_array_equal(raw[:, 1], -raw[:, 0])


def test_probabilities_and_their_logarithms_are_taken_as_they_are():
    p = np.array([[0.25, 0.75]])
    np.testing.assert_array_equal(scores(p, "probabilities")[1], p)
    np.testing.assert_allclose(scores(np.log(p), "logProbabilities")[1], p)
    np.testing.assert_allclose(scores(np.array([0.75]), "probabilities")[1], p)
    np.testing.assert_allclose(scores(np.log([0.75]), "logProbabilities")[1], p)


def test_huge_logits_do_not_overflow():
    _, probability = scores(np.array([[1e4, -1e4]]), "logits")
    np.testing.assert_array_equal(probability, [[1, 0]])


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_columns_whose_name_is_empty_are_left_out(rows):
    struct = to_struct(Classification("logits", "", "p", "y"), [np.zeros((rows, 3), np.float32)])
    assert [struct.type.field(i).name for i in range(struct.type.num_fields)] == ["p", "y"]
    assert len(struct) == rows


def test_several_values_a_row_become_a_vector_and_one_a_double():
    struct = to_struct(Values(("a", "b"), (1, 6)), [np.ones((2, 1), np.float32), np.arange(12).reshape(2, 2, 3)])
    assert struct.field(0).to_pylist() == [1.0, 1.0]
    assert struct.field(1).to_pylist()[1] == [6, 7, 8, 9, 10, 11]


OUT = StructType([StructField("vec", VectorUDT()), StructField("sum", DoubleType())])


def add_up(batches):
    """A model of two inputs, in the form that append_outputs runs."""
    for a, b in batches:
        left, right = a.flatten().to_numpy().reshape(-1, 2), b.to_numpy()
        yield to_struct(Values(("vec", "sum"), (2, 1)), [left * 2, left.sum(axis=1) + right])


@pytest.mark.parametrize("append", [compat.append_by_udf, compat.append_by_map])
def test_outputs_stand_beside_every_input_column(spark, append):
    df = spark.range(0, 1000, 1, 7).select("id", F.array("id", "id").cast("array<float>").alias("x"))
    df = df.withColumn("a.b", F.lit("text")).withColumn("v", F.lit(None).cast("double"))
    out = append(df, add_up, [F.col("x"), F.col("id").cast("float")], OUT)
    assert out.columns == ["id", "x", "a.b", "v", "vec", "sum"]
    rows = out.collect()
    assert all(r.sum == 3 * r.id and r.vec == DenseVector([2 * r.id] * 2) and r["a.b"] == "text" for r in rows)
    assert len(rows) == 1000


@pytest.mark.parametrize("append", [compat.append_by_udf, compat.append_by_map])
def test_empty_partitions_and_no_rows_give_no_rows(spark, append):
    df = spark.range(5).repartition(7).select("id", F.array("id", "id").cast("array<float>").alias("x"))
    inputs = [F.col("x"), F.col("id").cast("float")]
    assert append(df, add_up, inputs, OUT).count() == 5
    assert append(df.where("id < 0"), add_up, inputs, OUT).collect() == []


def test_the_model_runs_once_a_row_however_many_columns_are_read(spark, capfd):
    df = spark.range(10).select("id", F.array("id", "id").cast("array<float>").alias("x"))
    compat.append_by_udf(df, add_up, [F.col("x"), F.col("id").cast("float")], OUT).select("vec", "sum").explain()
    assert capfd.readouterr().out.count("ArrowEvalPython") == 1
