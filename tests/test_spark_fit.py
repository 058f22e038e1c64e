"""Whole fits over Spark: what is learnt, from which forms of columns, and what comes out."""

import itertools

import numpy as np
import pytest
import torch
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator, RegressionEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier, StokerEstimator, StokerRegressor


def net(*sizes, last=()):
    torch.manual_seed(3)
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1], *last)


def classifier(**params):
    usual = {"model": net(4, 16, 3), "learningRate": 0.02, "batchSize": 64, "epochs": 3, "numWorkers": 2, "verbose": 0}
    return StokerClassifier(**{**usual, **params})


def digest(model):
    return model.history.info["digest"]


@pytest.fixture(scope="module")
def train(spark):
    return table(spark, *blobs(600)).cache()


@pytest.fixture(scope="module")
def test(spark):
    return table(spark, *blobs(300, seed=1), id=np.arange(300)).repartition(5).cache()


@pytest.fixture(scope="module")
def module():
    return net(4, 16, 3)


@pytest.fixture(scope="module")
def model(train, module):
    return classifier(model=module).fit(train)


def test_a_classifier_learns(model, test):
    assert MulticlassClassificationEvaluator(metricName="accuracy").evaluate(model.transform(test)) > 0.95


def test_predictions_stand_beside_the_input(model, test):
    out = model.transform(test)
    assert out.columns == [*test.columns, "rawPrediction", "probability", "prediction"]
    assert out.schema["probability"].dataType == VectorUDT()
    rows = out.collect()
    assert sorted(r.id for r in rows) == list(range(300))
    x = torch.tensor([r.features for r in rows])
    with torch.no_grad():
        logits = model.torch()(x).double()
    np.testing.assert_allclose([r.rawPrediction for r in rows], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([r.probability for r in rows], logits.softmax(1), rtol=1e-5, atol=1e-6)
    assert [r.prediction for r in rows] == logits.argmax(1).tolist()


def test_transform_takes_any_partitioning(model, test):
    wanted = {r.id: r.prediction for r in model.transform(test).collect()}
    for other in (test.repartition(40), test.coalesce(1), test.where("id % 2 = 0").repartition(7)):
        got = {r.id: r.prediction for r in model.transform(other).collect()}
        assert got == {i: wanted[i] for i in got} and len(got) == other.count()
    assert model.transform(test.where("id < 0")).collect() == []


def test_history_tells_each_epoch(model):
    history = model.history
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert history[2]["loss"] < history[0]["loss"] and history[2]["accuracy"] > 0.9
    assert all(epoch["rows"] == 600 and epoch["rows_per_s"] > 0 and epoch["bound_by"] for epoch in history)
    assert {"compile", "start", "ingest", "train", "finish"} <= set(history.phases)
    assert len(digest(model)) == 32


def test_the_user_s_module_is_left_as_it_was(model, module):
    fresh = net(4, 16, 3)
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), module.state_dict().values()))
    assert not torch.equal(model.torch()[0].weight, module[0].weight)


def test_fits_are_the_same_bits_again_and_from_any_partitioning(model, train, module):
    assert digest(classifier(model=module).fit(train.repartition(7))) == digest(model)


def test_the_number_of_workers_does_not_change_a_bit(model, train, module):
    assert digest(classifier(model=module, numWorkers=1, numShards=2).fit(train)) == digest(model)


@pytest.mark.parametrize("form", ["array<double>", "dense", "sparse", "columns"])
def test_all_forms_of_features_give_the_same_model(model, train, module, form):
    columns = [F.col("features")[i].alias(f"f{i}") for i in range(4)]
    params = {"featuresCols": [f"f{i}" for i in range(4)]} if form == "columns" else {}
    if form == "columns":
        other = train.select(*columns, F.col("label").cast("double").alias("label"))
    else:
        other = train.withColumn("features", converted(form))
    if form != "columns":
        assert digest(classifier(model=module).fit(other)) == digest(model)
    else:  # a double label hashes to another shard than a long one, so only the result's worth is compared
        assert classifier(model=module, **params).fit(other).history[2]["accuracy"] > 0.9


def converted(form):
    if form == "array<double>":
        return F.col("features").cast(form)
    dense = array_to_vector(F.col("features").cast("array<double>"))
    if form == "dense":
        return dense
    return F.udf(lambda v: SparseVector(len(v), dict(enumerate(v.toArray()))), VectorUDT())(dense)


def test_assign_partition_takes_the_rows_as_they_lie(train):
    model = classifier(assign="partition").fit(train.repartition(2))
    assert sum(model.history.info["shard_rows"]) == 600 and model.history[2]["accuracy"] > 0.9


def test_rows_of_one_id_stay_together(spark):
    features = F.array(*[F.rand(i) for i in range(4)]).alias("features")
    number = F.col("id")
    rows = spark.range(600).select((number % 12).alias("id"), features, (number % 3).alias("label")).cache()
    sizes = classifier(idCol="id", epochs=1).fit(rows).history.info["shard_rows"]
    assert sum(sizes) == 600 and all(size % 50 == 0 for size in sizes)  # the 50 rows of an id stay together


def test_weights_silence_rows(train):
    wrong = train.withColumn("label", (F.col("label") + 1) % 3).withColumn("w", F.lit(0.0))
    both = train.withColumn("w", F.lit(1)).unionByName(wrong, allowMissingColumns=True)
    assert classifier(weightCol="w").fit(both).history[2]["accuracy"] > 0.9


@pytest.mark.parametrize("last", [(), (nn.Sigmoid(),)])
def test_one_output_is_a_binary_classifier(spark, last):
    df = table(spark, *blobs(400, classes=2)).withColumn("label", F.col("label") == 1)
    model = classifier(model=net(4, 8, 1, last=last)).fit(df)
    out = model.transform(df.withColumn("label", F.col("label").cast("double"))).cache()
    assert BinaryClassificationEvaluator().evaluate(out) > 0.98
    assert MulticlassClassificationEvaluator(metricName="accuracy").evaluate(out) > 0.95
    assert model.numClasses == 2 and model.history[2]["accuracy"] > 0.9


def test_a_regressor_learns_numbers(train):
    df = train.select("features", (F.col("features")[0] * 2 - F.col("features")[1]).alias("label"))
    model = StokerRegressor(model=net(4, 1), learningRate=0.1, epochs=20, batchSize=50, verbose=0).fit(df)
    assert RegressionEvaluator(metricName="r2").evaluate(model.transform(df)) > 0.98


def test_a_regressor_learns_arrays_and_vectors(train):
    target = F.array(*[F.col("features")[i] for i in (1, 0)])
    for label in (target, array_to_vector(target.cast("array<double>"))):
        df = train.select("features", label.alias("label"))
        model = StokerRegressor(model=net(4, 2), learningRate=0.1, epochs=6, batchSize=50, verbose=0).fit(df)
        assert model.history[5]["loss"] < 0.1 * model.history[0]["loss"]
        row = model.transform(df).first()
        np.testing.assert_allclose(row.prediction.toArray(), [row.features[1], row.features[0]], atol=1.0)


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.numbers = nn.Embedding(10, 4), nn.Linear(2, 4)

    def forward(self, words, numbers):
        both = self.words(words).sum(1) + self.numbers(numbers)
        return {"total": both.sum(1), "both": both}


def test_inputs_and_outputs_go_by_name(spark):
    df = spark.range(200).select(
        F.array(F.col("id") % 10, F.col("id") % 7).alias("words"),
        (F.col("id") / 200).alias("a"),
        F.lit(1).alias("b"),
        (F.col("id") % 10).alias("y"),
    )

    def loss(outputs, labels):
        return ((outputs["total"] - labels) ** 2).mean()

    torch.manual_seed(0)
    estimator = StokerEstimator(
        model=TwoTowers(), loss=loss, inputs={"words": "words", "numbers": ["a", "b"]}, inputTypes={"words": "int64"},
        inputShape={"words": [2]}, labelCol="y", outputCols=["sum", "vector"], epochs=15, batchSize=20,
        learningRate=0.05, verbose=0,
    )  # fmt: skip
    model = estimator.fit(df)
    assert model.history[14]["loss"] < 0.2 * model.history[0]["loss"]
    row = model.transform(df).first()
    assert row["vector"].size == 4 and abs(row["vector"].toArray().sum() - row["sum"]) < 1e-3


def test_a_model_that_begins_with_an_embedding_reads_whole_numbers(spark):
    df = spark.range(200).select(
        F.array(F.col("id") % 10, F.lit(3.0)).alias("features"), (F.col("id") % 2).alias("label")
    )
    torch.manual_seed(0)
    words = nn.Sequential(nn.Embedding(10, 8), nn.Flatten(), nn.Linear(16, 2))
    assert classifier(model=words, inputShape=[2], learningRate=0.1).fit(df).history[2]["accuracy"] == 1.0


def test_params_given_to_fit_hold_for_that_fit(train):
    estimator = classifier()
    assert len(estimator.fit(train, {estimator.epochs: 1}).history) == 1
    assert estimator.getEpochs() == 3


def test_a_saved_model_predicts_the_same(model, test, tmp_path):
    model.save(str(tmp_path / "m"))
    loaded = StokerClassificationModel.load(str(tmp_path / "m"))
    wanted = {r.id: r.rawPrediction for r in model.transform(test).collect()}
    assert {r.id: r.rawPrediction for r in loaded.transform(test).collect()} == wanted


def test_a_loaded_estimator_fits_the_same(model, train, module, tmp_path):
    classifier(model=module).save(str(tmp_path / "e"))
    assert digest(StokerClassifier.load(str(tmp_path / "e")).fit(train)) == digest(model)


def test_columns_can_be_renamed_or_left_out(model, test):
    renamed = model.copy({model.predictionCol: "class", model.probabilityCol: "", model.rawPredictionCol: ""})
    assert renamed.transform(test).columns == [*test.columns, "class"]
    assert model.getPredictionCol() == "prediction"


def test_a_torch_scheduler_is_the_schedule_of_its_numbers(train, module):
    def fit(**params):
        return digest(classifier(model=module, epochs=2, **params).fit(train))

    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 0.1, 9)
    told = {"name": "linear", "start_factor": 0.5, "end_factor": 0.1, "total": 9}
    same = fit(optimizer=optimizer, lrSchedule=scheduler, learningRate=None)
    assert same == fit(optimizer="adam", lrSchedule=told)
    assert same != fit(optimizer="adam", lrSchedule=told, lrScheduleUnit="epochs")
