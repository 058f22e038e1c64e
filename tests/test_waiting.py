"""Waiting for a worker that gets on has no end; waiting that nobody will ever end has one, in words."""

import pytest

from faults import waits
from faults.gang import carry_out, undisturbed
from faults.models import SHARDS
from faults.schedule import Order, Schedule
from local_gang import run
from stoker.events import Failed, Started
from test_checkpoints import Checkpointed
from test_exact import assert_same, make_fit


@pytest.fixture(scope="module")
def fit():
    return waits.the_fit()


@pytest.fixture(scope="module")
def reference(fit):
    return undisturbed(fit, 1)


@pytest.mark.parametrize(
    ("point", "workers", "apart"),
    [("forward", 2, False), ("written", 3, False), ("exchange", 3, True), ("meet", 2, False), ("result", 2, True)],
    ids=str,
)
def test_a_worker_that_takes_longer_than_every_limit_disturbs_nobody(point, workers, apart, fit, reference):
    assert waits.case(point, workers, apart).complaints(fit, reference) == []


def test_a_newcomer_that_takes_long_to_get_the_weights_is_waited_for(fit, reference):
    orders = Order(1, "kill", 30), Order(1, f"busy:{waits.LONG}", 1, "fetch", attempt=1)
    killer, came = carry_out(Schedule(0, "waits", "cnn", 2, waits.STEPS, orders=orders), fit, **waits.PATIENCE)
    assert came["digest"] == reference["digest"]
    assert [event.rank for event in killer.told(Failed)] == [1]
    assert len(killer.told(Started)) == 2
    assert came["micro_batches"] <= reference["micro_batches"] + SHARDS


def test_ranks_without_a_part_of_the_checkpoint_wait_for_the_one_that_loads_it(tmp_path):
    fit = make_fit("mlp")
    checkpointed = Checkpointed(fit, str(tmp_path))
    checkpointed.stopped(1)
    slow = [{"STOKER_FAULTS": f"checkpoint-load@1=busy:{waits.LONG}"}, {}, {}]
    outcome = checkpointed.run(3, environments=slow, options=waits.PATIENCE)
    assert checkpointed.last.history()["resumed_from"] == 7
    assert outcome[1]["generations"] == 1
    assert_same(run(fit, 2), outcome)


def test_hosts_that_do_not_reach_each_other_end_the_fit_in_words(fit):
    lost = tuple(Order(0, "drop", at, "peer") for at in range(50, 90))
    words = (
        r"the workers cannot work together, in 3 attempts; the last failed with: all wait for each other, and nothing "
        r"has moved for 3 s: worker 0 \(.*\) waits for bytes from or to rank 1 \(.*\); worker 1 \(.*\) waits for bytes"
    )
    with pytest.raises(RuntimeError, match=words):
        carry_out(Schedule(0, "waits", "cnn", 2, waits.STEPS, tcp=True, orders=lost), fit, **waits.PATIENCE)


def test_a_worker_that_works_on_after_a_halt_is_not_taken_for_dead(fit, reference):
    """Another one dies while it is in the middle of long work."""
    orders = Order(0, f"busy:{waits.LONG}", 40, "forward"), Order(1, "die", 40, "partials")
    killer, came = carry_out(Schedule(0, "waits", "cnn", 2, waits.STEPS, orders=orders), fit, **waits.PATIENCE)
    assert came["digest"] == reference["digest"]
    assert [event.rank for event in killer.told(Failed)] == [1]
