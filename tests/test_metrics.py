"""Metrics of rows that are held out: the values of their formulas, and names that fit the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from local_gang import LocalFit, run
from stoker import StokerClassifier, StokerEstimator, StokerRegressor
from stoker.errors import UserError
from stoker.evaluation import OF_CLASSES, OF_VALUES
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from test_exact import make_fit
from test_validation import HELD, ROWS, module_of

RANKED = [name for name in OF_CLASSES if name.startswith(("roc_auc", "average_precision"))]  # test_ranking.py
SEVERAL = [name for name in OF_CLASSES if name not in ("precision", "recall", "f1", *RANKED)]


def of_table(p, y, w):
    """By name, from probabilities: formulas of their own, in double."""
    rows, classes = p.shape
    guess, there = p.argmax(1), np.eye(classes)[y]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (y, guess), w)
    right, said, support = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    met, n = (said + support) > 0, w.sum()
    order = np.argsort(-p, axis=1, kind="stable")

    def safe(a, b):
        return np.divide(a, b, out=np.zeros_like(a), where=b > 0)

    each = {"precision": safe(right, said), "recall": safe(right, support), "f1": safe(2 * right, said + support)}
    averaged = {}
    for name, values in each.items():
        averaged |= {f"{name}_micro": right.sum() / n, f"{name}_macro": values[met].mean(),
                     f"{name}_weighted": (values * support).sum() / n,
                     f"{name}_per_class": values.tolist()}  # fmt: skip
    cov = right.sum() * n - (said * support).sum()
    spread = (n**2 - (said**2).sum()) * (n**2 - (support**2).sum())
    squares = ((p - there) ** 2)[:, 1:] if classes == 2 else (p - there) ** 2
    return {"accuracy": right.sum() / n, "balanced_accuracy": each["recall"][support > 0].mean(),
            "top_5_accuracy": (w * (order[:, :5] == y[:, None]).any(1)).sum() / n,
            "top_2_accuracy": (w * (order[:, :2] == y[:, None]).any(1)).sum() / n,
            "log_loss": -(w * np.log(p[np.arange(rows), y].clip(2.2e-16))).sum() / n,
            "brier_score": (w * squares.sum(1)).sum() / n,
            "matthews_corrcoef": cov / np.sqrt(spread) if spread else 0.0,
            **averaged, **{name: values[1] for name, values in each.items()},
            "confusion_matrix": confusion.tolist()}  # fmt: skip


def area(score, y, w):
    """The share of pairs of both classes that are in order, by weight; ties are half."""
    order = np.sign(score[y == 1][:, None] - score[y == 0]) / 2 + 0.5
    pairs = w[y == 1][:, None] * w[y == 0]
    return (order * pairs).sum() / pairs.sum()


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def scored(fit, names, outputs, width, workers=2):
    """What the last evaluation came to, by name, and the weights."""
    asked = {"metrics": {"names": list(names), "outputs": outputs, "width": width}}
    weights, history = run(replace(fit, evaluation=asked), workers)
    return {name: history["epochs"][-1][f"val_{name}"] for name in names}, weights


def test_metrics_of_classes_are_their_formulas():
    names = [*SEVERAL, "top_2_accuracy"]
    fit = replace(make_fit("mlp", rows=ROWS + HELD, evaluated=True), held=np.arange(ROWS + HELD) >= ROWS)
    found, weights = scored(fit, names, "logits", 5)
    x, y = (fit.values[name][ROWS:] for name in ("features", "label"))
    with torch.no_grad():
        logits = module_of("mlp", weights)(torch.from_numpy(x)).double().numpy()
    wanted = of_table(softmax(logits), y, np.ones(HELD))
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, err_msg=name)
    for workers in (1, 4):
        assert scored(fit, names, "logits", 5, workers)[0] == found


def two_outputs(loss, columns=2, **more):
    """A linear model of three numbers."""
    random = np.random.default_rng(1)
    torch.manual_seed(0)
    x = random.normal(size=(ROWS + HELD, 3)).astype(np.float32)
    y = (x @ random.normal(size=(3, columns)) + random.normal(size=(ROWS + HELD, columns))).astype(np.float32)
    compiled = compile_module(nn.Linear(3, columns), loss, [TensorSpec("x", "float32", (3,))],
                              [TensorSpec("y", "float32", (columns,))], evaluated=True, **more)  # fmt: skip
    specs = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [3]},
             {"name": "y", "shown": "y", "dtype": "float32", "shape": [columns]}]  # fmt: skip
    return LocalFit(compiled, specs, {"x": x, "y": y}, shards=3, held=np.arange(ROWS + HELD) >= ROWS)


def test_metrics_of_numbers_are_their_formulas():
    fit = two_outputs(nn.MSELoss(), measured="values")
    found, weights = scored(fit, OF_VALUES, "values", 2)
    x, y = (fit.values[name][ROWS:].astype(float) for name in ("x", "y"))
    found_poisson = found.pop("mean_poisson_deviance")
    e = y - (x @ weights["weight"].T.astype(float) + weights["bias"])
    wanted = {"mean_absolute_error": np.abs(e).mean(), "mean_squared_error": (e**2).mean(),
              "root_mean_squared_error": np.sqrt((e**2).mean(0)).mean(),
              "mean_absolute_percentage_error": (np.abs(e) / np.abs(y)).mean(),
              "r2": (1 - (e**2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).mean()}  # fmt: skip
    wanted["mean_pinball_loss"] = np.abs(e).mean() / 2
    assert found_poisson is None  # of negative numbers
    for name in found:
        assert found[name] == pytest.approx(wanted[name], rel=2e-6), name


@pytest.fixture(scope="module")
def two_classes(spark):
    features, labels = blobs(400, classes=2)
    weights = 0.5 + np.arange(400) % 3
    return table(spark, features, labels, w=weights, held=np.arange(400) % 4 == 0).cache()


def test_metrics_of_two_classes_and_weights_are_their_formulas(two_classes):
    names = [name for name in OF_CLASSES if not name.startswith("top") and name not in RANKED] + ["roc_auc"]
    torch.manual_seed(2)
    model = StokerClassifier(model=nn.Linear(4, 1), weightCol="w", validationIndicatorCol="held", evalMetrics=names,
                             epochs=2, numWorkers=2, verbose=0).fit(two_classes)  # fmt: skip
    rows = two_classes.where("held").collect()
    x, y = torch.tensor([row.features for row in rows]), np.array([row.label for row in rows])
    with torch.no_grad():
        one = torch.sigmoid(model.torch()(x).double()).numpy()
    w = np.array([row.w for row in rows])
    wanted = {**of_table(np.concatenate([1 - one, one], 1), y, w), "roc_auc": area(one[:, 0], y, w)}
    for name in names:
        np.testing.assert_allclose(model.history[-1][f"val_{name}"], wanted[name], rtol=1e-6, err_msg=name)
    assert "val_accuracy" in repr(model.history) and "confusion" not in repr(model.history)


@pytest.mark.parametrize(
    ("made", "metrics", "text"),
    [
        (StokerClassifier, ["acuracy"], "there is no metric 'acuracy'; did you mean 'accuracy'"),
        (StokerClassifier, ["r2"], "'r2' does not fit this model, whose outputs are classes: there is accuracy"),
        (
            StokerRegressor,
            ["accuracy"],
            "'accuracy' does not fit this model, whose outputs are numbers: there is",
        ),
        (StokerClassifier, ["f1"], "'f1' is for two classes, and there are 3: take f1_macro, f1_micro or f1_weighted"),
        (StokerEstimator, ["r2"], "metrics compare one label with one output, of as many values or of its classes"),
    ],
)
def test_metrics_that_do_not_fit_are_told_before_a_job(made, metrics, text, two_classes):
    loss = {"loss": lambda outputs, label: (outputs.sum(1) - label).abs().mean()} if made is StokerEstimator else {}
    net = nn.Linear(4, 1 if made is StokerRegressor else 3)
    with pytest.raises(UserError, match=text):
        made(model=net, evalMetrics=metrics, validationFraction=0.2, verbose=0, **loss).fit(two_classes)


def test_a_model_evaluates_other_rows_as_its_fit_did(two_classes, tmp_path):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
    asked = ["accuracy", "log_loss", "f1", "roc_auc", "confusion_matrix"]
    model = StokerClassifier(model=net, weightCol="w", validationIndicatorCol="held", evalMetrics=asked, epochs=2,
                             numWorkers=2, verbose=0).fit(two_classes)  # fmt: skip
    model.write().save(str(tmp_path / "model"))
    held, last = two_classes.where("held").repartition(3), model.history[-1]
    for one in model, type(model).load(str(tmp_path / "model")):
        found = one.evaluate(held, weightCol="w")
        assert set(found) == {"loss", *asked}
        for name, value in found.items():
            np.testing.assert_allclose(value, last[f"val_{name}"], rtol=1e-6, err_msg=name)
    assert set(model.evaluate(held, ["recall"], weightCol="w")) == {"loss", "recall"}
    with pytest.raises(UserError, match="weightCol is missing: this model was fit with it"):
        model.evaluate(held)
    with pytest.raises(UserError, match="evaluate: the DataFrame has no rows"):
        model.evaluate(held.where("false"), weightCol="w")
    without = StokerClassifier(model=nn.Linear(4, 2), verbose=0).fit(two_classes)
    with pytest.raises(UserError, match="was fit without rows held out for validation, so it cannot be evaluated"):
        without.evaluate(held)
