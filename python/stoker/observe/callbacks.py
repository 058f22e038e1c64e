"""The users' callbacks as a sink of events: a thread of their own, so that nobody waits for them while a fit runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
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
        self._stepped = [0] * len(self._callbacks)
        self._newest: Metrics | None = None

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

    def at_end(self) -> Iterator[Call]:
        if self._newest is not None and self._newest.epoch > self._ended:
            yield from self._epoch_end(self._newest)
        yield from self._all("on_train_end", {} if self._newest is None else logs_of(self._newest))

    def _all(self, hook: str, *args: Any) -> Iterator[Call]:
        for callback in self._callbacks:
            yield callback, hook, args

    def _metrics(self, event: Metrics) -> Iterator[Call]:
        # who told of an epoch's end may have died before it was heard
        if self._newest is not None and self._ended < self._newest.epoch < event.epoch:
            yield from self._epoch_end(self._newest)
        self._newest = event
        for i, callback in enumerate(self._callbacks):
            if event.step - self._stepped[i] >= callback.every:
                self._stepped[i] = event.step
                yield callback, "on_step_end", (event.step, logs_of(event))
        if event.ended and event.epoch > self._ended:
            yield from self._epoch_end(event)

    def _epoch_end(self, event: Metrics) -> Iterator[Call]:
        self._ended = event.epoch
        if event.scores:
            yield from self._all("on_validation_end", event.epoch - 1, dict(event.scores))
        yield from self._all("on_epoch_end", event.epoch - 1, logs_of(event))


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

    def close(self, ended: bool) -> None:
        """`ended`: with a model. Waits for the hooks that are left, for a while."""
        for call in self._hooks.at_end() if ended else ():
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


def logs_of(metrics: Metrics) -> dict[str, Any]:
    told = {"loss": metrics.loss, "accuracy": metrics.accuracy}
    known = {name: value for name, value in told.items() if value is not None}
    return {**known, "rows_per_s": metrics.rows_per_s, "seconds": metrics.seconds, **metrics.scores}
