"""Tests of learning rates: what a curve of losses suggests, and the short fit that gives one."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from stoker import RangeTest, StokerClassifier, UserError
from stoker.callback import Control
from stoker.events import Failed, Metrics
from stoker.ml.range_test import Recorder, loss_between, steepest_fall
from test_exact import make_fit


def curve(noise=0.0, steps=100):
    """Flat to 1e-4, down to 1e-1, and up from there."""
    rates = np.geomspace(1e-7, 10, steps)
    log = np.log10(rates)
    fall = 2.3 - 1.8 / (1 + np.exp(-4 * (log + 2.5)))
    losses = fall + np.where(log > -1, (log + 1) ** 2 * 20, 0) + np.random.default_rng(0).normal(0, noise, steps)
    return rates, losses


@pytest.mark.parametrize("noise", [0, 0.02, 0.1])
def test_the_suggestion_lies_where_the_loss_falls(noise):
    test = RangeTest(*curve(noise))
    assert 3e-4 < test.suggestion < 3e-1
    assert test.suggestion in test.rates


def test_the_steepest_fall_is_between_neighbours_and_not_among_the_first_means():
    assert steepest_fall([3, 3, 2, 1, 1, 5, 4]) == 2
    assert steepest_fall([100, *[50] * 18, 49, 49]) == 18
    assert steepest_fall([1, 2, 3]) is None and steepest_fall([]) is None
    assert steepest_fall([2, 2, 1, math.nan]) == 1


def test_a_loss_that_only_rises_suggests_nothing():
    test = RangeTest([1e-3, 1e-2, 1e-1], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match=r"fell at none of the rates.*3 steps from 0.001 to 0.1.*lowest="):
        _ = test.suggestion
    assert repr(test) == "RangeTest: no suggestion, 3 steps from 0.001 to 0.1"


def test_smoothed_losses_have_no_bias_to_zero():
    test = RangeTest([1, 2, 3], [5.0, 5.0, 5.0])
    assert test.smoothed == pytest.approx([5, 5, 5])
    assert list(test.to_pandas().columns) == ["learning_rate", "loss", "smoothed_loss"]


@pytest.mark.parametrize(("last", "exploded"), [(1.5, False), (40.0, True), (math.nan, True), (math.inf, True)])
def test_four_times_the_best_loss_or_none_is_an_explosion(last, exploded):
    assert RangeTest([1, 2, 3], [1.0, 1.0, last]).exploded == exploded


def test_losses_below_zero_explode_as_far_above_their_best():
    assert not RangeTest([1, 2], [-1.0, -1.0]).exploded
    assert RangeTest([1, 2], [-1.0, 9.0]).exploded


def word(step, total, weight, epoch=1, of_epoch=None):
    return Metrics(rank=0, step=step, epoch=epoch, step_of_epoch=of_epoch or step, steps_of_epoch=4, epochs=9,
                   loss_sum=total, loss_weight=weight)  # fmt: skip


def test_losses_of_steps_are_differences_of_what_is_told():
    test, control = RangeTest(), Control()
    recorder = Recorder(test, 1.0, 10.0, control)
    for told in [word(1, 8.0, 4.0), word(1, 8.0, 4.0), word(3, 14.0, 10.0), word(5, 2.0, 4.0, epoch=2, of_epoch=1)]:
        recorder.event(told)  # one again, as after a death; one that nobody told of; an epoch's first
    assert test.losses == [2.0, 1.0, 0.5]
    assert test.rates == pytest.approx([1.0, 10.0**1.5, 1e4])
    recorder.event(word(6, None, 8.0, epoch=2, of_epoch=2))
    assert test.stopped and control._stop


def test_each_step_is_told_once_and_through_a_death():
    """The sums of the steps are those that another number of workers tells of without one."""

    def told(workers, fault=None):
        losses, last = [], [None]

        def hear(gang, event):
            if not isinstance(event, Metrics) or event.step <= len(losses):
                return
            before = last[0] if last[0] is not None and last[0].epoch == event.epoch else None
            losses.append(loss_between(before, event))
            last[0] = event

        fit = make_fit("mlp", shards=2, epochs=2, report_every=0)
        environment = lambda *who: {"STOKER_FAULTS": fault} if fault and who == (1, 0) else {}  # noqa: E731
        outcome = FaultyGang(fit, workers, on_event=hear, environment=environment, options=HEARTBEAT, timeout=60).run()
        return losses, outcome

    alone, outcome = told(1)
    assert len(alone) == sum(epoch["steps"] for epoch in outcome.history["epochs"])
    through, outcome = told(2, fault="flipped@8=die")
    assert len(outcome.told(Failed)) == 1 and through == alone


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def classifier(**params):
    return StokerClassifier(model=network(), numWorkers=1, batchSize=50, verbose=0, **params)


def test_the_suggested_rate_trains_and_the_estimator_stays_as_it_was(spark):
    rows = table(spark, *blobs(500)).cache()
    estimator = classifier(optimizer="sgd", optimizerParams={"lr": 1e-6, "momentum": 0.5}, epochs=3,
                           validationFraction=0.2, evalMetrics=["accuracy"], maxSeconds=50.0)  # fmt: skip
    before = {param.name: value for param, value in estimator.extractParamMap().items()}
    test = estimator.find_learning_rate(rows, lowest=1e-6, highest=1e4, steps=60)
    assert {param.name: value for param, value in estimator.extractParamMap().items()} == before
    assert test.rates == sorted(test.rates) and test.rates[0] == pytest.approx(1e-6)
    assert test.stopped and 20 < len(test.rates) < 60 and "where the loss exploded" in repr(test)
    table_ = test.to_pandas()
    assert table_["learning_rate"].is_monotonic_increasing and list(table_["loss"]) == test.losses
    on = estimator.copy({estimator.optimizerParams: {"momentum": 0.5}, estimator.learningRate: test.suggestion})
    assert on.fit(rows).history[-1]["val_accuracy"] > 0.95


def test_a_plot_has_both_curves_and_says_where_there_is_no_matplotlib(monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    axes = RangeTest(*curve()).plot()
    assert axes.get_xscale() == "log" and [line.get_label() for line in axes.lines][:2] == ["loss", "smoothed"]
    assert axes.lines[2].get_label().startswith("suggestion: ")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="plot needs matplotlib"):
        RangeTest(*curve()).plot()


WRONG = [
    ({"lowest": 1.0, "highest": 0.1}, "lowest is 1.0 and highest 0.1; expected two numbers above 0"),
    ({"lowest": 0}, "lowest is 0 and highest 10.0"),
    ({"steps": 5}, "steps is 5, expected a whole number of at least 10"),
]


@pytest.mark.parametrize(("told", "words"), WRONG)
def test_what_is_no_range_is_told(told, words):
    with pytest.raises(UserError, match=words):
        classifier().find_learning_rate(None, **told)


def test_optimizers_without_one_rate_are_told():
    with pytest.raises(UserError, match="L-BFGS finds the length of each step"):
        classifier(optimizer="lbfgs").find_learning_rate(None)
    groups = {"groups": [{"params": "*.bias", "lr": 0.1}]}
    with pytest.raises(UserError, match="has a group with a learning rate of its own"):
        classifier(optimizerParams=groups).find_learning_rate(None)
