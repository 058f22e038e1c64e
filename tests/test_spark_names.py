"""Names of inputs, labels, weights and outputs over Spark: what has its own column, and what replaces none."""

import numpy as np
import pytest
import torch
from pyspark.sql import functions as F
from torch import nn

import stoker
from conftest import table
from stoker import StokerClassifier, StokerEstimator, StokerRegressor, UserError

ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
ONCE = {"optimizer": "sgd", "learningRate": 0.1, "batchSize": 40, "epochs": 3, "verbose": 0}


@pytest.fixture(scope="module")
def df(spark):
    rows = table(spark, ROWS, np.arange(40) % 3, w=np.arange(40) / 10, y=ROWS[:, 0] * 2.0)
    return rows.withColumn("noisy", F.transform("features", lambda v: v * 2)).cache()


class Takes(nn.Linear):
    """Linear over an argument that is called like a part of the fit."""

    def forward(self, label, weight):
        return super().forward(label) + weight


def net(kind=nn.Linear, out=4):
    torch.manual_seed(0)
    return kind(4, out)


def losses(model):
    return [epoch["loss"] for epoch in model.history]


def plain_losses(module, x, y, loss):
    """Of plain PyTorch: whole batches, SGD."""
    optimizer, found = torch.optim.SGD(module.parameters(), lr=0.1), []
    for _ in range(3):
        optimizer.zero_grad()
        value = loss(module(*x), y)
        value.backward()
        optimizer.step()
        found.append(value.item())
    return found


@pytest.mark.parametrize("name", ["x", "X", "features", "label", "a.b"])
def test_an_input_and_a_label_of_one_name_are_two_columns(df, name):
    estimator = StokerEstimator(
        model=net(), loss=nn.MSELoss(), inputs={"x": "noisy"}, labelCols={name: "features"}, **ONCE
    )
    x = torch.tensor(ROWS)
    expected = plain_losses(net(), [x * 2], x, nn.MSELoss())
    np.testing.assert_allclose(losses(estimator.fit(df)), expected, rtol=1e-5)


def test_inputs_may_be_called_label_and_weight_beside_those(df):
    estimator = StokerClassifier(
        model=net(Takes, 3), inputs={"label": "features", "weight": "y"}, weightCol="w", numWorkers=2, **ONCE
    )
    model, weights = estimator.fit(df), torch.arange(40) / 10

    def loss(outputs, label):
        each = nn.functional.cross_entropy(outputs, label, reduction="none")
        return (each * weights).sum() / weights.sum()

    x = [torch.tensor(ROWS), torch.tensor(ROWS[:, :1] * 2)]
    np.testing.assert_allclose(losses(model), plain_losses(net(Takes, 3), x, torch.arange(40) % 3, loss), rtol=1e-5)
    stoker.register_function(df.sparkSession, "labelled", model)
    df.createOrReplaceTempView("named")
    got = df.sparkSession.sql("SELECT labelled(features, y) AS a FROM named").collect()
    assert [row.a for row in got] == [row.prediction for row in model.transform(df).collect()]


def test_a_direct_scan_keeps_names_apart(spark, df, tmp_path):
    df.select("noisy", "features").write.parquet(str(tmp_path / "rows"))
    estimator = StokerEstimator(
        model=net(), loss=nn.MSELoss(), inputs={"x": "noisy"}, labelCols={"x": "features"}, **ONCE
    )
    model = estimator.fit(spark.read.parquet(str(tmp_path / "rows")))
    x = torch.tensor(ROWS)
    assert model.history.info["ingest"]["by"] == "scan"
    np.testing.assert_allclose(losses(model), plain_losses(net(), [x * 2], x, nn.MSELoss()), rtol=1e-5)


class Two(nn.Linear):
    def forward(self, x):
        price = super().forward(x)[:, 0]
        return {"price": price, "sure": price * 2}


def two(**params):
    loss = lambda out, y: ((out["price"] - y) ** 2).mean()  # noqa: E731
    return StokerEstimator(model=net(Two, 1), loss=loss, labelCol="y", **ONCE, **params)


def test_an_output_never_replaces_a_column(df):
    priced = df.withColumn("PRICE", F.lit(1.0))
    with pytest.raises(UserError, match=r"outputCols\[0\]='price': the DataFrame has a column of this name already"):
        two().fit(priced)
    model = two().fit(df)
    with pytest.raises(UserError, match="'price': the DataFrame has a column of this name already"):
        model.transform(priced)
    assert model.setOutputCols(["a", "b"]).transform(priced).columns == [*priced.columns, "a", "b"]


def test_columns_that_the_model_does_not_add_may_be_there(df):
    more = df.withColumn("prediction", F.lit(7)).withColumn("probability", F.lit(8))
    row = two().fit(more).transform(more).first()
    assert (row.prediction, row.probability, row.sure) == (7, 8, row.price * 2)
    assert StokerRegressor(model=net(out=1), labelCol="y", **ONCE).fit(df).transform(more.drop("prediction")).count()


def test_outputs_are_counted_and_told_apart_before_the_fit(df):
    with pytest.raises(UserError, match="outputCols names 1 columns, but the model has 2 outputs: price, sure"):
        two(outputCols=["a"]).fit(df)
    with pytest.raises(UserError, match="two output columns have the same name: a, A"):
        two(outputCols=["a", "A"]).fit(df)
    model = StokerClassifier(model=net(), predictionCol="p", probabilityCol="p", **ONCE)
    with pytest.raises(UserError, match="two output columns have the same name"):
        model.fit(df)


def test_a_cross_entropy_of_the_user_s_gets_whole_labels(df):
    def loss(outputs, label):
        return nn.functional.cross_entropy(outputs, label)

    expected = plain_losses(net(out=3), [torch.tensor(ROWS)], torch.arange(40) % 3, loss)
    for kind in ("int", "double"):
        rows = df.withColumn("label", F.col("label").cast(kind))
        model = StokerEstimator(model=net(out=3), loss=loss, **ONCE).fit(rows)
        np.testing.assert_allclose(losses(model), expected, rtol=1e-5)


def test_whole_labels_are_floats_where_the_loss_wants_those(df):
    def loss(outputs, label):
        return nn.functional.huber_loss(outputs[:, 0], label)

    x, y = torch.tensor(ROWS), (torch.arange(40) % 3).float()
    model = StokerEstimator(model=net(out=1), loss=loss, **ONCE).fit(df)
    np.testing.assert_allclose(losses(model), plain_losses(net(out=1), [x], y, loss), rtol=1e-5)


def test_what_is_no_finite_table_is_refused(spark, df):
    estimator = StokerClassifier(model=net(out=3), **ONCE)
    stream = spark.readStream.format("rate").load()
    for call in (estimator.fit, lambda rows: stoker.inputs.learn(rows, {"x": "value"})):
        with pytest.raises(UserError, match=r"this DataFrame is a stream.*foreachBatch"):
            call(stream)
    with pytest.raises(UserError, match="fit takes a DataFrame of Spark, not a list"):
        estimator.fit([1, 2])
    with pytest.raises(UserError, match=r"not a DataFrame: make one by spark.createDataFrame"):
        estimator.fit(df.limit(2).toPandas())


@pytest.mark.parametrize("key", ["map('a', 1)", "array(1)", "struct(1)"])
def test_a_key_of_many_values_is_refused(df, key):
    with pytest.raises(UserError, match=r"idCol: column 'key' has type .*; it must be one value a row"):
        StokerClassifier(model=net(out=3), idCol="key", **ONCE).fit(df.withColumn("key", F.expr(key)))


def test_a_name_that_two_columns_have_is_refused(df):
    doubled = df.select("*", F.col("features").alias("Features"))
    with pytest.raises(UserError, match=r"featuresCol: the DataFrame has 2 columns named 'features' \(features, Feat"):
        StokerClassifier(model=net(out=3), **ONCE).fit(doubled)


def test_one_hot_labels_are_told_of_the_index(df):
    from pyspark.ml.functions import array_to_vector

    hot = df.withColumn("label", array_to_vector("noisy"))
    with pytest.raises(UserError, match=r"labelCol: column 'label' holds vectors.*give the column of indices"):
        StokerClassifier(model=net(), **ONCE).fit(hot)


def test_inputs_that_a_loaded_model_does_not_have_are_refused(df, tmp_path):
    model = StokerClassifier(model=net(Takes, 3), inputs={"label": "features", "weight": "y"}, **ONCE).fit(df)
    model.write().save(str(tmp_path / "model"))
    loaded = stoker.StokerClassificationModel.load(str(tmp_path / "model"))
    loaded.setInputs({"label": "features", "weight": "y", "wieght": "w"})
    with pytest.raises(UserError, match=r"inputs: there is no input of the model 'wieght'; did you mean 'weight'?"):
        loaded.transform(df)


def test_batches_of_one_row_are_said_to_be_of_two(df):
    with pytest.warns(UserWarning, match="batchSize=1: a step takes two rows at least"):
        StokerClassifier(model=net(out=3), **{**ONCE, "batchSize": 1}).fit(df)
