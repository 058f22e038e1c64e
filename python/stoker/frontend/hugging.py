"""Models of Hugging Face transformers by their usual call: their inputs, and the loss that they have themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn

from stoker.errors import CompileError, did_you_mean
from stoker.frontend.foreign import ForeignLoss, is_of
from stoker.frontend.losses import Objective
from stoker.frontend.terms import Terms
from stoker.program import TensorSpec

Tensor = torch.Tensor
_OF_ROWS = ("ForSequenceClassification", "ForImageClassification", "ForVideoClassification", "ForAudioClassification")
_OF_TOKENS = ("ForMaskedLM", "ForTokenClassification")
_OF_NEXT_TOKENS = ("ForCausalLM", "ForConditionalGeneration")
_WHOLE = ("bbox", "langs", "lengths", "xpath_tags_seq", "xpath_subs_seq")  # numbers that are looked up
_PROBLEMS: dict[str, type[nn.Module]] = {
    "regression": nn.MSELoss,
    "single_label_classification": nn.CrossEntropyLoss,
    "multi_label_classification": nn.BCEWithLogitsLoss,
}


def without_caches(model: Any) -> Any:
    """The model, which is a copy: parts of transformers in it return no caches of keys and values."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    configs = {id(part.config): part.config for part in parts if is_of(getattr(part, "config", None), "transformers")}
    for config in configs.values():
        config.return_dict = True
        if getattr(config, "use_cache", False):
            config.use_cache = False
    return model


def told_type(model: Any, name: str) -> str:
    """The dtype of an input."""
    name = name if name in _arguments(model) else model.main_input_name
    return "int64" if name.endswith(("_ids", "_mask")) or name in _WHOLE else "float32"


def check_inputs(model: Any, inputs: Sequence[str]) -> None:
    """REQUIRES: is_hugging(model)"""
    if _generates_from_another(model) and "decoder_input_ids" not in inputs:
        name = type(model).__name__
        raise CompileError(f"{name} has a decoder, and inputs names no column for its decoder_input_ids: give the "
                           "label's tokens one place later, after config.decoder_start_token_id")  # fmt: skip


def _generates_from_another(model: Any) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False)) and model.loss_type == "ForConditionalGeneration"


def own_loss(model: Any) -> OwnLoss:
    if not {"labels", "start_positions"}.intersection(_arguments(model)):
        name = type(model).__name__
        raise CompileError(f"loss is not set, and {name} has none of its own (its forward takes no labels): set loss, "
                           "or give a model with a head, such as one for sequence classification")  # fmt: skip
    return OwnLoss(model)


def _arguments(model: Any) -> list[str]:
    return list(inspect.signature(model.forward).parameters)


class OwnLoss(ForeignLoss):
    """The loss that the model computes when it is given labels, as terms that add up over shards: from its logits
    where it is known what they are to the labels (as its class has it in its name, until agreement.settle has tried
    it), else the number that it gives, as a mean over rows."""

    reduction = "mean"

    def __init__(self, model: Any):
        super().__init__()
        self.name = f"the loss of {type(model).__name__}"
        config, kind = model.config, model.loss_type or _kind_by_name(model)
        self._arguments, self._many = _arguments(model), int(getattr(config, "num_labels", 0) or 0)
        self._padding = getattr(config, "pad_token_id", None)
        self._problem = getattr(config, "problem_type", None) or ("regression" if self._many == 1 else None)
        self._kind = None if getattr(config, "output_router_logits", False) else kind
        self._shifts = self._kind in _OF_NEXT_TOKENS and not getattr(config, "is_encoder_decoder", False)
        if self._kind in _OF_ROWS:
            self.classes = self._problem in (None, "single_label_classification")
            self.output_kind = None if self._problem == "regression" else "logits"
        self.labels_as_outputs = self._kind in _OF_ROWS
        self.of_tokens = self._kind in (*_OF_TOKENS, *_OF_NEXT_TOKENS)
        self.of_one_output = self._kind in _OF_ROWS and self._problem is not None

    def into_forward(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The labels that forward takes for the loss, by its own names."""
        named = {"labels": next(iter(labels.values()))} if len(labels) == 1 else labels
        for name in named:
            if name not in self._arguments:
                raise CompileError(f"labelCols['{name}']: forward of the model has no argument '{name}'"
                                   f"{did_you_mean(name, self._arguments)}")  # fmt: skip
        return {} if self.is_known(named) else named

    def terms(self, outputs: Any, labels: Any, weight: Tensor | None) -> Terms:
        named = labels if isinstance(labels, dict) else {"labels": labels}
        if not self.is_known(named):
            return self._as_told(outputs, weight)
        (label,), logits = named.values(), outputs["logits"]
        loss = self._of(label)
        if self._kind not in _OF_ROWS:
            if self._shifts:
                logits, label = logits[:, :-1], label[:, 1:]
            logits = logits.movedim(-1, 1)
        return Objective(loss, None, weight is not None)(loss, logits, label, weight)

    def is_known(self, labels: Collection[str]) -> bool:
        """Whether it is told from the logits, for labels of these names."""
        return len(labels) == 1 and self._kind in (*_OF_ROWS, *_OF_TOKENS, *_OF_NEXT_TOKENS)

    def drawn_label(self, logits: Tensor, spec: TensorSpec, draw: torch.Generator) -> Tensor:
        """As many as there are logits, each of them valid; of tokens some are left out, and some are padding."""
        shape = (len(logits), *spec.shape)
        if not isinstance(self._of(torch.empty(0, dtype=getattr(torch, spec.dtype))), nn.CrossEntropyLoss):
            return torch.randint(0, 2, shape, generator=draw).float()
        classes = logits.shape[-1]
        label = torch.randint(0, classes, shape, generator=draw)
        if self._kind in _OF_ROWS:
            return label
        if self._padding is not None and 0 <= self._padding < classes:
            label[torch.rand(shape, generator=draw) < 0.2] = self._padding
        return label.masked_fill(torch.rand(shape, generator=draw) < 0.2, nn.CrossEntropyLoss().ignore_index)

    def take_first(self, agrees: Callable[[], bool]) -> None:
        """The first way that agrees: from the logits as they are meant or the other way round in the places that
        they tell, else the model's number."""
        if agrees():
            return
        self._shifts = not self._shifts
        if self._kind in _OF_ROWS or not agrees():
            self.take_as_told()

    def take_as_told(self) -> None:
        self._kind = None

    def _of(self, label: Tensor) -> nn.Module:
        if self._kind not in _OF_ROWS:
            return nn.CrossEntropyLoss()
        usual = "multi_label_classification" if label.is_floating_point() else "single_label_classification"
        return _PROBLEMS[self._problem or usual]()

    def _as_told(self, outputs: Any, weight: Tensor | None) -> Terms:
        if weight is not None:
            raise CompileError(f"weightCol: {self.name} is one number for the rows of a batch; give a loss with one "
                               "for each row")  # fmt: skip
        if not isinstance(outputs, dict) or outputs.get("loss") is None:
            raise CompileError(f"{self.name} is not there: its forward gives none of these labels")
        rows = next(value for name, value in outputs.items() if name != "loss" and isinstance(value, Tensor)).shape[0]
        return Terms(outputs["loss"].reshape(()) * rows)


def _kind_by_name(model: Any) -> str | None:
    return "ForCausalLM" if type(model).__name__.endswith("LMHeadModel") else None
