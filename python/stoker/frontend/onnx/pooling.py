"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.windows import Windows, padded, windows

_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
_CONV = (F.conv1d, F.conv2d, F.conv3d)


def _space(node: Any, x: Tensor) -> list[int]:
    if x.dim() < 3:
        raise node.error(f"its input has {x.dim()} dimensions, expected rows, channels and at least one of space")
    return list(range(2, x.dim()))


@operator("GlobalAveragePool")
def _global_average(node: Any, x: Tensor) -> Tensor:
    return x.mean(_space(node, x), keepdim=True)


@operator("GlobalMaxPool")
def _global_max(node: Any, x: Tensor) -> Tensor:
    return x.amax(_space(node, x), keepdim=True)


def _windows(node: Any, x: Tensor) -> Windows:
    if node.attribute("auto_pad", "NOTSET").startswith("SAME") and max(node.attribute("dilations") or [1]) > 1:
        raise node.error("its windows are dilated and padded by SAME, of which runtimes think differently: write pads")
    told = windows(node, x, node.attribute("kernel_shape"))
    for axis in range(len(told.kernel)):
        if max(told.before[axis], told.after[axis]) >= told.reach(axis):
            raise node.error(
                f"it pads by {told.before} and {told.after}, as much as its windows of {told.kernel} reach"
            )
    return told


def _steps(node: Any, told: Windows, size: int, axis: int) -> int:
    """How many windows there are."""
    free = size + told.before[axis] + told.after[axis] - told.reach(axis)
    if not node.attribute("ceil_mode", 0):
        return free // told.strides[axis] + 1
    count = -(-free // told.strides[axis]) + 1
    begins = (count - 1) * told.strides[axis]
    return count - (begins >= size + told.before[axis])  # the last window begins within the values


def _ends(node: Any, x: Tensor, told: Windows) -> list[int]:
    """Padding after the values, so that all windows are whole; negative where values are left over."""
    space = list(x.shape[2:])
    last = [(_steps(node, told, size, axis) - 1) * told.strides[axis] + told.reach(axis)
            for axis, size in enumerate(space)]  # fmt: skip
    return [end - size - before for end, size, before in zip(last, space, told.before)]


def _is_usual(node: Any, told: Windows) -> bool:
    """What torch pads by itself."""
    small = all(2 * size <= kernel for size, kernel in zip(told.before, told.kernel))
    return told.even and small and not node.attribute("ceil_mode", 0)


@operator("MaxPool", reads="kernel_shape strides dilations pads auto_pad ceil_mode storage_order")
def _max_pool(node: Any, x: Tensor) -> Any:
    if node.attribute("storage_order", 0):
        raise node.error("it counts places column by column (storage_order), which Stoker does not")
    told = _windows(node, x)
    pool = _MAX[len(told.kernel) - 1]
    if len(node.outputs) > 1 and node.outputs[1]:
        return _with_places(node, x, told)
    if _is_usual(node, told):
        return pool(x, told.kernel, told.strides, told.before, told.dilations)
    return pool(_lowest_around(node, x, told), told.kernel, told.strides, 0, told.dilations)


def _lowest_around(node: Any, x: Tensor, told: Windows) -> Tensor:
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return padded(x, told.before, _ends(node, x, told), lowest)


def _with_places(node: Any, x: Tensor, told: Windows) -> tuple[Tensor, Tensor]:
    """Places are counted through rows and channels too."""
    pool = _MAX[len(told.kernel) - 1]
    if _is_usual(node, told):
        found, places = pool(x, told.kernel, told.strides, told.before, told.dilations, return_indices=True)
    else:
        around = _lowest_around(node, x, told)
        found, places = pool(around, told.kernel, told.strides, 0, told.dilations, return_indices=True)
        places = _places_within(places, list(around.shape[2:]), list(x.shape[2:]), told.before)
    first = torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * len(told.kernel))
    return found, places + first * math.prod(x.shape[2:])


def _places_within(places: Tensor, padded_to: list[int], space: list[int], before: list[int]) -> Tensor:
    """Counted with padding -> counted without."""
    found, step = torch.zeros_like(places), 1
    for axis in reversed(range(len(space))):
        found = found + (places % padded_to[axis] - before[axis]) * step
        places, step = torch.div(places, padded_to[axis], rounding_mode="floor"), step * space[axis]
    return found


@operator("AveragePool", reads="kernel_shape strides dilations pads auto_pad ceil_mode count_include_pad")
def _average_pool(node: Any, x: Tensor) -> Tensor:
    told = _windows(node, x)
    rank, all_count = len(told.kernel), bool(node.attribute("count_include_pad", 0))
    plain = max(told.dilations) == 1
    if plain and _is_usual(node, told):
        return _AVERAGE[rank - 1](x, told.kernel, told.strides, told.before, False, all_count)
    ends = _ends(node, x, told)
    for size, before, end in zip(x.shape[2:], told.before, ends):
        node.check_room(size + before + max(end, 0))
    filled = padded(x, told.before, ends)
    if plain:
        sums = _AVERAGE[rank - 1](filled, told.kernel, told.strides) * math.prod(told.kernel)
    else:
        sums = _spread_sums(filled, told)
    return sums / torch.tensor(_counts(list(x.shape[2:]), told, ends, all_count), dtype=x.dtype)


def _spread_sums(x: Tensor, told: Windows) -> Tensor:
    ones = torch.ones(1, 1, *told.kernel, dtype=x.dtype)
    flat = x.reshape(-1, 1, *x.shape[2:])
    sums = _CONV[len(told.kernel) - 1](flat, ones, None, told.strides, 0, told.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _counts(space: list[int], told: Windows, ends: list[int], all_count: bool) -> list[Any]:
    """How many values each window is the average of."""
    found = np.ones(())
    for axis, size in enumerate(space):
        before, after = told.before[axis], told.after[axis]
        counted = np.zeros(before + size + max(ends[axis], after), bool)
        counted[0 if all_count else before : before + size + (after if all_count else 0)] = True
        begins = range(0, before + size + ends[axis] - told.reach(axis) + 1, told.strides[axis])
        along = [counted[begin : begin + told.reach(axis) : told.dilations[axis]].sum() for begin in begins]
        found = np.multiply.outer(found, along)
    return found.tolist()
