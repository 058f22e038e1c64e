"""Runs a compiled program beside PyTorch and compares loss, gradients, buffers, and weights after three steps.

Two runners: "engine" is the C++ executor, "python" the interpreter of stoker.frontend.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from stoker.frontend.additivity import denominator_of, without_dropout
from stoker.frontend.interpret import Interpreter
from stoker.frontend.torch import compile as compile_model
from stoker.program import Compiled, TensorSpec

ROWS = 8  # a power of two: dividing by it after the sum instead of before is exact
TOLERANCE = 1e-6
ROUNDING = 1e-6  # of the largest gradient
RATE = 0.125


@dataclass
class Case:
    """A model, its loss, and rows. `reference`: (loss, outputs, labels, weight) -> PyTorch's loss, a number."""

    model: nn.Module
    loss: object
    inputs: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor] = field(default_factory=dict)
    weight: torch.Tensor | None = None
    reduction: str | None = None
    reference: Callable | None = None

    def compile(self, **options) -> Compiled:
        return compile_model(
            self.model, self.loss, specs(self.inputs), specs(self.labels),
            weighted=self.weight is not None, loss_reduction=self.reduction, **options,
        )  # fmt: skip

    def rows(self) -> list[torch.Tensor]:
        return [*self.inputs.values(), *self.labels.values(), *([self.weight] if self.weight is not None else [])]


def specs(tensors: dict[str, torch.Tensor]) -> list[TensorSpec]:
    return [TensorSpec(n, str(t.dtype).removeprefix("torch."), tuple(t.shape[1:])) for n, t in tensors.items()]


class PythonRunner:
    def __init__(self, program: dict):
        self.program = program
        self.interpreter = Interpreter(program)

    def run(self, weights: dict[str, np.ndarray], rows: list[np.ndarray]) -> dict:
        program = self.program
        named = {entry["name"]: torch.tensor(weights[entry["name"]]) for entry in _entries(program)}
        values: dict[int, object] = {entry["slot"]: named[entry["name"]] for entry in _entries(program)}
        values |= {entry["slot"]: torch.from_numpy(row) for entry, row in zip(program["inputs"], rows, strict=True)}
        parameters = [named[entry["name"]].requires_grad_() for entry in program["parameters"]]
        slots = self.interpreter.run(values)
        numerator = slots[program["loss"]["numerator"]]
        gradients = torch.autograd.grad(numerator, parameters, allow_unused=True, materialize_grads=True)
        return {
            "numerator": numerator.item(),
            "denominator": denominator_of(program, slots, len(rows[0])),
            "gradients": {p["name"]: g.numpy() for p, g in zip(program["parameters"], gradients, strict=True)},
            "buffers": {b["name"]: named[b["name"]].numpy() for b in program["buffers"] if b["rule"] == "mean"},
        }


class EngineRunner:
    def __init__(self, program: dict):
        self.program = program
        self.executor = engine().TrainProgram(json.dumps(program))

    def run(self, weights: dict[str, np.ndarray], rows: list[np.ndarray]) -> dict:
        names = [entry["name"] for entry in _entries(self.program)]
        return self.executor.run(
            {name: np.ascontiguousarray(weights[name]).reshape(weights[name].shape) for name in names}, rows
        )


@functools.cache
def engine():
    """The engine's module for this torch. ImportError where it is not built."""
    from stoker.engine import load_torch
    from stoker.errors import UserError

    try:
        return load_torch()
    except UserError as error:
        raise ImportError(str(error)) from error


def engine_of(compiled: Compiled):
    files = compiled.to_files()
    return engine().Inference(files["infer.json"].decode(), files["weights.safetensors"])


def infer_with_engine(compiled: Compiled, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    outputs = engine_of(compiled).run(rows)
    return dict(zip((entry["name"] for entry in compiled.infer["outputs"]), outputs, strict=True))


def _entries(program: dict) -> list[dict]:
    return [*program["parameters"], *program["buffers"], *program["constants"]]


def check(case: Case, runner: type, compiled: Compiled | None = None) -> None:
    """Fails where the program and PyTorch differ. Dropout is off on both sides."""
    compiled = compiled or case.compile()
    program = without_dropout(compiled.train)
    run = runner(program).run
    rows = [tensor.numpy() for tensor in case.rows()]
    weights = dict(compiled.weights)
    model, loss = _reference_copy(case)
    for step in range(3):
        expected = _reference_step(case, model, loss)
        result = run(weights, rows)
        _compare_step(step, result, expected, program)
        weights = _update(weights, result, program)
        _compare_weights(step, weights, model, loss, program)


def _reference_copy(case: Case):
    model = copy.deepcopy(case.model).train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
            module.dropout = 0.0
    return model, copy.deepcopy(case.loss)


def _reference_step(case: Case, model: nn.Module, loss) -> float:
    inputs = {name: tensor.clone() for name, tensor in case.inputs.items()}
    outputs = model(*inputs.values()) if len(inputs) == 1 else model(**inputs)
    labels = next(iter(case.labels.values())) if len(case.labels) == 1 else case.labels
    value = case.reference(loss, outputs, labels, case.weight) if case.reference else loss(outputs, labels)
    parameters = _trainable(model, loss)
    for parameter in parameters.values():
        parameter.grad = None
    value.backward()
    return value.item()


def _trainable(model: nn.Module, loss) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())
    if isinstance(loss, nn.Module):
        named |= {f"$loss.{name}": p for name, p in loss.named_parameters()}
    return {name: p for name, p in named.items() if p.requires_grad}


def _compare_step(step: int, result: dict, expected: float, program: dict) -> None:
    divisor = result["denominator"] or 1.0
    same(f"loss at step {step}", result["numerator"] / divisor, expected)
    assert set(result["gradients"]) == {entry["name"] for entry in program["parameters"]}


def _update(weights: dict, result: dict, program: dict) -> dict:
    divisor = np.float32(result["denominator"] or 1.0)
    updated = dict(weights)
    for name, gradient in result["gradients"].items():
        result["gradients"][name] = gradient / divisor
        updated[name] = weights[name] - np.float32(RATE) * result["gradients"][name]
    updated |= result["buffers"]
    for entry in program["buffers"]:
        if entry["rule"] == "count":
            updated[entry["name"]] = weights[entry["name"]] + 1
    updated["$gradients"] = result["gradients"]
    return updated


def as_given(program: dict, tensors: dict) -> dict:
    """Parameters, or their gradients, as the model has them."""
    layouts = {entry["name"]: entry.get("layout") for entry in program["parameters"]}
    return {name: tensor.transpose(layouts[name]) if layouts.get(name) else tensor for name, tensor in tensors.items()}


def _compare_weights(step: int, weights: dict, model: nn.Module, loss, program: dict) -> None:
    gradients = as_given(program, weights.pop("$gradients"))
    given = as_given(program, weights)
    parameters = _trainable(model, loss)
    found = [p.grad.abs().max() for p in parameters.values() if p.grad is not None and p.grad.numel()]
    rounding = ROUNDING * float(max(found, default=0))
    for name, parameter in parameters.items():
        if name not in gradients:
            assert parameter.grad is None, f"{name} has a gradient in PyTorch and is not in the program"
            continue
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        same(f"gradient of {name} at step {step}", gradients[name], expected.numpy(), rounding)
        with torch.no_grad():
            parameter.sub_(RATE * expected)
        same(f"{name} after step {step}", given[name], parameter.detach().numpy())
    buffers = dict(model.named_buffers())
    for entry in program["buffers"]:
        name = entry["name"].removeprefix("$model.")
        same(f"buffer {name} after step {step}", weights[entry["name"]], buffers[name].numpy())


def same(what: str, ours, theirs, rounding: float = 0.0) -> None:
    """`rounding`: what may be left of a gradient that is zero."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape} instead of {theirs.shape}"
    if ours.size == 0:
        return
    difference, size = np.abs(ours - theirs).max(), np.abs(theirs).max()
    allowed = TOLERANCE * size + rounding
    assert difference <= allowed, f"{what}: differs by {difference:.3g} where the largest value is {size:.3g}"
