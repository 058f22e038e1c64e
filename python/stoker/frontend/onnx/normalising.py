"""Normalisation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.reductions import root
from stoker.frontend.onnx.registry import operator


@operator("BatchNormalization", reads="epsilon momentum training_mode spatial")
def _batch_norm(node: Any, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """By the batch's own statistics while the module trains, as a batch norm of torch."""
    if any(node.outputs[1:]):
        raise node.error("it gives statistics of the batch too: export the model in evaluation mode")
    if not node.attribute("spatial", 1):
        raise node.error("it has statistics of each place (spatial=0), which torch's has not")
    given = x if x.dim() > 1 else x.unsqueeze(1)  # of one channel
    found = F.batch_norm(given, mean, variance, scale, bias, node.training, 1 - node.attribute("momentum", 0.9),
                         node.attribute("epsilon", 1e-5))  # fmt: skip
    return found if x.dim() > 1 else found.squeeze(1)


@operator("InstanceNormalization", reads="epsilon")
def _instance_norm(node: Any, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    if math.prod(x.shape[2:]) == 1:  # its own mean, which torch refuses
        shape = [1, -1] + [1] * (x.dim() - 2)
        return (x - x) * scale.reshape(shape) + bias.reshape(shape)
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.attribute("epsilon", 1e-5))


@operator("LayerNormalization", reads="axis epsilon stash_type")
def _layer_norm(node: Any, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Any:
    axis, eps = node.attribute("axis", -1) % x.dim(), node.attribute("epsilon", 1e-5)
    shape = x.shape[axis:]
    whole = all(one is None or one.shape == shape for one in (scale, bias))
    if whole:
        found = F.layer_norm(x, shape, scale, bias, eps)
    else:
        found = F.layer_norm(x, shape, eps=eps)
        found = found if scale is None else found * scale
        found = found if bias is None else found + bias
    return (found, *_statistics(x, axis, eps)) if any(node.outputs[1:]) else found


def _statistics(x: Tensor, axis: int, eps: float) -> tuple[Tensor, Tensor]:
    axes = list(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    return mean, ((x - mean) ** 2).mean(axes, keepdim=True).add(eps).rsqrt()


@operator("RMSNormalization", reads="axis epsilon stash_type")
def _rms_norm(node: Any, x: Tensor, scale: Tensor | None = None) -> Tensor:
    axis = node.attribute("axis", -1) % x.dim()
    square = (x * x).mean(list(range(axis, x.dim())), keepdim=True)
    found = x * torch.rsqrt(square + node.attribute("epsilon", 1e-5))
    return found if scale is None else found * scale


@operator("GroupNormalization", reads="epsilon num_groups stash_type")
def _group_norm(node: Any, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scale and bias are of groups before opset 21, of channels from then on."""
    groups = node.attribute("num_groups")
    if node.opset < 21:
        times = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(times), bias.repeat_interleave(times)
    return F.group_norm(x, groups, scale, bias, node.attribute("epsilon", 1e-5))


@operator("LpNormalization", reads="axis p")
def _lp_norm(node: Any, x: Tensor) -> Tensor:
    axis = node.attribute("axis", -1)
    if node.attribute("p", 2) not in (1, 2):
        raise node.error(f"its norm is of p={node.attribute('p')}; ONNX has 1 and 2")
    size = x.abs().sum(axis, True) if node.attribute("p", 2) == 1 else root((x * x).sum(axis, True))
    return x / torch.where(size == 0, 1.0, size)


@operator("MeanVarianceNormalization", reads="axes")
def _mean_variance(node: Any, x: Tensor) -> Tensor:
    axes = node.attribute("axes", [0, 2, 3])
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / (root(((x - mean) ** 2).mean(axes, keepdim=True)) + 1e-9)


@operator("LRN", reads="size alpha beta bias")
def _local_response(node: Any, x: Tensor) -> Tensor:
    size = node.attribute("size")
    alpha, beta, bias = node.attribute("alpha", 1e-4), node.attribute("beta", 0.75), node.attribute("bias", 1.0)
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], -1)
    around = F.pad(squares, (0, 0, (size - 1) // 2, size // 2))
    means = F.avg_pool2d(around, (size, 1), 1).reshape(x.shape)
    return x / (bias + alpha * means) ** beta
