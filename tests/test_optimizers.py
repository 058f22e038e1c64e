"""The engine's optimizers against torch.optim, or the papers' formulas: 200 steps, several groups, every setting."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from stoker.engine import core
from stoker.optimizer import parse

SHAPES = {"a.weight": (37, 11), "a.bias": (11,), "scale": (), "b.weight": (130, 33), "c.weight": (6, 5, 3, 4)}
GROUP_OF = {"a.weight": 0, "a.bias": 1, "scale": 1, "b.weight": 0, "c.weight": 1}

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
    "rmsprop": (torch.optim.RMSprop, [{"lr": 1e-2}, {"lr": 1e-3, "alpha": 0.9, "weight_decay": 0.1}]),
    "rmsprop-momentum": (torch.optim.RMSprop, [{"momentum": 0.9}, {"momentum": 0, "maximize": True}]),
    "rmsprop-centered": (torch.optim.RMSprop, [{"centered": True, "momentum": 0.5, "eps": 1e-2}, {"momentum": 0.9}]),
    "adagrad": (torch.optim.Adagrad, [{"lr": 0.1}, {"lr_decay": 0.1, "weight_decay": 0.1}]),
    "adagrad-begun": (partial(torch.optim.Adagrad, initial_accumulator_value=2.0), [{}, {"maximize": True}]),
    "adadelta": (torch.optim.Adadelta, [{}, {"rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}]),
    "adamax": (torch.optim.Adamax, [{"lr": 1e-2}, {"betas": (0.4, 0.9), "weight_decay": 0.1}]),
    "nadam": (torch.optim.NAdam, [{"lr": 1e-2}, {"momentum_decay": 0.1, "weight_decay": 0.1}]),
    "nadam-decoupled": (torch.optim.NAdam, [{"decoupled_weight_decay": True, "weight_decay": 0.1}, {"maximize": True}]),
    "adafactor": (torch.optim.Adafactor, [{}, {"lr": 0.3, "weight_decay": 0.1}]),
    "adafactor-all": (torch.optim.Adafactor, [{"beta2_decay": -0.5, "eps": (1e-2, 1e-2), "d": 2.0, "maximize": True},
                                              {"lr": 1e-3, "eps": (None, 0.5), "d": 1.5}]),
    "radam": (torch.optim.RAdam, [{"lr": 1e-2}, {"betas": (0.8, 0.9), "weight_decay": 0.1}]),
    "radam-decoupled": (torch.optim.RAdam, [{"decoupled_weight_decay": True, "weight_decay": 0.1}, {"maximize": True}]),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


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
def test_two_hundred_steps_equal_torch(case):
    parameters = torch_parameters()
    reference = torch_optimizer(case, parameters)
    options, groups = parse(reference, None, {}, parameters.items())
    assert groups == GROUP_OF
    engine = Engine(options, parameters)
    for step in range(1, 201):
        gradients = gradients_of(step)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name] * 0.25  # exact: a power of two
        reference.step()
        engine.update(step, gradients, 0.25)
    assert_close(engine.weights, engine.arena(parameters))
    for name, ours in zip(engine.optimizer.state_names(), engine.state):
        assert_close(ours, engine.arena(torch_state(reference, parameters, name)))


# As the user has it, and which dimension in memory each of its dimensions is.
LAID = {
    "stack": ((6, 5, 3, 4), [0, 3, 1, 2]),
    "several tiles": ((300, 400), [0, 1]),
    "hoisted": ((300, 400), [1, 0]),
    "tall and hoisted": ((40000, 3), [1, 0]),
    "wide": ((3, 40000), [0, 1]),
    "one by one": ((60, 50, 1, 1), [0, 1, 2, 3]),
    "three by three": ((60, 50, 3, 3), [0, 1, 2, 3]),
    "Keras' convolution": ((3, 3, 40, 50), [2, 3, 1, 0]),
}


@pytest.mark.parametrize("case", LAID)
def test_adafactors_rows_and_columns_are_the_users_however_they_lie(case):
    shape, layout = LAID[case]
    order = [layout.index(d) for d in range(len(shape))]
    parameter = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    reference = torch.optim.Adafactor([parameter], lr=0.1)
    options, _ = parse(reference, None, {}, [("w", parameter)])
    kept = parameter.detach().permute(order)
    engine = core().ArenaOptimizer(json.dumps(options), [("w", list(kept.shape), 0)], "best", [layout])
    weights = np.zeros(engine.floats(), np.float32)
    weights[: kept.numel()] = kept.reshape(-1).numpy()
    for step in range(1, 21):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        parameter.grad = gradient
        reference.step()
        arena = np.zeros_like(weights)
        arena[: kept.numel()] = gradient.permute(order).reshape(-1).numpy()
        engine.update(step, arena, 1.0, weights, [])
    assert_close(weights[: kept.numel()], parameter.detach().permute(order).reshape(-1).numpy())


def test_adafactor_keeps_moments_by_row_and_column_only():
    engine = Engine({"name": "adafactor", "groups": [{}, {}]}, torch_parameters())
    assert engine.optimizer.state_names() == []
    rows = [37, 11, 1, 130, 6 * 5 * 3]
    columns = [11, 1, 1, 33, 6 * 5 * 4]
    assert engine.optimizer.numbers() == sum(rows) + sum(columns)
    assert engine.optimizer.scratch() == sum(rows) + 2 * len(SHAPES)


STEPS_OF_ADAFACTOR = """
import json, numpy as np
from stoker.engine import core
schedule = {"name": "exponential", "gamma": 0.999, "unit": "steps", "epochs": 1}
options = {"name": "adafactor", "groups": [{"weight_decay": 0.1}], "schedule": schedule}
engine = core().ArenaOptimizer(json.dumps(options), [("w", [20, 30], 0)], "portable")
weights = np.ones(engine.floats(), np.float32)
for step in range(1, 301):
    gradient = np.float32((np.arange(weights.size) * step * 7919 % 1009) - 504) / 512
    gradient[600:] = 0
    engine.update(step, gradient, 1.0, weights, [])
    print(weights.tobytes().hex(), np.array(engine.committed_numbers()).tobytes().hex())
"""


def test_adafactors_numbers_are_the_same_where_the_math_library_has_no_fused_multiply_adds():
    def told(**more):
        return subprocess.run([sys.executable, "-c", STEPS_OF_ADAFACTOR], env={**os.environ, **more}, text=True,
                              capture_output=True, check=True, timeout=60).stdout  # fmt: skip

    plain = told()
    assert plain.count("\n") == 300
    assert told(GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-AVX2") == plain


def lion(group, w, g, state, step):
    b1, b2 = group.get("betas", (0.9, 0.99))
    mean = state.setdefault("exp_avg", np.zeros_like(w))
    way = np.sign(b1 * mean + (1 - b1) * g) + group.get("weight_decay", 0) * w
    state["exp_avg"] = b2 * mean + (1 - b2) * g
    return w - group["lr"] * way


def lars(group, w, g, state, step):
    decay, norm = group.get("weight_decay", 0), np.linalg.norm
    rate = group["lr"]
    if group.get("adapt", True):
        rate *= group.get("trust_coefficient", 1e-3) * norm(w) / (norm(g) + decay * norm(w))
    buffer = group.get("momentum", 0.9) * state.get("momentum_buffer", 0) + rate * (g + decay * w)
    state["momentum_buffer"] = buffer
    return w - buffer


def lamb(group, w, g, state, step):
    b1, b2 = group.get("betas", (0.9, 0.999))
    mean = b1 * state.get("exp_avg", 0) + (1 - b1) * g
    square = b2 * state.get("exp_avg_sq", 0) + (1 - b2) * g * g
    state.update(exp_avg=mean, exp_avg_sq=square)
    root = np.sqrt(square / (1 - b2**step)) + group.get("eps", 1e-6)
    way = mean / (1 - b1**step) / root + group.get("weight_decay", 0) * w
    trust = np.linalg.norm(w) / np.linalg.norm(way) if group.get("adapt", True) else 1
    return w - group["lr"] * trust * way


PAPERS = {
    # Powers of two: sums of the same step would round in float32 the same way each time.
    "lion": (lion, [{"lr": 2.0**-10}, {"lr": 2.0**-7, "betas": (0.5, 0.9), "weight_decay": 0.125}]),
    "lars": (lars, [{"lr": 1.0, "weight_decay": 0.01}, {"lr": 0.1, "momentum": 0.5, "trust_coefficient": 0.01}]),
    "lars-plain": (lars, [{"lr": 0.01, "adapt": False, "weight_decay": 0.1}, {"lr": 0.5, "momentum": 0.0}]),
    "lamb": (lamb, [{"lr": 1e-2, "weight_decay": 0.1}, {"lr": 1e-3, "adapt": False, "betas": (0.5, 0.9)}]),
}


@pytest.mark.parametrize("case", PAPERS)
def test_two_hundred_steps_equal_the_formula_in_double(case):
    formula, groups = PAPERS[case]
    parameters = torch_parameters()
    engine = Engine({"name": case.split("-")[0], "groups": groups}, parameters)
    weights = {name: p.detach().numpy().astype(float) for name, p in parameters.items()}
    states = {name: {} for name in parameters}
    for step in range(1, 201):
        gradients = gradients_of(step)
        for name, gradient in gradients.items():
            scaled = gradient.numpy().astype(float) * 0.25
            weights[name] = formula(groups[GROUP_OF[name]], weights[name], scaled, states[name], step)
        engine.update(step, gradients, 0.25)
    assert_close(engine.weights, engine.arena({name: torch.from_numpy(np.array(w)) for name, w in weights.items()}))
    for key, ours in zip(engine.optimizer.state_names(), engine.state):
        assert_close(ours, engine.arena({name: torch.from_numpy(np.array(s[key])) for name, s in states.items()}))


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
