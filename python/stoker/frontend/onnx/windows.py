"""What convolutions and pooling share: pads, steps and sizes of windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

MOST = 3  # dimensions beside rows and channels


@dataclass(frozen=True)
class Windows:
    """Along each dimension of space."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def even(self) -> bool:
        """Whether there is as much padding after as before."""
        return self.before == self.after

    def reach(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1


def windows(node: Any, x: Tensor, kernel: Sequence[int]) -> Windows:
    space = spatial(node, x)
    rank = len(space)
    if len(kernel) != rank:
        raise node.error(f"its kernel has {len(kernel)} dimensions, and its input {rank} of space")
    strides, dilations = node.attribute("strides") or [1] * rank, node.attribute("dilations") or [1] * rank
    pads = node.attribute("pads") or [0] * 2 * rank
    found = Windows(list(kernel), strides, dilations, pads[:rank], pads[rank:])
    auto = auto_pad(node)
    if node.attribute("kernel_shape", found.kernel) != found.kernel:
        raise node.error(f"its kernel_shape is {node.attribute('kernel_shape')}, and its weight's {found.kernel}")
    if auto == "VALID":
        return Windows(found.kernel, strides, dilations, [0] * rank, [0] * rank)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return found
    whole = [max((-(-space[i] // strides[i]) - 1) * strides[i] + found.reach(i) - space[i], 0) for i in range(rank)]
    return Windows(found.kernel, strides, dilations, *shared(whole, auto))


def auto_pad(node: Any) -> str:
    told = node.attribute("auto_pad", "NOTSET")
    if told not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise node.error(f"it pads by {told!r}, which Stoker does not know")
    return told


def shared(whole: Sequence[int], auto: str) -> tuple[list[int], list[int]]:
    """Padding, of which an odd one goes to the end or, of SAME_LOWER, to the beginning."""
    less, more = [size // 2 for size in whole], [size - size // 2 for size in whole]
    return (more, less) if auto == "SAME_LOWER" else (less, more)


def spatial(node: Any, x: Tensor) -> list[int]:
    if not 1 <= x.dim() - 2 <= MOST:
        raise node.error(f"its input has {x.dim()} dimensions, expected rows, channels and 1 to {MOST} of space")
    return list(x.shape[2:])


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """Cut where sizes are negative."""
    sizes = [size for pair in reversed(list(zip(before, after))) for size in pair]
    return F.pad(x, sizes, value=value) if any(sizes) else x
