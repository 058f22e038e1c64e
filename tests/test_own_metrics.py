"""A user's own metrics: sums that the evaluation program computes, committed and told like the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from local_gang import LocalFit, run
from stoker import StokerClassifier, StokerEstimator
from stoker.errors import CompileError, UserError
from stoker.evaluation import as_metrics, of_program, rules
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

ROWS, HELD = 300, 100


def huge(outputs, labels, weight):
    """The share of squared errors above 1, by weight."""
    each = ((outputs - labels) ** 2 > 1).float().mean(1)
    return (each * weight).sum(), weight.sum()


def bias(outputs, labels, weight):
    return (outputs - labels).sum(), outputs.shape[0] * outputs.shape[1]


def fitted(functions, weighted=True, **model):
    random = np.random.default_rng(1)
    torch.manual_seed(0)
    rows = ROWS + HELD
    x = random.normal(size=(rows, 3)).astype(np.float32)
    y = (x @ random.normal(size=(3, 2)) + random.normal(size=(rows, 2))).astype(np.float32)
    w = (random.random(rows) + 0.5).astype(np.float32)
    compiled = compile_module(nn.Linear(3, 2), nn.MSELoss(), [TensorSpec("x", "float32", (3,))],
                              [TensorSpec("y", "float32", (2,))], weighted=weighted, evaluated=True, measured="values",
                              own=functions)  # fmt: skip
    specs = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [3]},
             {"name": "y", "shown": "y", "dtype": "float32", "shape": [2]},
             {"name": "w", "shown": "w", "dtype": "float32", "shape": []}]  # fmt: skip
    return LocalFit(compiled, specs, {"x": x, "y": y, "w": w}, shards=3, held=np.arange(rows) >= ROWS)


def told(history):
    return [(epoch["val_huge"], epoch["val_bias"]) for epoch in history["epochs"]]


def test_their_values_are_the_ratios_of_their_sums_for_any_number_of_workers():
    fit = fitted({"huge": huge, "bias": bias})
    weights, history = run(fit, 1)
    x, y, w = (fit.values[name][ROWS:].astype(float) for name in ("x", "y", "w"))
    e = x @ weights["weight"].T.astype(float) + weights["bias"] - y
    wanted = ((e**2 > 1).mean(1) @ w / w.sum(), e.mean())
    np.testing.assert_allclose(told(history)[-1], wanted, rtol=1e-5)
    assert told(run(fit, 3)[1]) == told(history)


def test_one_may_stop_the_fit_where_it_is_said_which_way_is_better():
    metrics = as_metrics([huge, "r2"])
    with pytest.raises(UserError, match="'val_huge' is a metric of your own: set mode to 'min' or 'max'"):
        rules({"monitor": "val_huge", "patience": 1, "minDelta": 0.0, "mode": "auto"}, metrics, False)
    found = rules({"monitor": "val_huge", "patience": 1, "minDelta": 0.0, "mode": "min"}, metrics, False)
    fit = fitted({"huge": huge})
    _, history = run(replace(fit, evaluation=found), 2)
    assert history["best_epoch"] == 1 + int(np.argmin([epoch["val_huge"] for epoch in history["epochs"]]))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda o, y, w: (o - y).mean(), "odd returns one tensor: it must return"),
        (lambda o, y, w: ((o - y).sum(), w.sum(), 1), "odd returns 3 values: it must return"),
        (lambda o, y, w: ((o - y).sum(1), w.sum()), r"the numerator of odd has shape .*: it must be one number"),
        (lambda o, y, w: ((o - y).sum(), None), "the denominator of odd is a NoneType, not a tensor or a number"),
        (lambda o, y, w: ((o - y).abs().mean(), 1), "what odd returns does not add up over rows, as a mean does not"),
    ],
)
def test_what_is_no_pair_of_sums_is_an_error(function, text):
    with pytest.raises(CompileError, match=text):
        fitted({"odd": function})


def test_names_and_functions_go_together():
    assert as_metrics([huge, "r2", huge]) == ["huge", "r2"]
    with pytest.raises(UserError, match="must not be '<lambda>'"):
        as_metrics([lambda o, y, w: (o.sum(), 1)])
    with pytest.raises(UserError, match="'huge' is not compiled into this model, which has no metrics of your own"):
        of_program({"inputs": []}, as_metrics(["own:huge"]))


def hits(outputs, labels, weight):
    return (outputs["a"].argmax(1) == labels).sum(), labels.shape[0]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, features):
        return {"a": self.a(features), "b": self.b(features)}


def test_models_of_several_outputs_have_them_and_evaluate_other_rows(spark, tmp_path):
    rows = table(spark, *blobs(300), held=np.arange(300) % 3 == 0).cache()

    def loss(outputs, labels):
        return nn.functional.cross_entropy(outputs["a"], labels) + outputs["b"].square().mean()

    estimator = StokerEstimator(model=Two(), loss=loss, validationIndicatorCol="held", evalMetrics=[hits],
                                labelTypes={"label": "int64"}, epochs=2, numWorkers=2, verbose=0)  # fmt: skip
    model = estimator.fit(rows)
    model.write().save(str(tmp_path / "model"))
    held = rows.where("held")
    for one in model, type(model).load(str(tmp_path / "model")):
        assert one.evaluate(held)["hits"] == pytest.approx(model.history[-1]["val_hits"])


def right(outputs, labels, weight):
    return (outputs.argmax(1) == labels).sum(), labels.shape[0]


def test_an_estimator_that_was_loaded_still_has_them(spark, tmp_path):
    rows = table(spark, *blobs(200)).cache()
    StokerClassifier(model=nn.Linear(4, 3), inputShape=[4], evalMetrics=[right, "accuracy"], validationFraction=0.3,
                     numWorkers=2, verbose=0).save(str(tmp_path / "estimator"))  # fmt: skip
    model = StokerClassifier.load(str(tmp_path / "estimator")).fit(rows)
    assert model.history[-1]["val_right"] == pytest.approx(model.history[-1]["val_accuracy"])


def test_two_functions_of_one_name_are_told():
    def make(share):
        def hits(outputs, labels, weight):
            return share * (outputs.argmax(1) == labels).sum(), len(labels)

        return hits

    same = make(1)
    assert as_metrics([same, same]) == ["hits"]
    with pytest.raises(UserError, match="two functions have one name"):
        as_metrics([same, make(2)])
