"""Whether the loss that is told from the logits of a model of transformers is the model's own, found out by computing
both on drawn rows: families differ in what forward does with labels, and nothing in a model says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.copies import copied
from stoker.frontend.hugging import OwnLoss
from stoker.program import TensorSpec

Tensor = torch.Tensor
_ROWS, _CLOSE = 4, 1e-4


@torch.no_grad()
def settle(loss: OwnLoss, model: nn.Module, inputs: Sequence[TensorSpec], labels: Sequence[TensorSpec]) -> None:
    """Sets the way of `loss` to one that gives the model's own number. The model stays as it is."""
    if loss.is_known([spec.name for spec in labels]):
        _settle(loss, copied(model)[0].eval(), inputs, labels[0])


def _settle(loss: OwnLoss, model: nn.Module, inputs: Sequence[TensorSpec], spec: TensorSpec) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = {each.name: _input(each, model, draw) for each in inputs}
    try:
        outputs = _called(model, rows)
    except Exception:  # whatever a model raises on such rows: it is not known what its logits are to its loss
        loss.take_as_told()
        return
    label = loss.drawn_label(outputs["logits"], spec, draw)
    own = _own_number(model, rows, label)
    if own is not None:
        loss.take_first(lambda: _is_number_of(loss, outputs, label, own))
    else:
        loss.terms(outputs, label, None)  # which has better words for a label that does not fit
        loss.take_as_told()


def _called(model: nn.Module, rows: dict[str, Tensor], more: dict[str, Tensor] | None = None) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return structure.call(model, rows, more)


def _own_number(model: nn.Module, rows: dict[str, Tensor], label: Tensor) -> float | None:
    try:
        return float(_called(model, rows, {"labels": label})["loss"])
    except Exception:  # as above
        return None


def _is_number_of(loss: OwnLoss, outputs: Any, label: Tensor, number: float) -> bool:
    try:
        terms = loss.terms(outputs, label, None)
    except CompileError:  # the label fits the model, and not its logits
        return False
    divisor = terms.rows * _ROWS if terms.denominator is None else float(terms.denominator)
    return math.isclose(float(terms.numerator), number * divisor, rel_tol=_CLOSE)


def _input(spec: TensorSpec, model: nn.Module, draw: torch.Generator) -> Tensor:
    """Any words, and masks that end in padding; zeros where it is not known what else is valid."""
    shape = (_ROWS, *spec.shape)
    if spec.dtype != "int64":
        return torch.randn(shape, generator=draw)
    if spec.name.endswith("_mask") and spec.shape:
        return _ending_in_padding(torch.ones(shape, dtype=torch.int64))
    if spec.name in ("input_ids", "decoder_input_ids", "features"):
        return torch.randint(0, int(getattr(model.config, "vocab_size", 2)), shape, generator=draw)
    return torch.zeros(shape, dtype=torch.int64)


def _ending_in_padding(mask: Tensor) -> Tensor:
    """Row 0 is whole, row 1 without its last place, and so on; one is left to each."""
    for row in range(1, min(len(mask), mask.shape[-1])):
        mask[row, ..., -row:] = 0
    return mask
