"""What a person sees while a fit runs: a bar in terminals and notebooks, plain lines elsewhere, or nothing."""

import sys
import time
from typing import Any, Protocol

MANY = 4  # times as many slots as workers are worth a word
LINE_EVERY = 5.0  # seconds between plain lines


class Progress(Protocol):
    def event(self, kind: str, data: dict[str, Any]) -> None:
        """Something that the coordinator told: see engine/gang/coordinator.h."""

    def close(self) -> None: ...


def make_progress(verbose: int, epochs: int) -> Progress:
    if not verbose:
        return Silent()
    return Bar(epochs) if _interactive() else Lines(epochs)


def describe(data: dict[str, Any]) -> str:
    """loss, accuracy and speed of a metrics event, as far as it has them."""
    parts = []
    if data.get("loss") is not None:
        parts.append(f"loss {data['loss']:.4f}")
    if data.get("accuracy") is not None:
        parts.append(f"accuracy {data['accuracy']:.4f}")
    if data.get("rows_per_s"):
        parts.append(f"{data['rows_per_s']:,.0f} rows/s")
    return ", ".join(parts)


def said(kind: str, data: dict[str, Any]) -> str | None:
    """A line for a person about an event that is one."""
    if kind == "waiting":
        slots = "" if data["slots"] is None else f" (slots of the session: {data['slots']})"
        return f"{data['come']} of {data['workers']} workers have come{slots}"
    if kind == "slots" and (data["slots"] or 0) >= MANY * data["workers"]:
        return f"this session has {data['slots']} slots, numWorkers is {data['workers']}"
    return None


class Silent:
    def event(self, kind: str, data: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class Ingest:
    """Rows so far over all workers, from their separate counts."""

    def __init__(self) -> None:
        self._rows: dict[Any, int] = {}

    def total(self, data: dict[str, Any]) -> int:
        self._rows[data.get("rank", data.get("partition"))] = int(data.get("rows", 0))
        return sum(self._rows.values())


class Bar:
    """A tqdm bar over the steps of all epochs. One thread."""

    def __init__(self, epochs: int, **tqdm_options: Any) -> None:
        from tqdm.auto import tqdm

        self._epochs = epochs
        self._ingest = Ingest()
        self._bar = tqdm(total=None, desc="starting", unit="step", dynamic_ncols=True, **tqdm_options)

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind in ("ingesting", "ingested"):
            self._bar.set_description_str(f"reading rows: {self._ingest.total(data):,}")
        elif kind == "metrics" and data.get("rank", 0) == 0:
            self._metrics(data)
        elif text := said(kind, data):
            self._bar.write(f"stoker: {text}", file=self._bar.fp)

    def _metrics(self, data: dict[str, Any]) -> None:
        steps = data["steps_of_epoch"]
        self._bar.total = steps * self._epochs
        self._bar.n = steps * (data["epoch"] - 1) + data["step_of_epoch"]
        self._bar.set_description_str(f"epoch {data['epoch']}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(describe(data))

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line now and then, and one at the end of each epoch. One thread."""

    def __init__(self, epochs: int, out: Any = None) -> None:
        self._epochs = epochs
        self._out = out or sys.stderr
        self._ingest = Ingest()
        self._last = time.monotonic()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind in ("ingesting", "ingested"):
            self._say(f"reading rows: {self._ingest.total(data):,}", always=False)
        elif kind == "metrics" and data.get("rank", 0) == 0:
            steps = data["steps_of_epoch"]
            where = f"epoch {data['epoch']}/{self._epochs}, step {data['step_of_epoch']}/{steps}"
            self._say(f"{where}: {describe(data)}", always=data["step_of_epoch"] == steps)
        elif text := said(kind, data):
            self._say(text, always=True)

    def _say(self, text: str, always: bool) -> None:
        if always or time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            print(f"stoker: {text}", file=self._out, flush=True)

    def close(self) -> None:
        pass


def _interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
