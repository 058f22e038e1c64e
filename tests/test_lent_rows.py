"""Workers of one host have each other's rows, so the others go on at once when one is lost, to the same bits."""

from dataclasses import replace

import pytest

from faults.gang import HEARTBEAT, undisturbed
from faults.models import local_fit
from faulty_gang import FaultyGang
from stoker.events import Failed, Inexact, Metrics, Started
from test_store import on_disk
from test_validation import validated

EPOCHS = 60


@pytest.fixture(scope="module")
def fit():
    fit = local_fit("cnn", rows=600, batch=48, epochs=EPOCHS)
    return replace(fit, more={**fit.more, "lend_after": 0.0})


@pytest.fixture(scope="module")
def reference(fit):
    return undisturbed(fit, 2)


class Kills:
    """The places, one after the other, each when the others have what it lends (or `at_once`)."""

    def __init__(self, places, at_once):
        self.places, self.at_once = list(places), at_once
        self.lent, self.workers, self.killed = False, 0, -1

    def __call__(self, gang, event):
        match event:
            case Started():
                self.lent = event.lending or (self.lent and event.workers < self.workers)
                self.workers = event.workers
            case Metrics() if self.places and (self.lent or self.at_once) and event.step > max(self.killed + 5, 20):
                self.killed = event.step
                gang.kill(self.places.pop(0))


def run(fit, workers, *places, restarts=False, at_once=False, **options):
    act = Kills(places, at_once)
    came = FaultyGang(fit, workers, on_event=act, options={**HEARTBEAT, **options}, restarts=restarts).run()
    assert not act.places
    return came


def sizes(came):
    return [event.workers for event in came.told(Started) if not event.lending]


def test_a_survivor_goes_on_with_the_shards_of_the_lost(fit, reference):
    came = run(fit, 2, 1)
    assert came.history["digest"] == reference["digest"]
    assert sizes(came) == [2, 1]
    assert came.told(Started)[-1].text == "others have the rows of those who are missing"


def test_the_first_worker_is_no_more_than_the_others(fit, reference):
    assert run(fit, 3, 0).history["digest"] == reference["digest"]


def test_one_is_enough_for_the_rows_of_all(fit, reference):
    came = run(fit, 4, 3, 0, 2)
    assert came.history["digest"] == reference["digest"]
    assert sizes(came) == [4, 3, 2, 1]


def test_who_comes_in_place_of_the_lost_is_taken_in_and_lends_its_rows_too(fit, reference):
    came = run(fit, 2, 1, 0, restarts=True)
    assert came.history["digest"] == reference["digest"]
    assert sizes(came)[:3] == [2, 1, 2]
    assert len(came.told(Failed)) == 2


def test_who_comes_with_other_rows_to_a_place_that_is_done_without_ends_nothing(fit, reference):
    values = {name: rows.copy() for name, rows in fit.values.items()}
    kills = Kills([1], at_once=False)

    def change(gang, event):
        if isinstance(event, Failed) and event.how == "vanished":
            values["features"] += 1
        kills(gang, event)

    came = FaultyGang(replace(fit, values=values), 2, on_event=change, options=HEARTBEAT).run()
    assert came.history["digest"] == reference["digest"] and not came.told(Inexact)
    killed, refused = came.told(Failed)
    assert (killed.how, refused.how) == ("vanished", "dismissed")
    assert "other rows than before" in refused.text
    assert sizes(came) == [2, 1]


def test_rows_on_disk_are_waited_for(fit, reference):
    spilled = replace(fit, more={**fit.more, **on_disk(2000)})
    came = run(spilled, 2, 1, restarts=True, at_once=True)
    assert came.history["digest"] == reference["digest"]
    assert sizes(came) == [2, 2]


def test_rows_of_other_hosts_are_waited_for(fit, reference):
    came = run(fit, 2, 1, restarts=True, at_once=True, force_tcp=True)
    assert came.history["digest"] == reference["digest"]
    assert sizes(came) == [2, 2]


def test_a_place_that_is_done_without_may_stay_empty(fit, reference):
    came = run(fit, 2, 1, worker_timeout=0.1)
    assert came.history["digest"] == reference["digest"]


def test_rows_that_are_held_out_are_lent_too():
    fit = validated("cnn", epochs=EPOCHS, lend_after=0.0)
    came, still = run(fit, 2, 1), undisturbed(fit, 2)
    assert came.history["digest"] == still["digest"]
    scores = [epoch["val_loss"] for epoch in came.history["epochs"]]
    assert len(scores) == EPOCHS and sizes(came) == [2, 1]
