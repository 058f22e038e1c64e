"""Deaths in fits on local[2], where Spark does not run a failed task again: the driver starts the job anew."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest
import torch
from pyspark.sql import functions as F
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier, UserError, WorldError
from stoker.events import Admitted, Metrics, Restart
from stoker.fit import run as fitting

EPOCHS = 40


class Watch:
    """Stands in for the progress line. Calls `act` with each event."""

    def __init__(self, act=lambda watch, event: None):
        self.act, self.pids, self.kills, self.texts = act, {}, 0, []

    def event(self, event):
        if isinstance(event, Admitted):
            self.pids[event.rank] = event.pid
        if isinstance(event, Restart):
            self.texts.append(event.text)
        self.act(self, event)

    def kill(self, rank):
        self.kills += 1
        os.kill(self.pids[rank], signal.SIGKILL)

    def close(self):
        pass


@pytest.fixture(scope="module")
def df(spark):
    return table(spark, *blobs(2000)).cache()


@pytest.fixture
def watched(monkeypatch):
    def watch(act=lambda watch, event: None):
        found = Watch(act)
        monkeypatch.setattr(fitting, "make_progress", lambda *_: found)
        return found

    return watch


def estimator(**more):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    return StokerClassifier(model=net, batchSize=32, numWorkers=2, numShards=4, verbose=0,
                            **{"epochs": EPOCHS, **more})  # fmt: skip


def told(model):
    return model.history.info["digest"], [(epoch["loss"], epoch["accuracy"]) for epoch in model.history]


@pytest.fixture(scope="module")
def undisturbed(df):
    return told(estimator().fit(df))


def at_epoch(epoch, rank=1, times=1):
    def act(watch, event):
        if (
            isinstance(event, Metrics)
            and event.epoch >= epoch + 5 * watch.kills
            and event.rank == rank
            and watch.kills < times
        ):
            watch.kill(rank)

    return act


def test_a_killed_worker_comes_back_with_another_job(df, watched, undisturbed, caplog):
    watch = watched(at_epoch(15))
    model = estimator().fit(df)
    assert told(model) == undisturbed
    info = model.history.info
    assert watch.kills == len(info["deaths"]) == len(info["restarts"]) == 1
    assert f"pid {info['deaths'][0]['pid']}" in info["restarts"][0]
    lines = [record.getMessage().partition(": ") for record in caplog.records if record.name == "stoker"]
    assert {re.sub(r"^fit \d+ of ", "", name) for name, _, _ in lines} == {model.uid}
    lost, again, on = [text for _, _, text in lines]
    assert re.match(rf"worker 1 \(host 127.0.0.1, pid {info['deaths'][0]['pid']}\) was lost at step \d+: ", lost)
    assert again.startswith(f"the Spark job is started again with 2 workers: {lost}; ")
    step = int(re.fullmatch(r"training goes on after step (\d+) with 2 workers: every place is filled again", on)[1])
    assert step >= info["deaths"][0]["step"] > 0
    steps = model.history.info["micro_batches"]
    assert steps <= EPOCHS * 63 * 4 + 2 * 4  # goes on from the newest commit: no step twice but the one that was cut


@pytest.mark.parametrize("victim", [0, 1])
def test_a_job_that_fails_elsewhere_sends_the_state_of_a_living_worker_home_first(victim, df, watched, undisturbed):
    watch = watched(at_epoch(15, victim))
    far = estimator()
    far._gang_options = {"distant": True}  # the driver is on another machine
    model = far.fit(df)
    assert told(model) == undisturbed
    assert watch.kills == len(model.history.info["restarts"]) == 1
    assert model.history.info["micro_batches"] <= EPOCHS * 63 * 4 + 2 * 4


def test_a_job_of_which_no_state_is_left_goes_on_from_the_newest_checkpoint(df, watched, undisturbed, tmp_path):
    killed, begun = [], []

    def act(watch, event):
        if isinstance(event, Metrics) and watch.texts:
            begun.append(event.step)
        elif isinstance(event, Metrics) and event.epoch >= 15 and not watch.kills:
            killed.append(event.step + 63)  # the others may be that far
            watch.kill(0)
            watch.kill(1)

    watched(act)
    far = estimator(checkpointDir=str(tmp_path), checkpointInterval=2)
    far._gang_options = {"distant": True}  # the driver is on another machine, and keeps nothing
    model = far.fit(df)
    assert told(model) == undisturbed
    assert len(model.history.info["restarts"]) == 1
    assert 2 * 63 < begun[0] <= killed[0]
    again = model.history.info["micro_batches"] / 4  # the new state's ledger: steps since the checkpoint
    assert again <= (EPOCHS - 2) * 63 + 2


def test_restarts_that_are_used_up_tell_the_last_error_of_each_try(df, watched):
    watched(lambda watch, event: isinstance(event, Metrics) and watch.kill(0))
    with pytest.raises(WorldError) as caught:
        estimator(maxRestarts=1).fit(df)
    text = str(caught.value)
    assert "worker 0" in text
    assert "started again 1 times (maxRestarts) after: 1. worker" in text


def test_a_job_that_was_cancelled_is_not_started_again(spark, df, watched):
    cancelled = []

    def act(watch, event):
        if isinstance(event, Metrics) and not cancelled:
            cancelled.append(time.monotonic())
            threading.Thread(target=spark.sparkContext.cancelAllJobs).start()

    watch = watched(act)
    with pytest.raises(WorldError, match=r"(?i)cancel"):
        estimator(epochs=5000).fit(df)
    assert watch.texts == []
    assert time.monotonic() - cancelled[0] < 15


def test_rows_that_change_at_a_replay_end_the_fit_with_the_cure(df, watched):
    watch = watched(at_epoch(10))
    noise = F.udf(lambda: time.time_ns() % 3, "long").asNondeterministic()
    moving = df.drop("label").withColumn("label", noise())
    with pytest.raises(UserError, match=r"other rows than before.*rand\(\).*checkpoint\(\) it before fit") as caught:
        estimator().fit(moving)
    assert watch.kills == 1
    assert "onChangedRows='continue'" in str(caught.value)
