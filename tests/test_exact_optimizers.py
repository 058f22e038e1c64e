"""What optimizers and schedules keep is committed like all else: the same bits for any number of workers, and through
deaths."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from faults.account import complaints
from faults.gang import carry_out, undisturbed
from faults.models import SHARDS, local_fit
from faults.schedule import Order, Schedule
from local_gang import LocalFit, run
from stoker.averaging import as_average
from stoker.engine import core
from stoker.errors import UserError
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from stoker.schedule import as_schedule, complete
from stoker.spark.limits import memory_need
from test_checkpoints import Checkpointed
from test_exact import MODELS, assert_same, make_fit

GROUPS = [{"lr": 1e-2}, {"lr": 3e-3, "weight_decay": 0.1}]


def schedule(told, unit="steps", epochs=2):
    return complete(as_schedule(told), unit, epochs)


OPTIMIZERS = {
    "cosine": {"name": "adam", "groups": GROUPS, "schedule": schedule({"name": "cosine", "warmup": 3})},
    "one cycle by epochs": {
        "name": "sgd", "groups": GROUPS, "schedule": schedule({"name": "one_cycle", "cycle_momentum": True}, "epochs")
    },
    "rmsprop": {"name": "rmsprop", "groups": [{"centered": True}, {"momentum": 0.9}]},
    "radam": {"name": "radam", "groups": GROUPS},
    "lars": {"name": "lars", "groups": [{"lr": 1.0}, {"lr": 0.1, "weight_decay": 0.1}]},
    "lamb": {"name": "lamb", "groups": GROUPS, "schedule": schedule("polynomial")},
    "adafactor": {"name": "adafactor", "groups": [{"lr": 0.1}, {"lr": 0.05, "weight_decay": 0.1}],
                  "schedule": schedule({"name": "cosine", "warmup": 3})},
    "average of adafactor": {"name": "adafactor", "groups": [{}, {}], "average": as_average("ema")},
    "keras adafactor": {"name": "keras_adafactor", "groups": GROUPS},
    "keras with clipnorm": {
        "name": "keras_rmsprop", "groups": [{"centered": True}, {"momentum": 0.9, "weight_decay": 0.1}],
        "clip": {"norm": 0.01, "by_parameter": True}
    },
    "keras lamb": {"name": "keras_lamb", "groups": GROUPS},
    "average": {"name": "lamb", "groups": GROUPS, "average": as_average({"name": "ema", "decay": 0.9})},
}  # fmt: skip


BEFORE = {"lars": ("measures", "written"), "lamb": ("measures", "written"), "adafactor": ("moments", "changes")}


def fit_by(optimizer, **more):
    fit = make_fit("mlp", **more)
    return replace(fit, optimizer=optimizer, more={**fit.more, "groups": [0, 1] * 2})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits_for_one_to_three_workers(name):
    fit = fit_by(OPTIMIZERS[name])
    alone = run(fit, 1)
    for workers in (2, 3):
        assert_same(alone, run(fit, workers, order_seed=workers))
    assert_same(alone, run(fit, 2, force_tcp=True))


class Wide(nn.Module):
    """Of several slices: a kernel that lies by rows, and one that is kept turned."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(10, 256), nn.Linear(200, 5)
        self.inner = nn.Linear(256, 256)
        self.turned = nn.Parameter(torch.randn(256, 200) / 16)

    def forward(self, x):
        inner = torch.relu(self.inner(torch.relu(self.first(x))))
        return self.last(nn.functional.linear(inner, self.turned.t()))


@pytest.mark.parametrize("name", ["lars", "lamb", "adafactor", "keras adafactor", "keras with clipnorm"])
def test_the_same_bits_where_several_measure_one_layer(name, monkeypatch):
    monkeypatch.setitem(MODELS, "wide", (Wide, (10,), "float32"))
    fit = make_fit("wide", rows=60)
    parameters = fit.compiled.train["parameters"]
    assert sum(parameter.get("layout", []) == [1, 0] for parameter in parameters) == 1
    fit = replace(fit, optimizer=OPTIMIZERS[name], more={**fit.more, "groups": [i % 2 for i in range(len(parameters))]})
    alone = run(fit, 1)
    assert_same(alone, run(fit, 3, order_seed=3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_death_inside_a_step_changes_nothing(name):
    epochs = 3
    fit = replace(local_fit("mlp", rows=600, batch=48, epochs=epochs), optimizer=OPTIMIZERS[name])
    fit.more["groups"] = [0, 1] * 3
    first, second = BEFORE.get(OPTIMIZERS[name]["name"], ("slice", "written"))
    orders = Order(1, "die", 20, first), Order(0, "die", 30, second)
    killer, came = carry_out(Schedule(0, "points", "mlp", 2, epochs * 13, False, orders=orders), fit)
    assert len(killer.hits) == 2
    assert complaints(killer, came, undisturbed(fit, 3), SHARDS) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path):
    fit = fit_by(OPTIMIZERS[name])
    checkpointed = Checkpointed(fit, str(tmp_path))
    assert checkpointed.stopped(3) == 7
    assert_same(run(fit, 1), checkpointed.run(2))
    assert checkpointed.last.history()["resumed_from"] == 7


def line(rows=60):
    """One row many times over: the engine's order of rows is its own."""
    return np.tile(np.float32([1, -2, 0.5, 3]), (rows, 1)), np.full((rows, 1), 2, np.float32)


def linear():
    torch.manual_seed(5)
    return nn.Linear(4, 1)


def linear_fit(optimizer, epochs, **more):
    x, y = line()
    compiled = compile_module(linear(), nn.MSELoss(), [TensorSpec("x", "float32", (4,))],
                              [TensorSpec("y", "float32", (1,))])  # fmt: skip
    columns = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [4]},
               {"name": "y", "shown": "y", "dtype": "float32", "shape": [1]}]  # fmt: skip
    told = {"batch_size": 20, "epochs": epochs, **more}
    return LocalFit(compiled, columns, {"x": x, "y": y}, optimizer, 1, told)


@pytest.mark.parametrize("unit", ["steps", "epochs"])
def test_a_fit_takes_the_rates_that_a_loop_of_torch_takes(unit):
    told = schedule({"name": "step", "step_size": 2, "gamma": 0.5}, unit, 5)
    fit = linear_fit({"name": "sgd", "groups": [{"lr": 0.005}], "schedule": told}, 5)
    ours = run(fit, 1)[0]
    module, (x, y) = linear(), map(torch.from_numpy, line())
    optimizer = torch.optim.SGD(module.parameters(), 0.005)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for step in range(15):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
        if unit == "steps" or step % 3 == 2:
            scheduler.step()
    for name, value in module.named_parameters():
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_clipping_by_norm_and_by_value_together_is_torchs():
    fit = linear_fit({"name": "sgd", "groups": [{"lr": 0.05}]}, 4, clip_norm=1.0, clip_value=0.4)
    module, (x, y) = linear(), map(torch.from_numpy, line())
    for _ in range(12):
        module.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        torch.nn.utils.clip_grad_value_(module.parameters(), 0.4)
        torch.optim.SGD(module.parameters(), 0.05).step()
    ours = run(fit, 1)[0]
    for name, value in module.named_parameters():
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-5, atol=1e-6)


AVERAGES = {
    "ema": ({"name": "ema", "decay": 0.8}, {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.8)}),
    "a short ema": ({"name": "ema", "decay": 0.3}, {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.3)}),
    "swa": ({"name": "swa", "start": 4, "every": 2}, {}),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_the_average_that_torch_makes_comes_out(name):
    told, how = AVERAGES[name]
    told = as_average(told)
    fit = linear_fit({"name": "sgd", "groups": [{"lr": 0.005}], "average": told}, 4)
    module, (x, y) = linear(), map(torch.from_numpy, line())
    average, optimizer = swa_utils.AveragedModel(module, **how), torch.optim.SGD(module.parameters(), 0.005)
    for step in range(1, 13):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
        if step >= told["start"] and (step - told["start"]) % told["every"] == 0:
            average.update_parameters(module)
    ours = run(fit, 1)[0]
    for key, value in average.module.named_parameters():
        np.testing.assert_allclose(ours[key], value.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("emma", "'name' is 'emma', expected one of 'ema', 'swa'"),
        ({"name": "ema", "deacy": 0.9}, "'ema' has no setting 'deacy'; did you mean 'decay'?"),
        ({"name": "ema", "decay": 1}, "decay is 1, expected a number between 0 and 1"),
        ({"name": "swa", "every": 0}, "every is 0, expected a whole number of steps, at least 1"),
        (3, "got 3, expected 'ema', 'swa' or a dict"),
    ],
)
def test_averages_that_cannot_be_are_named(told, words):
    with pytest.raises(UserError) as caught:
        as_average(told)
    assert words in str(caught.value)


def test_an_average_is_one_more_copy_in_the_memory_check():
    spec = {"program": {"parameters": [{"shape": [1000]}]}, "optimizer": OPTIMIZERS["lamb"]}
    more = {**spec, "optimizer": OPTIMIZERS["average"]}
    without, needed = (memory_need.need_of(core(), told, 0, 1, 1).state for told in (spec, more))
    assert needed == without + 2 * 4 * 1000
