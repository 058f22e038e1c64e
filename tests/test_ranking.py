"""ROC AUC and average precision of rows that are held out: exact, the same bits whoever has the rows and whoever
dies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker.errors import UserError
from stoker.evaluation import check_fit
from stoker.events import Failed
from test_exact import make_fit
from test_metrics import softmax
from test_validation import HELD, ROWS, module_of

OF_SEVERAL = ["roc_auc_ovr", "roc_auc_ovr_weighted", "average_precision_macro", "average_precision_weighted"]


def ranked(names=OF_SEVERAL, width=5, **more):
    fit = replace(make_fit("mlp", rows=ROWS + HELD, evaluated=True), held=np.arange(ROWS + HELD) >= ROWS)
    asked = {"metrics": {"names": names, "outputs": "logits", "width": width}, **more}
    return replace(fit, evaluation=asked)


def told(history, names=OF_SEVERAL):
    return [[epoch[f"val_{name}"] for name in names] for epoch in history["epochs"]]


@pytest.fixture(scope="module")
def alone():
    return run(ranked(), 1)


def test_they_are_scikit_learns(alone):
    fit, (weights, history) = ranked(), alone
    x, y = (fit.values[name][ROWS:] for name in ("features", "label"))
    with torch.no_grad():
        p = softmax(module_of("mlp", weights)(torch.from_numpy(x)).double().numpy())
    wanted = [sk.roc_auc_score(y, p, multi_class="ovr", average=how) for how in ("macro", "weighted")]
    wanted += [sk.average_precision_score(np.eye(5)[y], p, average=how) for how in ("macro", "weighted")]
    np.testing.assert_allclose(told(history)[-1], wanted, rtol=1e-9)


@pytest.mark.parametrize(("workers", "options"), [(2, {}), (4, {}), (3, {"force_tcp": True})])
def test_any_number_of_workers_gives_the_same_bits(workers, options, alone):
    _, history = run(ranked(), workers, order_seed=workers, **options)
    assert told(history) == told(alone[1])
    assert history["digest"] == alone[1]["digest"]


@pytest.mark.parametrize(("point", "place"), [("evaluate", 1), ("partials", 1), ("ranked", 0), ("written", 0)])
def test_a_death_in_the_middle_repeats_it(point, place, alone):
    fault = {"STOKER_FAULTS": f"{point}@11=die"}
    gang = FaultyGang(ranked(), 2, options=HEARTBEAT, timeout=60,
                      environment=lambda at, attempt: fault if (at, attempt) == (place, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert outcome.history["digest"] == alone[1]["digest"]
    assert told(outcome.history) == told(alone[1])


def test_they_may_stop_the_fit(alone):
    best = int(np.argmax([epoch[0] for epoch in told(alone[1])]))
    rules = {"monitor": "val_roc_auc_ovr", "larger": True, "patience": 1, "restore_best": True}
    _, history = run(ranked(**rules), 2)
    assert history["best_epoch"] == best + 1


def test_rows_of_one_class_have_no_area():
    fit = ranked(["roc_auc_ovr", "accuracy"])
    label = np.where(fit.held, 3, fit.values["label"])
    _, history = run(replace(fit, values={**fit.values, "label": label}), 2)
    assert [epoch["val_roc_auc_ovr"] for epoch in history["epochs"]] == [None, None]
    assert all(0 <= epoch["val_accuracy"] <= 1 for epoch in history["epochs"])


def test_each_of_them_says_for_how_many_classes_it_is():
    with pytest.raises(UserError, match="'roc_auc' is for two classes, and there are 5: take roc_auc_ovr or"):
        check_fit(["roc_auc"], "logits", 5)
    with pytest.raises(UserError, match="'average_precision_macro' is for several classes, and there are two: take av"):
        check_fit(["average_precision_macro"], "logits", 2)
