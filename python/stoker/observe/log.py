"""The log of fits, logging.getLogger("stoker"): at INFO who comes and goes, as WARNING what went wrong and what was
done about it. Records have the event itself as their attribute `event`, and the fit's name as `fit`."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from collections.abc import Iterator

from stoker import events
from stoker.events import Event, Metrics

INFO, WARNING = logging.INFO, logging.WARNING
LOGGER = logging.getLogger("stoker")

_TROUBLE = (events.Failed, events.JobAgain, events.RescueJob, events.Disturbed, events.Slower)
_COURSE = (events.Queued, events.Slots, events.Waiting, events.Admitted, events.Ingested, events.Started, events.Halted,
           events.ResultCame, events.Finished, events.Log)  # fmt: skip


class Unconfigured(logging.Handler):
    """Writes to stderr as long as nobody has said where logs go: logging's own last resort would not say whose."""

    def emit(self, record: logging.LogRecord) -> None:
        if self._others():
            return
        level = "" if record.levelno <= INFO else f"{record.levelname.lower()}: "
        try:
            print(f"stoker: {level}{self.format(record)}", file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)

    def _others(self) -> bool:
        logger: logging.Logger | None = LOGGER
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


LOGGER.addHandler(Unconfigured())


_numbers = itertools.count(1)


def name_of_fit(estimator: str) -> str:
    """Of the next fit of an estimator. One that is fit several times, by a CrossValidator at once, is one name still,
    so fits have numbers too."""
    return f"fit {next(_numbers)} of {estimator}"


class LogSink:
    """A fit's events as lines of the log, which begin with its name; records have that as their attribute `fit`."""

    def __init__(self, fit: str = "") -> None:
        self._fit, self._skips = fit, Skips()

    def event(self, event: Event) -> None:
        level = level_of(event)
        text = self._skips.words(event) if isinstance(event, Metrics) else str(event)
        if level and text and LOGGER.isEnabledFor(level):
            with beside_bars():
                LOGGER.log(level, "%s", f"{self._fit}: {text}" if self._fit else text,
                           extra={"event": event, "fit": self._fit})  # fmt: skip


def level_of(event: Event) -> int:
    """WARNING of what went wrong and what is done about it; INFO of what happens in any fit; 0 of the rest."""
    match event:
        case events.Log(warning=True) | Metrics():
            return WARNING
        case events.Failed(on_purpose=True) | events.Started(generation=1) | events.Started(lending=True):
            return INFO
        case events.Started():
            return WARNING
    return WARNING if isinstance(event, _TROUBLE) else INFO if isinstance(event, _COURSE) else logging.NOTSET


class Skips:
    """Steps that left the state as it was: told of when there are twice as many as before."""

    def __init__(self) -> None:
        self._of_epoch: dict[int, int] = {}
        self._said = 0

    def words(self, metrics: Metrics) -> str:
        if metrics.skipped_steps:
            self._of_epoch[metrics.epoch] = metrics.skipped_steps
        skipped = sum(self._of_epoch.values())
        if skipped < max(1, 2 * self._said):
            return ""
        self._said = skipped
        count = "1 step has" if skipped == 1 else f"{skipped} steps have"
        return (f"{count} been skipped by step {metrics.step}, epoch {metrics.epoch}: their loss, gradients or weights "
                "were not finite (onNaN='skip'), or none of their rows are left")  # fmt: skip


@contextlib.contextmanager
def beside_bars() -> Iterator[None]:
    """What is written meanwhile has lines of its own: tqdm's bars make room and come again."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(nolock=True):  # a handler may want tqdm's lock, in whatever thread
        yield
