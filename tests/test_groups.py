"""NDCG and hit rate of rows in groups that lie in several shards: exact, the same bits whoever has the rows and whoever
dies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import LocalFit, run
from stoker import StokerClassifier, StokerEstimator, StokerRegressor
from stoker.errors import UserError
from stoker.evaluation import as_metrics, check_fit, with_groups
from stoker.events import Failed
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from test_metrics_sklearn import ndcg

ROWS, HELD, GROUPS = 300, 120, 17
NAMES = ["ndcg_score", "ndcg_score_3", "hit_rate_2"]


def ranked():
    """Relevance 0 to 3 of items that a linear model ranks, in groups that lie in all shards."""
    random = np.random.default_rng(2)
    torch.manual_seed(0)
    rows = ROWS + HELD
    x = random.normal(size=(rows, 3)).astype(np.float32)
    y = np.clip(np.round(x.sum(1) + random.normal(size=rows)), 0, 3).astype(np.float32)[:, None]
    compiled = compile_module(nn.Linear(3, 1), nn.MSELoss(), [TensorSpec("x", "float32", (3,))],
                              [TensorSpec("y", "float32", (1,))], evaluated=True, measured="values")  # fmt: skip
    compiled = replace(compiled, train=with_groups(compiled.train), evaluation=with_groups(compiled.evaluation))
    specs = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [3]},
             {"name": "y", "shown": "y", "dtype": "float32", "shape": [1]},
             {"name": "g", "shown": "g", "dtype": "int64", "shape": [], "integral": True}]  # fmt: skip
    values = {"x": x, "y": y, "g": random.integers(-3, GROUPS - 3, rows)}
    asked = {"metrics": {"names": [*NAMES, "r2"], "outputs": "values", "width": 1}}
    return LocalFit(compiled, specs, values, shards=5, held=np.arange(rows) >= ROWS, evaluation=asked)


def told(history):
    return [[epoch[f"val_{name}"] for name in NAMES] for epoch in history["epochs"]]


@pytest.fixture(scope="module")
def alone():
    return run(ranked(), 1)


def by_scikit_learn(y, x, g, k):
    return np.mean([ndcg(y[g == group], x[g == group], k) for group in np.unique(g)])


def test_groups_that_lie_in_several_shards_are_whole(alone):
    weights, history = alone
    x, y, g = (ranked().values[name][ROWS:] for name in ("x", "y", "g"))
    score = (torch.from_numpy(x) @ torch.from_numpy(weights["weight"]).T + torch.from_numpy(weights["bias"])).numpy()
    for name, k in (("ndcg_score", None), ("ndcg_score_3", 3)):
        wanted = by_scikit_learn(y[:, 0], score[:, 0].astype(float), g, k)
        assert history["epochs"][-1][f"val_{name}"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("workers", "options"), [(2, {}), (4, {}), (3, {"force_tcp": True})])
def test_any_number_of_workers_gives_the_same_bits(workers, options, alone):
    _, history = run(ranked(), workers, order_seed=workers, **options)
    assert told(history) == told(alone[1])
    assert history["digest"] == alone[1]["digest"]


@pytest.mark.parametrize(("point", "place"), [("evaluate", 1), ("ranked", 0)])
def test_a_death_in_the_middle_repeats_it(point, place, alone):
    fault = {"STOKER_FAULTS": f"{point}@11=die"}
    gang = FaultyGang(ranked(), 2, options=HEARTBEAT, timeout=60,
                      environment=lambda at, attempt: fault if (at, attempt) == (place, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert told(outcome.history) == told(alone[1])


def rows(session, kind):
    random = np.random.default_rng(4)
    x = random.normal(size=(400, 2)).astype(np.float32)
    relevant = (x[:, 0] + random.normal(size=400) > 1).astype(np.int64)
    query = random.integers(0, 40, 400)
    return table(session, x, relevant, query=[f"q{one}" for one in query] if kind == "text" else query,
                 held=np.arange(400) % 4 == 0)  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "number"])
def test_a_model_evaluates_any_rows_to_the_same_numbers(spark, kind):
    df = rows(spark, kind)
    estimator = StokerClassifier(model=nn.Linear(2, 2), validationIndicatorCol="held", groupCol="query",
                                 evalMetrics=["ndcg_score_5", "hit_rate_1", "roc_auc"], numWorkers=2, numShards=4,
                                 epochs=2, verbose=0)  # fmt: skip
    model = estimator.fit(df)
    found = model.evaluate(df.where("held").repartition(3), groupCol="query")
    for name in ("ndcg_score_5", "hit_rate_1"):
        assert found[name] == pytest.approx(model.history[-1][f"val_{name}"], abs=1e-12)
        assert 0 < found[name] < 1
    with pytest.raises(UserError, match="groupCol is missing: this model was fit with it"):
        model.evaluate(df)


def test_a_loaded_estimator_keeps_its_groups(spark, tmp_path):
    df = rows(spark, "number")
    estimator = StokerRegressor(model=nn.Linear(2, 1), validationIndicatorCol="held", groupCol="query",
                                evalMetrics=["ndcg_score"], verbose=0)  # fmt: skip
    estimator.save(str(tmp_path / "estimator"))
    again = StokerRegressor.load(str(tmp_path / "estimator"))
    assert 0 < again.fit(df).history[-1]["val_ndcg_score"] < 1
    with pytest.raises(UserError, match=r"it was compiled with groupCol\. To change that, set model again"):
        again.copy({again.groupCol: None, again.evalMetrics: ["r2"]}).fit(df)


def test_groups_that_nothing_ranks_are_told_when_an_estimator_is_saved():
    with pytest.raises(UserError, match="groupCol says which rows metrics such as ndcg_score rank together, and"):
        StokerRegressor(model=nn.Linear(2, 1), groupCol="query").write().content()


def test_an_empty_name_is_no_group():
    estimator = StokerRegressor(model=nn.Linear(2, 1), groupCol="", evalMetrics=["r2"])
    assert [source.role for source in estimator._prepare(None)[1]] == ["feature", "label"]


def test_early_stopping_may_follow_one_and_more_is_better(spark):
    estimator = StokerRegressor(model=nn.Linear(2, 1), validationIndicatorCol="held", groupCol="query", epochs=3,
                                evalMetrics=["ndcg_score"], earlyStopping={"monitor": "val_ndcg_score"},
                                restoreBest=True, verbose=0)  # fmt: skip
    history = estimator.fit(rows(spark, "number")).history
    assert history.info["best_epoch"] == 1 + int(np.argmax([epoch["val_ndcg_score"] for epoch in history]))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"evalMetrics": ["ndcg_score_5"]}, "'ndcg_score_5' ranks the rows of a group: set groupCol to the column"),
        ({"groupCol": "query"}, "groupCol says which rows metrics such as ndcg_score rank together, and nothing is"),
        ({"evalMetrics": ["ndcg_score"], "groupCol": "features"}, "groupCol: column 'features' is array<float>, expec"),
        ({"evalMetrics": ["ndcg_score"], "groupCol": "queri"}, "groupCol: the DataFrame has no column 'queri'"),
    ],
)
def test_what_cannot_be_ranked_is_said_before_a_job_starts(given, text, spark):
    with pytest.raises(UserError, match=text):
        StokerEstimator(model=nn.Linear(2, 1), loss=nn.MSELoss(), verbose=0, **given).fit(rows(spark, "number"))


def test_they_rank_by_one_number():
    for outputs, width, labels in (("values", 2, 1), ("logits", 3, 1), ("logits", 2, 4)):
        text = f"'hit_rate_3' ranks rows by one number, and this model gives {width * labels}: it is for models of one"
        with pytest.raises(UserError, match=text):
            check_fit(["hit_rate_3"], outputs, width, labels)
    with pytest.raises(UserError, match=r"no metric .ndcg_scor.; did you mean .ndcg_score.\?"):
        as_metrics("ndcg_scor")
