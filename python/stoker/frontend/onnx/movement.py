"""What moves values and computes none: shapes, cuts, copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.shapes import python_slice, slices_of, split_sizes, squeezed, unsqueezed
from stoker.frontend.onnx.values import DTYPES, array_of, number, numbers


@operator("Shape", reads="start end")
def _shape(node: Any, x: Tensor) -> np.ndarray:
    return array_of(x.shape[node.attribute("start", 0) : node.attribute("end")])


@operator("Size")
def _size(node: Any, x: Tensor) -> np.ndarray:
    return array_of([math.prod(x.shape)]).reshape(())


@operator("Reshape", reads="allowzero", known=(1,))
def _reshape(node: Any, x: Tensor, shape: np.ndarray) -> Tensor:
    sizes = numbers(shape)
    if not node.attribute("allowzero", 0):
        sizes = [x.shape[i] if isinstance(size, int) and size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten", reads="axis")
def _flatten(node: Any, x: Tensor) -> Tensor:
    axis = node.attribute("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", reads="perm")
def _transpose(node: Any, x: Tensor) -> Tensor:
    return x.permute(node.attribute("perm") or list(reversed(range(x.dim()))))


@operator("Squeeze", reads="axes", known=(1,))
def _squeeze(node: Any, x: Tensor, axes: Any = None) -> Tensor:
    told = squeezed(node, axes, list(x.shape))
    return x.squeeze() if told is None else x.squeeze(tuple(told))


@operator("Unsqueeze", reads="axes", known=(1,))
def _unsqueeze(node: Any, x: Tensor, axes: Any = None) -> Tensor:
    for axis in unsqueezed(node, axes, x.dim()):
        x = x.unsqueeze(axis)
    return x


@operator("Concat", reads="axis")
def _concat(node: Any, *tensors: Tensor) -> Tensor:
    return torch.cat(tensors, node.attribute("axis", 0))


@operator("Split", reads="axis split num_outputs", known=(1,))
def _split(node: Any, x: Tensor, sizes: Any = None) -> tuple[Tensor, ...]:
    axis = node.attribute("axis", 0)
    return tuple(x.split(split_sizes(node, sizes, x.shape[axis]), axis))


@operator("Slice", reads="starts ends axes", known=(1, 2, 3, 4))
def _slice(node: Any, x: Tensor, *told: Any) -> Tensor:
    for axis, place in slices_of(node, x.dim(), told).items():
        cut = slice(*python_slice(*place))
        if cut == slice(0, None, 1):
            continue
        x = x[(slice(None),) * axis + (cut,)] if cut.step > 0 else _taken(x, axis, range(x.shape[axis])[cut])
    return x


def _taken(x: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    """Values at these places; mirrored where they are all, from the last on."""
    places = list(places)
    if places == list(reversed(range(x.shape[axis]))):
        return x.flip(axis)
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64))


@operator("Expand", known=(1,))
def _expand(node: Any, x: Tensor, shape: np.ndarray) -> Tensor:
    sizes = numbers(shape)
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise node.error(f"it widens to {sizes}, and no size is below 0")
    longer = max(len(sizes), x.dim())
    told = [1] * (longer - len(sizes)) + sizes
    own = [1] * (longer - x.dim()) + list(x.shape)
    return x.expand([mine if isinstance(size, int) and size == 1 else size for size, mine in zip(told, own)])


@operator("Tile", known=(1,))
def _tile(node: Any, x: Tensor, repeats: np.ndarray) -> Tensor:
    return x.repeat(numbers(repeats))


@operator("ConstantOfShape", reads="value", known=(0,))
def _filled(node: Any, shape: np.ndarray) -> Tensor:
    value = node.attribute("value", np.zeros(1, np.float32)).reshape(-1)
    return torch.full(numbers(shape), value[0].item(), dtype=DTYPES[value.dtype])


@operator("Range", known=(0, 1, 2))
def _range(node: Any, start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> Tensor:
    dtype = DTYPES.get(start.dtype, torch.int64)
    return torch.arange(number(start), number(limit), number(step), dtype=dtype)


@operator("Trilu", reads="upper", known=(1,))
def _triangle(node: Any, x: Tensor, k: Any = None) -> Tensor:
    keep = torch.triu if node.attribute("upper", 1) else torch.tril
    return keep(x, 0 if k is None else int(number(k)))


@operator("Pad", reads="mode pads value", known=(1, 3), scalars=(2,))
def _pad(node: Any, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    told = node.attribute("pads") if pads is None else numbers(pads)
    places = range(x.dim()) if axes is None else [axis % x.dim() for axis in numbers(axes)]
    around = [(0, 0)] * x.dim()
    for place, axis in enumerate(places):
        around[axis] = (told[place], told[place + len(places)])
    mode = node.attribute("mode", "constant")
    if mode != "constant":
        return _mirrored(node, x, around, mode)
    fill = node.attribute("value", 0.0) if value is None else value
    if isinstance(fill, Tensor):
        fill = fill.item()
    return F.pad(x, [size for pair in reversed(around) for size in pair], value=fill)


def _mirrored(node: Any, x: Tensor, around: list[tuple[int, int]], mode: str) -> Tensor:
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        raise node.error(f"it pads by {mode!r}, which Stoker does not know")
    for axis, (before, after) in enumerate(around):
        if (before, after) != (0, 0):
            node.check_room(x.shape[axis] + max(before, 0) + max(after, 0))
            cut = x.narrow(axis, max(-before, 0), x.shape[axis] + min(before, 0) + min(after, 0))
            places = np.pad(np.arange(cut.shape[axis]), (max(before, 0), max(after, 0)), mode=modes[mode])
            x = _taken(cut, axis, places.tolist())
    return x


@operator("DepthToSpace", reads="blocksize mode")
def _depth_to_space(node: Any, x: Tensor) -> Tensor:
    size = node.attribute("blocksize")
    rows, channels, height, width = x.shape
    if node.attribute("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    apart = x.reshape(rows, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(rows, channels // size**2, height * size, width * size)


@operator("SpaceToDepth", reads="blocksize mode")
def _space_to_depth(node: Any, x: Tensor) -> Tensor:
    size = node.attribute("blocksize")
    rows, channels, height, width = x.shape
    apart = x.reshape(rows, channels, height // size, size, width // size, size)
    by_channel = node.attribute("mode", "DCR") == "CRD"
    apart = apart.permute(0, 1, 3, 5, 2, 4) if by_channel else apart.permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(rows, channels * size**2, height // size, width // size)
