"""Steps that must not change the state: those without rows, and those whose numbers are not finite."""

import numpy as np
import pytest
import torch
from torch import nn

from faulty_gang import FaultyGang
from local_gang import LocalFit, run
from stoker.events import Started
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

ROWS = 16


class RootOfTheProduct(nn.Module):
    """At a row of zeros the loss is finite, and the weight's gradient is infinity times zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x):
        return torch.sqrt((x * self.weight).abs().sum(1))


def fit_of(net, loss, x, y, label, **more):
    compiled = compile_module(net, loss, [TensorSpec("x", "float32", (4,))], [TensorSpec("y", label, ())])
    columns = [
        {"name": "x", "shown": "x", "dtype": "float32", "shape": [4]},
        {"name": "y", "shown": "y", "dtype": label, "shape": []},
    ]
    optimizer = {"name": "sgd", "groups": [{"lr": 1e-3}]}
    return LocalFit(compiled, columns, {"x": x, "y": y}, shards=2, more=more, optimizer=optimizer)


def with_a_root(bad_rows, **more):
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 2, (ROWS, 4)).astype(np.float32)
    x[:bad_rows] = 0
    more = {"batch_size": 4, "epochs": 1, "shuffle": False, **more}
    return fit_of(RootOfTheProduct(), nn.MSELoss(), x, np.ones(ROWS, np.float32), "float32", **more)


def test_a_gradient_that_is_not_finite_ends_the_fit_in_its_own_step():
    with pytest.raises(RuntimeError, match=r"user: the gradient or a new weight is not finite in epoch 1, step \d"):
        run(with_a_root(1), 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_steps_leave_weights_that_are_finite_and_are_counted(workers):
    weights, history = run(with_a_root(1, on_nan="skip"), workers)
    assert np.isfinite(weights["weight"]).all()
    assert history["epochs"][0]["skipped_steps"] == 1


def test_told_to_continue_a_fit_goes_on_with_what_is_not_finite():
    weights, history = run(with_a_root(1, on_nan="continue"), 1)
    assert np.isnan(weights["weight"]).all()
    assert "skipped_steps" not in history["epochs"][0]


def test_a_step_whose_rows_are_all_lost_leaves_the_running_statistics():
    rng = np.random.default_rng(0)
    x = (5 + 2 * rng.normal(size=(ROWS, 4))).astype(np.float32)
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    fit = fit_of(net, nn.CrossEntropyLoss(), x, rng.integers(0, 3, ROWS), "int64", batch_size=2, epochs=3000)

    def kill_one(gang, event):
        if isinstance(event, Started) and gang.restarts:
            gang.restarts = False
            gang.kill(1)

    options = {"allow_lost_rows": True, "worker_timeout": 0.5, "heartbeat": 0.1, "heartbeat_timeout": 2.0}
    outcome = FaultyGang(fit, 2, on_event=kill_one, options=options, timeout=60).run()
    mean = outcome.weights["0.running_mean"]
    assert np.abs(mean - 5).max() < 2.5
    assert outcome.history["epochs"][-1]["skipped_steps"] > 0
