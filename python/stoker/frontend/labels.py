"""Brings labels into the shape that a loss wants. torch would broadcast [rows, 1] against [rows] without a word."""

from __future__ import annotations

import torch

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.structure import row_shape, show

Tensor = torch.Tensor


def like_output(name: str, outputs, labels) -> tuple[Tensor, Tensor]:
    """One label value for each output value; dimensions of size 1 may be missing on either side."""
    output, label = single_output(name, outputs), single_label(name, labels)
    if row_shape(output) != row_shape(label):
        if squeezed(output) != squeezed(label):
            raise misfit(name, output, label, "needs one label value for each output value")
        label = label.reshape([-1, *row_shape(output)])
    return output, label.to(output.dtype)


def same_shape(name: str, outputs, labels, cast: bool = True) -> tuple[Tensor, Tensor]:
    """Both [rows, classes]."""
    output, label = single_output(name, outputs), single_label(name, labels)
    if row_shape(output) != row_shape(label):
        raise misfit(name, output, label, "needs labels of the output's shape")
    return output, label.to(output.dtype if cast else torch.int64)


def class_labels(name: str, outputs, labels) -> tuple[Tensor, Tensor]:
    """Outputs [rows, classes, ...], labels [rows, ...] of class numbers or, where the loss can, of probabilities."""
    output, label = single_output(name, outputs), single_label(name, labels)
    if output.dim() < 2:
        raise misfit(name, output, label, "needs outputs of shape [rows, classes]")
    if output.shape[1] == 1 and name == "CrossEntropyLoss":
        raise misfit(name, output, label, "needs at least two classes (for one output use BCEWithLogitsLoss)")
    if name == "CrossEntropyLoss" and label.is_floating_point() and row_shape(label) == row_shape(output):
        return output, label.to(output.dtype)
    wanted = (*output.shape[2:],)
    if row_shape(label) != wanted:
        if tuple(size for size in wanted if size != 1) != squeezed(label):
            raise misfit(name, output, label, "needs one class number for each row")
        label = label.reshape([-1, *wanted])
    return output, label.to(torch.int64)


def pair(name: str, outputs, labels, order: str, by_row: bool = False) -> tuple[Tensor, ...]:
    """Losses over two outputs: (mean, variance), or two things to compare."""
    tensors = [tensor for _, tensor in structure.leaves(outputs)]
    if len(tensors) != 2:
        raise CompileError(f"{name} needs a model with two outputs; this one has {len(tensors)}")
    first, second, label = *tensors, single_label(name, labels)
    wanted = () if by_row else row_shape(first)
    if row_shape(label) != wanted:
        if tuple(size for size in wanted if size != 1) != squeezed(label):
            raise misfit(name, first, label, "needs labels that fit its first output")
        label = label.reshape([-1, *wanted])
    named = {"first": first, "second": second, "label": label.to(first.dtype)}
    return tuple(named[part] for part in order.split())


def triple(name: str, outputs, _labels) -> tuple[Tensor, ...]:
    """Anchor, positive and negative: three outputs, [rows, features] each; the label says nothing."""
    tensors = [tensor for _, tensor in structure.leaves(outputs)]
    if len(tensors) != 3:
        raise CompileError(f"{name} needs a model with three outputs (anchor, positive, negative), not {len(tensors)}")
    return tuple(tensors)


def single_output(name: str, outputs) -> Tensor:
    found = structure.leaves(outputs)
    if len(found) != 1:
        names = ", ".join(label for label, _ in found)
        raise CompileError(
            f"{name} takes one output, but the model has {len(found)} ({names}): give a callable of (outputs, labels)"
        )
    return found[0][1]


def single_label(name: str, labels) -> Tensor:
    if not isinstance(labels, Tensor):
        raise CompileError(
            f"{name} takes one label, but there are {len(labels)} ({', '.join(labels)}): give a callable of "
            "(outputs, labels)"
        )
    return labels


def as_given(labels: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """What a loss is called with: one label is a tensor, several are a dict."""
    return next(iter(labels.values())) if len(labels) == 1 else labels


def squeezed(tensor: Tensor) -> tuple:
    return tuple(size for size in row_shape(tensor) if size != 1)


def misfit(name: str, output: Tensor, label: Tensor, need: str) -> CompileError:
    return CompileError(f"{name} {need}: the model's output has shape {show(output)}, the label has {show(label)}")
