"""Members of a gang die, freeze and lose frames, and the model comes out the same, by recovery and not by a restart."""

import re
import sys
import time
from pathlib import Path

import pytest

from faults.account import complaints, deaths_of
from faults.gang import HEARTBEAT, carry_out, undisturbed
from faults.models import SHARDS, local_fit
from faults.points import POINTS
from faults.schedule import Order, Schedule, draw
from faulty_gang import FaultyGang
from stoker.events import Failed, Halted, Log, Metrics, Started

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


@pytest.mark.parametrize("point", [p for p in POINTS if p.steps], ids=lambda point: point.name)
def test_a_death_inside_a_step_changes_nothing(point, fits, references):
    killer = judge(scheduled("points", 2, Order(1, "die", 70, point.name)), fits, references)
    assert (killer.hits[0].point, killer.hits[0].step) == (point.name, 70)
    assert deaths_of(killer) == 1


def test_frames_that_are_lost_or_spoilt_change_nothing(fits, references):
    spoilt = scheduled("points", 3, Order(1, "corrupt", 30, "peer"), Order(0, "corrupt", 3, "link"), tcp=True)
    assert {hit.point for hit in judge(spoilt, fits, references).hits} == {"peer", "link"}
    for order in Order(0, "drop", 50, "peer"), Order(0, "corrupt", 50, "payload"):
        killer = judge(scheduled("points", 2, order, model="mlp", tcp=True), fits, references)
        assert deaths_of(killer) == 0
        assert len(killer.told(Started)) == 2
    told = killer.told(Started)[1].text
    assert re.search(r"a frame of rank 0 .* is not what was sent, it was spoilt or forged: step \d+, kind", told)


def pause_of(killer):
    """Seconds without a word of progress around the one loss that there was."""
    stopped = max(at for at, event in killer.events if isinstance(event, Metrics) and at < killer.when(Failed)[0])
    again = next(at for at, event in killer.events if isinstance(event, Metrics) and at > killer.when(Started)[-1])
    return again - stopped


def test_one_that_freezes_for_good_costs_its_timeout_and_little_more(fits, references):
    killer = judge(scheduled("stopped", 3, Order(1, "stop", 60)), fits, references)
    assert pause_of(killer) < HEARTBEAT["heartbeat_timeout"] + SOON
    assert killer.told(Failed)[0].how == "silent"


@pytest.mark.parametrize(("point", "tcp"), [("forward", False), ("slice", False), ("exchange", True)])
def test_a_thread_that_hangs_in_a_living_process_costs_the_timeout_and_little_more(point, tcp, fits, references):
    killer = judge(scheduled("points", 3, Order(1, "hang", 60, point), tcp=tcp), fits, references)
    assert pause_of(killer) < HEARTBEAT["heartbeat_timeout"] + SOON
    (lost,) = killer.told(Failed)
    assert (lost.rank, lost.how) == (1, "stuck")
    assert lost.text == "its process lives, but its training thread got nothing done for 2 s"


def test_a_thread_that_hangs_while_rows_are_read_is_replaced(fits, references):
    killer = judge(scheduled("points", 2, Order(0, "hang", 2, "ingest"), model="mlp"), fits, references)
    assert [lost.how for lost in killer.told(Failed)] == ["stuck"]


def test_an_operator_that_takes_longer_than_the_timeout_is_given_twice_the_time(fits, references):
    """It costs two deaths, and not one for each attempt."""
    slow = [Order(1, "slow:3300", 60, "forward", attempt=attempt) for attempt in range(4)]
    killer = judge(scheduled("points", 2, *slow, model="mlp"), fits, references)
    assert [lost.how for lost in killer.told(Failed)] == ["stuck", "stuck"]
    assert len(killer.hits) == 3
    assert any(log.text.endswith("from now on silence counts after 4 s") for log in killer.told(Log))


def test_a_frozen_one_that_wakes_in_time_is_no_death(fits, references):
    killer = judge(scheduled("stopped", 2, Order(0, "freeze", 50, "slice", wake_after=0.5)), fits, references)
    assert len(killer.hits) == 1
    assert deaths_of(killer) == 0


def test_an_engine_that_starts_again_instead_of_recovering_is_found_out(fits, references):
    """The bits are the same then too: it is the account that has to tell."""
    schedule = scheduled("outside", 2, Order(1, "kill", 80), model="mlp")
    killer, came = carry_out(schedule, fits["mlp"], skip="recovery")
    wrong = complaints(killer, came, references["mlp", 3], SHARDS)
    assert deaths_of(killer) == 1
    assert any("micro-batches where" in complaint for complaint in wrong), wrong
    assert any(complaint.startswith("worker 0 went back from step") for complaint in wrong), wrong
    assert not any("bits" in complaint or "other" in complaint for complaint in wrong), wrong


def test_survivors_that_are_replaced_are_found_out(fits, references):
    ended = []

    def end_survivors(gang, event):
        if isinstance(event, Failed) and not ended:
            ended.extend(place for place in range(3) if place != event.rank)
            for place in ended:
                gang.kill(place)

    schedule = scheduled("outside", 3, Order(1, "kill", 80), model="mlp")
    killer, came = carry_out(schedule, fits["mlp"], then=end_survivors)
    wrong = complaints(killer, came, references["mlp", 2], SHARDS)
    assert sorted(complaint[:9] for complaint in wrong) == ["worker 0:", "worker 2:"], wrong
    assert all(complaint.endswith("was replaced, and nothing had struck it") for complaint in wrong), wrong


def test_a_death_by_an_error_of_the_machine_is_told(fits):
    """What the driver is told of a death: who, where and at which step."""
    killed = []

    def kill(gang, event):
        if isinstance(event, Metrics) and event.step >= 60 and not killed:
            killed.append(gang.newest(1).pid)
            gang.kill(1)

    outcome = FaultyGang(fits["mlp"], 2, on_event=kill, options=HEARTBEAT).run()
    (lost,) = outcome.told(Failed)
    assert (lost.rank, lost.pid, lost.how) == (1, killed[0], "vanished")
    assert lost.step >= 0
    assert "pid " + str(killed[0]) in outcome.told(Halted)[0].text


def test_rows_that_are_others_at_a_replay_end_the_fit(fits):
    fit = fits["mlp"]

    def change(gang, event):
        if isinstance(event, Metrics) and event.step == 65 and event.rank == 0:
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
