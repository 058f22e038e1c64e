"""A fit that may begin with fewer workers than wished: when it does, and that its model is the same."""

import threading
import time

import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier, UserError
from stoker.events import Started
from stoker.fit import run as fitting
from stoker.spark.limits import slots
from stoker.spark.supervise import LATE, Rules, Situation, next_move


@pytest.fixture(scope="module")
def df(spark):
    return table(spark, *blobs(400)).cache()


LONG = 400  # epochs: some seconds


def train(df, **params):
    torch.manual_seed(0)
    params = {"epochs": 2, **params}
    return StokerClassifier(model=nn.Linear(4, 3), batchSize=32, numShards=4, verbose=0, **params).fit(df)


def test_fewer_slots_than_wished_are_enough_and_the_model_is_the_same(df):
    few = train(df, numWorkers=4, minWorkers=2).history.info
    assert few["workers"] == 2
    assert few["digest"] == train(df, numWorkers=1).history.info["digest"]


def test_workers_that_never_come_are_not_waited_for(df, monkeypatch):
    monkeypatch.setattr(slots, "max_slots", lambda conf: None)  # as under dynamic allocation
    monkeypatch.setattr("stoker.spark.supervise.LATE", 0.5)
    few = train(df, numWorkers=4, minWorkers=2).history.info
    assert (few["workers"], few["deaths"], few["restarts"]) == (2, [], [])
    assert few["digest"] == train(df, numWorkers=2).history.info["digest"]


class FreesASlot:
    """Holds a slot of the session until training has begun. Stands in for the progress line."""

    def __init__(self, spark, folder):
        self.mark = folder / "free"
        rows = spark.range(0, 1, 1, 1).mapInArrow(waits_for(str(self.mark)), "id long")
        self.job = threading.Thread(target=rows.collect, daemon=True)
        self.job.start()
        while not (folder / "free.waits").exists():
            time.sleep(0.02)

    def event(self, event):
        if isinstance(event, Started):
            self.mark.touch()

    def close(self):
        self.mark.touch()


def waits_for(mark):
    def task(batches):
        from pathlib import Path

        Path(mark + ".waits").touch()
        while not Path(mark).exists():
            time.sleep(0.02)
        yield from batches

    return task


def test_a_slot_that_becomes_free_is_used_and_the_model_is_the_same(spark, df, monkeypatch, tmp_path):
    alone = train(df, numWorkers=1, epochs=LONG).history.info
    monkeypatch.setattr(slots, "max_slots", lambda conf: None)
    monkeypatch.setattr("stoker.spark.supervise.LATE", 0.5)
    progress = FreesASlot(spark, tmp_path)
    monkeypatch.setattr(fitting, "make_progress", lambda *_: progress)
    grown = train(df, numWorkers=2, minWorkers=1, epochs=LONG).history.info
    progress.job.join()
    assert (grown["workers"], grown["deaths"], grown["restarts"]) == (2, [], [])
    (change,) = grown["growth"]
    assert change["workers"] == 2
    assert change["step"] > 0, "training had begun"
    assert (grown["digest"], grown["micro_batches"]) == (alone["digest"], alone["micro_batches"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"numWorkers": 2, "minWorkers": 3}, r"minWorkers \(3\) must not be larger than numWorkers \(2\)"),
        ({"numWorkers": 4, "minWorkers": 3}, "numWorkers=3 needs 3 tasks at the same time, but this Spark session can"),
        ({"numWorkers": 4, "minWorkers": 2, "assign": "partition"}, "leave minWorkers out"),
    ],
)
def test_what_cannot_be_is_told_before_a_job(df, params, message):
    with pytest.raises(UserError, match=message):
        train(df, **params)


def three_of_four(**more) -> Situation:
    return Situation(workers=4, living={0, 1, 3}, came_at=100.0, **more)


def test_the_gang_begins_smaller_only_when_nobody_has_come_for_a_while():
    rules = Rules(min_workers=2)
    assert next_move(100 + LATE - 0.1, three_of_four(), rules).kind == "wait"
    move = next_move(100 + LATE, three_of_four(), rules)
    assert (move.kind, move.workers) == ("shrink", 3)
    assert move.reason == "3 of 4 workers have come, and minWorkers is 2"


@pytest.mark.parametrize(
    ("situation", "rules"),
    [
        (three_of_four(), Rules()),
        (three_of_four(), Rules(min_workers=4)),
        (three_of_four(started=True), Rules(min_workers=2)),
        (three_of_four(losses=1), Rules(min_workers=2)),
        (Situation(workers=3, living={0, 1, 2}, came_at=100.0), Rules(min_workers=2)),
    ],
)
def test_the_gang_does_not_begin_smaller_without_need(situation, rules):
    assert next_move(1000, situation, rules).kind == "wait"
