"""A node of an ONNX graph as a module, so that hooks, patterns of names and errors know it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend.onnx import (  # noqa: F401  (their operators)
    activations,
    arithmetic,
    convolutions,
    indexing,
    movement,
    normalising,
    pooling,
    products,
    recurrent,
    reductions,
    resizing,
)
from stoker.frontend.onnx.parse import Told
from stoker.frontend.onnx.registry import OPERATORS
from stoker.frontend.onnx.shapes import ON_KNOWN
from stoker.frontend.onnx.values import ROOM, as_tensor, is_known, known, number


class Node(nn.Module):
    """What it is told by the file; what it computes: registry.OPERATORS, on known values shapes.ON_KNOWN."""

    def __init__(self, told: Told, opset: int):
        super().__init__()
        self.op, self.told, self.opset = told.op, str(told), opset
        self.inputs, self.outputs, self.attributes = told.inputs, told.outputs, told.attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def error(self, text: str) -> CompileError:
        return CompileError(f"{self.told}: {text}")

    def check_room(self, count: Any) -> None:
        """Before memory is taken for what numbers of the file decide."""
        if isinstance(count, int) and count > ROOM:
            raise self.error(f"it makes {count} values of a few; more than {ROOM} are not taken")

    def forward(self, *values: Any) -> Any:
        on_known = ON_KNOWN.get(self.op)
        if on_known is not None and all(value is None or is_known(value) for value in values):
            found = on_known(self, *map(known, values))
            if found is not NotImplemented:
                return found
        operator = OPERATORS[self.op]
        return operator.run(self, *[self._given(operator, place, values) for place in range(len(values))])

    def _given(self, operator: Any, place: int, values: tuple[Any, ...]) -> Any:
        value = values[place]
        if place in operator.known:
            if value is not None and not is_known(value):
                raise self.error(f"its input {self.inputs[place]!r} is computed from the rows' values: only shapes and "
                                 "constants may decide it")  # fmt: skip
            return known(value)
        if is_known(value) and self._as_number(operator, place, values):
            return number(known(value))
        return as_tensor(value)

    def _as_number(self, operator: Any, place: int, values: tuple[Any, ...]) -> bool:
        array = known(values[place])
        if place in operator.scalars:
            return array.ndim == 0
        beside = [value.dim() for value in values if isinstance(value, torch.Tensor)]
        return place in operator.numbers and array.size == 1 and array.ndim <= max(beside, default=-1)


def kind_of(op: str) -> type[Node]:
    """A class of the operator's name, which errors and summaries show."""
    if op not in globals():
        globals()[op] = type(op, (Node,), {"__module__": __name__})
    return globals()[op]
