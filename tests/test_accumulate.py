"""One step's gradient from several micro-batches: that of all their rows, to the same bits for any workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import LocalSGD, StokerClassifier
from stoker.checkpoint.manifest import differences, identity
from stoker.errors import UserError
from stoker.events import Failed
from stoker.strategy import as_strategy, spec_of
from test_exact import MODELS, assert_same, make_fit
from test_store import on_disk

SGD = {"name": "sgd", "groups": [{"lr": 0.1, "momentum": 0.9}]}
LOCAL = spec_of(as_strategy(LocalSGD(every=3)))


def accumulated(model: str, parts: int = 3, shards: int = 4, **more):
    """Steps of about 48 rows, in parts of about 16 of all shards."""
    return replace(make_fit(model, shards, batch_size=16, accumulate=parts, **more), optimizer=SGD)


def torch_steps(fit, batches):
    """PyTorch's own accumulation: `batches` has the parts of each step."""
    torch.manual_seed(3)
    module = MODELS["mlp"][0]()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.from_numpy(fit.values["features"]), torch.from_numpy(fit.values["label"])
    for parts in batches:
        optimizer.zero_grad()
        rows = sum(len(part) for part in parts)
        for part in parts:
            (nn.functional.cross_entropy(module(x[part]), y[part], reduction="sum") / rows).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        optimizer.step()
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def test_it_equals_accumulation_by_pytorch():
    """One step an epoch, so that the order of rows does not matter."""
    fit = replace(make_fit("mlp", 1, batch_size=100, accumulate=3, epochs=5), optimizer=SGD)
    weights, history = run(fit, 1)
    assert [epoch["steps"] for epoch in history["epochs"]] == [1] * 5
    assert history["micro_batches"] == 15
    wanted = torch_steps(fit, [np.array_split(np.arange(300), 3)] * 5)
    for name, value in wanted.items():
        np.testing.assert_allclose(weights[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("more", [{}, LOCAL, {"clip_value": 0.01, "clip_norm": 0.0}], ids=["plain", "local", "clipped"])
def test_it_equals_steps_over_all_rows(more):
    parts, whole = accumulated("mlp", **more), replace(make_fit("mlp", 4, batch_size=48, **more), optimizer=SGD)
    (one, told), (other, told_other) = run(parts, 2), run(whole, 2)
    assert [epoch["steps"] for epoch in told["epochs"]] == [epoch["steps"] for epoch in told_other["epochs"]] == [7, 7]
    assert told["epochs"][-1]["loss"] == pytest.approx(told_other["epochs"][-1]["loss"], rel=1e-5)
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_same_bits_for_one_to_four_workers(model):
    fit = accumulated(model, evaluated=model == "cnn")
    fit = replace(fit, held=np.arange(300) % 7 == 0 if model == "cnn" else None)
    alone = run(fit, 1)
    for workers, options in ((2, {}), (3, {"force_tcp": True}), (4, {})):
        assert_same(alone, run(fit, workers, order_seed=workers, **options))


def test_each_part_draws_for_itself():
    """A model of nothing but dropout's rate: parts that drew alike would give the gradient of one."""
    fit = make_fit("transformer", 1, 64, batch_size=32, epochs=1)
    alike = {name: np.repeat(values[:1], 64, 0) for name, values in fit.values.items()}
    both = replace(fit, values=alike, more={**fit.more, "accumulate": 2})
    one = replace(fit, values={name: values[:32] for name, values in alike.items()})
    assert run(both, 1)[1]["epochs"][0]["loss"] != pytest.approx(run(one, 1)[1]["epochs"][0]["loss"], rel=1e-4)


def test_statistics_of_batch_norm_are_those_of_all_rows_of_the_step():
    whole = run(make_fit("cnn", 1, batch_size=300, epochs=1), 1)[0]
    parts = run(make_fit("cnn", 1, batch_size=100, accumulate=3, epochs=1), 1)[0]
    np.testing.assert_allclose(parts["body.1.running_mean"], whole["body.1.running_mean"], rtol=1e-5, atol=1e-7)
    assert parts["body.1.num_batches_tracked"] == 1


def test_few_rows_make_fewer_parts():
    fit = accumulated("mlp", 40, shards=3)
    few = replace(fit, values={name: value[:30] for name, value in fit.values.items()})
    weights, history = run(few, 2)
    assert history["micro_batches"] == 2 * 3 * 5  # of two rows each
    assert_same((weights, history), run(few, 1))


@pytest.mark.parametrize("more", [{}, LOCAL], ids=["plain", "local"])
def test_a_death_between_two_parts_changes_nothing(more):
    fit = accumulated("cnn", **more)
    fault = {"STOKER_FAULTS": "forward@4=die"}
    gang = FaultyGang(fit, 2, options=HEARTBEAT, timeout=60,
                      environment=lambda place, attempt: fault if (place, attempt) == (1, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert outcome.history["digest"] == run(fit, 1)[1]["digest"]


def test_rows_on_disk_give_the_same_bits():
    fit = accumulated("mlp")
    store = on_disk(500)
    assert_same(run(fit, 2), run(replace(fit, more={**fit.more, **store}), 2))


def test_a_checkpoint_tells_what_was_accumulated():
    told = {"program": make_fit("mlp").compiled.train, "batch_size": 16}
    before = identity(told, {}, "2.13")
    assert differences(identity({**told, "accumulate": 4}, {}, "2.13"), before) == ["accumulate is 4 and was 1"]


def test_an_accumulation_of_nothing_is_refused(spark):
    df = spark.createDataFrame([([0.0], 0)], "features array<float>, label int")
    with pytest.raises(UserError, match="accumulate must be at least 1, not 0"):
        StokerClassifier(model=nn.Linear(1, 2), accumulate=0).fit(df)
