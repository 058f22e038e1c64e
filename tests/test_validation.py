"""Rows that are held out: never trained on, evaluated after each epoch, to the same bits whoever dies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import StokerClassifier, StokerEstimator, StokerRegressor
from stoker.errors import UserError
from stoker.events import Failed
from test_checkpoints import Checkpointed
from test_exact import MODELS, assert_same, make_fit

ROWS, HELD = 300, 100


def validated(model, **more):
    """300 rows to train on, of which the same shards are made as without validation, and 100 held out."""
    fit = make_fit(model, rows=ROWS + HELD, evaluated=True, **more)
    return replace(fit, held=np.arange(ROWS + HELD) >= ROWS)


def scores(outcome):
    return [epoch["val_loss"] for epoch in outcome[1]["epochs"]]


def module_of(model, weights):
    module = MODELS[model][0]().eval()
    module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    return module


@pytest.fixture(scope="module")
def alone():
    return {model: run(validated(model), 1) for model in ("mlp", "cnn")}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_score_is_that_of_the_weights_in_evaluation_mode(model, alone):
    fit, (weights, _) = validated(model), alone[model]
    x, y = (torch.from_numpy(fit.values[name][ROWS:]) for name in ("features", "label"))
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(module_of(model, weights)(x), y).item()
    assert scores(alone[model])[-1] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_rows_that_are_held_out_leave_the_training_as_it_is(model, alone):
    fit = validated(model)
    values = {name: values[:ROWS] for name, values in fit.values.items()}
    without = run(replace(fit, compiled=make_fit(model).compiled, values=values, held=None), 1)
    assert_same(without, alone[model])


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_any_number_of_workers_gives_the_same_scores(model, alone):
    for workers, options in ((2, {}), (4, {}), (3, {"force_tcp": True})):
        other = run(validated(model), workers, order_seed=workers, **options)
        assert_same(alone[model], other)
        assert scores(other) == scores(alone[model])


@pytest.mark.parametrize("point", ["evaluate", "partials", "exchange", "written", "flip", "flipped"])
def test_a_death_in_an_evaluation_changes_nothing(point, alone):
    """The eleventh commit of an epoch of ten steps is its evaluation."""
    fault = {"STOKER_FAULTS": f"{point}@11=die"}
    gang = FaultyGang(validated("cnn"), 2, options=HEARTBEAT, timeout=60,
                      environment=lambda place, attempt: fault if (place, attempt) == (1, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert outcome.history["digest"] == alone["cnn"][1]["digest"]
    assert [epoch["val_loss"] for epoch in outcome.history["epochs"]] == scores(alone["cnn"])


def test_a_fit_that_goes_on_from_a_checkpoint_has_the_earlier_scores(tmp_path, alone):
    resumed = Checkpointed(validated("cnn"), str(tmp_path), interval=1, unit="epochs")
    resumed.stopped(2)
    outcome = resumed.run(3)
    assert_same(outcome, alone["cnn"])
    assert scores(outcome) == scores(alone["cnn"])


def test_scores_of_rows_on_disk_are_the_same(alone):
    fit = validated("mlp", store={"memory": 4096, "neighbours": 1, "overhead": None, "encrypt": False})
    outcome = run(fit, 2)
    assert_same(outcome, alone["mlp"])
    assert scores(outcome) == scores(alone["mlp"])


def test_a_validation_set_without_rows_is_an_error_that_says_so():
    fit = validated("mlp")
    with pytest.raises(RuntimeError, match=r"user: no row is held out for validation: look at validationIndicatorCol"):
        run(replace(fit, held=np.zeros(ROWS + HELD, bool)), 2)
    with pytest.raises(RuntimeError, match="user: all rows are held out for validation, and none are left to train on"):
        run(replace(fit, held=np.ones(ROWS + HELD, bool)), 2)


def classifier(**params):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 3))
    usual = {"model": net, "learningRate": 0.02, "batchSize": 64, "epochs": 2, "numWorkers": 2, "verbose": 0}
    return StokerClassifier(**{**usual, **params})


@pytest.fixture(scope="module")
def marked(spark):
    features, labels = blobs(600)
    return table(spark, features, labels, held=np.arange(600) % 5 == 0).cache()


def test_an_indicator_column_says_which_rows_are_held_out(marked):
    model = classifier(validationIndicatorCol="held").fit(marked)
    rows = marked.where("held").collect()
    x, y = torch.tensor([row.features for row in rows]), torch.tensor([row.label for row in rows])
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(model.torch().eval()(x), y).item()
    assert model.history[-1]["val_loss"] == pytest.approx(wanted, rel=1e-6)
    assert [epoch["rows"] for epoch in model.history] == [480, 480]
    assert "val_loss" in repr(model.history)
    without = classifier(directScan=False).fit(marked.where("not held"))
    assert model.history.info["digest"] == without.history.info["digest"]


def test_a_fraction_is_the_same_rows_for_any_number_of_shards_and_workers(marked):
    two = classifier(validationFraction=0.25).fit(marked)
    one = classifier(validationFraction=0.25, numWorkers=1, numShards=2).fit(marked.repartition(5))
    other = classifier(validationFraction=0.25, numShards=5).fit(marked)
    assert 110 < 600 - two.history[0]["rows"] < 190
    assert two.history.info["digest"] == one.history.info["digest"]
    assert [e["val_loss"] for e in two.history] == [e["val_loss"] for e in one.history]
    assert other.history[0]["rows"] == two.history[0]["rows"]


@pytest.mark.parametrize("assign", ["partition", "hash"])
def test_partitions_and_one_shard_hold_rows_out_too(assign, marked):
    workers = 2 if assign == "partition" else 1
    model = classifier(assign=assign, numWorkers=workers, validationIndicatorCol="held").fit(
        marked.repartition(workers)
    )
    assert model.history[0]["rows"] == 480 and model.history[-1]["val_loss"] > 0


def test_the_other_estimators_validate(marked):
    loss = nn.CrossEntropyLoss()
    params = {"learningRate": 0.02, "batchSize": 64, "numWorkers": 1, "verbose": 0, "validationFraction": 0.2}
    assert StokerEstimator(model=nn.Linear(4, 3), loss=loss, **params).fit(marked).history[0]["val_loss"] > 0
    assert StokerRegressor(model=nn.Linear(4, 1), **params).fit(marked).history[0]["val_loss"] > 0


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"validationIndicatorCol": "label"},
            "column 'label' has type bigint; it must be boolean, true for",
        ),
        ({"validationIndicatorCol": "hold"}, "validationIndicatorCol: the DataFrame has no column 'hold'"),
        ({"validationIndicatorCol": "held", "validationFraction": 0.1}, "both say which rows are held out: set one"),
        ({"validationFraction": 1.0}, "validationFraction must lie between 0 and 1, not 1"),
        (
            {"validationFraction": 0.1, "numShards": 20_000, "batchSize": 40_000},
            "not be larger than 16384 where",
        ),
    ],
)
def test_wrong_settings_are_told_before_a_job(params, text, marked):
    with pytest.raises(UserError, match=text):
        classifier(**params).fit(marked)


def test_held_rows_that_weigh_nothing_give_no_score_and_no_best_epoch(marked):
    rows = marked.selectExpr("features", "label", "held", "if(held, 0.0, 1.0) as worth")
    settings = {"validationIndicatorCol": "held", "weightCol": "worth", "epochs": 3}
    stopping = {"earlyStopping": {"monitor": "val_loss", "patience": 2}, "restoreBest": True}
    history = classifier(**settings, **stopping).fit(rows).history
    assert [epoch["val_loss"] for epoch in history] == [None, None]
    assert history.info["stopped"] == "val_loss was no number in 2 epochs" and "best_epoch" not in history.info


def test_held_rows_of_one_class_give_no_curve_and_say_so(marked):
    rows, told = marked.where("label = 0 or not held"), "^val_roc_auc_ovr is None in every epoch: a curve needs rows of"
    with pytest.warns(UserWarning, match=told):
        model = classifier(validationIndicatorCol="held", evalMetrics=["roc_auc_ovr"]).fit(rows)
    assert [epoch["val_roc_auc_ovr"] for epoch in model.history] == [None, None]


def test_an_indicator_that_is_null_is_told(marked):
    rows = marked.selectExpr("features", "label", "if(label = 1, null, held) as held")
    with pytest.raises(Exception, match="validationIndicatorCol: column 'held' has a null: each row needs true"):
        classifier(validationIndicatorCol="held", maxRestarts=0).fit(rows)


def test_a_loaded_estimator_says_whether_it_can_validate(marked, tmp_path):
    classifier().write().save(str(tmp_path / "without"))
    classifier(validationFraction=0.2).write().save(str(tmp_path / "with"))
    with pytest.raises(UserError, match="compiled without validation"):
        StokerClassifier.load(str(tmp_path / "without")).setValidationFraction(0.2).fit(marked)
    model = StokerClassifier.load(str(tmp_path / "with")).fit(marked)
    assert model.history[0]["val_loss"] == classifier(validationFraction=0.2).fit(marked).history[0]["val_loss"]
