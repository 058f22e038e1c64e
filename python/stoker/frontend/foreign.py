"""Models of other frameworks, as the nn.Module that stands for them."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from torch import nn


def is_keras(model: Any) -> bool:
    return is_of(model, "keras") and hasattr(model, "stateless_call")


def version_of(text: str) -> tuple[int, int]:
    """Major and minor."""
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


def is_foreign(model: Any) -> bool:
    """Of another framework that is known here, though not each of its kinds can be taken."""
    return is_keras(model) or is_of(model, "tf_keras")


def is_of(model: Any, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(model).__mro__)


def is_hugging(model: Any) -> bool:
    """A torch model of Hugging Face transformers, or of a class that is made from one."""
    return isinstance(model, nn.Module) and is_of(model, "transformers") and hasattr(model, "main_input_name")


def is_foreign_loss(loss: Any) -> bool:
    """A loss of Keras, of its classes or its functions."""
    if isinstance(loss, (type, ForeignLoss)):
        return False
    return (is_of(loss, "keras") and hasattr(loss, "call")) or getattr(loss, "__module__", "").startswith("keras.")


def is_keras_optimizer(optimizer: Any) -> bool:
    return is_of(optimizer, "keras") and hasattr(optimizer, "update_step")


class ForeignLoss(nn.Module):
    """A loss of another framework, which tells its terms itself."""

    name: str
    reduction: str  # "mean" or "sum"
    classes: bool = False  # whether labels are class numbers
    of_tokens: bool = False  # whether there is one for each word of a row
    of_one_output: bool = True
    labels_as_outputs: bool = True  # whether a label has as many values as the output, where nothing else is told
    output_kind: str | None = None  # where it tells what outputs mean

    def __deepcopy__(self, memo: dict) -> ForeignLoss:
        """Shares what is the other framework's, which would copy itself by way of a file."""
        return copy.copy(self)

    def terms(self, outputs: Any, labels: Any, weight: Any) -> Any:
        """losses.Terms"""
        raise NotImplementedError

    def forward(self, outputs: Any, labels: Any) -> Any:
        """A number, to find out whether it takes these labels."""
        return self.terms(outputs, labels, None).numerator


class Foreign(nn.Module):
    """What the front end asks of a bridge, beside forward."""

    runs_here = True  # on torch, in this process

    def arguments(self) -> list:
        """The inspect.Parameters that name its inputs."""
        raise NotImplementedError

    def told_type(self, name: str) -> str | None:
        """The dtype that the model declares for an input."""
        raise NotImplementedError

    def told_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of one row that the model declares for an input."""
        raise NotImplementedError

    def output_kind(self) -> str:
        """'logits', 'probabilities' or 'log_probabilities', by the last layer."""
        raise NotImplementedError

    def freeze(self, names: Container[str], patterns: Sequence[str]) -> None:
        """Layers all of whose parameters these are run as in evaluation where they can tell."""
        raise NotImplementedError

    def channels_last(self) -> bool:
        """Whether its pictures are (rows, height, width, channels)."""
        raise NotImplementedError

    def named_layers(self) -> dict[str, nn.Module]:
        """Its layers, those inside of others too, by path."""
        raise NotImplementedError

    def parts(self) -> dict[int, tuple[str, str]]:
        """The id of each layer -> its path and class."""
        raise NotImplementedError

    def tracing(self):
        """A context manager around a trace."""
        raise NotImplementedError

    def statistics(self) -> dict[str, str]:
        """The buffers that batch statistics are gathered in -> the layer."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """What the user should know of how the model is trained."""
        raise NotImplementedError

    def added_loss(self):
        """What the last forward adds to the loss, a number; None for nothing."""
        raise NotImplementedError
