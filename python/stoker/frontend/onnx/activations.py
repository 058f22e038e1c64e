"""Functions of one value: activations, and the elementary ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.values import number

_PLAIN = {
    "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign,
    "Erf": torch.erf, "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Softsign": F.softsign,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan,
    "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Not": torch.logical_not, "IsNaN": torch.isnan, "HardSwish": F.hardswish, "Mish": F.mish, "Softplus": F.softplus,
}  # fmt: skip
for _name, _function in _PLAIN.items():
    operator(_name)(lambda node, x, _function=_function: _function(x))


@operator("Identity")
def _identity(node: Any, x: Tensor) -> Tensor:
    return x


@operator("IsInf", reads="detect_positive detect_negative")
def _is_inf(node: Any, x: Tensor) -> Tensor:
    up, down = node.attribute("detect_positive", 1), node.attribute("detect_negative", 1)
    found = torch.isinf(x)
    if up and down:
        return found
    return found & (x > 0) if up else found & (x < 0) if down else torch.zeros_like(found)


@operator("LeakyRelu", reads="alpha")
def _leaky_relu(node: Any, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.attribute("alpha", 0.01))


@operator("PRelu")
def _prelu(node: Any, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


@operator("Elu", reads="alpha")
def _elu(node: Any, x: Tensor) -> Tensor:
    return F.elu(x, node.attribute("alpha", 1.0))


@operator("Celu", reads="alpha")
def _celu(node: Any, x: Tensor) -> Tensor:
    return F.celu(x, node.attribute("alpha", 1.0))


@operator("Selu", reads="alpha gamma")
def _selu(node: Any, x: Tensor) -> Tensor:
    alpha, gamma = node.attribute("alpha", 1.6732632423543772), node.attribute("gamma", 1.0507009873554805)
    return gamma * F.elu(x, alpha)


@operator("ThresholdedRelu", reads="alpha")
def _thresholded_relu(node: Any, x: Tensor) -> Tensor:
    return torch.where(x > node.attribute("alpha", 1.0), x, 0.0)


@operator("HardSigmoid", reads="alpha beta")
def _hard_sigmoid(node: Any, x: Tensor) -> Tensor:
    return (node.attribute("alpha", 0.2) * x + node.attribute("beta", 0.5)).clamp(0, 1)


@operator("Swish", reads="alpha")
def _swish(node: Any, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.attribute("alpha", 1.0) * x)


@operator("Gelu", reads="approximate")
def _gelu(node: Any, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.attribute("approximate", "none"))


@operator("Shrink", reads="lambd bias")
def _shrink(node: Any, x: Tensor) -> Tensor:
    edge, bias = node.attribute("lambd", 0.5), node.attribute("bias", 0.0)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))


@operator("Clip", reads="min max", scalars=(1, 2))
def _clip(node: Any, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Bounds are attributes before opset 11."""
    low = node.attribute("min", low)
    high = node.attribute("max", high)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        low, high = [torch.as_tensor(one, dtype=x.dtype) if one is not None else None for one in (low, high)]
    low, high = _finite(low, -math.inf), _finite(high, math.inf)
    return x if low is None and high is None else torch.clamp(x, low, high)


def _finite(bound: Any, none: float) -> Any:
    """An endless bound is none."""
    return None if isinstance(bound, float) and bound == none else bound


def _flat(node: Any, x: Tensor) -> tuple[Tensor, int]:
    """Before opset 13 all dimensions from the axis on are one."""
    if node.opset >= 13:
        return x, node.attribute("axis", -1)
    axis = node.attribute("axis", 1) % max(x.dim(), 1)
    return (x, axis) if axis == x.dim() - 1 else (x.flatten(axis), axis)


@operator("Softmax", reads="axis")
def _softmax(node: Any, x: Tensor) -> Tensor:
    flat, axis = _flat(node, x)
    return F.softmax(flat, axis).reshape(x.shape)


@operator("LogSoftmax", reads="axis")
def _log_softmax(node: Any, x: Tensor) -> Tensor:
    flat, axis = _flat(node, x)
    return F.log_softmax(flat, axis).reshape(x.shape)


@operator("Hardmax", reads="axis")
def _hardmax(node: Any, x: Tensor) -> Tensor:
    flat, axis = _flat(node, x)
    first = flat.argmax(axis, keepdim=True)
    return torch.zeros_like(flat).scatter(axis, first, 1.0).reshape(x.shape)


@operator("Dropout", reads="ratio seed", known=(1, 2))
def _dropout(node: Any, x: Tensor, ratio: Any = None, training: Any = None) -> Any:
    """Drops while the module trains, whatever the file says of training."""
    share = node.attribute("ratio", 0.5) if ratio is None else number(ratio)
    dropped = F.dropout(x, share, node.training)
    return (dropped, torch.ones_like(x, dtype=torch.bool)) if len(node.outputs) > 1 else dropped
