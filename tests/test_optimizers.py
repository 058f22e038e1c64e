"""The engine's optimizers against torch.optim: 100 steps, several groups, every setting."""

import json

import numpy as np
import pytest
import torch

from stoker.engine import core
from stoker.optimizer import parse

SHAPES = {"a.weight": (37, 11), "a.bias": (11,), "scale": (), "b.weight": (130, 33)}
GROUP_OF = {"a.weight": 0, "a.bias": 1, "scale": 1, "b.weight": 0}

CASES = {
    "sgd": (torch.optim.SGD, [{"lr": 0.1}, {"lr": 0.01}]),
    "sgd-momentum": (torch.optim.SGD, [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.5, "dampening": 0.3}]),
    "sgd-one-group-with-momentum": (torch.optim.SGD, [{"lr": 0.1}, {"lr": 0.01, "momentum": 0.9}]),
    "sgd-nesterov-decay": (torch.optim.SGD, [{"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
                                             {"lr": 0.1, "weight_decay": 0.1}]),
    "sgd-maximize": (torch.optim.SGD, [{"lr": 0.01, "maximize": True, "momentum": 0.9, "weight_decay": 0.1},
                                       {"lr": 0.1}]),
    "adam": (torch.optim.Adam, [{"lr": 1e-2}, {"lr": 1e-3}]),
    "adam-decay": (torch.optim.Adam, [{"lr": 1e-2, "weight_decay": 0.1}, {"lr": 1e-3}]),
    "adam-amsgrad": (torch.optim.Adam, [{"lr": 1e-2, "amsgrad": True}, {"lr": 1e-3, "betas": (0.3, 0.9)}]),
    "adam-maximize-eps": (torch.optim.Adam, [{"lr": 1e-2, "maximize": True}, {"lr": 1e-2, "eps": 1e-3}]),
    "adamw": (torch.optim.AdamW, [{"lr": 1e-2}, {"lr": 1e-3, "weight_decay": 0.5}]),
    "adamw-amsgrad": (torch.optim.AdamW, [{"lr": 1e-2, "amsgrad": True, "weight_decay": 0}, {"amsgrad": True}]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small only lose by more, and a busy machine makes it seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Engine:
    """ArenaOptimizer over parameters by name."""

    def __init__(self, options, parameters, isa="best"):
        self.names = list(parameters)
        layout = [(name, list(p.shape), GROUP_OF[name]) for name, p in parameters.items()]
        self.optimizer = core().ArenaOptimizer(json.dumps(options), layout, isa)
        self.weights = self.arena(parameters)
        self.state = [np.zeros_like(self.weights) for _ in self.optimizer.state_names()]

    def arena(self, tensors):
        flat = np.zeros(self.optimizer.floats(), np.float32)
        for i, name in enumerate(self.names):
            flat[slice(*self.optimizer.extent(i))] = tensors[name].detach().numpy().reshape(-1)
        return flat

    def update(self, step, gradients, scale):
        self.optimizer.update(step, self.arena(gradients), scale, self.weights, self.state)


def torch_parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}


def torch_optimizer(case, parameters):
    cls, groups = CASES[case]
    return cls([{**group, "params": [p for name, p in parameters.items() if GROUP_OF[name] == index]}
                for index, group in enumerate(groups)], foreach=False)  # fmt: skip


def gradients_of(step):
    generator = torch.Generator().manual_seed(1000 + step)
    return {name: torch.randn(shape, generator=generator) * 2.0 ** (step % 5) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_equal_torch(case):
    parameters = torch_parameters()
    reference = torch_optimizer(case, parameters)
    options, groups = parse(reference, None, {}, parameters.items())
    assert groups == GROUP_OF
    engine = Engine(options, parameters)
    for step in range(1, 101):
        gradients = gradients_of(step)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name] * 0.25  # exact: a power of two
        reference.step()
        engine.update(step, gradients, 0.25)
    assert_close(engine.weights, engine.arena(parameters))
    for name, ours in zip(engine.optimizer.state_names(), engine.state):
        assert_close(ours, engine.arena(torch_state(reference, parameters, name)))


def torch_state(reference, parameters, name):
    zeros = {key: torch.zeros_like(p) for key, p in parameters.items()}
    return {key: reference.state[p].get(name, zeros[key]) for key, p in parameters.items()}


def assert_close(ours, theirs):
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


def test_clipping_by_norm_equals_torch():
    for norm in (0.0, 0.3, 1.0, 3.0, 1e6):
        parameter = torch.nn.Parameter(torch.zeros(4))
        parameter.grad = torch.full((4,), norm / 2)
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        assert core().clip_factor(norm, 1.0) * (norm / 2) == pytest.approx(parameter.grad[0].item(), rel=1e-7)
