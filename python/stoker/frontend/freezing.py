"""Parts of a model that stay as they are, by patterns of their parameters' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from stoker.errors import CompileError, did_you_mean
from stoker.frontend import inner
from stoker.frontend.foreign import Foreign
from stoker.frontend.private import Norm


def freeze(model: nn.Module, what: Sequence[str] | Mapping[str, str], example: Mapping[str, Tensor]) -> list[str]:
    """Parameters whose names match, or that decide what the layer "upTo" gives, are not trained, and norms all of whose
    parameters they are keep their statistics, as in evaluation. -> a note of what that is. `model` is changed; it is a
    copy of the user's. `example`: rows that it takes."""
    names = [name for name, _ in model.named_parameters()]
    found, patterns = _up_to(model, what["upTo"], example) if isinstance(what, Mapping) else _matching(what, names)
    for name, parameter in model.named_parameters():
        if name in found:
            parameter.requires_grad_(False)
    if isinstance(model, Foreign):
        model.freeze(found, patterns)
    else:
        _still_norms(model, found, patterns)
    if found and len(found) == len(names):
        how = f"up to {what['upTo']!r} lies" if isinstance(what, Mapping) else "its patterns match"
        raise CompileError(f"freeze: {how} every parameter of the model, so nothing is left to train")
    return [f"frozen: {len(found)} of {len(names)} parameters"] if found else []


def _matching(patterns: Sequence[str], names: list[str]) -> tuple[set[str], Sequence[str]]:
    return {name for pattern in patterns for name in _matched(pattern, names)}, patterns


def _up_to(model: nn.Module, layer: str, example: Mapping[str, Tensor]) -> tuple[set[str], Sequence[str]]:
    """The parameters, and the layers with none to train, which might be norms."""
    found, bare = inner.before(model, layer, example)
    if not found:
        raise CompileError(f"freeze: no parameter of the model decides what the layer {layer!r} gives")
    return found, bare


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
