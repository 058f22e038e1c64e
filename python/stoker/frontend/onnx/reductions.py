"""Sums, extremes and norms over axes; places of extremes; running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.shapes import axes_of
from stoker.frontend.onnx.values import numbers


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def root(x: Tensor) -> Tensor:
    """Of which the gradient at 0 is 0, as torch's norms have it, and not endless."""
    none = x == 0
    return torch.where(none, 0.0, torch.where(none, 1.0, x).sqrt())


_FOLDS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: root((x * x).sum(axes, keep)),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep, dtype=x.dtype),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
}
_OF_FLOATS = ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@operator(*_FOLDS, reads="axes keepdims noop_with_empty_axes", known=(1,))
def _reduce(node: Any, x: Tensor, axes: Any = None) -> Tensor:
    told = axes_of(node, axes)
    if node.op in _OF_FLOATS and not x.is_floating_point():
        raise node.error("it is of whole numbers, which runtimes cut in ways of their own: cast them to floats before")
    if not told and node.attribute("noop_with_empty_axes", 0):
        return _FOLDS[node.op](x.unsqueeze(-1), [-1], False)  # each value for itself
    if not x.dim():
        return _FOLDS[node.op](x.reshape(1), [0], False)
    return _FOLDS[node.op](x, told or list(range(x.dim())), bool(node.attribute("keepdims", 1)))


@operator("ArgMax", "ArgMin", reads="axis keepdims select_last_index")
def _place(node: Any, x: Tensor) -> Tensor:
    axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    find = torch.argmax if node.op == "ArgMax" else torch.argmin
    if not node.attribute("select_last_index", 0):
        return find(x, axis, keep)
    return x.shape[axis] - 1 - find(x.flip(axis), axis, keep)


@operator("CumSum", reads="exclusive reverse", known=(1,))
def _running_sum(node: Any, x: Tensor, axis: Any) -> Tensor:
    (axis,) = numbers(axis)
    backwards = node.attribute("reverse", 0)
    given = x.flip(axis) if backwards else x
    if node.attribute("exclusive", 0) and x.shape[axis]:
        none = torch.zeros_like(given.narrow(axis, 0, 1))
        given = torch.cat([none, given.narrow(axis, 0, x.shape[axis] - 1)], axis)
    found = given.cumsum(axis, dtype=x.dtype)
    return found.flip(axis) if backwards else found


@operator("TopK", reads="k axis largest sorted", known=(1,))
def _top(node: Any, x: Tensor, k: Any = None) -> tuple[Tensor, Tensor]:
    """Of equal values the first ones."""
    (count,) = [node.attribute("k")] if k is None else numbers(k)
    axis = node.attribute("axis", -1)
    found = torch.sort(x, dim=axis, descending=bool(node.attribute("largest", 1)), stable=True)
    return found.values.narrow(axis, 0, count), found.indices.narrow(axis, 0, count)
