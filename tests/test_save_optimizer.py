"""saveOptimizer: two epochs, and two more with what they left, are the bits of four epochs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import LocalSGD, StokerClassificationModel, StokerClassifier, UserError


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def classifier(**params):
    return StokerClassifier(**{"model": network(), "numShards": 2, "batchSize": 50, "learningRate": 0.01, "verbose": 0,
                               "epochs": 2, "saveOptimizer": True, **params})  # fmt: skip


@pytest.fixture(scope="module")
def rows(spark):
    return table(spark, *blobs(200)).cache()


@pytest.fixture(scope="module")
def first(rows):
    return classifier().fit(rows)


OPTIMIZERS = {
    "momentum": {"optimizer": "sgd", "optimizerParams": {"momentum": 0.9}},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw", "lrSchedule": {"name": "cosine", "total": 16, "warmup": 3}},
    "nadam": {"optimizer": "nadam", "lrSchedule": {"name": "cosine"}, "lrScheduleUnit": "epochs"},
    "ema": {"optimizer": "adam", "averageWeights": {"name": "ema", "decay": 0.9, "start": 3, "every": 2}},
    "best": {"optimizer": "adam", "validationFraction": 0.3, "restoreBest": True, "learningRate": 0.5},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_epochs_and_two_more_are_four(rows, name, tmp_path):
    more = dict(OPTIMIZERS[name])
    whole = classifier(epochs=4, **more).fit(rows)
    if more.get("lrSchedule") == {"name": "cosine"}:  # the first half of four epochs, told as such
        more["lrSchedule"] = {"name": "cosine", "total": 4}
    classifier(**more).fit(rows).save(str(tmp_path / "half"))
    half = StokerClassificationModel.load(str(tmp_path / "half"))
    on = classifier(model=None, initialModel=half, numWorkers=2, **OPTIMIZERS[name]).fit(rows)
    losses = [epoch["loss"] for epoch in [*half.history, *on.history]]
    assert losses == [epoch["loss"] for epoch in whole.history]
    if name != "best":  # which is the best of each fit's own epochs
        assert bits(on) == bits(whole)
    assert on._optimizer.info == whole._optimizer.info
    assert {k: v.tobytes() for k, v in on._optimizer.tensors.items() if "/weights/" not in k} == {
        k: v.tobytes() for k, v in whole._optimizer.tensors.items() if "/weights/" not in k
    }


def bits(model):
    return {name: values.numpy().tobytes() for name, values in model.torch().state_dict().items()}


def test_the_state_goes_on_in_a_model_that_is_compiled_anew_and_is_left_when_asked(rows, first):
    on = classifier(model=None, initialModel=first).fit(rows)
    assert bits(classifier(initialModel=first).fit(rows)) == bits(on)
    anew = classifier(model=None, initialModel=first.without_optimizer()).fit(rows)
    assert bits(anew) != bits(on)
    assert first._optimizer is not None


def test_nothing_is_kept_without_being_asked(rows):
    assert classifier(saveOptimizer=False).fit(rows)._optimizer is None


def complaint(rows, **params) -> str:
    with pytest.raises(UserError) as caught:
        classifier(**params).fit(rows)
    return str(caught.value)


ANEW = "or initialModel=model.without_optimizer() to begin with a new one"


def test_shards_with_optimizers_of_their_own_do_not_go_on_with_one(rows, first):
    on = {"model": None, "initialModel": first, "saveOptimizer": False}
    assert complaint(rows, **on, strategy=LocalSGD(every=2)) == (
        "initialModel: it has the state of its optimizer (saveOptimizer=True), and with strategy 'localSGD' shards "
        "have optimizers of their own: set initialModel=model.without_optimizer()"
    )


def test_another_optimizer_is_refused_with_the_way_to_go_on(rows, first):
    on = {"model": None, "initialModel": first}
    assert complaint(rows, **on, optimizer="sgd") == (
        "initialModel: it has the state of optimizer 'adam' (saveOptimizer=True), and this fit has 'sgd': set "
        f"optimizer='adam', {ANEW}"
    )
    assert complaint(rows, **on, averageWeights="ema") == (
        "initialModel: the state of its optimizer is 'exp_avg', 'exp_avg_sq', and this fit's settings of 'adam' want "
        f"'average', 'exp_avg', 'exp_avg_sq': set optimizerParams and averageWeights as they were, {ANEW}"
    )
    assert complaint(rows, initialModel=first, freeze=["0"]) == (
        "initialModel: the state of its optimizer is of other parameters than this fit trains: '0.bias', '0.weight': "
        f"freeze what was frozen, {ANEW}"
    )


def test_what_has_no_state_to_keep_is_told(rows):
    assert complaint(rows, strategy=LocalSGD(every=2)) == (
        "saveOptimizer does not go with strategy 'localSGD', whose shards have optimizers of their own: leave one of "
        "them out"
    )
    assert "optimizer 'lbfgs' does not go with saveOptimizer" in complaint(rows, optimizer="lbfgs", epochs=5)
