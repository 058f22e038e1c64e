"""L-BFGS against torch.optim.LBFGS(line_search_fn="strong_wolfe"): the same points, evaluation by evaluation, and the
same bits for any number of workers, through deaths."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from faults.account import complaints
from faults.gang import carry_out, undisturbed
from faults.models import SHARDS, local_fit
from faults.schedule import Order, Schedule
from local_gang import LocalFit, run
from stoker.engine import core
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from test_checkpoints import Checkpointed
from test_exact import assert_same, make_fit

LBFGS = {"name": "lbfgs", "groups": [{"history_size": 4}]}


pytestmark = pytest.mark.usefixtures("one_thread")


def quadratic():
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    matrix = root @ root.T / 40 + 0.3 * torch.eye(40, dtype=torch.float64)
    return (lambda x: 0.5 * x @ (matrix @ x) - x.sum()), torch.zeros(40)


def logistic():
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn(200, 30, generator=generator, dtype=torch.float64)
    labels = (rows[:, 0] + 0.3 * torch.randn(200, generator=generator) > 0).double()
    return (lambda x: nn.functional.binary_cross_entropy_with_logits(rows @ x, labels) + 0.01 * x @ x), torch.zeros(30)


def rosenbrock():
    return (lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()), torch.tensor([-1.2, 1.0, 0.5])


def valley():
    """Its first steps are far too short, then too long: the bracket is sought and cut."""
    return (lambda x: torch.log1p(((x - 3) ** 2 * torch.tensor([1.0, 400.0, 9.0]).double()).sum())), torch.zeros(3)


PROBLEMS = {"quadratic": quadratic, "logistic": logistic, "rosenbrock": rosenbrock, "valley": valley}


class Recorded:
    """The loss in double of weights that are float32, as both sides have them."""

    def __init__(self, function, begin):
        self.function, self.points, self.losses = function, [], []
        self.x = nn.Parameter(begin.clone())

    def __call__(self, x):
        at = x.detach().double().requires_grad_()
        loss = self.function(at)
        loss.backward()
        self.points.append(x.detach().numpy().copy())
        self.losses.append(loss.item())
        return loss.item(), at.grad.float()

    def closure(self):
        loss, self.x.grad = self(self.x)
        return torch.tensor(loss, dtype=torch.float64)


def by_torch(problem, iterations, **settings):
    seen = Recorded(*PROBLEMS[problem]())
    optimizer = torch.optim.LBFGS([seen.x], max_iter=iterations, max_eval=10_000, line_search_fn="strong_wolfe",
                                  **settings)  # fmt: skip
    optimizer.step(seen.closure)
    return seen, seen.x.detach().numpy()


def by_engine(problem, iterations, **settings):
    function, begin = PROBLEMS[problem]()
    seen = Recorded(function, begin)
    options = {"name": "lbfgs", "groups": [{"max_iter": iterations, **settings}]}
    optimizer = core().ArenaOptimizer(json.dumps(options), [("x", list(begin.shape), 0)], "best")
    weights = np.zeros(optimizer.floats(), np.float32)
    weights[: len(begin)] = begin.numpy()
    state = [np.zeros_like(weights) for _ in optimizer.state_names()]
    for step in range(1, 1000):
        loss, gradient = seen(torch.from_numpy(weights[: len(begin)]))
        padded = np.zeros_like(weights)
        padded[: len(begin)] = gradient.numpy()
        optimizer.update(step, padded, 1.0, weights, state, loss=loss)
        assert not weights[len(begin) :].any()
        if optimizer.ended():
            break
    return seen, weights[: len(begin)], optimizer.ended()


def test_a_gradient_that_is_no_number_is_not_taken_for_a_minimum():
    optimizer = core().ArenaOptimizer(json.dumps(LBFGS), [("x", [3], 0)], "best")
    weights, gradient = (np.zeros(optimizer.floats(), np.float32) for _ in range(2))
    gradient[1] = np.nan
    optimizer.update(1, gradient, 1.0, weights, [np.zeros_like(weights) for _ in optimizer.state_names()], loss=1.0)
    assert not optimizer.ended()
    assert np.isnan(weights).any(), "so that the step is found to be not finite"


@pytest.mark.parametrize("history", [3, 10])
@pytest.mark.parametrize(("problem", "iterations"), [("quadratic", 14), ("logistic", 14), ("rosenbrock", 6),
                                                      ("valley", 3)])  # fmt: skip
def test_each_evaluation_is_at_torchs_point(problem, iterations, history):
    torchs, last = by_torch(problem, iterations, history_size=history)
    ours, weights, _ = by_engine(problem, iterations, history_size=history)
    assert len(ours.points) == len(torchs.points)
    largest = max(np.abs(point).max() for point in torchs.points)
    np.testing.assert_allclose(ours.points, torchs.points, rtol=0, atol=1e-6 * largest)
    np.testing.assert_allclose(ours.losses, torchs.losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, last, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tolerance_grad": 1e-3}, "no number of the gradient is above tolerance_grad = 0.001"),
        ({"tolerance_change": 1e-2}, "its direction leads down no more"),
        ({"lr": 0.5}, "has made max_iter = 30 iterations"),
    ],
)
def test_it_ends_where_torch_ends(settings, words):
    torchs, last = by_torch("logistic", 30, **{"tolerance_change": 0, "tolerance_grad": 0, **settings})
    ours, weights, why = by_engine("logistic", 30, **{"tolerance_change": 0, "tolerance_grad": 0, **settings})
    assert words in why
    if "lr" not in settings:
        assert len(ours.points) == len(torchs.points)
    np.testing.assert_allclose(weights, last, rtol=0, atol=1e-4 * np.abs(last).max())


@pytest.mark.parametrize(("problem", "least"), [("rosenbrock", 1.0), ("valley", 3.0)])
def test_it_finds_the_minimum_of_crooked_functions(problem, least):
    """Where roundings grow from point to point, so that torch's are others after a while."""
    _, weights, why = by_engine(problem, 100, tolerance_change=0)
    assert why
    np.testing.assert_allclose(weights, least, rtol=0, atol=2e-4)


def fit_by(**more):
    return replace(make_fit("mlp", **{"epochs": 6, "clip_norm": 0.0, **more}), optimizer=LBFGS)


def test_the_same_bits_for_one_to_three_workers():
    fit = fit_by()
    alone = run(fit, 1)
    losses = [epoch["loss"] for epoch in alone[1]["epochs"]]
    assert len(losses) == 6 and losses[-1] < losses[0]
    for workers in (2, 3):
        assert_same(alone, run(fit, workers, order_seed=workers))
    assert_same(alone, run(fit, 2, force_tcp=True))


def test_a_death_at_any_point_changes_nothing():
    epochs = 6
    fit = replace(local_fit("mlp", rows=600, batch=48, epochs=epochs), optimizer=LBFGS)
    fit.more["clip_norm"] = 0.0
    orders = Order(1, "die", 2, "measures"), Order(0, "die", 3, "forward")
    killer, came = carry_out(Schedule(0, "points", "mlp", 2, epochs, False, orders=orders), fit)
    assert len(killer.hits) == 2
    a_pass = SHARDS * 13  # is done again
    assert complaints(killer, came, undisturbed(fit, 3), a_pass) == []


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    fit = fit_by()
    checkpointed = Checkpointed(fit, str(tmp_path))
    assert checkpointed.run(3, kill_after=4) is None
    assert_same(run(fit, 1), checkpointed.run(2))
    assert checkpointed.last.history()["resumed_from"] >= 4


def linear_fit(epochs, batch=16, **settings):
    generator = np.random.default_rng(2)
    x = generator.normal(size=(120, 4)).astype(np.float32)
    y = (x @ np.float32([[1], [-2], [0.5], [3]]) + 0.1 * generator.normal(size=(120, 1))).astype(np.float32)
    torch.manual_seed(5)
    module = nn.Linear(4, 1)
    compiled = compile_module(module, nn.MSELoss(), [TensorSpec("x", "float32", (4,))],
                              [TensorSpec("y", "float32", (1,))])  # fmt: skip
    columns = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [4]},
               {"name": "y", "shown": "y", "dtype": "float32", "shape": [1]}]  # fmt: skip
    optimizer = {"name": "lbfgs", "groups": [settings]}
    fit = LocalFit(compiled, columns, {"x": x, "y": y}, optimizer, 2, {"batch_size": batch, "epochs": epochs})
    return fit, module, torch.from_numpy(x), torch.from_numpy(y)


def test_a_fit_in_batches_is_torchs_on_all_rows():
    fit, module, x, y = linear_fit(50, max_iter=6)
    weights, history = run(fit, 2)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(module(x), y)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=6, max_eval=100, history_size=10,
                                  line_search_fn="strong_wolfe")  # fmt: skip
    optimizer.step(closure)
    np.testing.assert_allclose([epoch["loss"] for epoch in history["epochs"]], losses, rtol=1e-5, atol=1e-6)
    assert history["stopped"] == "L-BFGS has made max_iter = 6 iterations"
    assert {epoch["steps"] for epoch in history["epochs"]} == {8}
    assert all(epoch["seconds"] > epoch["phases"]["compute"] > 0 for epoch in history["epochs"])
    for name, value in module.named_parameters():
        np.testing.assert_allclose(weights[name], value.detach().numpy(), rtol=0, atol=1e-6)


def test_the_size_of_batches_only_rounds():
    small, large = (run(linear_fit(6, batch)[0], 1)[0] for batch in (8, 120))
    for name in small:
        np.testing.assert_allclose(small[name], large[name], rtol=0, atol=1e-5)


def test_a_fit_that_is_cut_short_gives_the_start_of_its_line_search():
    """Never a point that was only tried."""
    fit, module, x, y = linear_fit(50, lr=64.0)
    tried = [epoch["loss"] for epoch in run(fit, 1)[1]["epochs"]]
    worst = tried.index(max(tried)) + 1
    weights = run(linear_fit(worst, lr=64.0)[0], 1)[0]
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    assert nn.functional.mse_loss(module(x), y).item() < tried[worst - 1]
