"""Operators on known values: the arithmetic of shapes, with sizes that may be open, and of constants."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stoker.frontend.onnx.tensors import dtype_of
from stoker.frontend.onnx.values import LARGEST_KNOWN, number, numbers

_FAR = 10**9 - 1  # tf2onnx has 10**9
ON_KNOWN: dict[str, Callable[..., Any]] = {}
Array = np.ndarray


def on_known(*names: str) -> Callable[[Callable], Callable]:
    def add(function: Callable) -> Callable:
        ON_KNOWN.update(dict.fromkeys(names, function))
        return function

    return add


def _whole(*arrays: Array) -> bool:
    return all(array.dtype.kind in "iu" for array in arrays)


def _quotient(node: Any, a: Array, b: Array) -> Any:
    """Whole numbers are cut towards zero; open sizes are positive."""
    if _whole(a, b):
        if not b.all():
            raise node.error("it divides whole numbers by 0")
        return (np.abs(a) // np.maximum(np.abs(b), 1) * np.sign(a) * np.sign(b)).astype(a.dtype)
    if object in (a.dtype, b.dtype):
        exact = all(isinstance(one, (int, torch.SymInt)) for one in (*numbers(a), *numbers(b)))
        return np.floor_divide(a, b) if exact else np.true_divide(a, b)
    with np.errstate(all="ignore"):
        return np.true_divide(a, b, dtype=a.dtype)


_BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Equal": np.equal, "Less": np.less,
    "Greater": np.greater, "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal, "And": np.logical_and,
    "Or": np.logical_or,
}  # fmt: skip
for _name, _function in _BINARY.items():
    ON_KNOWN[_name] = lambda node, a, b, _function=_function: np.asarray(_function(a, b))


@on_known("Div")
def _div(node: Any, a: Array, b: Array) -> Array:
    return np.asarray(_quotient(node, a, b))


@on_known("Mod")
def _mod(node: Any, a: Array, b: Array) -> Any:
    return NotImplemented if node.attribute("fmod", 0) or not _whole(a, b) or not b.all() else np.mod(a, b)


@on_known("Min", "Max")
def _extreme(node: Any, *arrays: Array) -> Array:
    choose = {"Min": torch.sym_min, "Max": torch.sym_max} if any(a.dtype == object for a in arrays) else {}
    usual = {"Min": np.minimum, "Max": np.maximum}[node.op]
    function = np.frompyfunc(choose[node.op], 2, 1) if choose else usual
    return np.asarray(functools.reduce(function, arrays))


@on_known("Neg", "Not", "Identity")
def _unary(node: Any, a: Array) -> Array:
    return {"Neg": np.negative, "Not": np.logical_not, "Identity": np.array}[node.op](a)


@on_known("Where")
def _where(node: Any, condition: Array, a: Array, b: Array) -> Any:
    return np.where(condition.astype(bool), a, b)


@on_known("Cast")
def _cast(node: Any, a: Array) -> Any:
    dtype = np.dtype(dtype_of(node.attribute("to"), f"{node.told}: what it casts to"))
    if a.dtype != object:
        with np.errstate(all="ignore"):
            return a.astype(dtype)
    convert = torch.sym_float if dtype.kind == "f" else torch.sym_int
    if dtype.kind == "b":
        return NotImplemented
    made = np.empty(a.shape, object)
    made.reshape(-1)[:] = [convert(one) for one in numbers(a)]
    return made


@on_known("Shape")
def _shape(node: Any, a: Array) -> Array:
    return np.array(a.shape[node.attribute("start", 0) : node.attribute("end")], np.int64)


@on_known("Size")
def _size(node: Any, a: Array) -> Array:
    return np.array(a.size, np.int64)


@on_known("Gather")
def _gather(node: Any, a: Array, indices: Array) -> Any:
    axis = node.attribute("axis", 0)
    if indices.dtype == object or not -a.ndim <= axis < a.ndim:
        return NotImplemented
    return np.asarray(np.take(a, indices, axis))


@on_known("Concat")
def _concat(node: Any, *arrays: Array) -> Array:
    return np.concatenate(arrays, node.attribute("axis", 0))


@on_known("Slice")
def _slice(node: Any, a: Array, *told: Array | None) -> Any:
    places = slices_of(node, a.ndim, told)
    if any(isinstance(one, torch.SymInt) for place in places.values() for one in place):
        return NotImplemented
    return a[tuple(slice(*python_slice(*places[axis])) if axis in places else slice(None) for axis in range(a.ndim))]


def slices_of(node: Any, rank: int, told: tuple[Array | None, ...]) -> dict[int, tuple[Any, Any, int]]:
    """Start, end and step by axis."""
    if node.opset < 10:
        starts, ends = node.attribute("starts", []), node.attribute("ends", [])
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends, axes, steps = [None if one is None else numbers(one) for one in (*told, None, None)[:4]]
    if starts is None or ends is None:
        raise node.error("starts or ends are missing")
    axes = range(len(starts)) if axes is None else axes_within(node, axes, rank)
    return {axis: (start, end, step) for axis, start, end, step
            in zip(axes, starts, ends, steps or [1] * len(starts))}  # fmt: skip


def python_slice(start: Any, end: Any, step: int) -> tuple[Any, Any, int]:
    """ONNX goes to the last value, or beyond the first one, by a very large or small end, where Python has none."""
    beyond = isinstance(end, int) and (end < -_FAR if step < 0 else end > _FAR)
    return (start, None if beyond else end, step)


def axes_of(node: Any, axes: Array | None) -> list[int] | None:
    """An input in newer opsets, an attribute in older ones."""
    return node.attribute("axes") if axes is None else numbers(axes)


def axes_within(node: Any, axes: list[int], rank: int) -> list[int]:
    """Counted from the first one, each once."""
    found = [axis + rank if axis < 0 else axis for axis in axes]
    if any(not 0 <= axis < rank for axis in found) or len(set(found)) < len(found):
        raise node.error(f"its axes {axes} are not each one of {rank}")
    return found


def unsqueezed(node: Any, axes: Array | None, rank: int) -> list[int]:
    told = axes_of(node, axes) or []
    return sorted(axes_within(node, told, rank + len(told)))


def squeezed(node: Any, axes: Array | None, sizes: list[Any]) -> list[int] | None:
    """None: all of size 1."""
    told = axes_within(node, axes_of(node, axes) or [], len(sizes))
    for axis in told:
        if isinstance(sizes[axis], int) and sizes[axis] != 1:
            raise node.error(f"it leaves out axis {axis}, which has {sizes[axis]} values and not one")
    return told or None


@on_known("Unsqueeze")
def _unsqueeze(node: Any, a: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(a, tuple(unsqueezed(node, axes, a.ndim)))


@on_known("Squeeze")
def _squeeze(node: Any, a: Array, axes: Array | None = None) -> Array:
    told = squeezed(node, axes, list(a.shape))
    return np.squeeze(a, None if told is None else tuple(told))


@on_known("Reshape")
def _reshape(node: Any, a: Array, shape: Array) -> Any:
    if node.attribute("allowzero", 0) or any(not isinstance(one, int) for one in numbers(shape)):
        return NotImplemented
    return a.reshape([a.shape[i] if size == 0 else size for i, size in enumerate(numbers(shape))])


@on_known("Transpose")
def _transpose(node: Any, a: Array) -> Array:
    return a.transpose(node.attribute("perm"))


def _is_small(sizes: list[Any]) -> bool:
    return all(isinstance(one, int) and one >= 0 for one in sizes) and math.prod(sizes) <= LARGEST_KNOWN


@on_known("ConstantOfShape")
def _filled(node: Any, shape: Array) -> Any:
    value = node.attribute("value", np.zeros(1, np.float32))
    return np.full(numbers(shape), value.reshape(-1)[0], value.dtype) if _is_small(numbers(shape)) else NotImplemented


@on_known("Expand")
def _expand(node: Any, a: Array, shape: Array) -> Any:
    sizes = numbers(shape)
    if not _is_small(sizes):
        return NotImplemented
    whole = np.broadcast_shapes(a.shape, tuple(sizes))
    return np.broadcast_to(a, whole).copy() if _is_small(list(whole)) else NotImplemented


@on_known("Range")
def _range(node: Any, start: Array, limit: Array, step: Array) -> Any:
    values = [number(one) for one in (start, limit, step)]
    if any(isinstance(one, (torch.SymInt, torch.SymFloat)) for one in values) or not values[2]:
        return NotImplemented
    if (values[1] - values[0]) / values[2] > LARGEST_KNOWN:
        return NotImplemented
    return np.arange(*values, dtype=start.dtype if start.dtype != object else np.int64)


@on_known("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduced(node: Any, a: Array, axes: Array | None = None) -> Any:
    """Of shapes, which have one dimension."""
    if a.ndim != 1 or a.dtype.kind == "f" or axes_of(node, axes) not in (None, [0], [-1]):
        return NotImplemented
    if node.attribute("noop_with_empty_axes", 0):
        return NotImplemented
    fold = {"ReduceProd": np.multiply, "ReduceSum": np.add}.get(node.op)
    if fold is None and a.dtype == object:
        return NotImplemented
    fold = fold or {"ReduceMax": np.maximum, "ReduceMin": np.minimum}[node.op]
    if not a.size:
        return NotImplemented
    found = np.asarray(functools.reduce(fold, list(a)))
    found = found if a.dtype == object else found.astype(a.dtype)
    return found.reshape(1) if node.attribute("keepdims", 1) else found.reshape(())


@on_known("Floor", "Ceil", "Sqrt")
def _rounded(node: Any, a: Array) -> Any:
    if a.dtype == object:
        return NotImplemented
    with np.errstate(all="ignore"):
        return {"Floor": np.floor, "Ceil": np.ceil, "Sqrt": np.sqrt}[node.op](a)


@on_known("Split")
def _split(node: Any, a: Array, sizes: Array | None = None) -> Any:
    axis = node.attribute("axis", 0)
    return tuple(np.split(a, np.cumsum(split_sizes(node, sizes, a.shape[axis]))[:-1], axis))


def split_sizes(node: Any, sizes: Array | None, size: Any) -> list[Any]:
    """What is told, or equal parts; from opset 18 on the last one is smaller where these do not come out even."""
    told, count = node.attribute("split") if sizes is None else numbers(sizes), len(node.outputs)
    if told:
        if len(told) != count or (isinstance(size, int) and sum(told) != size) or min(told) < 0:
            raise node.error(f"it splits {size} values into {told}, with {count} outputs")
        return told
    part = -(-size // count)
    spare = count * part - size if isinstance(size, int) else 0
    uneven = spare and (node.opset < 18 or spare >= part)
    if node.attribute("num_outputs", count) != count or uneven:
        raise node.error(f"it splits {size} values into {node.attribute('num_outputs', count)} parts, with {count} "
                         "outputs")  # fmt: skip
    return [min(part, size - part * number) for number in range(count)]
