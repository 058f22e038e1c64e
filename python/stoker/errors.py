"""The errors that a fit can end with, and how the engine's kinds map to them."""


class StokerError(Exception):
    """Base of all errors that Stoker raises on the driver."""


class UserError(StokerError, ValueError):
    """Wrong input; the text says what to change. Trying again without a change is of no use."""


class WorldError(StokerError, RuntimeError):
    """The network, a worker, the disk or memory failed. The fit may be tried again."""


class AbortedError(StokerError, RuntimeError):
    """Somebody ended the fit."""


class EngineBug(StokerError, RuntimeError):
    """The engine broke its own rules."""


_BY_KIND = {"user": UserError, "world": WorldError, "aborted": AbortedError, "bug": EngineBug}


def from_engine(kind: str, text: str) -> StokerError:
    return _BY_KIND.get(kind, EngineBug)(text)


def kind_of(error: BaseException) -> str:
    """The engine's kind of an exception raised in a task, by us or by the engine's modules."""
    for cls in type(error).__mro__:
        for kind, known in _BY_KIND.items():
            if cls.__name__ == known.__name__:
                return kind
    return "world" if isinstance(error, (OSError, MemoryError)) else "bug"
