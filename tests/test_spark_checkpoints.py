"""Checkpoints as a user of Spark has them."""

from __future__ import annotations

import re
import shutil
import warnings

import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier
from stoker.checkpoint import manifest
from stoker.errors import UserError


def estimator(place, **more):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    settings = {"batchSize": 32, "epochs": 4, "numShards": 4, "verbose": 0, "checkpointDir": str(place), **more}
    return StokerClassifier(model=net, featuresCol="features", labelCol="label", **settings)


@pytest.fixture
def rows(spark):
    return table(spark, *blobs(400))


def told(history):
    return [(epoch["loss"], epoch["accuracy"], epoch["rows"]) for epoch in history]


def test_a_stopped_fit_goes_on_with_other_workers(rows, tmp_path):
    undisturbed = estimator(tmp_path / "a", numWorkers=2).fit(rows)
    assert [record["step"] for record in undisturbed.history.info["checkpoints"]][-1] == 52
    newest = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(newest) == 2
    shutil.rmtree(tmp_path / "a" / newest[1])  # as if it had been stopped before

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="statistics are per micro-batch")
        resumed = estimator(tmp_path / "a", numWorkers=1, checkpointKeep=1).fit(rows)
    assert 0 < resumed.history.info["resumed_from"] < 52
    assert resumed.history.info["digest"] == undisturbed.history.info["digest"]
    assert told(resumed.history) == told(undisturbed.history)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["step-000000000052"]

    more = estimator(tmp_path / "a", numWorkers=2, epochs=5).fit(rows)
    whole = estimator(tmp_path / "b", numWorkers=2, epochs=5).fit(rows)
    assert more.history.info["resumed_from"] == 52
    assert more.history.info["digest"] == whole.history.info["digest"]


def test_what_made_a_checkpoint_inexact_is_told_by_the_fits_that_go_on(rows, tmp_path):
    assert estimator(tmp_path, epochs=2).fit(rows).history.info["inexact"] == []
    file = max(tmp_path.iterdir()) / manifest.NAME
    told = manifest.decode(file.read_bytes())
    assert told["inexact"] == []
    file.write_bytes(manifest.encode({**told, "inexact": ["worker 1 was given up"]}))
    for epochs in 3, 4:
        assert estimator(tmp_path, epochs=epochs).fit(rows).history.info["inexact"] == ["worker 1 was given up"]


def test_what_is_wrong_is_said_before_a_job_starts(spark, rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"checkpointDir cannot be used: .*Not a directory"):
        estimator(tmp_path / "file" / "below").fit(rows)
    with pytest.raises(UserError, match="checkpointUnit must be one of 'epochs', 'steps', 'seconds', not 'hours'"):
        estimator(tmp_path, checkpointUnit="hours").fit(rows)
    with pytest.raises(UserError, match="checkpointInterval must be at least 1, not 0"):
        estimator(tmp_path, checkpointInterval=0).fit(rows)


def test_another_fits_place_is_refused(spark, rows, tmp_path):
    estimator(tmp_path, epochs=1).fit(rows)
    with pytest.raises(UserError, match=r"a checkpoint of another fit \(step-0+13\): batchSize is 64 and was 32"):
        estimator(tmp_path, batchSize=64, epochs=1).fit(rows)
    with pytest.raises(UserError, match=r"the checkpoint step-0+13 cannot be gone on with: shard \d has"):
        estimator(tmp_path, epochs=2).fit(table(spark, *blobs(400, seed=1)))


def test_an_unfinished_one_is_warned_of(rows, tmp_path, caplog):
    estimator(tmp_path, epochs=2).fit(rows)
    (tmp_path / "step-000000000026" / "manifest").unlink()
    model = estimator(tmp_path, epochs=2).fit(rows)
    assert re.search(r"WARNING .*the checkpoint step-0+26 in .* is not used: it was not finished", caplog.text)
    assert model.history.info["resumed_from"] == 13
