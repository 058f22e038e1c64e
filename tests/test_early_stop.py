"""A fit that its score ends, and the weights of its best epoch: the same step and the same bits, whoever dies."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import StokerClassifier
from stoker.engine import core
from stoker.errors import UserError
from stoker.events import Failed
from test_checkpoints import Checkpointed
from test_exact import make_fit
from test_validation import HELD, ROWS, module_of, scores

EPOCHS, COMMITS = 12, 11  # of an epoch: ten steps and the evaluation
STOPPING = {"monitor": "val_loss", "patience": 2, "restore_best": True}


def stopping(model="cnn", **more):
    """Labels that say nothing of the features: the score is soon at its best."""
    fit = make_fit(model, rows=ROWS + HELD, evaluated=True, epochs=EPOCHS)
    return replace(fit, held=np.arange(ROWS + HELD) >= ROWS, evaluation={**STOPPING, **more})


@pytest.fixture(scope="module")
def alone():
    return run(stopping(), 1)


def same(one, other):
    assert [one[1][key] for key in ("digest", "best_epoch", "stopped")] == [
        other[1][key] for key in ("digest", "best_epoch", "stopped")]  # fmt: skip
    assert scores(one) == scores(other)
    assert all(one[0][name].tobytes() == other[0][name].tobytes() for name in one[0])


def test_a_fit_ends_when_its_score_gets_no_better_and_gives_the_best_weights(alone):
    weights, history = alone
    found = scores(alone)
    best = int(np.argmin(found))
    assert len(found) == best + 3 < EPOCHS
    assert history["best_epoch"] == best + 1
    assert history["stopped"].endswith(f"of epoch {best + 1} for 2 epochs")
    fit = stopping()
    x, y = (torch.from_numpy(fit.values[name][ROWS:]) for name in ("features", "label"))
    with torch.no_grad():
        score = nn.functional.cross_entropy(module_of("cnn", weights)(x), y).item()
    assert score == pytest.approx(found[best], rel=1e-6) and score != pytest.approx(found[-1], rel=1e-6)


def test_the_best_weights_are_those_of_a_fit_that_ends_there(alone):
    best = alone[1]["best_epoch"]
    fit = stopping()
    weights, _ = run(replace(fit, more={**fit.more, "epochs": best}), 2)
    assert all(weights[name].tobytes() == alone[0][name].tobytes() for name in weights)


def test_any_number_of_workers_stops_at_the_same_step(alone):
    for workers, options in ((2, {}), (4, {}), (3, {"force_tcp": True})):
        same(alone, run(stopping(), workers, order_seed=workers, **options))


def test_without_the_wish_for_the_best_the_last_weights_come_out(alone):
    weights, history = run(stopping(restore_best=False), 2)
    assert scores(alone) == [epoch["val_loss"] for epoch in history["epochs"]]
    assert any(weights[name].tobytes() != alone[0][name].tobytes() for name in weights)


def kills(best, last):
    """Around the best evaluation, when its weights are set aside, and around the one that ends the fit."""
    return [("evaluate", best * COMMITS), ("flipped", best * COMMITS), ("aside", best * COMMITS + 1),
            ("slice", best * COMMITS + 1), ("flip", best * COMMITS + 1), ("exchange", best * COMMITS + 5),
            ("evaluate", last * COMMITS), ("flip", last * COMMITS), ("flipped", last * COMMITS)]  # fmt: skip


def struck(fault):
    """The outcome where the first attempt of the first of two workers meets the fault."""
    return FaultyGang(stopping(), 2, options=HEARTBEAT, timeout=60, environment=lambda place, attempt: {
        "STOKER_FAULTS": fault} if (place, attempt) == (0, 0) else {}).run()  # fmt: skip


def test_deaths_change_neither_the_stopping_step_nor_a_bit(alone):
    best, last = alone[1]["best_epoch"], len(scores(alone))
    for point, step in kills(best, last):
        outcome = struck(f"{point}@{step}=die")
        assert len(outcome.told(Failed)) == 1, point
        same(alone, (outcome.weights, outcome.history))


def test_a_fit_that_goes_on_from_a_checkpoint_stops_at_the_same_step(tmp_path, alone):
    resumed = Checkpointed(stopping(), str(tmp_path), interval=1, unit="epochs")
    resumed.run(2)
    steps = resumed.steps()
    assert steps[-1] == len(scores(alone)) * COMMITS, "the end of the fit makes one"
    same(alone, resumed.run(3))  # has stopped already
    for folder in resumed.folders()[:2]:
        for path in folder.iterdir():
            path.unlink()
    same(alone, resumed.run(1))


@pytest.fixture(scope="module")
def df(spark):
    features, labels = blobs(300)
    return table(spark, features, np.random.default_rng(0).permutation(labels)).cache()


def classifier(**params):
    torch.manual_seed(1)
    usual = {"model": nn.Linear(4, 3), "learningRate": 0.1, "epochs": 30, "numWorkers": 2, "verbose": 0}
    return StokerClassifier(**{**usual, "validationFraction": 0.3, **params})


def test_a_classifier_stops_by_the_metric_that_is_watched(df):
    rules = {"monitor": "val_accuracy", "patience": 2}
    model = classifier(earlyStopping=rules, restoreBest=True).fit(df)
    found = [epoch["val_accuracy"] for epoch in model.history]
    assert len(found) == int(np.argmax(found)) + 3 < 30
    assert model.history.info["best_epoch"] == int(np.argmax(found)) + 1
    assert model.history.info["stopped"].startswith("val_accuracy was not better than the ")


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"earlyStopping": {"patience": None}},
            "patience is None, so nothing would end the fit: give stoppingThreshold",
        ),
        ({"earlyStopping": {"patience": 0}}, "patience is 0, expected a whole number of epochs, at least 1"),
        ({"earlyStopping": {"patiense": 2}}, "there is no setting 'patiense'; did you mean 'patience'"),
        ({"earlyStopping": {"minDelta": -1}}, "minDelta is -1, expected a number, not negative"),
        ({"earlyStopping": {"mode": "up"}}, "mode is 'up', expected one of 'auto', 'min', 'max'"),
        ({"earlyStopping": {"mode": "max"}}, "mode 'max' contradicts monitor 'val_loss', of which less is better"),
        ({"earlyStopping": {"monitor": "val_acuracy"}}, "have val_loss, val_accuracy; did you mean 'val_accuracy'"),
        ({"earlyStopping": {}, "validationFraction": None}, "earlyStopping follows a score of rows that are held out"),
        ({"restoreBest": True, "validationFraction": None}, "restoreBest follows a score of rows that are held out"),
    ],
)
def test_rules_that_cannot_be_followed_are_told_before_a_job(params, text, df):
    with pytest.raises(UserError, match=text):
        classifier(**params).fit(df)


PLATEAU = {"monitor": "val_loss", "larger": False, "patience": 0, "threshold": 0.0, "relative": True, "cooldown": 1}
CURVE = {"name": "plateau", "factor": 0.5, "min_lr": 0.0, "eps": 0.0, "unit": "steps"}


def plateau(**schedule):
    fit = stopping(patience=-1, restore_best=False, plateau=PLATEAU)
    return replace(fit, optimizer={"name": "adam", "groups": [{"lr": 1e-2}], "schedule": {**CURVE, **schedule}})


def test_a_rate_that_follows_the_score_is_that_of_a_schedule_that_knew_it_whoever_dies():
    one = run(plateau(), 1)
    lowered = [core().lowerings(json.dumps(PLATEAU), scores(one)[:n]) for n in range(EPOCHS)]
    assert lowered[-1] >= 2
    known = [epoch for epoch in range(1, EPOCHS) if lowered[epoch] > lowered[epoch - 1]]
    steps = plateau(name="multi_step", milestones=known, gamma=0.5, unit="epochs")
    same_bits = [run(steps, 2), run(plateau(), 3)]
    fault = {"STOKER_FAULTS": f"flipped@{known[0] * COMMITS}=die"}
    outcome = FaultyGang(plateau(), 2, options=HEARTBEAT, timeout=60, environment=lambda place, attempt: (
        fault if (place, attempt) == (0, 0) else {})).run()  # fmt: skip
    assert len(outcome.told(Failed)) == 1
    for _, history in [*same_bits, (outcome.weights, outcome.history)]:
        assert history["digest"] == one[1]["digest"]


def test_a_score_that_is_reached_ends_the_fit():
    whole = scores(run(stopping(patience=-1), 1))
    first = next(i for i, score in enumerate(whole) if score <= whole[0] - 1e-3)
    _, history = run(stopping(patience=-1, goal=whole[0] - 1e-3), 2)
    assert scores((None, history)) == whole[: first + 1] and "val_loss has reached" in history["stopped"]
