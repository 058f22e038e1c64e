"""Which constants of a graph are weights that are trained, which are statistics, and which stay constants.

ONNX does not say. A float constant is a weight where an operator reads it in a weight's place: directly, or turned,
cut and put together. What is added or multiplied is one if it has several values, all of a size that weights have:
masks and numbers such as 1e-5 are none. What is put beside computed values (the token of a class) is one if it has
values that differ, in more than one dimension."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from stoker.frontend.onnx.parse import Told

_WEIGHTS = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2), "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2),
    "RMSNormalization": (1,), "PRelu": (1,), "Gather": (0,), "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
    "Add": (0, 1), "Mul": (0, 1), "Einsum": (0, 1, 2), "Concat": range(1 << 16),
}  # fmt: skip
_STATISTICS = {"BatchNormalization": (3, 4)}
_MOVED = ("Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Cast", "CastLike", "Dropout", "Slice",
          "Split", "Concat", "Expand")  # fmt: skip
_LOOSE = ("Add", "Mul", "Concat")
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum")
_LARGEST = 1e4  # no weight, but a mask


def weights_of(nodes: Iterable[Told], constants: Mapping[str, np.ndarray]) -> set[str]:
    made, found, origins = {}, set(), {name: {name} for name in constants}
    for node in nodes:
        moved = (node.inputs if node.op == "Concat" else node.inputs[:1]) if node.op in _MOVED else ()
        if moved and all(name in origins for name in moved):
            of = set().union(*(origins[name] for name in moved))
            origins.update(dict.fromkeys(node.outputs, of))
        elif node.op in _WEIGHTS:
            for place, read in enumerate(node.inputs):
                names = origins.get(read, ()) if place in _WEIGHTS[node.op] else ()
                found |= {name for name in names if _may_be(node, place, constants[name], made)}
        made.update(dict.fromkeys(node.outputs, node.op))
    return found


def statistics_read(nodes: Iterable[Told]) -> set[str]:
    return {node.inputs[place] for node in nodes for place in _STATISTICS.get(node.op, ()) if place < len(node.inputs)}


def apart(nodes: Iterable[Told], values: Mapping[str, np.ndarray], constants: dict[str, np.ndarray]) -> list[Told]:
    """Each batch norm gets statistics of its own, put into `constants`, where they are a weight too or another's:
    exporters write equal values once."""
    found, taken = [], set()
    for node in nodes:
        inputs = list(node.inputs)
        for place in _STATISTICS.get(node.op, ()):
            name = inputs[place] if place < len(inputs) else ""
            if name in values and (name not in constants or name in taken):
                inputs[place] = _free(f"{node.outputs[0]}.{('running_mean', 'running_var')[place - 3]}", values)
                constants[inputs[place]] = values[name].copy()
            taken.add(inputs[place] if place < len(inputs) else "")
        found.append(replace(node, inputs=tuple(inputs)))
    return found


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def unsure(nodes: Sequence[Told], weights: Container[str]) -> list[str]:
    """Weights that only their size speaks for: they are added or multiplied, to what is no product."""
    products = {name for node in nodes if node.op in _PRODUCTS for name in node.outputs}
    found: dict[str, bool] = {}
    for node in nodes:
        for name in node.inputs:
            if name in weights:
                plain = node.op in ("Add", "Mul") and products.isdisjoint(node.inputs)
                found[name] = found.get(name, True) and plain
    return [name for name, plain in found.items() if plain]


def training(nodes: Iterable[Told], constants: Mapping[str, np.ndarray]) -> list[Told]:
    """Nodes of which the file says that they go by the batch, or draw numbers, as in training."""
    found = []
    for node in nodes:
        told = constants.get(node.inputs[2]) if node.op == "Dropout" and len(node.inputs) > 2 else None
        by_batch = node.op == "BatchNormalization" and node.attributes.get("training_mode", 0)
        if by_batch or (told is not None and bool(told.any())):
            found.append(node)
    return found


def _may_be(node: Told, place: int, values: np.ndarray, made: Mapping[str, str]) -> bool:
    if values.dtype.kind != "f" or not values.size or not values.ndim:
        return False
    if node.op == "Gather":
        return values.ndim > 1
    if node.op == "Concat" and (values.ndim < 2 or values.min() == values.max()):
        return False
    if node.op not in _LOOSE:
        return True
    if values.size == 1:  # the bias of one output
        return node.op == "Add" and made.get(node.inputs[1 - place]) in _PRODUCTS
    mask = node.op == "Mul" and set(np.unique(values).tolist()) == {0.0, 1.0}
    return not mask and bool(np.isfinite(values).all()) and float(np.abs(values).max()) < _LARGEST
