"""With one shard, 200 steps: the bits of eager PyTorch from every operator that libtorch runs.

The engine's own loops are apart from that by the bounds of docs/design.md: its optimizers, and its chains of linear
layers.
"""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from conformance.harness import Case, EngineRunner
from stoker.engine import core
from stoker.optimizer import parse

ROWS = 32  # a power of two: the engine divides by it after the sum over rows, eager before
STEPS = 200


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3),
    )  # fmt: skip


def embedding() -> nn.Module:
    return nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 3))


def dense_chain() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))


MODELS = {mlp: (12,), cnn: (1, 12, 12), Last: (6, 5), Mean: (5, 8), embedding: None}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, foreach=False),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, foreach=False),
}


class Run:
    """A model, ten batches, and the engine's program for it."""

    def __init__(self, make, shape):
        self.model = make().train()
        self.batches = [(rows(shape), torch.randint(0, 3, (ROWS,))) for _ in range(10)]
        x, y = self.batches[0]
        self.program = Case(self.model, nn.CrossEntropyLoss(), {"x": x}, {"y": y}).compile().train
        self.runner = EngineRunner(self.program)

    def eager(self, model: nn.Module, step: int) -> None:
        """Gradients of one batch, in the model."""
        x, y = self.batches[step % len(self.batches)]
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()

    def engine(self, model: nn.Module, step: int) -> dict[str, np.ndarray]:
        """Gradients of one batch by the engine; buffers go into the model."""
        weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        result = self.runner.run(weights, [tensor.numpy() for tensor in self.batches[step % len(self.batches)]])
        buffers = {name: torch.from_numpy(value) for name, value in result["buffers"].items()}
        counts = {e["name"]: model.get_buffer(e["name"]) + 1 for e in self.program["buffers"] if e["rule"] == "count"}
        model.load_state_dict(buffers | counts, strict=False)
        return {name: gradient / np.float32(result["denominator"]) for name, gradient in result["gradients"].items()}


def rows(shape) -> torch.Tensor:
    return torch.randint(0, 50, (ROWS, 3)) if shape is None else torch.randn(ROWS, *shape)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_operators_of_libtorch_have_the_bits_of_eager(make, optimizer):
    run = Run(make, MODELS[make])
    theirs, ours = copy.deepcopy(run.model), copy.deepcopy(run.model)
    update_theirs, update_ours = (OPTIMIZERS[optimizer](model.parameters()) for model in (theirs, ours))
    for step in range(STEPS):
        run.eager(theirs, step)
        gradients = run.engine(ours, step)
        for name, parameter in ours.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name])
        update_theirs.step()
        update_ours.step()
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), tensor.numpy(), err_msg=name)


def test_a_chain_of_linear_layers_is_within_the_bound_of_the_page():
    run = Run(dense_chain, (12,))
    for step in range(10):
        run.eager(run.model, step)
        gradients = run.engine(run.model, step)
        for name, parameter in run.model.named_parameters():
            theirs = parameter.grad.numpy()
            assert np.abs(gradients[name] - theirs).max() <= 1e-6 * np.abs(theirs).max(), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_the_optimizers_is_within_the_bound_of_the_page(optimizer):
    model = mlp()
    named = dict(model.named_parameters())
    reference = OPTIMIZERS[optimizer](model.parameters())
    options, _ = parse(reference, None, {}, named.items())
    engine = core().ArenaOptimizer(json.dumps(options), [(n, list(p.shape), 0) for n, p in named.items()], "best")
    state = [np.zeros(engine.floats(), np.float32) for _ in engine.state_names()]
    for step in range(1, STEPS + 1):
        before = arena(engine, named)
        for parameter in named.values():
            parameter.grad = torch.randn(parameter.shape)
        reference.step()
        ours, theirs = before.copy(), arena(engine, named)
        engine.update(step, arena(engine, {n: p.grad for n, p in named.items()}), 1.0, ours, state)
        moved = np.abs(theirs - before)
        assert (np.abs(ours - theirs) <= 1.2e-7 * np.abs(theirs) + 1e-6 * moved.max()).all()


def arena(engine, tensors) -> np.ndarray:
    flat = np.zeros(engine.floats(), np.float32)
    for index, tensor in enumerate(tensors.values()):
        flat[slice(*engine.extent(index))] = tensor.detach().numpy().reshape(-1)
    return flat
