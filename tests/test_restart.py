"""The job is started again while a worker lives on another host than the driver: what it has goes on."""

import functools

import pytest

from faults.gang import outcome, undisturbed
from faults.models import local_fit
from faults.restarts import EPOCHS, Restarts, Round, complaints, draw, train
from stoker.events import Failed, Started

WITH_FAULTS = [seed for seed in range(50) if draw(seed).faults][:2]


@pytest.fixture(scope="module")
def fits():
    return {model: local_fit(model, rows=600, batch=48, epochs=EPOCHS) for model in ("mlp", "cnn")}


@pytest.fixture(scope="module")
def reference(fits):
    return functools.cache(lambda model: undisturbed(fits[model], 2))


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_newest_commit_of_the_living_one_outlives_its_job(model, victim, fits, reference):
    act = Restarts([Round(60, (victim,), 1)])
    came = train(fits[model], 2, act)
    assert complaints(came, act.reached, reference(model)) == []
    assert len(act.reached) == 1


def test_hosts_that_are_a_step_apart_hand_in_the_newer_one(fits, reference):
    act = Restarts([Round(60, (1,), 2)])
    came = train(fits["mlp"], 3, act, force_tcp=True)
    assert complaints(came, act.reached, {**reference("mlp"), "micro_batches": 10**6}) == []  # a ledger a host


def test_two_restarts_in_a_row_lose_a_step_each(fits, reference):
    act = Restarts([Round(40, (1,), 2), Round(90, (0,), 1)])
    came = train(fits["cnn"], 2, act)
    assert complaints(came, act.reached, reference("cnn")) == []
    assert len(act.reached) == 2


@pytest.mark.parametrize("how", ["die", "freeze"])
def test_a_sender_that_dies_or_freezes_gives_the_next_one_its_turn(how, fits, reference):
    act = Restarts([Round(60, (0,), 2)])
    came = train(fits["mlp"], 3, act, faults={1: f"state-chunk@1={how}"})
    assert complaints(came, act.reached, reference("mlp")) == []
    assert [lost.rank for lost in came.told(Failed) if lost.how in ("vanished", "silent")] == [0, 1]


def test_where_the_only_sender_dies_the_fit_begins_again_to_the_same_bits(fits, reference):
    act = Restarts([Round(60, (0,), 1)])
    came = train(fits["mlp"], 2, act, faults={1: "state-chunk@1=die"})
    assert [event.commit for event in came.told(Started)] == [0, 0]
    assert outcome(came.history)["digest"] == reference("mlp")["digest"]


def test_of_a_gang_that_has_grown_the_late_worker_has_the_state_too():
    act = Restarts([])

    def grow(gang, event):
        if isinstance(event, Started) and event.generation == 1:
            gang.start(1)
        if isinstance(event, Started) and event.late and not act.reached:
            act.rounds = [Round(event.commit + 20, (0,), 1)]
        act(gang, event)

    fit = local_fit("mlp", rows=600, batch=48, epochs=80)
    came = train(fit, 1, grow, most=2)
    first, grown, again = [event.commit for event in came.told(Started)][:3]
    assert first == 0
    assert again - 1 >= act.reached[0] - 1 > grown
    assert outcome(came.history)["digest"] == undisturbed(fit, 2)["digest"]


@pytest.mark.parametrize("seed", WITH_FAULTS)
def test_a_drawn_schedule_of_restarts_changes_nothing(seed, fits, reference):
    schedule = draw(seed)
    act = Restarts(list(schedule.rounds))
    came = train(fits[schedule.model], schedule.workers, act, faults=schedule.faults)
    assert complaints(came, act.reached, reference(schedule.model)) == []
