"""A generated program in plain PyTorch: what is right."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from types import CodeType

import torch
from torch import nn

from conformance.harness import Case
from stoker.frontend import structure

RATE = 0.05


@functools.lru_cache(maxsize=8)
def code_of(source: str) -> CodeType:
    return compile(source, "<case>", "exec")


def load(source: str) -> dict:
    """The names of a case, made anew: its weights and rows are the same every time."""
    space = {"__name__": "case"}
    with default_dtype(torch.float32):
        exec(code_of(source), space)
    return space


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def case_of(source: str) -> Case:
    space = load(source)
    return Case(
        space["NET"], space["LOSS"], space["INPUTS"], space["LABELS"], space.get("WEIGHT"), space.get("REDUCTION")
    )


class Eager:
    """One model that trains in eager mode, in float32 or float64, on inputs that may be disturbed a little."""

    def __init__(self, source: str, dtype: torch.dtype = torch.float32, noise: int = 0):
        self.space, self.dtype = load(source), dtype
        self.net, self.loss = self.space["NET"], self.space["LOSS"]
        self.parts = [part for part in (self.net, self.loss) if isinstance(part, nn.Module)]
        for part in self.parts:
            without_dropout(part.to(dtype).train())
        self.inputs, self.labels = (
            {k: self._cast(v) for k, v in self.space[name].items()} for name in ("INPUTS", "LABELS")
        )
        weight = self.space.get("WEIGHT")
        self.weight = None if weight is None else self._cast(weight)
        if noise:
            self._disturb(noise)

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def _disturb(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in [*self.inputs.values(), *self.parameters().values()]:
                if tensor.is_floating_point():
                    tensor.mul_(1 + 1e-6 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))

    def parameters(self) -> dict[str, nn.Parameter]:
        """By Stoker's names."""
        named = dict(self.net.named_parameters())
        if isinstance(self.loss, nn.Module):
            own = {id(parameter) for parameter in named.values()}
            named |= {f"$loss.{name}": p for name, p in self.loss.named_parameters() if id(p) not in own}
        return named

    def call(self, rows: slice):
        inputs = {name: tensor[rows].clone() for name, tensor in self.inputs.items()}
        return self.net(**inputs) if len(inputs) > 1 else self.net(*inputs.values())

    def step(self, rows: slice = slice(None)) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and gradients; nothing is updated."""
        for parameter in self.parameters().values():
            parameter.grad = None
        value = self._value(self.call(rows), rows)
        value.backward()
        return value.item(), {n: p.grad.clone() for n, p in self.parameters().items() if p.grad is not None}

    def _value(self, outputs, rows: slice) -> torch.Tensor:
        labels = {name: tensor[rows].clone() for name, tensor in self.labels.items()}
        labels = next(iter(labels.values())) if len(labels) == 1 else labels
        weight = None if self.weight is None else self.weight[rows]
        if "reference" in self.space:
            return self.space["reference"](outputs, labels, weight)
        value = self.loss(outputs, labels)
        if weight is not None:
            spread = weight.reshape(-1, *[1] * (value.dim() - 1)).expand_as(value)
            return (value * spread).sum() / spread.sum()
        return value.mean() if self.space.get("REDUCTION") == "none" else value

    def update(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters().values():
                if parameter.grad is not None and parameter.requires_grad:
                    parameter.sub_(RATE * parameter.grad)

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by Stoker's names, also those that state_dict leaves out."""
        found = self.parameters() | self.net.state_dict(keep_vars=True)
        found |= {f"$model.{name}": b for name, b in self.net.named_buffers() if name not in found}
        return {name: tensor.detach().clone() for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}

    def evaluate(self, rows: slice = slice(None)) -> dict[str, torch.Tensor]:
        """What the model gives as it stands: buffers that forward changes are put back."""
        self.net.eval()
        before = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
        with torch.no_grad():
            outputs = {name: tensor.clone() for name, tensor in structure.leaves(self.call(rows))}
            for buffer, value in before:
                buffer.copy_(value)
        return outputs


def without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif "dropout" in inspect.signature(type(module).__init__).parameters and isinstance(
            getattr(module, "dropout", None), float
        ):
            module.dropout = 0.0
