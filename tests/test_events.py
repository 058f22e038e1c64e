"""The coordinator's words become events in one place."""

from __future__ import annotations

import json

import pytest

import faulty_gang
from faults.gang import HEARTBEAT
from faults.models import local_fit
from faulty_gang import FaultyGang
from stoker import BugError
from stoker.events import (
    Failed,
    GivenUp,
    Metrics,
    RescueJob,
    Restart,
    RowsTold,
    Started,
    class_of,
    keys_of,
    parse,
)
from stoker.observe.story import Story

LOST = {"rank": 1, "host": "a", "pid": 7, "attempt": 3, "kind": "world", "how": "vanished", "text": "gone", "step": 12}


def test_particulars_keep_their_names_and_what_is_not_known_is_left_out():
    lost = parse("failed", json.dumps({**LOST, "of_another_version": 1}))
    assert isinstance(lost, Failed)
    assert (lost.rank, lost.host, lost.how, lost.step) == (1, "a", "vanished", 12)
    assert str(lost) == "worker 1 (host a, pid 7) was lost at step 12: gone"


@pytest.mark.parametrize(("name", "text"), [("failed", '{"rank": 1}'), ("flown", "{}")])
def test_words_that_nobody_knows_are_a_bug(name, text):
    with pytest.raises(BugError, match=f"told .*'{name}'"):
        parse(name, text)


def test_a_loss_that_is_no_number_is_none_and_rows_are_no_metrics():
    where = {"rank": 0, "step": 1, "epoch": 1, "step_of_epoch": 1, "steps_of_epoch": 2, "epochs": 3}
    assert parse("metrics", json.dumps({**where, "loss": None})) == Metrics(**where, loss=None)
    assert parse("metrics", '{"rank": 2, "disk": {"rows": 5}}') == RowsTold(2, disk={"rows": 5})


def test_a_worker_that_does_not_keep_what_frozen_parts_give_says_why():
    told, story = parse("metrics", '{"rank": 2, "not_kept": "no room"}'), Story([])
    assert str(told) == "worker 2 runs frozen parts in each step: no room"
    for event in [RowsTold(2, {"null": 1}), told, told]:
        story.event(event)
    assert story.not_kept == {2: "no room"} and story.info()["skipped"] == {"null": 1}


def test_whatever_an_engine_tells_of_a_fit_with_a_death_has_a_field(monkeypatch):
    unknown, kinds = set(), set()

    def strictly(name, text):
        cls, told = class_of(name, json.loads(text)), json.loads(text)
        kinds.add(name)
        unknown.update((name, key) for key in set(told) - keys_of(cls))
        return parse(name, text)

    def kill(gang, event):
        if isinstance(event, Metrics) and event.step >= 20 and len(gang.attempts[1]) == 1:
            gang.kill(1)

    monkeypatch.setattr(faulty_gang, "parse", strictly)
    fit = local_fit("mlp", rows=600, batch=48, epochs=60)
    FaultyGang(fit, 2, on_event=kill, options=HEARTBEAT).run()
    assert unknown == set()
    assert {"admitted", "ingested", "started", "metrics", "failed", "halted", "result"} <= kinds


def test_the_history_is_told_of_deaths_and_not_of_who_was_sent_away():
    story = Story(inexact := ["as it was resumed"])
    grown = Started(2, 3, 1, 4, 100, 42, 41, 2, "a late worker is taken in")
    away = {**LOST, "how": "dismissed"}
    happened = [Failed(**LOST), Failed(**away), RescueJob(1), Restart("lost", 2), grown, GivenUp(1, "rows are gone")]
    for event in [*happened, RowsTold(0, {"null": 1}), RowsTold(1, {"null": 2, "nan": 1}), RowsTold(0, {"null": 3})]:
        story.event(event)
    assert story.info() == {
        "deaths": [LOST],
        "rescues": 1,
        "restarts": ["lost"],
        "growth": [{"workers": 3, "step": 41}],
        "told": [],
        "inexact": ["as it was resumed", "rows are gone"],
        "skipped": {"nan": 1, "null": 5},
        "disk": {},
    }
    assert inexact[1] == "rows are gone"
