"""Convolutions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.windows import auto_pad, padded, shared, spatial, windows

_CONV = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@operator("Conv", reads="kernel_shape strides dilations pads auto_pad group")
def _conv(node: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    told = windows(node, x, weight.shape[2:])
    x, around = (x, told.before) if told.even else (padded(x, told.before, told.after), [0] * len(told.kernel))
    conv = _CONV[len(told.kernel) - 1]
    return conv(x, weight, bias, told.strides, around, told.dilations, node.attribute("group", 1))


@operator("ConvTranspose", reads="kernel_shape strides dilations pads auto_pad group output_padding output_shape")
def _transposed(node: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    space, kernel = spatial(node, x), list(weight.shape[2:])
    rank = len(space)
    strides, dilations = node.attribute("strides") or [1] * rank, node.attribute("dilations") or [1] * rank
    more = node.attribute("output_padding") or [0] * rank
    full = [(space[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + more[i] for i in range(rank)]
    before, after = _cut(node, space, strides, full)
    even = before == after and min(before, default=0) >= 0
    made = _TRANSPOSED[rank - 1](x, weight, bias, strides, before if even else 0, more, node.attribute("group", 1),
                                 dilations)  # fmt: skip
    if even:
        return made
    if bias is not None and min(*before, *after) < 0:
        raise node.error("its output_shape is larger than what its input reaches, and it has a bias")
    return padded(made, [-size for size in before], [-size for size in after])


def _cut(node: Any, space: list[int], strides: list[int], full: list[int]) -> tuple[list[int], list[int]]:
    """What is left out of the full result at both ends."""
    rank, auto = len(space), auto_pad(node)
    wanted = node.attribute("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(space, strides)]
    if wanted is None and auto == "VALID":
        return [0] * rank, [0] * rank
    if wanted is None:
        pads = node.attribute("pads") or [0] * 2 * rank
        return pads[:rank], pads[rank:]
    whole = [have - want for have, want in zip(full, wanted[-rank:])]
    if min(whole) < (0 if auto.startswith("SAME") else -1):
        raise node.error(f"its output_shape, {wanted[-rank:]}, is larger than the {full} that its input reaches: give "
                         "output_padding in the file")  # fmt: skip
    return shared(whole, "SAME_UPPER" if auto == "SAME_UPPER" else "SAME_LOWER")
