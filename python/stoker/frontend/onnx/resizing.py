"""Resize and Upsample: by torch's own interpolation where it does the same, else as sums of a few values along each
axis, at places that are known beforehand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.values import numbers

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "cubic": "cubic",
          "bicubic": "cubic"}  # fmt: skip
_PLACES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
           "tf_half_pixel_for_nn")  # fmt: skip
_ROUNDED = {"floor": np.floor, "ceil": np.ceil, "round_prefer_floor": lambda along: np.ceil(along - 0.5),
            "round_prefer_ceil": lambda along: np.floor(along + 0.5)}  # fmt: skip
_SIMPLE = "by direction"  # before opset 11: up where it makes smaller, else down
_POLICIES = {"stretch": None, "not_larger": min, "not_smaller": max}
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@operator("Upsample", reads="mode scales", known=(1,))
def _upsample(node: Any, x: Tensor, scales: Any = None) -> Tensor:
    told = node.attribute("scales") if scales is None else numbers(scales)
    return _resized(node, x, dict(enumerate(told)), {}, "asymmetric", _SIMPLE)


@operator(
    "Resize",
    reads="mode coordinate_transformation_mode nearest_mode cubic_coeff_a exclude_outside antialias axes "
    "keep_aspect_ratio_policy extrapolation_value",
    known=(1, 2, 3),
)
def _resize(node: Any, x: Tensor, *told: Any) -> Tensor:
    if node.opset < 11:
        return _resized(node, x, dict(enumerate(numbers(told[0]))), {}, "asymmetric", _SIMPLE)
    _, scales, sizes = (*told, None, None, None)[:3]
    axes = [axis % x.dim() for axis in node.attribute("axes") or range(x.dim())]
    factors = dict(zip(axes, numbers(scales))) if scales is not None and scales.size else {}
    wanted = dict(zip(axes, numbers(sizes))) if sizes is not None and sizes.size else {}
    if not factors and not wanted:
        raise node.error("it has neither scales nor sizes")
    if wanted:
        factors, wanted = _by_size(node, x, wanted)
    return _resized(node, x, factors, wanted, node.attribute("coordinate_transformation_mode", "half_pixel"),
                    node.attribute("nearest_mode", "round_prefer_floor"))  # fmt: skip


def _by_size(node: Any, x: Tensor, wanted: dict[int, Any]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Rows, whose number is open, stay as they are."""
    wanted = {axis: size for axis, size in wanted.items() if size != x.shape[axis]}
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    factors = {axis: size / x.shape[axis] for axis, size in wanted.items()}
    if policy not in _POLICIES:
        raise node.error(f"it keeps the aspect ratio by {policy!r}, which Stoker does not know")
    choose = _POLICIES[policy]
    if choose is None or not factors:
        return factors, wanted
    one = choose(factors.values())
    return dict.fromkeys(factors, one), {axis: math.floor(x.shape[axis] * one + 0.5) for axis in factors}


def _resized(node: Any, x: Tensor, factors: dict[int, Any], sizes: dict[int, Any], places: str,
             rounding: str) -> Tensor:  # fmt: skip
    told = node.attribute("mode", "nearest")
    mode = _MODES.get(told)
    if mode is None or places not in _PLACES or rounding not in (*_ROUNDED, _SIMPLE):
        raise node.error(f"it resizes by {told!r}, {places!r}, {rounding!r}, which Stoker does not "
                         "know")  # fmt: skip
    if mode != "nearest" and not x.is_floating_point():
        raise node.error(f"it resizes whole numbers by {mode!r}, which Stoker does not: cast them to floats before")
    changed = {axis: factor for axis, factor in factors.items() if factor != 1 or axis in sizes}
    if node.attribute("antialias", 0) and min(changed.values(), default=1) < 1:
        raise node.error("it makes pictures smaller with antialias, which Stoker does not: do it before the model")
    target = {axis: sizes.get(axis, math.floor(x.shape[axis] * factor)) for axis, factor in changed.items()}
    if _is_torchs(node, x, changed, sizes, mode, places, rounding):
        return _by_torch(x, target, mode, places)
    for axis, factor in changed.items():
        node.check_room(target[axis])
        along = _coordinates(places, target[axis], x.shape[axis], factor)
        towards = ("ceil" if factor < 1 else "floor") if rounding == _SIMPLE else rounding
        x = _taps(node, x, axis, along, mode, towards)
    return x


def _is_torchs(node: Any, x: Tensor, factors: dict[int, Any], sizes: dict[int, Any], mode: str, places: str,
               rounding: str) -> bool:  # fmt: skip
    """All of space is resized, and by numbers that torch finds by itself from the sizes."""
    space = list(range(2, x.dim()))
    exact = all(math.isclose(sizes[axis], x.shape[axis] * factor) if axis in sizes else float(factor).is_integer()
                for axis, factor in factors.items())  # fmt: skip
    if not x.is_floating_point() or sorted(factors) != space or x.dim() not in _LINEAR or not exact:
        return False
    if mode == "nearest":
        return (
            places == "asymmetric"
            and rounding in ("floor", _SIMPLE)
            and all(f >= 1 and f == int(f) for f in factors.values())
        )
    return mode == "linear" and places in ("half_pixel", "align_corners")


def _by_torch(x: Tensor, target: dict[int, Any], mode: str, places: str) -> Tensor:
    size = [target[axis] for axis in sorted(target)]
    if mode == "nearest":
        return F.interpolate(x, size)
    return F.interpolate(x, size, mode=_LINEAR[x.dim()], align_corners=places == "align_corners")


def _coordinates(places: str, wanted: int, size: int, factor: float) -> np.ndarray:
    """Of each value that is made, among those that are there; in float32, as runtimes have it: ties hang on it."""
    out, factor, half = np.arange(wanted, dtype=np.float32), np.float32(factor), np.float32(0.5)
    if places == "align_corners":
        return out * np.float32(size - 1) / np.float32(wanted - 1) if wanted > 1 else out * 0
    if places == "asymmetric":
        return out / factor
    if places == "tf_half_pixel_for_nn":
        return (out + half) / factor
    if places == "pytorch_half_pixel" and wanted == 1:
        return out * 0
    if places == "half_pixel_symmetric":
        centre = np.float32(size) / 2 * (1 - np.float32(wanted) / (factor * size))
        return centre + (out + half) / factor - half
    return (out + half) / factor - half


def _taps(node: Any, x: Tensor, axis: int, along: np.ndarray, mode: str, rounding: str) -> Tensor:
    size = x.shape[axis]
    if mode == "nearest":
        return _taken(x, axis, _ROUNDED[rounding](along), size)
    first = np.floor(along)
    part = along - first
    linear = mode == "linear"
    weights = [(0, 1 - part), (1, part)] if linear else _cubic(part, node.attribute("cubic_coeff_a", -0.75))
    if node.attribute("exclude_outside", 0):
        weights = _inside(first, weights, size)
    total = 0
    for offset, weight in weights:
        shape = [1] * x.dim()
        shape[axis] = len(weight)
        share = torch.tensor(weight.tolist(), dtype=x.dtype).reshape(shape)
        total = total + _taken(x, axis, first + offset, size) * share
    return total


def _taken(x: Tensor, axis: int, places: np.ndarray, size: int) -> Tensor:
    within = np.clip(places, 0, size - 1).astype(np.int64)
    return x.index_select(axis, torch.tensor(within.tolist()))


def _cubic(part: np.ndarray, a: float) -> list[tuple[int, np.ndarray]]:
    """Keys, Cubic convolution interpolation for digital image processing, 1981."""

    def near(d: np.ndarray) -> np.ndarray:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1

    def far(d: np.ndarray) -> np.ndarray:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a

    return [(-1, far(part + 1)), (0, near(part)), (1, near(1 - part)), (2, far(2 - part))]


def _inside(first: np.ndarray, weights: list[tuple[int, np.ndarray]], size: int) -> list[tuple[int, np.ndarray]]:
    """What lies outside counts nothing, and the others for it."""
    kept = [(offset, np.where((first + offset >= 0) & (first + offset < size), weight, 0))
            for offset, weight in weights]  # fmt: skip
    total = sum(weight for _, weight in kept)
    return [(offset, weight / total) for offset, weight in kept]
