"""Products of matrices, and attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator


@operator("Gemm", reads="alpha beta transA transB")
def _gemm(node: Any, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if node.attribute("transA", 0) else a
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    weight = b if node.attribute("transB", 0) else b.t()
    bias = c if c is not None and c.dim() == 1 and beta == 1.0 and alpha == 1.0 else None
    if bias is not None and bias.shape[0] == weight.shape[0]:
        return F.linear(a, weight, bias)
    found = F.linear(a, weight)
    found = found if alpha == 1.0 else found * alpha
    return found if c is None else found + (c if beta == 1.0 else c * beta)


@operator("MatMul")
def _matmul(node: Any, a: Tensor, b: Tensor) -> Tensor:
    return F.linear(a, b.t()) if b.dim() == 2 and a.dim() > 1 else torch.matmul(a, b)


@operator("Einsum", reads="equation")
def _einsum(node: Any, *tensors: Tensor) -> Tensor:
    return torch.einsum(node.attribute("equation"), *tensors)


@operator("Attention", reads="q_num_heads kv_num_heads scale softcap is_causal softmax_precision qk_matmul_output_mode")
def _attention(node: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *more: Any) -> Tensor:
    """Without a cache of earlier keys. Rows, heads, places, values; or rows, places, heads and values as one."""
    if any(one is not None for one in more) or any(node.outputs[1:]):
        raise node.error("it keeps keys and values of earlier calls, or gives its scores: export it without a cache")
    flat = q.dim() == 3
    if flat:
        heads = node.attribute("q_num_heads"), *[node.attribute("kv_num_heads")] * 2
        q, k, v = [_by_head(one, count) for one, count in zip((q, k, v), heads)]
    k, v = [one.repeat_interleave(q.shape[1] // one.shape[1], 1) for one in (k, v)]
    found = _attended(node, q, k, v, mask)
    return found.transpose(1, 2).flatten(2) if flat else found


def _by_head(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _attended(node: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scale = node.attribute("scale", 0.0) or 1 / math.sqrt(q.shape[-1])
    scores = (q * math.sqrt(scale)) @ (k * math.sqrt(scale)).transpose(-1, -2)
    if cap := node.attribute("softcap", 0.0):
        scores = cap * torch.tanh(scores / cap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if node.attribute("is_causal", 0):
        later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    nobody = (scores == -math.inf).all(-1, keepdim=True)  # rows that may look at nothing get zeros
    return F.softmax(scores, -1).masked_fill(nobody, 0.0) @ v
