"""What frozen parts give is kept for each row, and made again by who takes rows over: the same bits through deaths."""

import json
from dataclasses import replace

import pytest

from faults.gang import HEARTBEAT, undisturbed
from faults.models import local_fit
from faulty_gang import FaultyGang
from stoker.events import Failed, Started
from stoker.fit.frozen import apart
from stoker.spark.columns import Source
from test_lent_rows import Kills, sizes

EPOCHS = 60


def frozen_fit(keep, **more):
    fit = local_fit("cnn", rows=600, batch=48, epochs=EPOCHS, freeze=["0", "1"])
    fit = replace(fit, more={**fit.more, **more})
    sources = [Source(name, (name,), name) for name in ("features", "label")]
    found = apart(json.loads(fit.spec()), sources, fit.compiled.weights, keep)
    assert found.values == 8 * 16
    return replace(fit, more={**fit.more, **found.spec})


@pytest.fixture(scope="module")
def reference():
    """Without keeping anything, and by one worker."""
    return undisturbed(frozen_fit(keep=False), 1)


def run(fit, workers, *places, at_once, **options):
    act = Kills(places, at_once)
    came = FaultyGang(fit, workers, on_event=act, options={**HEARTBEAT, **options}, restarts=at_once).run()
    assert not act.places and came.history["digest"] and came.history["frozen"]["kept"]
    return came


def test_who_comes_in_place_of_the_lost_makes_what_it_lacks(reference):
    came = run(frozen_fit(keep=True), 2, 1, at_once=True)
    assert came.history["digest"] == reference["digest"] and len(came.told(Started)) > 1


def test_a_survivor_makes_it_for_the_rows_that_it_has_borrowed(reference):
    came = run(frozen_fit(keep=True, lend_after=0.0), 2, 0, at_once=False)
    assert came.history["digest"] == reference["digest"] and sizes(came) == [2, 1]


def test_a_death_in_the_middle_of_the_pass_leaves_what_the_other_has_done(reference):
    """The other one waits in the middle of a shard until it is stopped there."""
    faults = {(0, 0): "frozen@4=slow:900", (1, 0): "frozen@7=die"}
    environment = lambda *who: {"STOKER_FAULTS": faults.get(who, "")}  # noqa: E731
    came = FaultyGang(frozen_fit(keep=True), 2, environment=environment, options=HEARTBEAT).run()
    assert came.history["digest"] == reference["digest"] and came.history["frozen"]["kept"]
    assert [event.step for event in came.told(Failed)] == [-1], "before training"


def test_without_keeping_a_survivor_goes_on_too(reference):
    act = Kills([1], at_once=False)
    came = FaultyGang(
        frozen_fit(keep=False, lend_after=0.0), 2, on_event=act, options=HEARTBEAT, restarts=False
    ).run()  # fmt: skip
    assert came.history["digest"] == reference["digest"] and came.history["frozen"] == {"kept": False, "why": ""}
