"""Members of a gang die, freeze and lose frames, and the model comes out the same, by recovery and not by a restart."""

import sys
import time
from pathlib import Path

import pytest

from faults.account import complaints, deaths_of
from faults.gang import HEARTBEAT, carry_out, undisturbed
from faults.models import SHARDS, local_fit
from faults.points import BY_NAME
from faults.schedule import Order, Schedule, draw
from faulty_gang import FaultyGang

EPOCHS, STEPS = 12, 12 * 13
SOON = 3.0  # seconds after heartbeatTimeout
SEEDS = [seed for seed in range(16) if not draw(seed, STEPS).checkpoints]


@pytest.fixture(scope="module")
def fits():
    return {model: local_fit(model, rows=600, batch=48, epochs=EPOCHS) for model in ("mlp", "cnn")}


@pytest.fixture(scope="module")
def references(fits):
    return {(model, workers): undisturbed(fits[model], workers) for model in fits for workers in (2, 3)}


def judge(schedule, fits, references, **options):
    """The account of a schedule that kept all promises."""
    killer, came = carry_out(schedule, fits[schedule.model], **options)
    other = 3 if schedule.workers == 2 else 2
    assert complaints(killer, came, references[schedule.model, other], SHARDS) == [], schedule
    return killer


def scheduled(kind, workers, *orders, model="cnn", tcp=False):
    return Schedule(0, kind, model, workers, STEPS, tcp, orders=orders)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seeded_schedule_changes_nothing(seed, fits, references):
    assert judge(draw(seed, STEPS), fits, references).hits


@pytest.mark.parametrize("point", [p for p in BY_NAME.values() if p.steps], ids=lambda point: point.name)
def test_a_death_inside_a_step_changes_nothing(point, fits, references):
    killer = judge(scheduled("points", 2, Order(1, "die", 70, point.name)), fits, references)
    assert (killer.hits[0].point, killer.hits[0].step) == (point.name, 70)
    assert deaths_of(killer) == 1


def test_frames_that_are_lost_or_spoilt_change_nothing(fits, references):
    spoilt = scheduled("points", 3, Order(1, "corrupt", 30, "peer"), Order(0, "corrupt", 3, "link"), tcp=True)
    assert {hit.point for hit in judge(spoilt, fits, references).hits} == {"peer", "link"}
    lost = scheduled("points", 2, Order(0, "drop", 50, "peer"), model="mlp", tcp=True)
    killer = judge(lost, fits, references)
    assert deaths_of(killer) == 0
    assert len(killer.told("started")) == 2


def test_one_that_freezes_for_good_costs_its_timeout_and_little_more(fits, references):
    killer = judge(scheduled("stopped", 3, Order(1, "stop", 60)), fits, references)
    stopped = max(when for when, kind, data in killer.events if kind == "metrics" and when < killer.when("failed")[0])
    again = next(when for when, kind, _ in killer.events if kind == "metrics" and when > killer.when("started")[-1])
    assert again - stopped < HEARTBEAT["heartbeat_timeout"] + SOON
    assert killer.told("failed")[0]["how"] == "silent"


def test_a_frozen_one_that_wakes_in_time_is_no_death(fits, references):
    killer = judge(scheduled("stopped", 2, Order(0, "freeze", 50, "slice", wake_after=0.5)), fits, references)
    assert len(killer.hits) == 1
    assert deaths_of(killer) == 0


def test_a_death_by_an_error_of_the_machine_is_told(fits):
    """What the driver is told of a death: who, where and at which step."""
    killed = []

    def kill(gang, kind, data):
        if kind == "metrics" and data["step"] >= 60 and not killed:
            killed.append(gang.newest(1).pid)
            gang.kill(1)

    outcome = FaultyGang(fits["mlp"], 2, on_event=kill, options=HEARTBEAT).run()
    (lost,) = outcome.told("failed")
    assert (lost["rank"], lost["pid"], lost["how"]) == (1, killed[0], "vanished")
    assert lost["step"] >= 0
    assert "pid " + str(killed[0]) in outcome.told("halted")[0]["text"]


def test_rows_that_are_others_at_a_replay_end_the_fit(fits):
    fit = fits["mlp"]

    def change(gang, kind, data):
        if kind == "metrics" and data["step"] == 65 and data["rank"] == 0:
            fit_values["features"][0] += 1
            gang.kill(0)

    fit_values = {name: values.copy() for name, values in fit.values.items()}
    changed = type(fit)(fit.compiled, fit.columns, fit_values, fit.optimizer, fit.shards, fit.more)
    with pytest.raises(RuntimeError, match=r"user: .*other rows than before.*changed.*checkpoint"):
        FaultyGang(changed, 2, on_event=change, options=HEARTBEAT).run()


def test_schedules_in_spark_keep_their_promises(tmp_path):
    """A first part of `make test-faults`, in a process of its own for its master."""
    import json
    import subprocess

    out = tmp_path / "faults.jsonl"
    command = [sys.executable, "-m", "faults", "--from", "4", "--to", "6", "--out", str(out)]
    start = time.monotonic()
    ran = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert [record["wrong"] for record in records] == [[]] * 2, f"{time.monotonic() - start} s"
    assert all(record["hits"] for record in records)
