"""A process of its own in which Keras is on torch, for one call of a function; a process has one backend for life.

Request and answer are files of a folder of its own. The child ends with the thread that waits for it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stoker.errors import BugError, StokerError, WorldError

SECONDS = 1800.0
_MODEL, _REQUEST, _ANSWER, _LOG = "model.keras", "request", "answer", "log"
_MORE = "its loss, or a metric,"
_LAST = 2000  # letters of what it printed
_TORCH = {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}


def call(function: Callable[..., Any], module: Any, inputs: Iterable[Any], **more: Any) -> Any:
    """What a function of (module, inputs, ...), which is known by its name, gives for the model on torch, or raises."""
    from stoker.frontend.keras import parcel

    with tempfile.TemporaryDirectory(prefix="stoker-keras-") as folder:
        told = parcel.packed(module, inputs, Path(folder, _MODEL))
        given = parcel.carried({"inputs": inputs, **more}, _MORE, told.way)
        Path(folder, _REQUEST).write_bytes(pickle.dumps((function.__module__, function.__name__, told, given)))
        _run(folder, told.way)
        return _told(folder)


def _run(folder: str, way: str) -> None:
    command = [sys.executable, "-P", "-m", __name__, folder, str(os.getpid())]
    with Path(folder, _LOG).open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment())
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        raise WorldError(f"{way}that has not ended in {SECONDS:g} s") from None
    finally:
        process.kill()
        process.wait()
    if not Path(folder, _ANSWER).exists():
        raise WorldError(f"{way}that {_end(process.returncode)}{_last_words(folder)}")


def _environment() -> dict[str, str]:
    """As here, with the same modules."""
    return {**os.environ, **_TORCH, "PYTHONPATH": os.pathsep.join(filter(None, map(_absolute, sys.path)))}


def _absolute(entry: str) -> str:
    """Nothing where it lies in a working folder that is gone."""
    try:
        return str(Path(entry).absolute())
    except FileNotFoundError:
        return ""


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    often = ", as the system does where memory is short" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{often}"


def _last_words(folder: str) -> str:
    words = Path(folder, _LOG).read_text(errors="replace").strip()[-_LAST:]
    return f"; it said last:\n{words}" if words else ""


def _told(folder: str) -> Any:
    kind, value = pickle.loads(Path(folder, _ANSWER).read_bytes())
    if kind is not None:
        raise kind(value)
    return value


def main(folder: str, parent: str) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        sys.exit(f"{parent} did not start Python itself: sys.executable is a script around it, or {parent} is gone")
    answer = Path(folder, _ANSWER)
    written = answer.with_suffix(".part")
    written.write_bytes(pickle.dumps(_answer(folder)))
    written.rename(answer)


def _answer(folder: str) -> tuple[type[StokerError] | None, Any]:
    """(None, what the function gives), or the error that it raises and its text."""
    try:
        return None, _computed(folder)
    except StokerError as error:
        return type(error), str(error)
    except Exception as error:
        import traceback

        return BugError, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def _computed(folder: str) -> Any:
    from stoker.frontend.keras import parcel

    where, name, told, given = pickle.loads(Path(folder, _REQUEST).read_bytes())
    module = parcel.opened(told, Path(folder, _MODEL))
    return getattr(importlib.import_module(where), name)(module, **parcel.arrived(given, _MORE, told.way))


if __name__ == "__main__":
    main(*sys.argv[1:])
