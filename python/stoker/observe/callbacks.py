"""The users' callbacks as a sink of events: a thread of their own, so that nobody waits for them while a fit runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.callback import Callback, Control, current
from stoker.events import Event, Failed, JobAgain, Metrics, Started
from stoker.observe.log import LOGGER, beside_bars

PATIENCE = 60.0  # seconds for the hooks that are left when the fit has ended

Call = tuple[Callback, str, tuple[Any, ...]]


class Hooks:
    """Which hooks an event calls, and with what. Remembers what was told; one thread."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)
        self._begun = False
        self._ended = 0  # epochs whose end was told
        self._evaluated = 0  # steps before the last evaluation that was told, where an epoch has several
        self._stepped = [0] * len(self._callbacks)

    def of(self, event: Event) -> Iterator[Call]:
        match event:
            case Started() if not self._begun:
                self._begun = True
                told = {"workers": event.workers, "shards": event.shards, "rows": event.rows}
                yield from self._all("on_train_begin", told)
            case Failed(on_purpose=False):
                yield from self._all("on_worker_lost", event)
            case JobAgain():
                yield from self._all("on_restart", event)
            case Metrics() if event.rank == 0:
                yield from self._metrics(event)

    def at_end(self, epochs: Sequence[Mapping[str, Any]],
               evaluations: Sequence[Mapping[str, Any]] = ()) -> Iterator[Call]:  # fmt: skip
        """`epochs` and `evaluations`: of the history."""
        yield from self._past(epochs, evaluations)
        yield from self._validations(evaluations)
        yield from self._all("on_train_end", logs_of(epochs[-1]) if epochs else {})

    def _all(self, hook: str, *args: Any) -> Iterator[Call]:
        for callback in self._callbacks:
            yield callback, hook, args

    def _metrics(self, event: Metrics) -> Iterator[Call]:
        now = vars(event) | event.scores
        yield from self._past(event.past, event.evaluations)
        for i, callback in enumerate(self._callbacks):
            if event.step - self._stepped[i] >= callback.every:
                self._stepped[i] = event.step
                yield callback, "on_step_end", (event.step, logs_of(now))
        yield from self._validations(event.evaluations)
        if event.ended:
            yield from self._past([now])

    def _validations(self, evaluations: Sequence[Mapping[str, Any]]) -> Iterator[Call]:
        for one in evaluations:
            if one["step"] > self._evaluated:
                self._evaluated = one["step"]
                yield from self._all("on_validation_end", one["epoch"] - 1, scores_of(one))

    def _past(self, epochs: Sequence[Mapping[str, Any]],
              evaluations: Sequence[Mapping[str, Any]] = ()) -> Iterator[Call]:  # fmt: skip
        """Of epochs that have ended: who told of an end may have died before it was heard."""
        for epoch in epochs:
            if epoch["epoch"] <= self._ended:
                continue
            self._ended = epoch["epoch"]
            yield from self._validations([one for one in evaluations if one["epoch"] <= self._ended])
            if self._evaluated == 0 and (scores := scores_of(epoch)):
                yield from self._all("on_validation_end", epoch["epoch"] - 1, scores)
            yield from self._all("on_epoch_end", epoch["epoch"] - 1, logs_of(epoch))


class Callbacks:
    """Hands each event to the hooks, in order; never waits, and never raises what they raise."""

    def __init__(self, callbacks: Sequence[Callback], control: Control, fit: str) -> None:
        for callback in callbacks:
            callback._control = control
        self._hooks, self._control, self._fit = Hooks(callbacks), control, fit
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="stoker-callbacks", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        for call in self._hooks.of(event):
            self._calls.put(call)

    def close(self, history: Mapping[str, Any] | None = None) -> None:
        """`history`: of a fit that has a model. Waits for the hooks that are left then, for a while."""
        ended = history is not None
        for call in self._hooks.at_end(history["epochs"], history.get("evaluations", ())) if history else ():
            self._calls.put(call)
        self._calls.put(None)
        self._thread.join(PATIENCE if ended else 0)
        if ended and self._thread.is_alive():
            LOGGER.warning("%s: a callback is still running %g s after the model was there; nobody waits for it any "
                           "more", self._fit, PATIENCE)  # fmt: skip

    def _run(self) -> None:
        current.set(self._control)  # of this thread alone
        while (call := self._calls.get()) is not None:
            callback, hook, args = call
            try:
                getattr(callback, hook)(*args)
            except BaseException:
                with beside_bars():
                    LOGGER.exception("%s: %s of the callback %s failed; training goes on", self._fit, hook,
                                     type(callback).__name__)  # fmt: skip


def logs_of(epoch: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: epoch[name] for name in ("loss", "accuracy") if epoch.get(name) is not None}
    return {**known, "rows_per_s": epoch["rows_per_s"], "seconds": epoch["seconds"], **scores_of(epoch)}


def scores_of(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in epoch.items() if name.startswith("val_") and value is not None}
