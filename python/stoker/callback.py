"""What a user's own code is told of a fit, and may want of it: on the driver, beside training and never in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from stoker.errors import UserError
from stoker.events import Failed, JobAgain
from stoker.plain import is_finite

Logs = Mapping[str, Any]


class Control:
    """What is wanted of one fit, handed on as soon as there is somebody to hand it to. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._send: Callable[[bool, float], None] | None = None
        self._stop, self._rate = False, 0.0

    def wish(self, stop: bool = False, rate: float = 0.0) -> None:
        with self._lock:
            self._stop, self._rate = self._stop or stop, rate or self._rate
            if self._send is not None:
                self._send(stop, rate)

    def reach(self, send: Callable[[bool, float], None]) -> None:
        """From now on `send` is called with each wish: whether to stop, and a learning rate or 0."""
        with self._lock:
            self._send = send
            if self._stop or self._rate:
                send(self._stop, self._rate)


current: ContextVar[Control] = ContextVar("current")
"""Of the fit whose hook is running."""


class Callback:
    """Is told how a fit goes: override what you want to hear of. Hooks are named as Keras names them; they run on the
    driver, in order, in a thread of their own, so a slow one delays the next hooks and never the training. What one
    raises is logged with its traceback, and the fit goes on.

    `logs` is a dict of numbers: "loss", "accuracy" (of classifiers), "rows_per_s", "seconds", and each score of the
    rows that are held out ("val_loss", ...), as in `model.history`. Epochs are counted from 0, as in Keras.

    `every`: steps between two calls of on_step_end, about: it is called when the fit tells of a later step, which is
    at most once a second.

    Example:
        >>> from stoker import Callback
        >>> class Enough(Callback):
        ...     def on_epoch_end(self, epoch, logs):
        ...         if logs["loss"] < 0.1:
        ...             self.stop()
        >>> Enough().every
        100
    """

    every = 100
    _control: Control | None = None  # of the newest fit

    def on_train_begin(self, logs: Logs) -> None:
        """The workers have met, and training begins. `logs` has "workers", "shards" and "rows"."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After each epoch, and after one that was cut short."""

    def on_step_end(self, step: int, logs: Logs) -> None:
        """Now and then, `step` steps of the whole fit being committed; `logs` is of the epoch under way."""

    def on_validation_end(self, epoch: int, logs: Logs) -> None:
        """Before on_epoch_end, of an epoch that was evaluated: `logs` has its scores alone."""

    def on_worker_lost(self, event: Failed) -> None:
        """A worker was lost; the fit goes on without it or waits for another."""

    def on_restart(self, event: JobAgain) -> None:
        """The Spark job is started again, from the newest committed step."""

    def on_train_end(self, logs: Logs) -> None:
        """The trained model is on the driver. `logs` is that of the last epoch. Not after a fit that failed."""

    def stop(self) -> None:
        """Asks the fit to end. It does so after one of the next steps, the same one on all workers; the epoch under way
        is cut short, and not evaluated."""
        self._of_fit().wish(stop=True)

    def set_learning_rate(self, rate: float) -> None:
        """Asks the fit to go on as if learningRate had been `rate`, from one of the next steps on, the same one on all
        workers. Parameter groups keep their proportion to the first, and a schedule goes on from the new rate.

        Raises:
            UserError: it is no number above 0.
        """
        if not is_finite(rate) or not rate > 0:
            raise UserError(f"set_learning_rate: got {rate!r}, expected a number above 0")
        self._of_fit().wish(rate=float(rate))

    def _of_fit(self) -> Control:
        control = current.get(None) or self._control
        if control is None:
            raise UserError("this callback belongs to no fit yet: give it as callbacks=[...], and call this in a hook")
        return control


def as_callbacks(value: Any) -> list[Callback]:
    """A list of instances. UserError says what is none."""
    told = [value] if isinstance(value, Callback) or not isinstance(value, Sequence) else list(value)
    for one in told:
        if isinstance(one, type) and issubclass(one, Callback):
            raise UserError(f"callbacks: got the class {one.__name__}; give an instance, {one.__name__}()")
        if not isinstance(one, Callback):
            raise UserError(f"callbacks: got a {type(one).__name__}, expected instances of stoker.Callback")
        if isinstance(one.every, bool) or not isinstance(one.every, int) or one.every < 1:
            raise UserError(f"callbacks: every of {type(one).__name__} is {one.every!r}, expected a whole number of "
                            "steps, at least 1")  # fmt: skip
    return told
