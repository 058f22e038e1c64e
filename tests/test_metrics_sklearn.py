"""Each metric against scikit-learn on generated tables: ties, one class only, weights, parts without rows."""

from __future__ import annotations

import itertools
import json
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from sklearn import metrics as sk
from torch import nn

from stoker.evaluation import OF_CLASSES, OF_VALUES, of_program, with_groups
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec, save_weights
from stoker.spark.evaluate import told

TABLES = 100


class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.one


def evaluation(outputs, width):
    """(spec without names, weights) of a program whose outputs are its inputs; a weighted one."""
    classes = outputs != "values"
    label = TensorSpec("y", "int64" if classes and width > 1 else "float32", (() if classes else (width,)))
    shape = () if classes and width == 1 else (width,)
    loss, measured = (nn.CrossEntropyLoss(), "argmax") if classes and width > 1 else (nn.MSELoss(), "values")
    compiled = compile_module(Same(), loss, [TensorSpec("x", "float32", shape)], [label], weighted=True, evaluated=True,
                              measured="half" if classes and width == 1 else measured)  # fmt: skip
    return {**compiled.evaluation, "measured": {"outputs": outputs, "width": width}}, save_weights(compiled.weights)


@pytest.fixture(scope="module")
def programs():
    return {key: evaluation(*key) for key in (("probabilities", 1), ("probabilities", 4), ("values", 2))}


def measured(program, names, table, cuts):
    """Of a table that comes in parts, some without rows."""
    from stoker.engine import load_torch

    spec, weights = json.dumps(of_program(program[0], names)), program[1]
    parts = load_torch().Evaluation(spec, weights)
    edges = [0, *sorted(cuts), len(table[0])]
    found = [parts.run([np.ascontiguousarray(column[low:high]) for column in table])
             for low, high in itertools.pairwise(edges) if high > low]  # fmt: skip
    empty = ([0.0] * len(found[0][0]), b"")
    return {name.removeprefix("val_"): value for name, value in told(spec, weights, [empty, *found]).items()}


def drawn(random, classes, rows):
    """Float32 probabilities with ties, labels, weights: rows of one class only at times."""
    steps = random.choice([4, 16, 1 << 20])
    raw = random.integers(1, steps + 1, (rows, classes)).astype(np.float64)
    p = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    y = random.integers(0, classes, rows) if random.random() < 0.9 else np.full(rows, random.integers(classes))
    w = random.choice([np.ones(rows), random.integers(1, 5, rows), random.random(rows) + 0.1]).astype(np.float32)
    return p, y, w


def averaged(y, guess, w, classes):
    hows = ("micro", "macro", "weighted") if classes > 2 else (None, "micro", "macro", "weighted")
    found = {}
    for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        for how in hows:
            found[f"{name}_{how}" if how else name] = function(y, guess, sample_weight=w, zero_division=0,
                                                               average=how or "binary")  # fmt: skip
        found[f"{name}_per_class"] = function(y, guess, sample_weight=w, zero_division=0, average=None,
                                              labels=range(classes))  # fmt: skip
    return found


def of_guesses(y, guess, w, classes):
    return {"accuracy": sk.accuracy_score(y, guess, sample_weight=w),
            "balanced_accuracy": sk.balanced_accuracy_score(y, guess, sample_weight=w),
            "matthews_corrcoef": sk.matthews_corrcoef(y, guess, sample_weight=w),
            "confusion_matrix": sk.confusion_matrix(y, guess, sample_weight=w, labels=range(classes)),
            **averaged(y, guess, w, classes)}  # fmt: skip


def of_two(p, y, w):
    """By scikit-learn, of the probabilities of class 1."""
    one = np.asarray(p, float)
    return {**of_guesses(y, (p > 0.5).astype(int), w, 2),
            "log_loss": sk.log_loss(y, one, sample_weight=w, labels=[0, 1]),
            "brier_score": sk.brier_score_loss(y, one, sample_weight=w, labels=[0, 1], pos_label=1),
            "roc_auc": sk.roc_auc_score(y, one, sample_weight=w),
            "average_precision": sk.average_precision_score(y, one, sample_weight=w)}  # fmt: skip


def of_several(p, y, w):
    classes = p.shape[1]
    every, there = np.asarray(p, float), np.eye(classes)[y]
    last_wins = {"sample_weight": w, "labels": range(classes)}  # scikit-learn's rule for ties: so classes are turned
    found = {**of_guesses(y, every.argmax(1), w, classes),
             "log_loss": -np.average(np.log(every[np.arange(len(y)), y].clip(2.3e-16)), weights=w),
             "brier_score": np.average(((every - there) ** 2).sum(1), weights=w),
             "top_2_accuracy": sk.top_k_accuracy_score(classes - 1 - y, every[:, ::-1], k=2, **last_wins),
             "top_5_accuracy": 1.0}  # fmt: skip
    for how in ("macro", "weighted"):
        found[f"average_precision_{how}"] = sk.average_precision_score(there, every, average=how, sample_weight=w)
        found["roc_auc_ovr" + ("" if how == "macro" else "_weighted")] = sk.roc_auc_score(
            there, every, average=how, sample_weight=w
        )
    return found


def of_values(x, y, w):
    each = {"sample_weight": w}
    found = {"mean_absolute_error": sk.mean_absolute_error(y, x, **each),
             "mean_squared_error": sk.mean_squared_error(y, x, **each),
             "root_mean_squared_error": sk.root_mean_squared_error(y, x, **each),
             "mean_absolute_percentage_error": sk.mean_absolute_percentage_error(y, x, **each),
             "r2": sk.r2_score(y, x, **each), "mean_pinball_loss": sk.mean_pinball_loss(y, x, **each),
             "mean_pinball_loss_0.9": sk.mean_pinball_loss(y, x, alpha=0.9, **each)}  # fmt: skip
    columns = zip(np.transpose(y), np.transpose(x))
    return {**found, "mean_poisson_deviance": np.mean([sk.mean_poisson_deviance(a, b, **each) for a, b in columns])}


def assert_equal(found, wanted):
    for name, value in wanted.items():
        got = np.asarray(np.nan if found[name] is None else found[name], float)
        np.testing.assert_allclose(got, np.asarray(value, float), rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture(autouse=True)
def _without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_classes_are_scikit_learns(classes, programs):
    random = np.random.default_rng(classes)
    several = ("roc_auc_ovr", "roc_auc_ovr_weighted", "average_precision_macro", "average_precision_weighted")
    of_one = ("precision", "recall", "f1", "roc_auc", "average_precision")
    names = [name for name in OF_CLASSES if name not in (several if classes == 2 else of_one)]
    names = [name for name in names if not name.startswith("top")] if classes == 2 else [*names, "top_2_accuracy"]
    for _ in range(TABLES):
        rows = int(random.integers(1, 60))
        p, y, w = drawn(random, classes, rows)
        cuts = random.integers(0, rows + 1, 3)
        if classes == 2:
            found = measured(programs["probabilities", 1], names, [p[:, 1], y.astype(np.float32), w], cuts)
            assert_equal(found, of_two(p[:, 1], y, np.asarray(w, float)))
        else:
            assert_equal(
                measured(programs["probabilities", 4], names, [p, y, w], cuts), of_several(p, y, np.asarray(w, float))
            )


def test_metrics_of_numbers_are_scikit_learns(programs):
    random = np.random.default_rng(7)
    for _ in range(TABLES):
        rows = int(random.integers(2, 60))
        y = random.integers(0, 9, (rows, 2)).astype(np.float32)
        x = (random.random((rows, 2)) * 9 + 0.1).astype(np.float32)
        w = random.choice([np.ones(rows), random.random(rows) + 0.1]).astype(np.float32)
        found = measured(programs["values", 2], [*OF_VALUES, "mean_pinball_loss_0.9"], [x, y, w],
                         random.integers(0, rows + 1, 3))  # fmt: skip
        wanted = of_values(np.asarray(x, float), np.asarray(y, float), np.asarray(w, float))
        assert_equal(found, wanted)


def hit_chance(y, x, k):
    """Of a relevant row among the first k, whatever the order of ties: those above the k-th score are all there, of
    those that have it some are drawn."""
    k = min(k, len(x))
    last = np.sort(x)[-k]
    above, tied = x > last, x == last
    missed = hypergeom.pmf(0, tied.sum(), (y[tied] > 0).sum(), k - above.sum())
    return 1.0 if (y[above] > 0).any() else 1 - missed


def ndcg(y, x, k):
    if len(y) > 1:
        return sk.ndcg_score([y], [x], k=k)
    return float(y[0] > 0)  # of one row scikit-learn knows none


def of_groups(x, y, w, g):
    groups = [g == group for group in np.unique(g)]
    weights = [w[rows].mean() for rows in groups]

    def mean(score, k):
        return np.average([score(y[rows], x[rows], k) for rows in groups], weights=weights)

    return {"ndcg_score": mean(ndcg, None), **{f"ndcg_score_{k}": mean(ndcg, k) for k in (1, 3)},
            **{f"hit_rate_{k}": mean(hit_chance, k) for k in (1, 3)}}  # fmt: skip


@pytest.mark.parametrize("kind", [("values", 1), ("probabilities", 1)])
def test_metrics_of_groups_are_scikit_learns(kind, programs):
    program, weights = programs.get(kind) or evaluation(*kind)
    program = {**with_groups(program), "measured": program["measured"]}
    random = np.random.default_rng(11)
    names = ["ndcg_score", "ndcg_score_1", "ndcg_score_3", "hit_rate_1", "hit_rate_3"]
    for _ in range(TABLES):
        rows = int(random.integers(1, 60))
        x = (random.integers(0, random.choice([4, 1 << 20]), rows) / (1 << 20)).astype(np.float32)
        y = random.integers(0, 4 if kind[0] == "values" else 2, rows).astype(np.float32)
        g = random.choice([-1, 3, 1 << 40, 7, 8], rows) if rows > 5 else np.arange(rows)
        w = random.choice([np.ones(rows), random.random(rows) + 0.1]).astype(np.float32)
        shape = (rows, 1) if kind[0] == "values" else (rows,)
        found = measured((program, weights), [*names, "accuracy" if kind[0] != "values" else "r2"],
                         [x.reshape(shape), y.reshape(shape), w, g], random.integers(0, rows + 1, 3))  # fmt: skip
        assert_equal(found, of_groups(x.astype(float), y, w.astype(float), g))
