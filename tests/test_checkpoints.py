"""A fit that was stopped goes on from its newest checkpoint to the bits of the undisturbed one, with any number of
workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from local_gang import LocalFit, run
from stoker.checkpoint.course import Course, Wish
from stoker.checkpoint.manifest import folder_name
from stoker.errors import UserError
from stoker.events import CheckpointPart
from stoker.schedule import as_schedule, complete
from test_exact import assert_same, make_fit

STEPS = 10  # of an epoch: 300 rows by 32


class Killed(Exception):
    pass


class Checkpointed:
    """Runs fits with checkpoints in one place, and collects what the user is told."""

    def __init__(self, fit: LocalFit, place: str, interval=7, unit="steps", keep=100):
        self.fit, self.wish, self.said = fit, Wish(place, interval, unit, keep), []

    def course(self, fit: LocalFit) -> Course:
        return Course(self.wish, json.loads(fit.spec()), fit.compiled.weights, "2.13.0", self.said.append)

    def run(self, workers, kill_after=None, environments=None, options=None, **more):
        """The result; None when the workers were killed once a checkpoint of so many steps or more was there."""
        fit = replace(self.fit, more={**self.fit.more, **more})
        self.last = course = self.course(fit)
        fit = replace(fit, more={**fit.more, "checkpoint": course.spec()})

        def observe(event):
            if isinstance(event, CheckpointPart):
                course.event(event)
                if kill_after is not None and max(self.steps(), default=0) >= kill_after:
                    raise Killed

        try:
            return run(fit, workers, environments, observe=observe, settled=course.settled, **(options or {}))
        except Killed:
            return None

    def steps(self):
        return [record["step"] for record in self.last.history()["checkpoints"]]

    def folders(self):
        return sorted((path for path in Path(self.wish.place).iterdir() if (path / "manifest").exists()), reverse=True)

    def stopped(self, workers):
        """As if the fit had been stopped when its first checkpoint was made (which is never late); the steps it had."""
        self.run(workers)
        first = self.steps()[0]
        for folder in self.folders():
            if folder.name > folder_name(first):
                shutil.rmtree(folder)
        return first


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_another_number_of_workers_goes_on_to_the_same_bits(model, tmp_path):
    fit = make_fit(model, epochs=3)
    undisturbed = run(fit, 2)
    resumed = Checkpointed(fit, str(tmp_path))
    for workers, begun, step in ((3, None, 7), (1, 7, 14), (4, 14, 21)):
        assert resumed.stopped(workers) == step
        assert resumed.last.history().get("resumed_from") == begun
    result = resumed.run(2)
    assert resumed.last.history()["resumed_from"] == 21
    assert resumed.steps()[-1] == 3 * STEPS
    assert_same(undisturbed, result)
    assert resumed.said == []


def test_a_killed_gang_leaves_what_goes_on(tmp_path):
    fit = make_fit("transformer", shards=2, epochs=40)
    killed = Checkpointed(fit, str(tmp_path), interval=5, keep=2)
    for workers, step in ((2, 30), (1, 90)):
        assert killed.run(workers, kill_after=step) is None
        assert len(killed.folders()) == 2
    assert_same(run(fit, 1), killed.run(2))
    assert killed.last.history()["resumed_from"] >= 90


def test_checkpoints_change_nothing(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path), 1, "epochs")
    assert_same(run(fit, 2), checkpointed.run(2))
    assert checkpointed.steps() == [STEPS, 2 * STEPS]
    assert [path.name for path in checkpointed.folders()] == ["step-000000000020", "step-000000000010"]


def test_seconds_count_too(tmp_path):
    checkpointed = Checkpointed(make_fit("lstm", epochs=3000), str(tmp_path), 1, "seconds")
    assert checkpointed.run(1, kill_after=1) is None
    assert min(checkpointed.steps()) > 3


def test_a_finished_fit_goes_on_with_more_epochs(tmp_path):
    fit = make_fit("cnn")
    checkpointed = Checkpointed(fit, str(tmp_path))
    first = checkpointed.run(2)
    again = checkpointed.run(3)
    assert checkpointed.steps() == []
    assert_same(first, again)
    assert_same(run(replace(fit, more={**fit.more, "epochs": 3}), 1), checkpointed.run(1, epochs=3))
    with pytest.raises(UserError, match=r"step-000000000030 in .* has trained 3 epochs, and epochs is 1"):
        checkpointed.run(1, epochs=1)


def test_a_torn_newest_one_is_told_and_the_one_before_used(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path))
    checkpointed.stopped(workers=2)
    checkpointed.stopped(workers=2)
    newest, before = (path.name for path in checkpointed.folders()[:2])
    part = tmp_path / newest / "part-1-of-2"
    part.write_bytes(part.read_bytes()[:-1])
    result = checkpointed.run(1)
    assert f"the checkpoint {newest} in {tmp_path} is not used: part-1-of-2: it has" in checkpointed.said[0]
    assert checkpointed.last.begin.folder == before
    assert_same(run(fit, 2), result)


def test_other_settings_are_an_error_that_says_which(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path))
    checkpointed.run(1)
    with pytest.raises(UserError) as caught:
        checkpointed.run(1, batch_size=16, seed=8)
    assert str(caught.value) == (
        f"checkpointDir {tmp_path} holds a checkpoint of another fit (step-000000000020): batchSize is 16 and was 32; "
        "seed is 8 and was 7. Set these back to go on with it, or give another checkpointDir"
    )
    checkpointed.fit = make_fit("cnn")
    with pytest.raises(UserError, match="the model or its loss is another one"):
        checkpointed.run(1)
    checkpointed.fit = replace(fit, optimizer={"name": "adam", "groups": [{"lr": 0.5}]})
    with pytest.raises(UserError, match=r"optimizer.groups\[0\].lr is 0.5 and was 0.01"):
        checkpointed.run(1)


def test_a_schedule_of_another_length_is_an_error_that_says_so(tmp_path):
    fit = make_fit("mlp")
    for epochs in (2, 3):
        fit = replace(fit, optimizer={**fit.optimizer, "schedule": complete(as_schedule("cosine"), "steps", epochs)})
        checkpointed = Checkpointed(fit, str(tmp_path))
        if epochs == 2:
            checkpointed.run(1)
    with pytest.raises(UserError, match="epochs, the length of an lrSchedule without total, is 3 and was 2"):
        checkpointed.run(1, epochs=3)


def test_other_rows_are_an_error_that_says_where(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path))
    checkpointed.run(1)
    changed = fit.values["features"].copy()
    changed[17] += 1
    checkpointed.fit = replace(fit, values={**fit.values, "features": changed})
    with pytest.raises(RuntimeError, match=r"user: .*step-0+20 .*: shard 5 has other rows, though as many \(25\)"):
        checkpointed.run(2)
    checkpointed.fit = replace(fit, values={name: values[:-1] for name, values in fit.values.items()})
    with pytest.raises(RuntimeError, match=r"user: .*: shard 11 has 24 rows and had 25"):
        checkpointed.run(2)


def test_other_initial_weights_are_a_warning_and_not_used(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path))
    checkpointed.stopped(workers=1)
    other = {name: array + np.float32(1) for name, array in fit.compiled.weights.items()}
    checkpointed.fit = replace(fit, compiled=replace(fit.compiled, weights=other))
    assert_same(run(fit, 1), checkpointed.run(2))
    assert "though the model's weights are not those that it began with" in checkpointed.said[0]


def test_a_url_of_fsspec_is_as_good(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, f"dir::file://{tmp_path}/deep")
    checkpointed.run(3)
    newest = max(tmp_path.rglob("step-*"))
    (newest / "part-1-of-3").write_bytes(b"STK, torn as things may be where nothing can be renamed")
    assert_same(run(fit, 1), checkpointed.run(2))
    assert 0 < checkpointed.last.history()["resumed_from"] < 2 * STEPS
    assert "it is no part of a Stoker checkpoint" in checkpointed.said[0]
    assert (newest / "part-1-of-2").exists()


@pytest.fixture
def tiny_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "stoker-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_without_room_training_goes_on_and_says_so_each_time(tiny_disk: Path):
    fit = make_fit("mlp", epochs=3)
    checkpointed = Checkpointed(fit, str(tiny_disk), 1, "epochs")
    (tiny_disk / "ballast").write_bytes(bytes(50_000))
    assert_same(run(fit, 1), checkpointed.run(2))
    made = checkpointed.last.history()["checkpoints"]
    assert 1 <= len(made) <= 3  # one that comes due while the last is still under way waits, and may meet the next
    for record, said in zip(made, checkpointed.said, strict=True):
        told = re.match(r"the checkpoint after step (\d+) could not be made, training goes on: cannot write ", said)
        assert int(told[1]) >= 10
        assert "No space left on device" in said
        assert "error" in record
    (tiny_disk / "ballast").unlink()
    assert checkpointed.run(2, epochs=4) is not None
    assert "resumed_from" not in checkpointed.last.history()
    assert checkpointed.steps()[-1] == 40
