"""The errors that a fit can end with. The engine raises these classes too; kinds: engine/base/error.h."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StokerError(Exception):
    """Base of all errors that Stoker raises on the driver."""

    kind = "bug"


class UserError(StokerError, ValueError):
    """Wrong input; the text says what to change. Trying again without a change is of no use."""

    kind = "user"


class CompileError(UserError):
    """A model or loss that cannot become a program: the text names module, line and cause."""


class WorldError(StokerError, RuntimeError):
    """The network, a worker, the disk or memory failed. The fit may be tried again."""

    kind = "world"


class AbortedError(StokerError, RuntimeError):
    """Somebody ended the fit."""

    kind = "aborted"


class BugError(StokerError, RuntimeError):
    """The engine broke its own rules."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says that there is no such name."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def now_called(name: str, new: str) -> str:
    """What is said to who uses an old name."""
    return f"{name} is called {new} now"


_BY_KIND = {cls.kind: cls for cls in (UserError, WorldError, AbortedError, BugError)}


def from_engine(kind: str, text: str) -> StokerError:
    return _BY_KIND.get(kind, BugError)(text)


def kind_of(error: BaseException) -> str:
    """The kind of an exception in a task, of ours, of the engine's modules (which have it too) or of Python's."""
    kind = getattr(error, "kind", None)
    if kind in _BY_KIND:
        return kind
    return "world" if isinstance(error, (OSError, MemoryError)) else "bug"
