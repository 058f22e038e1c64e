"""What a person sees while a fit runs: a bar in terminals and notebooks, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from stoker.events import Event, Ingested, Ingesting, Metrics, Queued, Slots, Waiting

MANY = 4  # times as many slots as workers are worth a word
LINE_EVERY = 5.0  # seconds between plain lines


class Progress(Protocol):
    def event(self, event: Event) -> None: ...

    def close(self) -> None: ...


def make_progress(verbose: int, epochs: int) -> Progress:
    if not verbose:
        return Silent()
    return Bar(epochs) if _interactive() else Lines(epochs)


def describe(metrics: Metrics) -> str:
    """Loss, accuracy and speed, as far as they are known."""
    parts = []
    if metrics.loss is not None:
        parts.append(f"loss {metrics.loss:.4f}")
    if metrics.accuracy is not None:
        parts.append(f"accuracy {metrics.accuracy:.4f}")
    if metrics.val_loss is not None:
        parts.append(f"val_loss {metrics.val_loss:.4f}")
    if metrics.rows_per_s:
        parts.append(f"{metrics.rows_per_s:,.0f} rows/s")
    return ", ".join(parts)


def said(event: Event) -> str | None:
    """A line for a person about an event that is one."""
    match event:
        case Queued() | Waiting():
            return str(event)
        case Slots() if (event.slots or 0) >= MANY * event.workers:
            return f"this session has {event.slots} slots, numWorkers is {event.workers}"
    return None


class Silent:
    def event(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


class Ingest:
    """Rows so far over all workers, from their separate counts."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}

    def total(self, event: Ingesting | Ingested) -> int:
        self._rows[event.rank] = event.rows
        return sum(self._rows.values())


class Bar:
    """A tqdm bar over the steps of all epochs. One thread."""

    def __init__(self, epochs: int, **tqdm_options: Any) -> None:
        from tqdm.auto import tqdm

        self._epochs = epochs
        self._ingest = Ingest()
        self._bar = tqdm(total=None, desc="starting", unit="step", dynamic_ncols=True, **tqdm_options)

    def event(self, event: Event) -> None:
        if isinstance(event, Ingesting | Ingested):
            self._bar.set_description_str(f"reading rows: {self._ingest.total(event):,}")
        elif isinstance(event, Metrics) and event.rank == 0:
            self._metrics(event)
        elif text := said(event):
            self._bar.write(f"stoker: {text}", file=self._bar.fp)

    def _metrics(self, event: Metrics) -> None:
        self._bar.total = event.steps_of_epoch * self._epochs
        self._bar.n = event.steps_of_epoch * (event.epoch - 1) + event.step_of_epoch
        self._bar.set_description_str(f"epoch {event.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(describe(event))

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line now and then, and one at the end of each epoch. One thread."""

    def __init__(self, epochs: int, out: Any = None) -> None:
        self._epochs = epochs
        self._out = out or sys.stderr
        self._ingest = Ingest()
        self._last = time.monotonic()

    def event(self, event: Event) -> None:
        if isinstance(event, Ingesting | Ingested):
            self._say(f"reading rows: {self._ingest.total(event):,}", always=False)
        elif isinstance(event, Metrics) and event.rank == 0:
            where = f"epoch {event.epoch}/{self._epochs}, step {event.step_of_epoch}/{event.steps_of_epoch}"
            self._say(f"{where}: {describe(event)}", always=event.step_of_epoch == event.steps_of_epoch)
        elif text := said(event):
            self._say(text, always=True)

    def _say(self, text: str, always: bool) -> None:
        if always or time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            print(f"stoker: {text}", file=self._out, flush=True)

    def close(self) -> None:
        pass


def _interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
