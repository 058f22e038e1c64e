"""Callbacks: told of a fit on the driver, and what they want of it takes effect in one step for all, whoever dies."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import Callback, StokerClassifier, UserError
from stoker.callback import Control, as_callbacks
from stoker.events import Failed, Metrics, Restart, Started
from stoker.observe import callbacks
from stoker.observe.callbacks import Callbacks, Hooks
from test_checkpoints import Checkpointed
from test_exact import make_fit

RATE = 1e-2  # of make_fit's optimizer
MANY = 3000  # epochs, more than are ever made
STEPS = 10  # of an epoch


def long_fit(**more):
    return make_fit("mlp", shards=3, epochs=MANY, **more)


class Wisher:
    """Asks for half the rate when training has begun, and for the end once that was heard."""

    def __init__(self, kill=None):
        self.rate, self.at, self.kill, self.stops = None, None, kill, False

    def __call__(self, gang, event):
        if not isinstance(event, Metrics):
            return
        if self.rate is None:
            self.rate = RATE / 2
            gang.coordinator.wish(rate=self.rate)
        if event.told_rate and self.at is None:
            self.at = event.told_at
            if self.kill is not None:
                gang.kill(self.kill)
        if event.told_rate and event.step > self.at + 50 and not self.stops:
            self.stops = True
            gang.coordinator.wish(stop=True)


def wished(workers, fit=None, **more):
    wisher = Wisher(**more)
    outcome = FaultyGang(fit or long_fit(), workers, on_event=wisher, options=HEARTBEAT, timeout=60).run()
    return wisher, outcome


def told_before(steps, at):
    """The same fit, whose schedule and limit say from the first what the wishes said on the way."""
    optimizer = {"name": "adam", "groups": [{"lr": RATE}],
                 "schedule": {"name": "multi_step", "milestones": [at], "gamma": 0.5, "unit": "steps"}}  # fmt: skip
    return run(replace(long_fit(max_steps=steps), optimizer=optimizer), 1)


def steps_of(history):
    return sum(epoch["steps"] for epoch in history["epochs"])


@pytest.mark.parametrize(("workers", "kill"), [(1, None), (3, None), (2, 0), (2, 1)])
def test_wishes_make_the_bits_of_a_fit_that_was_told_so_from_the_first(workers, kill):
    wisher, outcome = wished(workers, kill=kill)
    assert len(outcome.told(Failed)) == (kill is not None)
    _, history = told_before(steps_of(outcome.history), wisher.at)
    assert history["digest"] == outcome.history["digest"]
    assert [e["loss"] for e in history["epochs"]] == [e["loss"] for e in outcome.history["epochs"]]
    assert "a callback asked for it" in outcome.history["stopped"]
    assert history["stopped"] == f"maxSteps: {steps_of(history)} steps were done"


@pytest.mark.parametrize("limit", [1, 17, 20, 23])
def test_a_limit_of_steps_is_a_cut_of_the_longer_fit(limit):
    """Its epochs are those of the longer one, the last cut short."""
    one, other = (run(make_fit("cnn", epochs=3, max_steps=limit), workers) for workers in (1, 3))
    assert one[1]["digest"] == other[1]["digest"]
    assert [epoch["steps"] for epoch in one[1]["epochs"]] == [STEPS] * (limit // STEPS) + [limit % STEPS] * (
        limit % STEPS > 0)  # fmt: skip
    whole = run(make_fit("cnn", epochs=3), 2)[1]["epochs"]
    assert [e["loss"] for e in one[1]["epochs"] if e["steps"] == STEPS] == [e["loss"] for e in whole[: limit // STEPS]]


def test_a_limit_beyond_the_epochs_says_nothing():
    _, history = run(make_fit("mlp", epochs=2, max_steps=1000), 2)
    assert steps_of(history) == 2 * STEPS and "stopped" not in history


def test_the_time_that_is_over_ends_the_fit_for_all_workers_at_once():
    _, history = run(long_fit(max_seconds=0.4), 3)
    assert history["stopped"] == "maxSeconds: 0.4 s of training were over"
    assert run(long_fit(max_steps=steps_of(history)), 1)[1]["digest"] == history["digest"]


def test_a_fit_that_its_limit_ended_goes_on_from_its_checkpoint(tmp_path):
    undisturbed = run(make_fit("mlp", epochs=3), 2)[1]
    resumed = Checkpointed(make_fit("mlp", epochs=3), str(tmp_path))
    resumed.run(2, max_steps=17)
    assert resumed.steps()[-1] == 17
    again = resumed.run(1, max_steps=17)[1]
    assert [epoch["steps"] for epoch in again["epochs"]] == [10, 7], "it is over already"
    assert resumed.run(3)[1]["digest"] == undisturbed["digest"]


def test_another_fit_goes_on_from_the_checkpoint_of_one_that_was_stopped(tmp_path):
    resumed = Checkpointed(long_fit(max_seconds=0.3), str(tmp_path))
    stopped = resumed.run(2)[1]
    more = resumed.run(1, max_seconds=0.0, max_steps=steps_of(stopped) + 25)[1]
    assert steps_of(more) == steps_of(stopped) + 25
    assert more["digest"] == run(long_fit(max_steps=steps_of(more)), 1)[1]["digest"]


def test_local_steps_hear_of_a_rate_between_rounds():
    strategy = {
        "every": 4,
        "inner_state": "average",
        "outer": {"name": "sgd", "groups": [{"lr": 1.0, "momentum": 0.0}]},
    }
    wisher, outcome = wished(2, long_fit(strategy=strategy, clip_norm=0.0))
    schedule = {"name": "multi_step", "milestones": [wisher.at], "gamma": 0.5, "unit": "steps"}
    optimizer = {"name": "adam", "groups": [{"lr": RATE}], "schedule": schedule}
    fit = replace(long_fit(strategy=strategy, clip_norm=0.0, max_steps=steps_of(outcome.history)), optimizer=optimizer)
    assert run(fit, 1)[1]["digest"] == outcome.history["digest"]


def metrics(epoch, step_of_epoch, ended=False, rank=0, **more):
    return Metrics(rank, (epoch - 1) * STEPS + step_of_epoch, epoch, step_of_epoch, STEPS, 9, loss=1.0, ended=ended,
                   **more)  # fmt: skip


class Heard(Callback):
    every = 4

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("on_"):
            return found
        return lambda *args: self.calls.append((name, *args[:1]) if name not in QUIET else (name,))


QUIET = ("on_train_begin", "on_train_end", "on_worker_lost", "on_restart")
STARTED = Started(1, 2, 0, 3, 100, 0, 0, 0, "")


def heard(*events, epochs=()):
    callback = Heard()
    hooks = Hooks([callback])
    for event in events:
        for one, hook, args in hooks.of(event):
            getattr(one, hook)(*args)
    for one, hook, args in hooks.at_end(epochs):
        getattr(one, hook)(*args)
    return callback.calls


def test_hooks_are_called_in_the_order_of_the_fit():
    events = [STARTED, metrics(1, 1), metrics(1, 1, rank=1, ended=True), metrics(1, 6), replace(STARTED, generation=2),
              Failed(0, "h", 1, 2, "vanished", "gone"), Restart("so", 2),
              metrics(1, STEPS, True, scores={"val_loss": 0.5})]  # fmt: skip
    assert heard(*events) == [("on_train_begin",), ("on_step_end", 6), ("on_worker_lost",), ("on_restart",),
                              ("on_step_end", 10), ("on_validation_end", 0),
                              ("on_epoch_end", 0), ("on_train_end",)]  # fmt: skip


def test_the_end_of_an_epoch_is_told_once_and_also_where_nobody_told_of_it():
    past = [{"epoch": epoch, "rows_per_s": 1.0, "seconds": 1.0, "val_loss": 0.5} for epoch in (1, 2, 3, 4)]
    calls = heard(metrics(1, STEPS, True), metrics(1, STEPS, True), metrics(2, 3), metrics(3, 1, past=past[:2]),
                  metrics(3, STEPS, True), metrics(4, 2), epochs=past)  # fmt: skip
    assert [call[1] for call in calls if call[0] == "on_epoch_end"] == [0, 1, 2, 3]
    assert [call[1] for call in calls if call[0] == "on_validation_end"] == [1, 3], "of the two that nobody told of"


def test_a_callback_that_raises_is_logged_with_its_traceback_and_others_go_on(caplog):
    class Bad(Callback):
        def on_epoch_end(self, epoch, logs):
            raise ZeroDivisionError("oh")

    callback = Heard()
    with caplog.at_level(logging.ERROR, "stoker"):
        sink = Callbacks([Bad(), callback], Control(), "fit 1 of x")
        sink.event(metrics(1, STEPS, True))
        sink.close({"epochs": []})
    assert "fit 1 of x: on_epoch_end of the callback Bad failed; training goes on" in caplog.text
    assert "ZeroDivisionError: oh" in caplog.text and ("on_epoch_end", 0) in callback.calls


def test_a_slow_callback_holds_nobody_up(caplog, monkeypatch):
    class Slow(Callback):
        def on_epoch_end(self, epoch, logs):
            time.sleep(5)

    monkeypatch.setattr(callbacks, "PATIENCE", 0.1)
    begun = time.monotonic()
    sink = Callbacks([Slow()], Control(), "fit 1 of x")
    sink.event(metrics(1, STEPS, True))
    sink.close({"epochs": []})
    assert time.monotonic() - begun < 4
    assert "a callback is still running 0.1 s after the model was there" in caplog.text


def test_what_is_wanted_before_there_is_anybody_to_hear_it_is_not_lost():
    control, sent = Control(), []
    control.wish(rate=0.5)
    control.wish(stop=True)
    control.reach(lambda stop, rate: sent.append((stop, rate)))
    control.wish(rate=0.25)
    assert sent == [(True, 0.5), (False, 0.25)]


def test_what_is_no_callback_is_refused():
    for value, words in (
        (Callback, "got the class Callback; give an instance, Callback()"),
        ([print], "got a builtin_function_or_method, expected instances of stoker.Callback"),
    ):
        with pytest.raises(UserError) as error:
            as_callbacks(value)
        assert words in str(error.value)
    with pytest.raises(UserError, match="belongs to no fit yet"):
        Callback().stop()
    with pytest.raises(UserError, match=r"set_learning_rate: got -1, expected a number above 0"):
        Callback().set_learning_rate(-1)


class Half(Callback):
    """Halves the rate after the first epoch, and ends the fit once it is heard."""

    every = 1

    def __init__(self):
        self.said = []

    def on_epoch_end(self, epoch, logs):
        self.said.append(sorted(logs))
        if epoch == 0:
            self.set_learning_rate(0.05)
        if epoch == 20:
            self.stop()

    def on_train_end(self, logs):
        self.said.append("end")


def test_a_fit_does_what_its_callback_wants(spark):
    df = table(spark, *blobs(300))
    torch.manual_seed(1)
    half = Half()
    usual = {"model": nn.Linear(4, 3), "learningRate": 0.1, "optimizer": "sgd", "numWorkers": 2, "verbose": 0,
             "batchSize": 30, "validationFraction": 0.2}  # fmt: skip
    model = StokerClassifier(**usual, epochs=5000, callbacks=[half]).fit(df)
    assert "a callback asked for it" in model.history.info["stopped"]
    told = model.history.info["told"]
    assert [one["learning_rate"] for one in told] == [0.05]
    assert half.said[0] == ["accuracy", "loss", "rows_per_s", "seconds", "val_accuracy", "val_loss"]
    assert half.said[-1] == "end"
    assert len(half.said) == len(model.history) + 1


def test_limits_that_cannot_be_are_refused(spark):
    for params, words in (
        ({"maxSteps": 0}, "maxSteps must be at least 1, not 0"),
        ({"maxSeconds": 0.0}, "maxSeconds must be more than 0, not 0; leave it out"),
    ):
        with pytest.raises(UserError) as error:
            StokerClassifier(model=nn.Linear(4, 3), **params).fit(spark.range(3))
        assert words in str(error.value)
