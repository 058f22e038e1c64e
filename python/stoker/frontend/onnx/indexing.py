"""Values taken from, and put to, places that are values themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.values import DTYPES, numbers


def _counted(indices: Tensor, size: Any) -> Tensor:
    """Negative ones count from the end."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@operator("Gather", reads="axis", scalars=(1,))
def _gather(node: Any, x: Tensor, indices: Any) -> Tensor:
    axis = node.attribute("axis", 0) % x.dim()
    if not isinstance(indices, Tensor):
        return x.select(axis, indices)
    places = _counted(indices, x.shape[axis])
    if axis == 0 and x.dim() == 2:
        return F.embedding(places, x)
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@operator("GatherElements", reads="axis")
def _gather_elements(node: Any, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.attribute("axis", 0)
    return torch.gather(x, axis, _counted(indices, x.shape[axis]))


def _flat_places(indices: Tensor, sizes: list[Any]) -> Tensor:
    """Of the last dimension of `indices`, one number for each tuple; of a tuple beyond its axes one beyond them all."""
    flat = torch.zeros_like(indices[..., 0]).long()
    inside = torch.ones_like(indices[..., 0], dtype=torch.bool)
    for number, size in enumerate(sizes):
        along = _counted(indices[..., number], size)
        inside = inside & (along >= 0) & (along < size)
        flat = flat * size + along
    return torch.where(inside, flat, math.prod(sizes))


@operator("GatherND", reads="batch_dims")
def _gather_nd(node: Any, x: Tensor, indices: Tensor) -> Tensor:
    batch, depth = node.attribute("batch_dims", 0), indices.shape[-1]
    outer, inner = list(x.shape[:batch]), list(x.shape[batch + depth :])
    flat = _flat_places(indices, list(x.shape[batch : batch + depth]))
    if batch:
        count = math.prod(outer)
        rows = x.reshape(count, -1, *inner)
        places = flat.reshape(count, -1)
        shape = (*places.shape, *inner)
        places = places.reshape(*places.shape, *[1] * len(inner)).expand(shape)
        return torch.gather(rows, 1, places).reshape(*indices.shape[:-1], *inner)
    found = x.reshape(-1, *inner).index_select(0, flat.reshape(-1))
    return found.reshape(*indices.shape[:-1], *inner)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _reduction(node: Any) -> str | None:
    told = node.attribute("reduction", "none")
    if told != "none" and told not in _REDUCTIONS:
        raise node.error(f"it brings values together by {told!r}, which Stoker does not know")
    return _REDUCTIONS.get(told)


@operator("ScatterND", reads="reduction")
def _scatter_nd(node: Any, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    depth, fold = indices.shape[-1], _reduction(node)
    inner = x.shape[depth:]
    rows = x.reshape(-1, *inner)
    places = _flat_places(indices, list(x.shape[:depth])).reshape(-1)
    values = updates.reshape(-1, *inner)
    wide = places.reshape(-1, *[1] * len(inner)).expand(values.shape)
    return _scattered(rows, 0, wide, values, fold).reshape(x.shape)


@operator("ScatterElements", "Scatter", reads="axis reduction")
def _scatter_elements(node: Any, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = node.attribute("axis", 0)
    return _scattered(x, axis, _counted(indices, x.shape[axis]), updates, _reduction(node))


def _scattered(x: Tensor, axis: int, places: Tensor, values: Tensor, fold: str | None) -> Tensor:
    if fold is None:
        return x.scatter(axis, places, values)
    return x.scatter_add(axis, places, values) if fold == "sum" else x.scatter_reduce(axis, places, values, fold)


@operator("OneHot", reads="axis", known=(1, 2))
def _one_hot(node: Any, indices: Tensor, depth: np.ndarray, values: np.ndarray) -> Tensor:
    (count,), (off, on) = numbers(depth), numbers(values)
    axis = node.attribute("axis", -1)
    axis = axis + indices.dim() + 1 if axis < 0 else axis
    shape = [1] * (indices.dim() + 1)
    shape[axis] = int(count)
    classes = torch.arange(int(count)).reshape(shape)
    hot = _counted(indices, int(count)).unsqueeze(axis) == classes
    return torch.where(hot, on, off).to(DTYPES[values.dtype])


@operator("GridSample", reads="mode padding_mode align_corners")
def _grid_sample(node: Any, x: Tensor, grid: Tensor) -> Tensor:
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = node.attribute("mode", "linear")
    return F.grid_sample(x, grid, modes.get(mode, mode), node.attribute("padding_mode", "zeros"),
                         bool(node.attribute("align_corners", 0)))  # fmt: skip
