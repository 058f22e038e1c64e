"""Training goes on with a model that was fit before: the bits of one that begins with its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier, StokerRegressor, UserError
from stoker.inputs import Numeric


def network(width=8):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))


def classifier(**params):
    return StokerClassifier(numWorkers=1, numShards=2, batchSize=50, learningRate=0.01, verbose=0, **params)


@pytest.fixture(scope="module")
def rows(spark):
    return table(spark, *blobs(200)).cache()


@pytest.fixture(scope="module")
def first(rows):
    return classifier(model=network(), epochs=2, validationFraction=0.2).fit(rows)


def bits(model):
    return {name: values.numpy().tobytes() for name, values in model.torch().state_dict().items()}


def test_a_model_goes_on_as_it_was_trained_also_after_a_load(rows, first, tmp_path):
    wanted = classifier(model=first.torch(), epochs=2, validationFraction=0.2).fit(rows)
    on = classifier(initialModel=first, epochs=2, validationFraction=0.2).fit(rows)
    assert on.history.info["digest"] == wanted.history.info["digest"]
    assert [epoch["val_loss"] for epoch in on.history] == [epoch["val_loss"] for epoch in wanted.history]
    assert bits(on) == bits(wanted) and bits(on) != bits(first)
    first.save(str(tmp_path / "first"))
    loaded = StokerClassificationModel.load(str(tmp_path / "first"))
    again = classifier(initialModel=loaded, epochs=2, validationFraction=0.2).fit(rows)
    assert again.history.info["digest"] == wanted.history.info["digest"]
    weights = classifier(initialModel=first, model=network(), epochs=2, validationFraction=0.2).fit(rows)
    assert weights.history.info["digest"] == wanted.history.info["digest"]


def test_texts_and_inputs_keep_what_the_first_fit_learnt_of_them(spark):
    def of(most):  # the other label and word are more frequent in the second table
        labels = ["yes" if bool(i % 3) == most else "no" for i in range(60)]
        return spark.createDataFrame([(float(i + most), label) for i, label in enumerate(labels)], "x double, y string")

    def fit(rows, **more):
        told = {"inputs": {"input": [Numeric("x", standardize=True)]}, **more}
        return StokerClassifier(labelCol="y", numShards=1, epochs=1, verbose=0, **told).fit(rows)

    first = fit(of(True), model=nn.Linear(1, 2))
    for more in ({}, {"model": nn.Linear(1, 2)}, {"inputs": None}):
        on = fit(of(False), initialModel=first, **more)
        assert on._label_words == first._label_words
        assert repr(on.getInputs()) == repr(first.getInputs())


def complaint(rows, estimator):
    with pytest.raises(UserError) as caught:
        estimator.fit(rows)
    return str(caught.value)


def test_what_cannot_be_gone_on_with_is_told(rows, first):
    told = complaint(rows, classifier(initialModel=first, model=network(9)))
    assert "initialModel: its weights do not fit model: '0.weight' is [8, 4] there and [9, 4] in model; " in told
    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    assert "it has no '2.weight'" in complaint(rows, classifier(initialModel=first, model=other))
    assert ("initialModel: got a StokerClassificationModel, and StokerRegressor goes on with a StokerRegressionModel"
            in complaint(rows, StokerRegressor(initialModel=first)))  # fmt: skip
    told = complaint(rows, classifier(initialModel=first, loss=nn.NLLLoss()))
    assert "initialModel is trained as it was; its loss is compiled in. To change the loss, set model too" in told
    with pytest.raises(UserError, match=r"initialModel: got a Sequential, expected what fit\(\) or load\(\) gives"):
        classifier(initialModel=network())
