"""Functions of several values, place by place, and casts."""

from __future__ import annotations

import functools
import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stoker.frontend.onnx.registry import EVERY, operator
from stoker.frontend.onnx.tensors import dtype_of
from stoker.frontend.onnx.values import DTYPES

_PLAIN: dict[str, Callable] = {
    "Add": python.add, "Sub": python.sub, "Mul": python.mul, "Equal": python.eq, "Less": python.lt,
    "LessOrEqual": python.le, "Greater": python.gt, "GreaterOrEqual": python.ge,
}  # fmt: skip
for _name, _function in _PLAIN.items():
    operator(_name, numbers=EVERY)(lambda node, a, b, _function=_function: _function(*_tensors(a, b)))
_LOGICAL = {"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor}
for _name, _function in _LOGICAL.items():
    operator(_name)(lambda node, a, b, _function=_function: _function(a, b))


def _tensors(a: Any, b: Any) -> tuple[Any, Any]:
    """At least one of them."""
    return a if isinstance(a, Tensor) or isinstance(b, Tensor) else torch.as_tensor(a), b


def _is_whole(*values: Any) -> bool:
    return all(isinstance(one, int) if not isinstance(one, Tensor) else not one.is_floating_point() for one in values)


@operator("Div", numbers=EVERY)
def _div(node: Any, a: Any, b: Any) -> Tensor:
    a, b = _tensors(a, b)
    return torch.div(a, b, rounding_mode="trunc") if _is_whole(a, b) else a / b


@operator("Mod", reads="fmod")
def _mod(node: Any, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.attribute("fmod", 0) else torch.remainder(a, b)


@operator("Pow", numbers=(1,))
def _pow(node: Any, a: Tensor, b: Any) -> Tensor:
    """In the type of the base."""
    return _of_type(torch.pow(a, b), a.dtype)


def _of_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


@operator("Min")
def _min(node: Any, *tensors: Tensor) -> Tensor:
    return functools.reduce(torch.minimum, tensors)


@operator("Max")
def _max(node: Any, *tensors: Tensor) -> Tensor:
    return functools.reduce(torch.maximum, tensors)


@operator("Sum")
def _sum(node: Any, *tensors: Tensor) -> Tensor:
    return functools.reduce(torch.add, tensors)


@operator("Mean")
def _mean(node: Any, *tensors: Tensor) -> Tensor:
    return functools.reduce(torch.add, tensors) / len(tensors)


@operator("Where")
def _where(node: Any, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@operator("Cast", reads="to saturate round_mode")
def _cast(node: Any, x: Tensor) -> Tensor:
    return _of_type(x, DTYPES[np.dtype(dtype_of(node.attribute("to"), f"{node.told}: what it casts to"))])


@operator("CastLike", reads="saturate round_mode")
def _cast_like(node: Any, x: Tensor, like: Tensor) -> Tensor:
    return _of_type(x, like.dtype)
