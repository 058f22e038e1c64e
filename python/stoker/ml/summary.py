"""What a trained model is made of, read from its programs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stoker.program import Compiled, given_shape

_PLACE = re.compile(r"(?:(.+?) \((\w+)\)|(\w+))(?:, |$)")  # "fc1 (Linear), net.py:12", or the model's class alone
_TITLES = ("layer", "kind", "parameters", "fixed", "tensors")


@dataclass
class Layer:
    """A module that computes, or has tensors."""

    name: str  # its path in the model; "" of the model itself
    kind: str  # its class, where it is known
    parameters: int = 0  # values that are trained
    fixed: int = 0  # values of frozen parameters and of buffers
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)  # their shapes

    def cells(self) -> tuple[str, ...]:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in self.tensors.items())
        return self.name or "(itself)", self.kind, _count(self.parameters), _count(self.fixed), shapes


@dataclass(frozen=True, repr=False)
class Summary:
    """Prints as a table. `parameters`, `fixed` and `bytes` are those of all layers together."""

    title: str
    layers: list[Layer]
    inputs: dict[str, tuple[str, tuple[int, ...]]]  # dtype, and shape of a row
    outputs: dict[str, tuple[int, ...]]  # shape of a row
    operators: int
    bytes: int

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def fixed(self) -> int:
        return sum(layer.fixed for layer in self.layers)

    def __repr__(self) -> str:
        rows = [_TITLES, *(layer.cells() for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_aligned(*cell) for cell in enumerate(zip(row, widths, strict=True))) for row in rows]
        inputs = ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in self.inputs.items())
        outputs = ", ".join(f"{name} {list(shape)}" for name, shape in self.outputs.items())
        size = f"{self.parameters:,} parameters and {self.fixed:,} fixed values, {self.bytes:,} bytes"
        ends = [f"inputs: {inputs}; outputs: {outputs}", f"{size}; {self.operators} operators"]
        return "\n".join(line.rstrip() for line in [self.title, *lines, *ends])


def summary_of(compiled: Compiled, title: str) -> Summary:
    nodes = [node for node in compiled.infer["nodes"] if not node["op"].startswith("sym.")]
    layers = {name: Layer(name, kind) for name, kind in _places(nodes)}
    owned = 0
    for name, shape, trained in _tensors(compiled.train):
        layer = _owner(layers, name)
        layer.tensors[name.removeprefix(f"{layer.name}.")] = shape
        layer.parameters += trained * math.prod(shape)
        layer.fixed += (not trained) * math.prod(shape)
        owned += compiled.weights[name].nbytes
    inputs = {entry["name"]: (entry["dtype"], tuple(entry["shape"])) for entry in compiled.infer["inputs"]}
    return Summary(title, list(layers.values()), inputs, dict(compiled.output_shapes), len(nodes), owned)


def parameters_of(compiled: Compiled) -> int:
    return sum(math.prod(shape) for _, shape, trained in _tensors(compiled.train) if trained)


def _tensors(train: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """The user's own: name, shape, and whether it is trained."""
    for kind in ("parameters", "buffers", "constants"):
        for entry in train[kind]:
            if not entry["name"].startswith("$"):
                yield entry["name"], given_shape(entry), kind == "parameters"


def _places(nodes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Path and class of the modules that nodes come from, in order."""
    for node in nodes:
        if place := _PLACE.match(node["where"]):
            yield place[1] or "", place[2] or place[3]


def _owner(layers: dict[str, Layer], name: str) -> Layer:
    """The innermost module of those that compute that a tensor is in, else the one that its name says."""
    parts = name.split(".")[:-1]
    for count in range(len(parts), 0, -1):
        if ".".join(parts[:count]) in layers:
            return layers[".".join(parts[:count])]
    path = ".".join(parts)
    return layers.setdefault(path, Layer(path, ""))


def _count(values: int) -> str:
    return f"{values:,}" if values else ""


def _aligned(column: int, cell: tuple[str, int]) -> str:
    text, width = cell
    return text.rjust(width) if _TITLES[column] in ("parameters", "fixed") else text.ljust(width)
