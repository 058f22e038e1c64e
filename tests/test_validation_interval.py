"""Several evaluations an epoch: scores, stops and best weights in its middle, to the same bits whoever dies."""

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
from stoker import Callback, LocalSGD, StokerClassifier
from stoker.errors import UserError
from stoker.events import Failed
from stoker.strategy import as_strategy, spec_of
from test_checkpoints import Checkpointed
from test_early_stop import CURVE, PLATEAU
from test_exact import assert_same
from test_validation import ROWS, module_of, validated

STEPS, EVERY, LEGS = 10, 3, 4  # of an epoch: evaluated after 3, 6, 9 and 10 steps
COMMITS = STEPS + LEGS
LOCAL = spec_of(as_strategy(LocalSGD(every=2)))


def often(model="mlp", every=EVERY, evaluation=None, **more):
    return replace(validated(model, **more), evaluation={"every": every, **(evaluation or {})})


def stopping(**more):
    """Labels that say nothing of the features: the score is soon at its best, and in the middle of an epoch."""
    rules = {"monitor": "val_loss", "patience": 6, "restore_best": True, **more}
    return often("cnn", evaluation=rules, epochs=12)


def same(one, other):
    keys = ("digest", "best_epoch", "best_step", "stopped", "evaluations")
    assert [one[1].get(key) for key in keys] == [other[1].get(key) for key in keys]
    assert_same(one, other)


def test_scores_are_those_of_the_weights_after_so_many_steps():
    fit = often()
    history = run(fit, 2)[1]
    made = [(one["epoch"], one["step"]) for one in history["evaluations"]]
    assert made == [(1, 3), (1, 6), (1, 9), (1, 10), (2, 13), (2, 16), (2, 19), (2, 20)]
    x, y = (torch.from_numpy(fit.values[name][ROWS:]) for name in ("features", "label"))
    for one in (history["evaluations"][1], history["evaluations"][4]):
        weights = run(replace(fit, more={**fit.more, "max_steps": one["step"]}), 1)[0]
        with torch.no_grad():
            wanted = nn.functional.cross_entropy(module_of("mlp", weights)(x), y).item()
        assert one["val_loss"] == pytest.approx(wanted, rel=1e-6)


def test_the_training_is_that_of_a_fit_that_evaluates_each_epoch():
    rare, frequent = run(validated("cnn"), 2), run(often("cnn"), 2)
    assert_same(rare, frequent)
    assert [epoch["val_loss"] for epoch in rare[1]["epochs"]] == [epoch["val_loss"] for epoch in frequent[1]["epochs"]]
    assert frequent[1]["evaluations"][3]["val_loss"] == frequent[1]["epochs"][0]["val_loss"]
    assert "evaluations" not in rare[1]


@pytest.mark.parametrize(
    "more", [{}, {"clip_norm": 0.0, **LOCAL}, {"whole_batch": True}], ids=["plain", "local", "whole-batch"]
)
def test_any_number_of_workers_gives_the_same_scores(more):
    alone = run(often("cnn", **more), 1)
    for workers, options in ((2, {}), (4, {}), (3, {"force_tcp": True})):
        same(alone, run(often("cnn", **more), workers, order_seed=workers, **options))


def test_rounds_of_local_steps_are_whole():
    history = run(often(every=3, **LOCAL), 2)[1]
    assert [one["step"] for one in history["evaluations"]] == [4, 8, 10, 14, 18, 20]


def test_an_interval_longer_than_the_epoch_is_the_epoch():
    history = run(often(every=500), 2)[1]
    assert [one["step"] for one in history["evaluations"]] == [10, 20]


def test_a_limit_of_steps_evaluates_where_that_is_due():
    for limit, made in ((2, []), (3, [3]), (8, [3, 6]), (13, [3, 6, 9, 10, 13])):
        history = run(often(max_steps=limit), 2)[1]
        assert [one["step"] for one in history["evaluations"]] == made
        last = history["evaluations"][-1:]
        assert history["epochs"][-1].get("val_loss") == (last[0]["val_loss"] if last else None)


@pytest.fixture(scope="module")
def alone():
    return run(stopping(), 1)


def test_a_fit_stops_in_the_middle_of_an_epoch_with_its_best_weights(alone):
    weights, history = alone
    found = [one["val_loss"] for one in history["evaluations"]]
    best = int(np.argmin(found))
    assert len(found) == best + 7 < 12 * LEGS and len(found) % LEGS
    assert history["best_step"] == history["evaluations"][best]["step"]
    assert history["best_epoch"] == history["evaluations"][best]["epoch"]
    assert history["stopped"].endswith(f"of evaluation {best + 1} for 6 evaluations")
    assert history["epochs"][-1]["val_loss"] == found[-1]
    assert history["epochs"][-1]["steps"] == history["evaluations"][-1]["step"] % STEPS
    wanted = run(replace(often("cnn", epochs=12), more={**stopping().more, "max_steps": history["best_step"]}), 2)[0]
    assert all(weights[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_any_number_of_workers_stops_at_the_same_step(alone):
    for workers, options in ((2, {}), (3, {"force_tcp": True})):
        same(alone, run(stopping(), workers, order_seed=workers, **options))


def commit_of(number):
    """That the evaluation of that number makes."""
    return number // LEGS * COMMITS + min((number % LEGS + 1) * (EVERY + 1), COMMITS)


@pytest.mark.parametrize("point", ["evaluate", "written", "flip", "flipped"])
def test_deaths_at_evaluations_in_an_epoch_change_nothing(alone, point):
    made = alone[1]["evaluations"]
    best = next(i for i, one in enumerate(made) if one["step"] == alone[1]["best_step"])
    for number in (best, len(made) - 1):
        struck(alone, f"{point}@{commit_of(number)}=die")


def test_deaths_while_the_best_weights_are_set_aside_change_nothing(alone):
    best = next(i for i, one in enumerate(alone[1]["evaluations"]) if one["step"] == alone[1]["best_step"])
    for point in ("aside", "slice"):
        struck(alone, f"{point}@{commit_of(best) + 1}=die")


def struck(alone, fault):
    outcome = FaultyGang(stopping(), 2, options=HEARTBEAT, timeout=60, environment=lambda place, attempt: {
        "STOKER_FAULTS": fault} if (place, attempt) == (0, 0) else {}).run()  # fmt: skip
    assert len(outcome.told(Failed)) == 1, fault
    same(alone, (outcome.weights, outcome.history))


def test_a_fit_goes_on_from_a_checkpoint_between_two_evaluations(tmp_path, alone):
    resumed = Checkpointed(stopping(), str(tmp_path), interval=9)
    resumed.stopped(2)
    same(alone, resumed.run(3))
    assert resumed.last.history()["resumed_from"] == 9
    other = replace(stopping(), evaluation={**stopping().evaluation, "every": 5})
    with pytest.raises(UserError, match="validationInterval is 5 and was 3"):
        Checkpointed(other, str(tmp_path)).run(1)
    with pytest.raises(UserError, match="validationInterval is the epoch and was 3"):
        rules = {key: value for key, value in stopping().evaluation.items() if key != "every"}
        Checkpointed(replace(stopping(), evaluation=rules), str(tmp_path)).run(1)


def test_a_plateau_counts_evaluations():
    def plateau(every):
        rules = {"plateau": {**PLATEAU, "patience": 1}}
        optimizer = {"name": "adam", "groups": [{"lr": 1e-2}], "schedule": CURVE}
        return replace(often("cnn", every, rules, epochs=6), optimizer=optimizer)

    alone = run(plateau(2), 1)
    same(alone, run(plateau(2), 3))
    assert alone[1]["digest"] != run(plateau(10), 1)[1]["digest"], "it lowers the rate more often"


@pytest.fixture(scope="module")
def df(spark):
    features, labels = blobs(300)
    return table(spark, features, labels).cache()


def classifier(**params):
    torch.manual_seed(1)
    usual = {"model": nn.Linear(4, 3), "epochs": 2, "batchSize": 20, "numWorkers": 2, "verbose": 0}
    return StokerClassifier(**{**usual, "validationFraction": 0.3, "validationInterval": 4, **params})


class Seen(Callback):
    def __init__(self):
        self.calls = []

    def on_validation_end(self, epoch, logs):
        self.calls.append((epoch, logs["val_loss"], logs["val_accuracy"]))

    def on_epoch_end(self, epoch, logs):
        self.calls.append(epoch)


def test_callbacks_and_the_history_hear_of_each_evaluation(df):
    seen = Seen()
    model = classifier(callbacks=[seen], evalMetrics=["accuracy"]).fit(df)
    made = [(one["epoch"] - 1, one["val_loss"], one["val_accuracy"]) for one in model.history.info["evaluations"]]
    assert [call for call in seen.calls if isinstance(call, tuple)] == made and len(made) == 6
    assert seen.calls.index(0) == 3 and seen.calls[-1] == 1
    assert model.history[0]["val_loss"] == made[2][1]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"validationInterval": 0}, "validationInterval must be at least 1, not 0"),
        ({"validationFraction": None}, "validationInterval says when rows that are held out are evaluated, and none"),
        ({"onChangedRows": "continue"}, "validationInterval does not go with onChangedRows='continue'"),
    ],
)
def test_intervals_that_cannot_be_are_told_before_a_job(params, text, df):
    with pytest.raises(UserError, match=text):
        classifier(**params).fit(df)
