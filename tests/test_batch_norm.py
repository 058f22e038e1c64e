"""Batch norms by the statistics of the whole batch: what one PyTorch process computes of it, whoever has which rows and
whoever dies."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import LocalFit, run
from stoker import DiLoCo, StokerClassifier
from stoker.batch_norm import by_batch, check_whole, notes_of
from stoker.errors import UserError
from stoker.events import Failed
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from test_exact import assert_same

ROWS, CLASSES = 61, 3
RATE = 0.5


class Net(nn.Module):
    """Two batch norms side by side, of which one is past a skip, one without weights, one whose weights are frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.left, self.right = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, momentum=0.3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.frozen = nn.BatchNorm2d(4, eps=1e-3)
        self.frozen.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(4 * 25, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(self.left(x)) + self.right(x)
        x = x + self.frozen(self.second(x))
        return self.head(x.flatten(1))


def net():
    torch.manual_seed(1)
    return Net()


def data(rows=ROWS):
    random = np.random.default_rng(3)
    x = (random.normal(size=(rows, 1, 5, 5)) * 2 + 5).astype(np.float32)  # far from 0
    return x, random.integers(0, CLASSES, rows)


def whole_batch(shards, shard_of=None, rows=ROWS, **more):
    x, y = data(rows)
    compiled = compile_module(net(), nn.CrossEntropyLoss(), [TensorSpec("features", "float32", (1, 5, 5))],
                              [TensorSpec("label", "int64", ())], metric="argmax")  # fmt: skip
    columns = [{"name": "features", "shown": "features", "dtype": "float32", "shape": [1, 5, 5]},
               {"name": "label", "shown": "label", "dtype": "int64", "shape": [], "integral": True,
                "classes": CLASSES}]  # fmt: skip
    settings = {"whole_batch": True, "batch_size": rows, "epochs": 1, **more}
    return LocalFit(compiled, columns, {"features": x, "label": y}, shards=shards, shard_of=shard_of, more=settings,
                    optimizer={"name": "sgd", "groups": [{"lr": RATE}]})  # fmt: skip


def by_torch(steps):
    """(losses, module) of one process that trains on all rows at once."""
    module, (x, y) = net().train(), map(torch.from_numpy, data())
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], RATE)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, module


@pytest.mark.parametrize("shards", [1, 4, 7])
def test_loss_gradients_and_statistics_are_those_of_one_process(shards):
    """One step of SGD tells the gradients; shard 2 has no row at all, shard 3 a single one."""
    dealt = np.arange(ROWS) % shards
    if shards > 3:
        dealt[dealt == 2] = 1
        dealt[np.flatnonzero(dealt == 3)[1:]] = 0
    weights, history = run(whole_batch(shards, dealt), min(shards, 2))
    (loss,), module = by_torch(1)
    assert history["epochs"][0]["loss"] == pytest.approx(loss, abs=1e-6)
    before = dict(net().named_parameters())
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            gradient = (before[name].detach().numpy() - weights[name]) / RATE
            np.testing.assert_allclose(gradient, parameter.grad.numpy(), atol=1e-6, err_msg=name)
    for name, buffer in module.named_buffers():
        np.testing.assert_allclose(weights[name], buffer.numpy(), rtol=2e-6, err_msg=name)


def test_many_steps_stay_with_one_process():
    _, history = run(whole_batch(4, epochs=12), 2)
    np.testing.assert_allclose([epoch["loss"] for epoch in history["epochs"]], by_torch(12)[0], rtol=1e-3)


def steps(shards=7):
    """Several steps of an epoch, in some of which shards 5 and 6, a worker's of four, have no rows."""
    rows = 90
    dealt = np.arange(rows) % shards
    for shard in (5, 6):
        dealt[np.flatnonzero(dealt == shard)[3:]] = 0
    return whole_batch(shards, dealt, rows, batch_size=18, epochs=2)


@pytest.fixture(scope="module")
def alone():
    return run(steps(), 1)


@pytest.mark.parametrize(("workers", "options"), [(2, {}), (3, {"force_tcp": True}), (4, {})])
def test_any_number_of_workers_gives_the_same_bits(workers, options, alone):
    assert_same(alone, run(steps(), workers, order_seed=workers, **options))


def test_several_threads_of_a_worker_give_the_same_bits_for_any_number_of_workers():
    fit = replace(steps(), more={**steps().more, "threads": 2, "epochs": 1})
    assert_same(run(fit, 1), run(fit, 3))


def test_it_is_another_fit_than_by_statistics_of_each_shard(alone):
    apart = replace(steps(), more={**steps().more, "whole_batch": False})
    assert run(apart, 1)[1]["digest"] != alone[1]["digest"]


@pytest.mark.parametrize(("how", "tcp"), [("die", False), ("die", True), ("hang", False)])
def test_a_death_within_the_sums_of_a_batch_norm_repeats_the_step(how, tcp, alone):
    fault = {"STOKER_FAULTS": f"statistics@4={how}"}
    gang = FaultyGang(steps(), 3, options={**HEARTBEAT, "force_tcp": tcp}, timeout=60,
                      environment=lambda place, attempt: fault if (place, attempt) == (1, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert outcome.history["digest"] == alone[1]["digest"]


def test_what_does_not_go_with_it_is_said():
    told = {"model": net(), "inputShape": [1, 5, 5], "batchNorm": "batch", "numShards": 2, "verbose": 0}
    for more, text in (
        ({"strategy": DiLoCo(every=5)}, "batchNorm='batch' needs all shards at each batch norm, and with strategy"),
        ({"accumulate": 2}, "batchNorm='batch' needs the rows of a step at the same time, and accumulate runs them"),
        ({"batchNorm": "all"}, "batchNorm must be one of 'shard', 'batch', not 'all'"),
    ):
        with pytest.raises(UserError, match=text):
            settings_of(StokerClassifier(**{**told, **more}))


def settings_of(estimator):
    from stoker.fit.settings import FitSettings

    return FitSettings.of(estimator.value)


def program_of(model):
    return compile_module(model, nn.CrossEntropyLoss(), [TensorSpec("x", "float32", (4,))],
                          [TensorSpec("y", "int64", ())]).train  # fmt: skip


def test_a_batch_norm_of_unknown_width_is_refused_by_name():
    bare = nn.BatchNorm1d(4, affine=False, track_running_stats=False)
    with pytest.raises(UserError, match=r"1 \(BatchNorm1d\).* has neither weights nor running statistics"):
        check_whole(program_of(nn.Sequential(nn.Linear(4, 4), bare, nn.Linear(4, 3))))


def test_a_model_without_batch_norms_is_told_that_nothing_changes():
    program = program_of(nn.Linear(4, 3))
    assert by_batch(program) == []
    assert notes_of(["another note"], True, program)[1].startswith("batchNorm='batch' changes nothing")
    with_norm = program_of(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    check_whole(with_norm)
    assert notes_of(["statistics are per micro-batch in 1: ..."], True, with_norm) == []


def test_the_number_of_shards_does_not_matter_any_more(spark):
    x, y = data(200)
    df = table(spark, x.reshape(200, 25), y)
    told = {"inputShape": [1, 5, 5], "batchNorm": "batch", "batchSize": 200, "epochs": 3, "optimizer": "sgd",
            "learningRate": 0.1, "verbose": 0}  # fmt: skip
    losses = [[epoch["loss"] for epoch in StokerClassifier(model=copy.deepcopy(net()), numShards=shards, **told)
               .fit(df).history] for shards in (1, 5)]  # fmt: skip
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def keras_net(**of_norm):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(2)
    inner = [keras.layers.Dense(6), keras.layers.BatchNormalization(**of_norm), keras.layers.ReLU()]
    return keras.Sequential([keras.layers.Input((4,)), *inner, keras.layers.Dense(3)])


def test_keras_layers_go_by_the_whole_batch_too():
    model = keras_net()
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 4)).astype(np.float32), random.integers(0, 3, 40)
    compiled = compile_module(model, nn.CrossEntropyLoss(), [TensorSpec("x", "float32", (4,))],
                              [TensorSpec("y", "int64", ())])  # fmt: skip
    check_whole(compiled.train)
    columns = [{"name": "x", "shown": "x", "dtype": "float32", "shape": [4]},
               {"name": "y", "shown": "y", "dtype": "int64", "shape": []}]  # fmt: skip
    fit = LocalFit(compiled, columns, {"x": x, "y": y}, optimizer={"name": "sgd", "groups": [{"lr": 0.1}]},
                   more={"batch_size": 40, "epochs": 4})  # fmt: skip
    whole = {**fit.more, "whole_batch": True}
    (weights, apart), (of_shards, together) = run(fit, 1), run(replace(fit, shards=5, more=whole), 2)
    np.testing.assert_allclose(*([epoch["loss"] for epoch in one["epochs"]] for one in (apart, together)), rtol=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(value, of_shards[name], atol=2e-5, err_msg=name)


def test_statistics_of_another_kind_are_refused_by_name():
    model = keras_net(renorm=True)
    with pytest.raises(UserError, match=r"this model has other statistics: .*moving_mean"):
        check_whole(program_of(model))
