"""Parts of a model that stay as they are, by patterns of their parameters' names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from stoker.errors import CompileError, did_you_mean
from stoker.frontend.foreign import Foreign
from stoker.frontend.private import Norm


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Parameters whose names match are not trained, and norms all of whose parameters they are keep their statistics,
    as in evaluation. -> a note of what that is. `model` is changed; it is a copy of the user's."""
    names = [name for name, _ in model.named_parameters()]
    found = {name for pattern in patterns for name in _matched(pattern, names)}
    for name, parameter in model.named_parameters():
        if name in found:
            parameter.requires_grad_(False)
    if isinstance(model, Foreign):
        model.freeze(found, patterns)
    else:
        _still_norms(model, found, patterns)
    if found and len(found) == len(names):
        raise CompileError("freeze: its patterns match every parameter of the model, so nothing is left to train")
    return [f"frozen: {len(found)} of {len(names)} parameters"] if found else []


def _matched(pattern: str, names: list[str]) -> list[str]:
    """A pattern, or the name of a part with all that is in it."""
    found = [name for name in names if fnmatchcase(name, pattern) or name.startswith((f"{pattern}.", f"{pattern}/"))]
    if not found:
        near = did_you_mean(pattern, _parts(names)) or f"; it has {', '.join(map(repr, names[:8]))}"
        raise CompileError(f"freeze: no parameter of the model matches {pattern!r}{near}")
    return found


def _parts(names: list[str]) -> list[str]:
    """All names, and those of the parts that they are in."""
    found: dict[str, None] = {}
    for name in names:
        for end in [i for i, letter in enumerate(name) if letter in "./"] + [len(name)]:
            found[name[:end]] = None
    return list(found)


def covers(patterns: Sequence[str], path: str) -> bool:
    """Whether a part without parameters is one of those that are frozen, or lies in one."""
    return any(fnmatchcase(path, pattern) or path.startswith((f"{pattern}.", f"{pattern}/")) for pattern in patterns)


def _still_norms(model: nn.Module, frozen: set[str], patterns: Sequence[str]) -> None:
    for path, part in model.named_modules():
        own = [f"{path}.{name}".lstrip(".") for name, _ in part.named_parameters(recurse=False)]
        if isinstance(part, Norm) and (frozen.issuperset(own) if own else covers(patterns, path)):
            part.eval()
