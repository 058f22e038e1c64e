"""Predictions of single rows, thresholds, and classes that are texts."""

import numpy as np
import pytest
import torch
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from torch import nn

from stoker import StokerClassificationModel, StokerClassifier, StokerRegressionModel, UserError
from stoker.frontend.torch import compile
from stoker.program import TensorSpec
from stoker.spark.outputs import Classification


def net(outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs))


def classes(outputs=3, **params):
    x, y = TensorSpec("features", "float32", (4,)), TensorSpec("label", "int64")
    model = StokerClassificationModel(compile(net(outputs), nn.CrossEntropyLoss(), [x], [y]), output_kind="logits")
    return model._set(**params)


ROW = [0.5, -1.0, 2.0, 0.25]


@pytest.mark.parametrize("row", [ROW, np.array(ROW), Vectors.dense(ROW), Vectors.sparse(4, range(4), ROW)])
def test_a_row_that_is_here_is_answered_without_spark(row):
    logits = net(3)(torch.tensor(ROW)).detach().numpy()
    model = classes()
    np.testing.assert_allclose(model.predictRaw(row).toArray(), logits, rtol=1e-6)
    np.testing.assert_allclose(
        model.predictProbability(row).toArray(), np.exp(logits) / np.exp(logits).sum(), rtol=1e-6
    )
    assert model.predict(row) == logits.argmax()


def test_a_regressor_answers_with_what_transform_gives():
    x, y = TensorSpec("features", "float32", (4,)), TensorSpec("label", "float32", (2,))
    model = StokerRegressionModel(compile(net(2), nn.MSELoss(), [x], [y]))
    np.testing.assert_allclose(model.predict(ROW).toArray(), net(2)(torch.tensor(ROW)).detach().numpy(), rtol=1e-6)


def test_what_is_no_row_of_the_model_is_told():
    with pytest.raises(UserError, match="takes 4 numbers a row, not 3"):
        classes().predict([1, 2, 3])
    for row in ({"x": 0.0, "y": 1.0}, [1, 2, "three", 4], [[1], [2, 3, 4]]):
        with pytest.raises(UserError, match=r"a row is a vector, an array or a list of numbers here, not [{\[]"):
            classes().predict(row)
    with pytest.raises(UserError, match="thresholds has 2 values, and there are 3 classes"):
        classes(thresholds=[0.5, 0.5]).predict(ROW)
    with pytest.raises(UserError, match="at most one may be 0"):
        classes(thresholds=[0.0, 0.0, 1.0]).predict(ROW)


def test_the_prediction_is_the_largest_probability_by_its_threshold():
    probability = np.array([[0.6, 0.4], [0.9, 0.1], [np.nan, np.nan], [1.0, 0.0]])
    told = Classification("probabilities", "", "", "p", (0.75, 0.25)).columns([probability])[0]
    np.testing.assert_array_equal(told, [1, 0, np.nan, 0])
    zero = Classification("probabilities", "", "", "p", (1.0, 0.0)).columns([probability])[0]
    np.testing.assert_array_equal(zero, [1, 1, np.nan, 0])


def test_labels_of_texts_are_learnt_and_come_back_as_predictions(spark, tmp_path):
    number = F.col("id")
    rows = spark.range(90).select(
        F.array((number % 3).cast("float"), F.lit(1.0)).alias("features"),
        F.element_at(F.array(F.lit("cat"), F.lit("dog's"), F.lit("eel")), (number % 3 + 1).cast("int")).alias("label"),
    )
    rows = rows.where("label != 'eel' or id < 60")
    fit = StokerClassifier(model=nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3)), verbose=0,
                           learningRate=0.05, batchSize=40, epochs=60, evalMetrics=["accuracy"])  # fmt: skip
    model = fit.fit(rows)
    assert model.labels == ["cat", "dog's", "eel"]
    assert model.transform(rows).where("prediction != label").count() == 0
    assert model.evaluate(rows, ["accuracy"])["accuracy"] == 1.0
    model.save(str(tmp_path / "model"))
    loaded = StokerClassificationModel.load(str(tmp_path / "model"))
    assert loaded.predict([1.0, 1.0]) == "dog's" and loaded.labels == model.labels
    with pytest.raises(Exception, match="was not there when classes were learnt: cow"):
        model.evaluate(rows.withColumn("label", F.lit("cow")))
    with pytest.raises(UserError, match="holds 3 different texts, and the model gives 2 classes"):
        StokerClassifier(model=nn.Linear(2, 2)).fit(rows)


def test_classes_of_two_signs_are_told_what_they_are_here(spark):
    rows = spark.range(20).select(F.array(F.lit(1.0)).alias("features"), (F.col("id") % 2 * 2 - 1).alias("label"))
    with pytest.raises(UserError, match=r"label -1 is outside the 2 classes.* give \(label \+ 1\) / 2, or texts"):
        StokerClassifier(model=nn.Linear(1, 2), verbose=0).fit(rows)
