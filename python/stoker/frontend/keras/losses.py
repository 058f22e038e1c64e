"""Keras' losses as a numerator and a denominator, by Keras' own row-wise functions.

Keras divides by the number of losses, or where a mask is by those that it leaves, also when rows have weights
(reduction 'sum_over_batch_size'); 'mean_with_sample_weight' divides by the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import torch
from keras import losses as of_keras

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.foreign import ForeignLoss
from stoker.frontend.labels import misfit, single_label, single_output, squeezed
from stoker.frontend.structure import row_shape
from stoker.frontend.terms import Terms, spread

Tensor = torch.Tensor
_CLASS_NUMBERS = (of_keras.sparse_categorical_crossentropy, of_keras.categorical_generalized_cross_entropy)
_ONE_HOT = (of_keras.categorical_crossentropy, of_keras.categorical_focal_crossentropy, of_keras.categorical_hinge,
            of_keras.kl_divergence)  # fmt: skip
_CROSS_ENTROPIES = (of_keras.sparse_categorical_crossentropy, of_keras.categorical_crossentropy,
                    of_keras.categorical_focal_crossentropy, of_keras.binary_crossentropy,
                    of_keras.binary_focal_crossentropy)  # fmt: skip
_REFUSED = {
    of_keras.ctc: "takes sequences of labels with lengths of their own: give a callable of (outputs, labels) that "
    "calls torch's F.ctc_loss, with lossReduction='none'",
    of_keras.circle: "compares each row with every other one of the batch, which shards have apart",
}
_OF_WEIGHTS = "mean_with_sample_weight"


def _signs(label: Tensor) -> Tensor:
    """Keras looks whether all labels are 0 or 1; then 0 is -1."""
    return torch.where(label == 0, -1.0, label)


def _hinge(label: Tensor, output: Tensor) -> Tensor:
    return (1.0 - _signs(label) * output).clamp_min(0.0).mean(-1)


def _squared_hinge(label: Tensor, output: Tensor) -> Tensor:
    return (1.0 - _signs(label) * output).clamp_min(0.0).square().mean(-1)


_OWN: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    of_keras.hinge: _hinge,
    of_keras.squared_hinge: _squared_hinge,
}
"""Of those that look at the values."""


class KerasLoss(ForeignLoss):
    """One loss of one output."""

    def __init__(self, loss: Any):
        super().__init__()
        told = of_keras.get(loss)
        known = told if isinstance(told, of_keras.Loss) else keras.src.losses.losses.LossFunctionWrapper(told)
        self._loss = known
        self._function = getattr(known, "fn", type(known))
        self.name = getattr(self._function, "__name__", known.name)
        if self._function in _REFUSED:
            raise CompileError(f"the Keras loss {self.name} {_REFUSED[self._function]}")
        if known.reduction in (None, "none"):
            raise CompileError(f"the Keras loss {self.name} has reduction=None, so it gives no number to train by: "
                               "leave the reduction as it is")  # fmt: skip
        self.reduction = "sum" if known.reduction == "sum" else "mean"
        settings = getattr(known, "_fn_kwargs", {})
        if settings.get("ignore_class") is not None:
            self.ignore_index = settings["ignore_class"]
        self.classes = self._function in _CLASS_NUMBERS
        if self._function in _CROSS_ENTROPIES:
            self.output_kind = "logits" if settings.get("from_logits") else "probabilities"

    def terms(self, outputs: Any, labels: Any, weight: Tensor | None) -> Terms:
        output, label = single_output(self.name, outputs), single_label(self.name, labels)
        return self.of_one(output, label, weight)

    def of_one(self, output: Tensor, label: Tensor, weight: Tensor | None) -> Terms:
        each = self._each(output, self._fitting(output, label))
        if each.dim() == 0:
            return self._of_batch(each, output, weight)
        if not each.is_floating_point() or each.shape[0] != output.shape[0]:
            raise CompileError(f"the Keras loss {self.name} gives {structure.show(each)}, not a loss for each row")
        valid = _mask_of(self.name, output, each)
        heavy = each if weight is None else each * spread(weight, each)
        if valid is not None:
            counted = valid if weight is None or self._loss.reduction != _OF_WEIGHTS else valid * spread(weight, valid)
            return Terms(torch.where(valid, heavy, 0.0).sum(), counted.sum())
        elements = math.prod(each.shape[1:])
        if weight is not None and self._loss.reduction == _OF_WEIGHTS:
            return Terms(heavy.sum(), weight.sum() * elements)
        return Terms(heavy.sum(), rows=float(elements))

    def _each(self, output: Tensor, label: Tensor) -> Tensor:
        own = _OWN.get(self._function)
        return own(label, output) if own else self._loss.call(label, output)

    def _of_batch(self, value: Tensor, output: Tensor, weight: Tensor | None) -> Terms:
        """Dice and Tversky without axis, and functions that take the mean themselves."""
        if weight is not None:
            raise CompileError(f"sample weights need a loss for each row, but {self.name} gives one number for a batch")
        return Terms(value * output.shape[0])

    def _fitting(self, output: Tensor, label: Tensor) -> Tensor:
        """Labels as Keras' function wants them."""
        if not getattr(self._function, "__module__", "").startswith("keras."):
            return label if self.classes else label.to(output.dtype)
        if self.classes:
            return self._class_numbers(output, label)
        if self._function in _ONE_HOT and not label.is_floating_point() and label.dim() == output.dim() - 1:
            return torch.nn.functional.one_hot(label, output.shape[-1]).to(output.dtype)
        if row_shape(label) == row_shape(output):
            return label.to(output.dtype)
        if squeezed(label) != squeezed(output):
            raise misfit(self.name, output, label, "needs one label value for each output value")
        return label.reshape([-1, *row_shape(output)]).to(output.dtype)

    def _class_numbers(self, output: Tensor, label: Tensor) -> Tensor:
        wanted = row_shape(output)[:-1]
        if output.dim() < 2 or output.shape[-1] < 2:
            raise misfit(self.name, output, label, "needs outputs of at least two classes")
        if row_shape(label) != wanted:
            if tuple(size for size in wanted if size != 1) != squeezed(label):
                raise misfit(self.name, output, label, "needs one class number for each row")
            label = label.reshape([-1, *wanted])
        return label.to(torch.int64)


class KerasLosses(ForeignLoss):
    """A sum of losses, each of an output by its name."""

    of_one_output = False

    def __init__(self, model_name: str, parts: list[tuple[str, KerasLoss, float]], outputs: list[str]):
        """outputs: all of the model, by name, in their order."""
        super().__init__()
        self.name = " + ".join(f"{loss.name} of {name}" for name, loss, _ in parts)
        self._model_name, self._parts, self._outputs = model_name, parts, outputs
        reductions = {loss.reduction for _, loss, _ in parts}
        if len(reductions) > 1:
            raise CompileError(f"the losses of the Keras model {model_name!r} have different reductions: take one")
        self.reduction = reductions.pop()

    def terms(self, outputs: Any, labels: Any, weight: Tensor | None) -> Terms:
        tensors = dict(structure.leaves(outputs))
        tensors = dict(zip(self._outputs, tensors.values())) | tensors
        found = Terms(torch.zeros(()))
        for (name, loss, factor), label in zip(self._parts, self._labels(labels), strict=True):
            terms = loss.of_one(tensors[name], label, weight)
            if terms.denominator is not None:
                raise CompileError(
                    f"the Keras loss {loss.name} of the output {name!r} counts its own labels or weights (a mask, "
                    "ignore_class, mean_with_sample_weight), which does not go with losses of other outputs"
                )
            divisor = 1.0 if self.reduction == "sum" else terms.rows
            found = replace(found, numerator=found.numerator + terms.numerator * (factor / divisor))
        return found

    def _labels(self, labels: Any) -> list[Tensor]:
        """By the outputs' names; else in their order."""
        names = [name for name, _, _ in self._parts]
        given = labels if isinstance(labels, Mapping) else {"label": labels}
        if given.keys() >= set(names):
            return [given[name] for name in names]
        if len(given) != len(names):
            raise CompileError(
                f"the Keras model {self._model_name!r} has losses of {', '.join(names)}, and the labels are "
                f"{', '.join(given)}: give labelCols, a dict of these names to columns"
            )
        return list(given.values())


def _mask_of(name: str, output: Tensor, each: Tensor) -> Tensor | None:
    """Of the output, and of the losses that were computed (ignore_class)."""
    masks = [mask for mask in (getattr(t, "_keras_mask", None) for t in (output, each)) if mask is not None]
    if not masks:
        return None
    for mask in masks:
        if mask.dim() != each.dim():
            raise CompileError(f"the Keras loss {name} gives {structure.show(each)}, and the output's mask is "
                               f"{structure.show(mask)}: each loss needs one mask value")  # fmt: skip
    return masks[0].bool() if len(masks) == 1 else masks[0].bool() & masks[1].bool()


@dataclass(frozen=True)
class _Told:
    """What compile() was given for one output."""

    loss: Any
    weight: float


def is_of_one_hot(loss: Any) -> bool:
    return isinstance(loss, KerasLoss) and loss._function in _ONE_HOT


def of_compiled(model: keras.Model) -> ForeignLoss | None:
    """The loss that a model was compiled with."""
    told, weights = model._compile_loss, None
    if told is None:
        return None
    told, weights = told._user_loss, told._user_loss_weights
    names = list(getattr(model, "output_names", None) or _names_of(told))
    by_name = _by_name(model.name, told, weights, names)
    parts = [(name, KerasLoss(one.loss), one.weight) for name, one in by_name.items() if one.loss is not None]
    if not parts:
        return None
    if len(names) == 1 and parts[0][2] == 1.0:
        return parts[0][1]
    return KerasLosses(model.name, parts, names)


def _names_of(told: Any) -> list[str]:
    """Of a subclassed model."""
    if isinstance(told, Mapping):
        return list(told)
    return [str(i) for i in range(len(told))] if isinstance(told, (list, tuple)) else ["output"]


def _by_name(model: str, told: Any, weights: Any, names: list[str]) -> dict[str, _Told]:
    losses = _spread_over(names, told)
    factors = _spread_over(names, 1.0 if weights is None else weights)
    if unknown := [name for name in losses if name not in names]:
        raise CompileError(f"the Keras model {model!r} has a loss of {unknown[0]!r}, and outputs {', '.join(names)}")
    return {name: _Told(losses.get(name), float(factors.get(name, 1.0))) for name in names}


def _spread_over(names: list[str], told: Any) -> dict[str, Any]:
    if isinstance(told, Mapping):
        return dict(told)
    if isinstance(told, (list, tuple)):
        return dict(zip(names, told))
    return dict.fromkeys(names, told)
