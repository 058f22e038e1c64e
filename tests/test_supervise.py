"""What the driver does about Spark jobs, decided without Spark."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stoker.events import Admitted, Failed, GivenUp, Started, Waiting
from stoker.spark import launch
from stoker.spark.job import cause_of
from stoker.spark.supervise import GRACE, LATE, SETTLE, Rules, Situation, may_grow, next_move

LOST = Failed(1, "a", 7, 1, how="vanished", step=12, text="the connection closed")
STARTED = Started(1, 2, 0, 4, 100, 0, 0, 2, "all rows are in")
FAILED = RuntimeError("Job aborted due to stage failure\n  at somewhere")


class Unsettled:
    """Checkpoints of which a part never comes."""

    said = ""

    def settled(self):
        return bool(self.said)

    def give_up(self, why):
        self.said = why


def test_a_last_checkpoint_that_hangs_is_not_awaited_for_ever(monkeypatch):
    monkeypatch.setattr(launch, "LAST_CHECKPOINT", 0.2)
    course, job = Unsettled(), SimpleNamespace(ended=lambda: False)
    supervisor = SimpleNamespace(_gang=SimpleNamespace(checkpoints=course), _jobs=[job], _drain=time.sleep)
    begun = time.monotonic()
    launch.Supervisor._await_checkpoints(supervisor)
    assert 0.2 <= time.monotonic() - begun < 5
    assert course.said == "it was not there 0.2 s after the model was"


def situation(*events, workers=2, **more):
    s = Situation(workers=workers, **more)
    for at, event in enumerate(events):
        s.after(event, float(at))
    return s


def admitted(rank):
    return Admitted(rank, "a", 7, 1)


def lost(**more):
    return replace(LOST, **more)


def test_nothing_is_done_while_spark_starts_a_lost_worker_again():
    assert next_move(5.0, situation(admitted(0), admitted(1), lost()), Rules(worker_timeout=60)).kind == "wait"


def test_a_place_that_stays_empty_is_a_reason_to_start_again():
    s = situation(admitted(0), admitted(1), lost())
    assert next_move(61.9, s, Rules(worker_timeout=60)).kind == "wait"
    move = next_move(62.0, s, Rules(worker_timeout=60))
    assert move.kind == "restart"
    assert move.reason == ("worker 1 (host a, pid 7) was lost at step 12: the connection closed; "
                           "no other attempt took its place within 60 s (workerTimeout)")  # fmt: skip


def test_a_place_that_others_do_without_is_not_late_until_they_cannot():
    going_on = Started(2, 1, 0, 4, 100, 13, 12, 2, "others have the rows of those who are missing")
    three = situation(admitted(0), admitted(1), admitted(2), STARTED, LOST, going_on, workers=3)
    assert (three.missing, three.idle) == ({}, {1})
    assert next_move(10_000.0, three, Rules(worker_timeout=60)).kind == "wait"
    assert not may_grow(10_000.0, three, 4, None), "its slot is needed"
    three.after(replace(LOST, rank=0), 10_000.0)
    assert three.missing == {0: 10_000.0, 1: 10_000.0}
    three.after(admitted(0), 10_001.0)
    assert next_move(10_059.0, three, Rules(worker_timeout=60)).kind == "wait"
    assert next_move(10_060.0, three, Rules(worker_timeout=60)).kind == "restart"
    three.after(admitted(1), 10_061.0)
    assert not three.missing and not three.idle


def test_a_place_that_is_filled_again_is_not_late():
    s = situation(admitted(0), admitted(1), lost(), admitted(1))
    assert next_move(1000.0, s, Rules(worker_timeout=60)).kind == "wait"


def test_without_a_limit_places_may_stay_empty():
    assert next_move(1e9, situation(admitted(1), lost()), Rules(worker_timeout=0)).kind == "wait"


def test_a_job_that_failed_after_a_death_is_started_again():
    s = situation(admitted(1), lost(), ended_at=10.0, error=FAILED)
    assert next_move(10.0 + SETTLE, s, Rules()).kind == "wait"
    move = next_move(10.01 + SETTLE, s, Rules())
    assert (move.kind, move.delay) == ("restart", 0.0)
    assert "Job aborted due to stage failure" in move.reason
    assert "pid 7" in move.reason


def test_a_job_that_failed_without_a_death_is_not():
    s = situation(admitted(1), ended_at=10.0, error=FAILED)
    assert next_move(10.5, s, Rules()).kind == "wait"  # the cause may be on its way
    assert next_move(10.1 + GRACE, s, Rules()).kind == "give up"


@pytest.mark.parametrize("text", ["Job 3 cancelled by the user", "[OPERATION_CANCELED] canceled"])
def test_what_somebody_has_cancelled_stays_so(text):
    s = situation(admitted(1), lost(), ended_at=10.0, error=RuntimeError(text))
    assert next_move(11.0, s, Rules()).kind == "give up"


def test_restarts_wait_longer_each_time_and_come_to_an_end():
    s, delays = situation(), []
    for _ in range(3):
        s.after(lost(), now=0.0)
        s.ended_at, s.error = 0.0, FAILED
        move = next_move(1.0, s, Rules(max_restarts=3, backoff=0.5))
        assert move.kind == "restart"
        delays.append(move.delay)
        s.restarted(move.reason)
        s.begin_again(move.workers)
    assert delays == [0.0, 0.5, 1.0]
    assert len(s.causes) == 3
    assert next_move(2.0, s, Rules()).kind == "wait"
    s.after(lost(), now=0.0)
    s.ended_at, s.error = 0.0, FAILED
    assert next_move(1.0, s, Rules(max_restarts=3)).kind == "give up"


def test_the_next_job_leaves_out_places_that_stayed_empty_and_only_those():
    s = situation(admitted(0), admitted(1), admitted(2), lost(), workers=3)
    assert next_move(100.0, s, Rules()).workers == 2
    s.ended_at, s.error = 50.0, FAILED
    assert next_move(100.0, s, Rules()).workers == 3


def test_a_worker_that_the_driver_replaced_is_no_loss():
    s = situation(admitted(0), admitted(1), lost(how="replaced"))
    assert (s.losses, s.missing, s.living) == (0, {}, {0})


def test_a_job_that_ends_early_with_living_workers_is_waited_for():
    assert next_move(100.0, situation(admitted(0), ended_at=10.0), Rules()).kind == "wait"
    assert next_move(100.0, situation(ended_at=10.0), Rules()).kind == "give up"


def test_a_place_that_the_coordinator_gives_up_is_no_reason_to_start_again():
    rules = Rules(worker_timeout=60, go_on=True)
    s = situation(admitted(0), admitted(1), STARTED, lost())
    assert next_move(100.0, s, rules).kind == "wait"
    s.after(GivenUp(1, ""), 100.0)
    assert s.missing == {}
    alone = situation(admitted(0), admitted(1), STARTED, lost(), lost(rank=0))
    assert next_move(100.0, alone, rules).kind == "restart", "nobody is left to go on"


def test_a_gang_of_fewer_than_wished_grows_as_soon_as_it_trains():
    assert may_grow(5.0, situation(admitted(0), admitted(1), STARTED), 4, None)
    assert not may_grow(5.0, situation(admitted(0), admitted(1)), 4, None), "not before"
    assert not may_grow(5.0, situation(STARTED), 2, None), "nobody is wished for"
    assert not may_grow(5.0, situation(admitted(0), STARTED, lost()), 4, None), "others are missing"


def test_places_of_late_workers_are_offered_again_but_not_all_the_time():
    s = situation(STARTED, grew_at=5.0)
    assert not may_grow(5.0 + LATE, s, 4, (False, None)), "they are on offer still"
    assert not may_grow(5.0 + LATE - 0.1, s, 4, (True, None))
    assert may_grow(5.0 + LATE, s, 4, (True, None))
    assert not may_grow(5.0 + LATE, s, 4, (True, FAILED))


def test_nobody_waits_for_a_late_worker_that_is_lost():
    s = situation(admitted(0), admitted(1), STARTED, admitted(2), lost(rank=2))
    assert (s.missing, s.losses, s.living) == ({}, 0, {0, 1})
    assert next_move(1000.0, s, Rules(worker_timeout=60)).kind == "wait"


def test_who_has_come_is_told_every_half_minute_until_all_have(monkeypatch):
    now, told = 0.0, []
    monkeypatch.setattr(launch.time, "monotonic", lambda: now)
    awaited = Situation(workers=3, living={0})
    watch = SimpleNamespace(_situation=awaited, _said_at=0.0, _slots=4, _observe=told.append)
    for now in (29.0, 30.0, 31.0, 61.0):  # noqa: B007
        launch.Supervisor._say_who_has_come(watch)
    awaited.living = {0, 1, 2}
    now = 100.0
    launch.Supervisor._say_who_has_come(watch)
    assert told == [Waiting(1, 3, 4)] * 2


MISSING = """[PYTHON_EXCEPTION] An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/opt/spark/python/pyspark/worker.py", line 1, in main
    command = serializer.load()
ModuleNotFoundError: No module named 'stoker.spark'

\tat org.apache.spark.api.python.BasePythonRunner
"""


def test_a_package_that_executors_lack_is_named_and_where_to_install_it():
    told = "ModuleNotFoundError: No module named 'stoker.spark'. The Python of the executors has no package 'stoker': "
    assert cause_of(RuntimeError(MISSING)).startswith(told + "install it there, for the Python that spark.pyspark.")


def test_of_a_traceback_the_exception_is_told_and_of_other_texts_the_beginning():
    chained = (
        MISSING.replace("ModuleNotFoundError: No module named 'stoker.spark'", "ValueError: 3\n\nDuring") + MISSING
    )
    assert cause_of(RuntimeError(chained.replace("ModuleNotFoundError", "OSError"))).startswith("OSError: No module")
    assert cause_of(FAILED) == "Job aborted due to stage failure at somewhere"
    assert cause_of(RuntimeError("x" * 1000)) == "x" * 400 and cause_of(RuntimeError()) == "RuntimeError"
