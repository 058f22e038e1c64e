"""Calls the user's forward with named tensors, and names the tensors of what it returns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping

import torch

from stoker.errors import CompileError
from stoker.frontend.arguments import Arguments
from stoker.frontend.foreign import is_of


def call(model: torch.nn.Module, tensors: dict[str, torch.Tensor], more: Mapping[str, torch.Tensor] | None = None):
    """Gives each tensor to the argument of its name; see Arguments. `more`: named arguments beside the inputs."""
    by_position, by_name = Arguments(model).fed(list(tensors))
    return model(*[tensors[name] for name in by_position], **{name: tensors[name] for name in by_name}, **(more or {}))


def leaves(outputs, prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    """'output' for one tensor, else by dict key, field name or position."""
    if isinstance(outputs, torch.Tensor):
        return [(prefix or "output", outputs)]
    found = []
    for key, value in _items(outputs):
        found += leaves(value, f"{prefix}.{key}" if prefix else str(key)) if value is not None else []
    return found


def mapped(outputs, change: Callable[[torch.Tensor], torch.Tensor]):
    """The same with other tensors."""
    if isinstance(outputs, torch.Tensor):
        return change(outputs)
    if isinstance(outputs, Mapping):
        made = copy.copy(outputs)
        for key, value in outputs.items():
            made[key] = mapped(value, change)
        return made
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return dataclasses.replace(outputs, **{key: mapped(value, change) for key, value in _items(outputs)})
    if hasattr(outputs, "_fields"):
        return type(outputs)(*(mapped(value, change) for value in outputs))
    return type(outputs)(mapped(value, change) for value in outputs) if isinstance(outputs, (tuple, list)) else outputs


def _items(outputs) -> list[tuple[object, object]]:
    if isinstance(outputs, Mapping):
        return list(outputs.items())
    if dataclasses.is_dataclass(outputs):
        return [(field.name, getattr(outputs, field.name)) for field in dataclasses.fields(outputs)]
    if hasattr(outputs, "_fields"):
        return list(zip(outputs._fields, outputs, strict=True))
    if isinstance(outputs, (tuple, list)):
        return list(enumerate(outputs))
    if outputs is None or isinstance(outputs, (bool, int, float, str)) or is_of(outputs, "transformers"):  # a cache
        return []
    raise CompileError(
        f"the model returns a {type(outputs).__name__}; it may return a tensor, or tensors in a tuple, list, dict "
        "or dataclass"
    )


def row_shape(tensor: torch.Tensor) -> tuple:
    return tuple(tensor.shape[1:])


def show(tensor: torch.Tensor) -> str:
    """A shape as the user thinks of it: [rows, 10]."""
    rows = ["rows"] if tensor.dim() else []
    return "[" + ", ".join(rows + [str(size) for size in tensor.shape[1:]]) + "]"
