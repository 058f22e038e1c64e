"""Names for trainable tensors that are no parameters: hidden in lists, dicts and plain attributes, or in a closure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

_DEEPEST = 6


def name_of(tensor: torch.Tensor, model: nn.Module, loss) -> str:
    """'self.layers[0].weight of Net', or the tensor's shape where nothing is found."""
    shape = f"a tensor of shape {list(tensor.shape)}"
    for path, part in model.named_modules():
        owner = f"{type(part).__name__}{f' ({path})' if path else ''}"
        for name in _search(part, tensor, "self", 0, set()):
            return f"{name} of {owner}, {shape} (hold it in an nn.Parameter, nn.ParameterList or nn.ModuleList)"
    for name in _search_loss(loss, tensor):
        return f"{name} of the loss, {shape} (make the loss an nn.Module that holds it)"
    return shape


def _search_loss(loss, tensor: torch.Tensor) -> Iterator[str]:
    if isinstance(loss, Callable) and inspect.isfunction(inspect.unwrap(loss)):
        variables = inspect.getclosurevars(inspect.unwrap(loss))
        for scope in (variables.nonlocals, variables.globals):
            for name, value in scope.items():
                yield from _search(value, tensor, name, 0, set())
    else:
        yield from _search(loss, tensor, type(loss).__name__, 0, set())


def _search(value, tensor: torch.Tensor, name: str, depth: int, seen: set[int]) -> Iterator[str]:
    if value is tensor:
        yield name
    if depth == _DEEPEST or id(value) in seen or isinstance(value, torch.Tensor):
        return
    seen.add(id(value))
    for step, inner in _steps(value):
        yield from _search(inner, tensor, name + step, depth + 1, seen)


def _steps(value) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", inner) for key, inner in value.items()]
    if isinstance(value, (list, tuple, set)):
        return [(f"[{index}]", inner) for index, inner in enumerate(value)]
    if isinstance(value, nn.Module):
        registered = {**value._parameters, **value._buffers, **value._modules}
        return [(f".{key}", inner) for key, inner in {**_plain(value), **registered}.items()]
    return [(f".{key}", inner) for key, inner in getattr(value, "__dict__", {}).items()]


def _plain(module: nn.Module) -> dict[str, object]:
    own = nn.Module().__dict__
    return {key: value for key, value in module.__dict__.items() if key not in own}
