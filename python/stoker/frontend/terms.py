"""What a loss adds to a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Tensor = torch.Tensor


@dataclass
class Terms:
    """What a loss adds to a step. Without a denominator tensor it is `rows` for each row; 0: a plain sum."""

    numerator: Tensor
    denominator: Tensor | None = None
    rows: float = 1.0
    counts: Tensor | None = None  # which labels the metric counts; those outside the classes it never does


def spread(weight: Tensor, value: Tensor) -> Tensor:
    """Row weights shaped to be multiplied with a tensor of rows."""
    return weight.reshape([-1] + [1] * (value.dim() - 1)) if value.dim() > 1 else weight
