"""Losses as a numerator and a denominator, both sums over the rows of a micro-batch.

The gradient of a step is (sum of numerators) / (sum of denominators) over all shards; that is what makes a batch equal
to itself cut in parts. A denominator is a tensor (weights, labels that count), or a number for each row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.bridges import as_torch_loss
from stoker.frontend.foreign import ForeignLoss
from stoker.frontend.labels import class_labels, like_output, pair, same_shape, triple
from stoker.frontend.terms import Terms, spread

Tensor = torch.Tensor


@dataclass(frozen=True)
class Form:
    """How one torch loss is taken apart.

    fit: (name, outputs, label) -> arguments of the loss. divisor: what 'mean' divides by: every element of the output,
    rows, or positions (rows times what follows the classes). mass: what each element of the unreduced loss weighs in
    the denominator, and which labels count. compute: the unreduced loss, where the module's forward cannot be traced.
    """

    fit: Callable
    divisor: str = "elements"
    mass: Callable | None = None
    compute: Callable | None = None


def _valid(loss, arguments) -> Tensor | None:
    label = arguments[1]
    return None if label.is_floating_point() else label != loss.ignore_index


def _class_mass(loss, arguments) -> tuple[Tensor, Tensor] | None:
    """Weights of classes; labels that are ignored weigh nothing. None for labels given as probabilities."""
    label, valid = arguments[1], _valid(loss, arguments)
    if valid is None:
        return None
    if loss.weight is None:
        return valid, valid
    return torch.where(valid, loss.weight[torch.where(valid, label, 0)], 0.0), valid


def _gaussian(loss, mean: Tensor, label: Tensor, variance: Tensor) -> Tensor:
    """As F.gaussian_nll_loss, which looks at the values to refuse negative variances."""
    variance = variance + (variance.clamp(min=loss.eps) - variance).detach()
    each = 0.5 * (variance.log() + (mean - label) ** 2 / variance)
    return each + 0.5 * math.log(2 * math.pi) if loss.full else each


_ELEMENTWISE = Form(like_output)
_CLASSES = Form(class_labels, "positions", _class_mass)

FORMS: dict[type, Form] = {
    nn.CrossEntropyLoss: _CLASSES,
    nn.NLLLoss: _CLASSES,
    nn.NLLLoss2d: _CLASSES,
    nn.MSELoss: _ELEMENTWISE,
    nn.L1Loss: _ELEMENTWISE,
    nn.SmoothL1Loss: _ELEMENTWISE,
    nn.HuberLoss: _ELEMENTWISE,
    nn.BCELoss: _ELEMENTWISE,
    nn.BCEWithLogitsLoss: _ELEMENTWISE,
    nn.KLDivLoss: Form(same_shape),
    nn.PoissonNLLLoss: _ELEMENTWISE,
    nn.GaussianNLLLoss: Form(functools.partial(pair, order="first label second"), compute=_gaussian),
    nn.HingeEmbeddingLoss: _ELEMENTWISE,
    nn.SoftMarginLoss: _ELEMENTWISE,
    nn.MultiLabelSoftMarginLoss: Form(same_shape, "rows"),
    nn.MultiLabelMarginLoss: Form(functools.partial(same_shape, cast=False), "rows"),
    nn.MultiMarginLoss: Form(class_labels, "rows"),
    nn.CosineEmbeddingLoss: Form(functools.partial(pair, order="first second label", by_row=True), "rows"),
    nn.MarginRankingLoss: Form(functools.partial(pair, order="first second label")),
    nn.TripletMarginLoss: Form(triple, "rows"),
    nn.TripletMarginWithDistanceLoss: Form(triple, "rows"),
}
_REFUSED = {
    nn.CTCLoss: "takes lengths beside outputs and labels: give a callable of (outputs, labels) that calls F.ctc_loss "
    "with lengths from named labels",
    nn.AdaptiveLogSoftmaxWithLoss: "is a layer as well as a loss: let the model return its .loss, and give a callable",
}

FUNCTIONS = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.kl_div: nn.KLDivLoss,
    F.poisson_nll_loss: nn.PoissonNLLLoss,
    F.gaussian_nll_loss: nn.GaussianNLLLoss,
    F.hinge_embedding_loss: nn.HingeEmbeddingLoss,
    F.soft_margin_loss: nn.SoftMarginLoss,
    F.multilabel_soft_margin_loss: nn.MultiLabelSoftMarginLoss,
    F.multilabel_margin_loss: nn.MultiLabelMarginLoss,
    F.multi_margin_loss: nn.MultiMarginLoss,
    F.cosine_embedding_loss: nn.CosineEmbeddingLoss,
    F.margin_ranking_loss: nn.MarginRankingLoss,
    F.triplet_margin_loss: nn.TripletMarginLoss,
    F.triplet_margin_with_distance_loss: nn.TripletMarginWithDistanceLoss,
    F.ctc_loss: nn.CTCLoss,
}


def form_of(loss) -> Form | None:
    """The form of a torch loss module; None for anything whose forward is the user's."""
    for kind, form in FORMS.items():
        if isinstance(loss, kind) and type(loss).forward is kind.forward:
            return form
    return None


def as_module(loss):
    """A functional loss, or a partial of one, or one of another framework, as the module that does the same; everything
    else as it is."""
    loss = as_torch_loss(loss)
    keywords = {}
    function = loss
    if isinstance(loss, functools.partial) and not loss.args:
        function, keywords = loss.func, loss.keywords
    kind = FUNCTIONS.get(function) if callable(function) and not isinstance(function, nn.Module) else None
    if kind is None:
        return loss
    try:
        return kind(**keywords)
    except TypeError:
        return loss


def name_of(loss) -> str:
    if isinstance(loss, ForeignLoss):
        return loss.name
    if isinstance(loss, nn.Module):
        return type(loss).__name__
    return getattr(loss, "__name__", type(loss).__name__)


class Objective:
    """The user's loss, ready to be traced: outputs, labels and weights in, Terms out."""

    def __init__(self, loss, reduction: str | None, weighted: bool):
        self.name = name_of(loss)
        self.form = form_of(loss)
        self.weighted = weighted
        self.known = self.form is not None or isinstance(loss, ForeignLoss)
        self.reduction = reduction or (getattr(loss, "reduction", "mean") if self.known else "mean")
        if isinstance(loss, type):
            raise CompileError(f"loss is the class {loss.__name__}; give an instance: {loss.__name__}()")
        if not callable(loss):
            raise CompileError(f"loss is a {type(loss).__name__}; give a torch loss or a callable of (outputs, labels)")
        for kind, reason in _REFUSED.items():
            if isinstance(loss, kind):
                raise CompileError(f"{self.name} {reason}")
        if self.reduction not in ("mean", "sum", "none", "batchmean"):
            raise CompileError(f"lossReduction is {self.reduction!r}; it may be 'mean', 'sum' or 'none'")
        if weighted and not self.known and self.reduction != "none":
            raise CompileError(
                f"sample weights need a loss for each row, but {self.name} gives one number: return the unreduced loss "
                "and set lossReduction='none'"
            )

    def __call__(self, loss, outputs, labels, weight: Tensor | None) -> Terms:
        if isinstance(loss, ForeignLoss):
            terms = loss.terms(outputs, labels, weight)
        else:
            ways = self._known if self.form else self._custom
            terms = ways(loss, outputs, labels, weight)
        _check_numerator(terms.numerator, self.name)
        if self.reduction == "sum":
            terms.denominator, terms.rows = None, 0.0
        return terms

    def _known(self, loss, outputs, labels, weight: Tensor | None) -> Terms:
        arguments = self.form.fit(self.name, outputs, labels)
        mass = self.form.mass(loss, arguments) if self.form.mass else None
        value = _value(self.form, loss, arguments, "none" if weight is not None else "sum")
        if mass is not None:
            numerator = value if weight is None else (value * spread(weight, value)).sum()
            heavy = mass[0] if weight is None else mass[0] * spread(weight, mass[0])
            return Terms(numerator, heavy.sum(), counts=mass[1] if loss.ignore_index >= 0 else None)
        elements = 1 if self.reduction == "batchmean" else _divisor(self.form.divisor, arguments[0])
        if weight is None:
            return Terms(value, rows=float(elements))
        return Terms((value * spread(weight, value)).sum(), weight.sum() * elements)

    def _custom(self, loss, outputs, labels, weight: Tensor | None) -> Terms:
        value = loss(outputs, labels)
        if not isinstance(value, Tensor):
            raise CompileError(f"{self.name} returns a {type(value).__name__}, not a tensor")
        rows = _first_leaf(outputs).shape[0]
        if self.reduction == "none":
            return _row_losses(value, rows, weight, self.name)
        if value.numel() != 1:
            raise CompileError(
                f"{self.name} returns a tensor of shape {structure.show(value)}, not one number: set "
                "lossReduction='none' if it has a loss for each row"
            )
        value = value.reshape(())
        return Terms(value * rows if self.reduction == "mean" else value)


def _row_losses(value: Tensor, rows, weight: Tensor | None, name: str) -> Terms:
    if value.dim() == 0 or value.shape[0] != rows:
        raise CompileError(
            f"{name} returns a tensor of shape {list(value.shape)}; with lossReduction='none' it must have one loss "
            "for each row"
        )
    elements = math.prod(value.shape[1:])
    if weight is None:
        return Terms(value.sum(), rows=float(elements))
    return Terms((value * spread(weight, value)).sum(), weight.sum() * elements)


def with_added(terms: Terms, added: Tensor | None, rows) -> Terms:
    """With a number beside the mean over rows, such as a penalty: that of a batch is the shards' mean."""
    if added is None:
        return terms
    if terms.denominator is None and not terms.rows:
        raise CompileError(
            "the model adds losses of its own (regularisers, add_loss), and lossReduction='sum' would add them once "
            "for each shard: take the mean"
        )
    weight = terms.rows * rows if terms.denominator is None else terms.denominator
    return replace(terms, numerator=terms.numerator + added * weight)


def _value(form: Form, loss, arguments, reduction: str) -> Tensor:
    if form.compute is not None:
        each = form.compute(loss, *arguments)
        return each.sum() if reduction == "sum" else each
    loss.reduction = reduction
    return loss(*arguments)


def _divisor(divisor: str, output: Tensor) -> int:
    if divisor == "rows":
        return 1
    return math.prod(output.shape[2 if divisor == "positions" else 1 :])


def _first_leaf(outputs) -> Tensor:
    return structure.leaves(outputs)[0][1]


def _check_numerator(numerator: Tensor, name: str) -> None:
    if torch.is_grad_enabled() and not numerator.requires_grad:
        raise CompileError(f"{name} does not depend on any trainable parameter of the model")
    if numerator.dtype != torch.float32:
        kind = str(numerator.dtype).removeprefix("torch.")
        raise CompileError(f"{name} gives {kind}; Stoker trains in float32: leave torch.autocast and .to() of "
                           f"other dtypes out of model and loss")  # fmt: skip
