"""docs/history.md lists what a history has: neither less nor more."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import Downpour, StokerClassifier
from stoker.events import Failed
from stoker.history import History

PAGE = (Path(__file__).parent.parent / "docs/history.md").read_text()


def rows_of(title):
    """What is said, by key, in the table under a title."""
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    told = re.findall(r"^\| (`.+?`) \| (.*) \|$", section, re.M)
    return {key: text for names, text in told for key in re.findall(r"`(\w+)`", names)}


@pytest.fixture(scope="module")
def histories(spark, tmp_path_factory):
    """Of a fit all of whose steps are skipped from the second on, of the one that goes on with it, of one that its
    score ends between epochs, of one that has a frozen layer, and of one whose shards push as they arrive."""
    df, where = table(spark, *blobs(100)), str(tmp_path_factory.mktemp("checkpoints"))

    def fit(epochs):
        torch.manual_seed(0)
        asked = {"optimizer": "sgd", "learningRate": 1e38, "onNaN": "skip", "batchSize": 50, "epochs": epochs}
        return StokerClassifier(model=nn.Linear(4, 3), checkpointDir=where, verbose=0, **asked).fit(df).history

    stopping = {"validationFraction": 0.2, "earlyStopping": {"patience": 1, "minDelta": 1e9}, "scaleRate": "sqrt",
                "validationInterval": 1, "batchSize": 50}  # fmt: skip
    stopped = StokerClassifier(model=nn.Linear(4, 3), epochs=3, verbose=0, **stopping).fit(df)
    frozen = StokerClassifier(model=nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), freeze=["0"], verbose=0).fit(df)
    arriving = StokerClassifier(model=nn.Linear(4, 3), strategy=Downpour(order="arrival"), numShards=2, verbose=0)
    return [fit(1), fit(2), stopped.history, frozen.history, arriving.fit(df).history]


def test_the_page_lists_every_key_of_an_epoch_and_no_other(histories):
    assert set(rows_of("An epoch")) == {key for history in histories for epoch in history for key in epoch}


def test_the_page_lists_every_key_of_the_whole_fit_and_no_other(histories):
    assert set(rows_of("`history.info`")) == {key for history in histories for key in history.info}


def test_the_page_names_what_lies_inside(histories):
    info, inside = histories[1].info, rows_of("`history.info`")
    named = {key: set(re.findall(r"`(\w+)`", text)) for key, text in {**rows_of("An epoch"), **inside}.items()}
    assert set(histories[1][0]["phases"]) == {"gather", "compute", "sync", "update"}
    assert histories[2][0]["phases"]["evaluate"] > 0
    assert {f.name for f in fields(Failed)} <= named["deaths"]
    assert set(info["checkpoints"][0]) <= {"step", *named["checkpoints"]}
    assert set(info["ingest"]) <= named["ingest"]
    assert all(phase in inside["phases"] for phase in info["phases"])


def test_epochs_become_a_pandas_frame_with_a_column_for_each_phase(histories):
    frame = histories[1].to_pandas()
    assert list(frame["epoch"]) == [1, 2]
    assert list(frame["loss"]) == [epoch["loss"] for epoch in histories[1]]
    assert frame["phases.sync"][1] == histories[1][1]["phases"]["sync"]
    assert History().to_pandas().empty
