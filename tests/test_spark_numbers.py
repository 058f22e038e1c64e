"""Numbers at the edges of their types, from columns to tensors: right, or refused with column and value."""

import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

import stoker
from reading import read, refused, same
from stoker import StokerClassifier
from stoker.errors import UserError
from stoker.frontend.torch import compile as compile_program
from stoker.inputs import Category, Numeric, learn
from stoker.program import TensorSpec

# statistics ----------------------------------------------------------------------------------------------------------

COLUMNS = {
    "constant": "0.1D", "large_constant": "1234567891.0D", "bigint_constant": "cast(1234567891 as bigint)",
    "far_constant": "1e300D", "stamps": "1732790400000.0D + id * 30", "micros": "1732790400000000.0D + id * 15000",
    "large_and_close": "1e9D + id % 2 * 0.2", "plain": "cast(id as double)", "tiny": "id * 1e-30D",
    "subnormal": "id * 5e-324D", "outlier": "if(id = 3, 1e6D, 1.0D)", "sentinel": "if(id = 3, 1e150D, id)",
    "price": "cast(id / 7 as decimal(12, 6))", "flag": "id % 3 = 0", "minus_zero": "if(id % 2 = 0, -0.0D, 1.0D)",
}  # fmt: skip


@pytest.fixture(scope="module")
def edges(spark):
    return spark.range(64).repartition(5).selectExpr("id", *[f"{sql} as {name}" for name, sql in COLUMNS.items()])


def deviations(values):
    """(mean, scale) in more digits than double."""
    exact = np.array([np.longdouble(str(value)) if isinstance(value, Decimal) else value for value in values])
    exact = exact.astype(np.longdouble)
    return exact.mean(), exact.std()


def test_standardised_columns_have_the_mean_and_scale_of_numpy(edges):
    learnt = learn(edges, {"x": [Numeric(name, standardize=True) for name in COLUMNS]})["x"]
    table = edges.toPandas()
    for item in learnt:
        mean, scale = deviations(table[item.column])
        if "constant" in item.column:
            assert (item.mean, item.scale) == (float(table[item.column][0]), 1.0), item
        else:
            assert item.mean == pytest.approx(float(mean), rel=1e-15, abs=5e-324), item
            assert item.scale == pytest.approx(float(scale), rel=1e-15, abs=5e-324), item


def test_standardised_values_are_those_of_numpy(edges):
    items = learn(edges, {"x": [Numeric(name, standardize=True) for name in COLUMNS]})["x"]
    got = read(same(len(items), inputs={"features": items}), edges)
    table = edges.toPandas()
    for i, item in enumerate(items):
        right = (table[item.column].astype(float).to_numpy() - item.mean) / item.scale
        np.testing.assert_array_equal(got[:, i], right.astype(np.float32), str(item))
        assert np.abs(got[:, i]).max() == 0 or "constant" not in item.column


def test_a_variance_beyond_double_names_the_column(edges):
    df = edges.withColumn("far", F.expr("if(id = 3, 1e300D, id)"))
    with pytest.raises(UserError, match=r"Numeric\('far'\): the column's variance is beyond what a double holds"):
        learn(df, {"x": [Numeric("plain", standardize=True), Numeric("far", standardize=True)]})


def test_categories_of_neighbouring_large_numbers_are_two(spark):
    df = spark.createDataFrame([(2**53,), (2**53 + 1,), (-(2**63),), (2**63 - 1,)] * 2, "k bigint").repartition(1)
    (item,) = learn(df, {"x": [Category("k")]})["x"]
    assert set(item.vocabulary) == {2**53, 2**53 + 1, -(2**63), 2**63 - 1}
    assert sorted(read(same(1, "int64", inputs={"features": [item]}), df).ravel()) == [1, 1, 2, 2, 3, 3, 4, 4]


# whole numbers -------------------------------------------------------------------------------------------------------

FRACTIONS = {
    "array<double>": "array(1.0D, 2.9D)", "array<float>": "array(1.0F, 2.9F)", "array<decimal>": "array(1.0, 2.9)",
    "past_double": "array(1, 2.000000000000000000001)", "nan": "array(1.0D, double('nan'))",
}  # fmt: skip


class Lookup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.out = torch.nn.Embedding(10, 2), torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.out(self.rows(x).mean(1))


@pytest.mark.parametrize("form", FRACTIONS)
def test_fractions_are_no_rows_of_an_embedding(spark, form):
    df = spark.range(4).selectExpr(f"{FRACTIONS[form]} as features", "cast(id % 2 as int) as label").repartition(1)
    right = "expected a whole number|is NaN"
    assert any(text in refused(lambda: same(2, "int64").transform(df).collect()) for text in right.split("|"))
    stoker.register_function(spark, "whole", same(2, "int64"))
    told = refused(lambda: df.selectExpr("whole(features)").collect())
    assert any(text in told for text in right.split("|")) and "'features'" in told and "element 1" in told


@pytest.mark.parametrize("columns", ["1.0D a, 2.9D b", "1 a, 2.9 b", "1L a, 2.9D b"])
def test_fractions_in_columns_that_are_packed_are_refused_at_fit(spark, columns):
    df = spark.range(8).selectExpr(*columns.split(", "), "cast(id % 2 as int) as label")
    model = StokerClassifier(model=Lookup(), featuresCols=["a", "b"], batchSize=8, verbose=0)
    with pytest.raises(UserError, match=r"featuresCols \(a, b\)'.*value 2.9, expected a whole number .element 1."):
        model.fit(df)


def test_whole_numbers_in_any_form_are_themselves(spark):
    forms = ["array(1D, 3D) d", "array(1F, 3F) f", "array(1.00, 3.00) p", "array(1, 3) i", "1D a", "3.0 b"]
    df = spark.createDataFrame([(Vectors.dense([1.0, 3.0]),)], ["v"]).selectExpr("v", *forms)
    for column in "vdfpi":
        assert read(same(2, "int64", featuresCol=column), df).tolist() == [[1, 3]], column
    assert read(same(2, "int32", featuresCols=["a", "b"]), df).tolist() == [[1, 3]]


def test_whole_numbers_beyond_double_are_kept_or_named(spark):
    big = 2**53 + 1
    df = spark.createDataFrame([(Decimal(big), big, 1.0)], "p decimal(20,0), l bigint, d double")
    model = same(2, "int64", lambda x: x % 10, featuresCols=["p", "l"])
    assert read(model, df).tolist() == [[3, 3]]
    stoker.register_function(spark, "last_digit", model)
    assert df.selectExpr("last_digit(p, l)").first()[0] == [3, 3]
    told = refused(lambda: same(2, "int64", featuresCols=["l", "d"]).transform(df).collect())
    assert "column `l` has a value that is not a whole number of up to 2^53" in told and str(big) in told


def test_values_beyond_a_smaller_type_are_named(spark):
    df = spark.range(1).selectExpr("array(3e9D, 1D) as features")
    assert "value 3e+09 cannot be kept as int32" in refused(lambda: same(2, "int32").transform(df).collect())
    df = spark.range(1).selectExpr("array(256, 1.5D) as features")
    assert "cannot be kept as uint8" in refused(lambda: same(2, "uint8").transform(df).collect())


# what is no number ---------------------------------------------------------------------------------------------------


def test_a_loss_that_became_nan_names_the_row(spark):
    df = spark.range(8).selectExpr("id * 1D a", "if(id = 5, double('nan'), 1D) b", "cast(id % 2 as int) label")
    model = StokerClassifier(model=torch.nn.Linear(2, 2), featuresCols=["a", "b"], batchSize=8, verbose=0)
    with pytest.raises(UserError, match=r"Column 'b' has NaN or infinity, first in partition 0 .*, row 5"):
        model.fit(df.repartition(1).sortWithinPartitions("a"))


def test_scores_that_are_nan_predict_no_class(spark):
    specs = [TensorSpec("features", "float32", (2,))], [TensorSpec("label", "int64", ())]
    compiled = compile_program(torch.nn.Linear(2, 3), torch.nn.CrossEntropyLoss(), *specs)
    model = stoker.StokerClassificationModel(compiled, output_kind="logits")
    df = spark.createDataFrame([([1.0, float("nan")],), ([1.0, 2.0],)], "features array<double>").repartition(1)
    assert [np.isnan(row.prediction) for row in model.transform(df).collect()].count(True) == 1


def test_small_floats_are_not_flushed(spark):
    values = [1e-40, -1e-45, -0.0, 3.4e38]
    df = spark.createDataFrame([(values,)], "features array<double>")
    (got,) = read(same(4), df)
    np.testing.assert_array_equal(got, np.float32(values).astype(float))
    assert np.signbit(got).tolist() == [False, True, False, False]  # x + 0 * w, as torch adds: -0.0 + 0.0 is 0.0


def test_two_thousand_standardised_columns_are_learnt_in_seconds(spark):
    values = np.arange(20)[:, None] * np.arange(2000) + 0.5
    df = spark.createDataFrame(pa.table({f"c{i}": values[:, i] for i in range(2000)}))
    began = time.perf_counter()
    items = learn(df, {"x": [Numeric(name, standardize=True) for name in df.columns]})["x"]
    assert time.perf_counter() - began < 54
    assert [item.mean for item in items] == values.mean(axis=0).tolist()
