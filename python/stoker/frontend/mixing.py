"""Mixup and CutMix: a micro-batch's rows are mixed in pairs, and their losses alike, by numbers that the training
program draws itself, so they are keyed by (seed, epoch, step, shard) like all of its randomness.

Mixup: Zhang et al., 2017, arXiv 1710.09412. CutMix: Yun et al., 2019, arXiv 1905.04899, algorithm 1. One draw of a
micro-batch; a row's partner is the one as far from its other end, which is a chance one, as the epoch's order is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from stoker.errors import CompileError
from stoker.frontend import private
from stoker.frontend.losses import Terms
from stoker.program import TensorSpec

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Mix:
    name: str  # "mixup" or "cutmix"
    alpha: float  # of the Beta distribution that a row's own share is drawn from
    channels_last: bool = False

    def check(self, inputs: Sequence[TensorSpec]) -> None:
        for spec in inputs:
            if not getattr(torch, spec.dtype).is_floating_point:
                raise CompileError(f"mix={self.name!r} mixes numbers, and input {spec.name!r} is {spec.dtype}")
            if self.name == "cutmix" and len(spec.shape) != 3:
                raise CompileError(f"mix='cutmix' cuts pictures, and a row of input {spec.name!r} has shape "
                                   f"{list(spec.shape)}, not three dimensions: take 'mixup'")  # fmt: skip

    def draw(self, inputs: Tensors) -> tuple[Tensors, torch.Tensor]:
        """The mixed inputs, and what share of each row is its own."""
        own = private.dirichlet(torch.full((2,), self.alpha))[0]
        if self.name == "mixup":
            return {name: own * rows + (1 - own) * partners(rows) for name, rows in inputs.items()}, own
        high, wide = (1, 2) if self.channels_last else (2, 3)
        rows = next(iter(inputs.values()))
        cut = self._box(own, torch.rand(2), rows.shape[high], rows.shape[wide])
        shaped = cut.unsqueeze(-1) if self.channels_last else cut
        mixed = {name: torch.where(shaped, partners(rows), rows) for name, rows in inputs.items()}
        return mixed, 1 - cut.to(torch.float32).mean()

    @staticmethod
    def _box(own: torch.Tensor, centre: torch.Tensor, high: int, wide: int) -> torch.Tensor:
        """Which pixels are the partner's."""
        side = (1 - own).sqrt()
        inside = []
        for size, middle in ((high, centre[0]), (wide, centre[1])):
            half, at = ((size * side).floor() / 2).floor(), (middle * size).floor()
            places = torch.arange(size, dtype=torch.float32)
            inside.append((places >= at - half) & (places < at + half))
        return inside[0].unsqueeze(1) & inside[1].unsqueeze(0)


def partners(rows: torch.Tensor) -> torch.Tensor:
    return rows.flip(0)


def partners_of(rows: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: partners(tensor) for name, tensor in rows.items()}


def joined(own: torch.Tensor, terms: Terms, partner: Terms) -> Terms:
    """Of the losses against a row's own labels, and against its partner's."""
    numerator = own * terms.numerator + (1 - own) * partner.numerator
    if terms.denominator is None:
        return replace(terms, numerator=numerator)
    return replace(terms, numerator=numerator, denominator=own * terms.denominator + (1 - own) * partner.denominator)
