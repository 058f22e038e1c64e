"""What the log of a fit says, and that people can read it."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
from tqdm.auto import tqdm

from stoker import events
from stoker.events import Metrics
from stoker.observe.log import LOGGER, LogSink, Unconfigured, name_of_fit

LOST = events.Failed(1, "a", 7, 3, how="vanished", text="the connection closed", step=12)
FORMED = events.Started(1, 2, 0, 4, 100, 0, 0, 2, "all rows are in")
WORKER = "worker 1 (host a, pid 7)"
LINES = [
    (events.Slots(2, 6), "INFO", "Spark is asked for 2 workers (slots of the session: 6)"),
    (events.Queued(2, 4, 3), "INFO", "waiting for slots: other fits hold 3 of the session's 4"),
    (events.Waiting(1, 2, None), "INFO", "1 of 2 workers have come"),
    (events.Admitted(1, "a", 7, 3, 1), "INFO", f"{WORKER} has come, in attempt 2 of its task"),
    (FORMED, "INFO", "training begins with 2 workers: 100 rows in 4 shards"),
    (LOST, "WARNING", f"{WORKER} was lost at step 12: the connection closed"),
    (replace(LOST, how="refused", step=-1), "WARNING", f"{WORKER} was refused before the first step: the connection "
                                                       "closed"),
    (replace(LOST, how="dismissed"), "INFO", f"{WORKER} was sent away at step 12: the connection closed"),
    (replace(FORMED, generation=2, commit=13, step=12, text="every place is filled again"), "WARNING",
     "training goes on after step 12 with 2 workers: every place is filled again"),
    (replace(FORMED, generation=2, workers=3, late=1, commit=13, step=12, text="a late worker is taken in"), "WARNING",
     "training goes on after step 12 with 3 workers: a late worker is taken in"),
    (events.RescueJob(1, str(LOST)), "WARNING", f"{LOST}; Spark starts nobody there: a rescue begins, a Spark job for "
                                                "its rows alone"),
    (events.Restart("it failed", 2), "WARNING", "the Spark job is started again with 2 workers: it failed"),
    (events.Shrink("no more come", 1), "WARNING", "the Spark job is started again with 1 worker: no more come"),
    (events.GivenUp(1, "its rows"), "WARNING", "the model will not be that of an undisturbed fit: its rows"),
    (events.Log("silence counts after 4 s", warning=True), "WARNING", "silence counts after 4 s"),
    (events.Log("spare"), "INFO", "spare"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "level", "text"), LINES, ids=[text[:30] for _, _, text in LINES])
def test_who_was_lost_and_what_is_done_is_said_in_words(event, level, text, caplog):
    caplog.set_level("INFO", "stoker")
    LogSink().event(event)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("stoker", level, text)
    assert record.event is event


def test_lines_of_several_fits_are_told_apart(caplog):
    caplog.set_level("INFO", "stoker")
    sinks = [LogSink(name_of_fit("StokerClassifier_a")) for _ in range(2)]
    for sink in sinks:
        sink.event(LOST)
    first, second = caplog.records
    assert first.getMessage() == f"{first.fit}: {LOST}" and second.getMessage() == f"{second.fit}: {LOST}"
    assert first.fit != second.fit and first.fit.endswith(" of StokerClassifier_a")


def metrics(step, skipped, rank=0):
    return Metrics(rank, step, 1 + step // 10, step % 10, 10, 5, skipped_steps=skipped)


def test_skipped_steps_are_told_as_they_double_and_not_each_second(caplog):
    sink = LogSink()
    for step, skipped in ((1, 0), (2, 1), (3, 1), (4, 2), (5, 3), (9, 4), (11, 1), (14, 4), (18, 4)):
        sink.event(metrics(step, skipped))
        sink.event(metrics(step, skipped, rank=1))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "1 step has been skipped by step 2, epoch 1",
        "2 steps have been skipped by step 4, epoch 1",
        "4 steps have been skipped by step 9, epoch 1",
        "8 steps have been skipped by step 14, epoch 2",
    ]
    assert "onNaN='skip'" in caplog.text


@contextmanager
def handled_by(*handlers):
    """As in a session in which nobody else, pytest neither, has said where logs go."""
    with mock.patch.multiple(LOGGER, propagate=False, handlers=[Unconfigured(), *handlers], level=logging.WARNING):
        yield


def test_where_nothing_is_configured_warnings_are_seen_and_say_whose_they_are(capsys):
    with handled_by():
        LogSink().event(LOST)
        LogSink().event(FORMED)
    assert capsys.readouterr().err == f"stoker: warning: {LOST}\n"


def test_one_line_shows_the_rest_too(capsys):
    with handled_by():
        LOGGER.setLevel("INFO")
        LogSink().event(FORMED)
    LOGGER.setLevel("NOTSET")
    assert capsys.readouterr().err == f"stoker: {FORMED}\n"


def test_a_log_that_is_configured_gets_the_lines_and_stderr_does_not(capsys):
    with handled_by(logging.StreamHandler(out := io.StringIO())):
        LogSink().event(LOST)
    assert out.getvalue() == f"{LOST}\n"
    assert capsys.readouterr().err == ""


def test_a_line_does_not_tear_the_bar(monkeypatch):
    """It is written where the bar was, which comes again below it."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with handled_by(), tqdm(total=10, desc="epoch 1/2", ascii=True, ncols=60):
        LogSink().event(LOST)
    drawn, _, after = terminal.getvalue().partition("stoker: warning")
    assert drawn.startswith("\repoch 1/2:") and drawn.endswith(" " * 50 + "\r")
    assert after.startswith(f": {LOST}\n\repoch 1/2:")
