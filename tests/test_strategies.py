"""Shards that take steps alone and are averaged: what comes out, and the same bits whoever runs them or dies."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import stoker
from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import DiLoCo, LocalSGD, StokerClassifier
from stoker.errors import UserError
from stoker.events import Failed, Started
from stoker.strategy import as_strategy, spec_of
from test_checkpoints import Checkpointed
from test_exact import MODELS, assert_same, make_fit
from test_validation import validated

SGD = {"name": "sgd", "groups": [{"lr": 0.1}]}
ADAM = {"name": "adam", "groups": [{"lr": 1e-2}]}
LOCAL, RESET, OUTER = LocalSGD(every=3), LocalSGD(every=4, innerState="reset"), DiLoCo(every=4)
INT8, INT4 = (DiLoCo(every=4, innerState="reset", compress=code) for code in ("int8", "int4"))


def local(strategy, model="mlp", shards=4, optimizer=ADAM, **more):
    fit = make_fit(model, shards=shards, **{"batch_size": 32, "epochs": 2, **spec_of(as_strategy(strategy)), **more})
    return replace(fit, optimizer=optimizer)


@pytest.fixture(scope="module")
def alone():
    return {name: run(local(strategy, "cnn"), 1) for name, strategy in STRATEGIES.items()}


KEPT = DiLoCo(every=4, innerState="keep")
STRATEGIES = {"local": LOCAL, "reset": RESET, "outer": OUTER, "int8": INT8, "int4": INT4, "kept": KEPT}


def assert_same_for_any_number_of_workers(alone, fit):
    """`alone`: what one worker made of it."""
    for workers, options in ((2, {}), (4, {}), (3, {"force_tcp": True})):
        assert_same(alone, run(fit, workers, order_seed=workers, **options))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_bits_for_any_number_of_workers(name, alone):
    assert_same_for_any_number_of_workers(alone[name], local(STRATEGIES[name], "cnn"))


def test_strategies_differ(alone):
    assert len({outcome[1]["digest"] for outcome in alone.values()}) == len(STRATEGIES)


@pytest.mark.parametrize(("code", "steps"), [("int8", 254), ("int4", 14)])
def test_one_round_with_codes_is_as_near_as_their_steps_are_fine(code, steps):
    def one_round(compress):
        strategy = DiLoCo(every=99, innerState="reset", compress=compress)
        return run(local(strategy, optimizer=SGD, epochs=1), 1)[0]

    plain, coded, start = one_round(None), one_round(code), local(LOCAL).compiled.weights
    moved = max(np.abs(plain[name] - start[name]).max() for name in plain)
    error = max(np.abs(plain[name] - coded[name]).max() for name in plain)
    assert 0 < error < 3 * moved / steps, "a shard alone moves further than their mean"


@pytest.mark.parametrize("state", ["average", "keep"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM, {"name": "lamb", "groups": [{"lr": 1e-2}]}], ids=lambda o: o["name"])
def test_one_shard_is_plain_training_bit_for_bit(optimizer, state):
    plain = replace(make_fit("mlp", shards=1, batch_size=32), optimizer=optimizer)
    weights, _ = run(plain, 1)
    found, _ = run(local(replace(LOCAL, innerState=state), shards=1, optimizer=optimizer), 1)
    assert all(found[name].tobytes() == weights[name].tobytes() for name in weights)


def rows_alike(fit):
    """All rows of a shard are one, so that its order in an epoch does not matter."""
    values = {name: values.copy() for name, values in fit.values.items()}
    for array in values.values():
        array[:] = array[np.arange(len(array)) % fit.shards]
    return replace(fit, values=values)


def replica_steps(module, optimizer, x, y, steps, clip):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()


def reference(fit, strategy, rounds, steps, build):
    """The same in plain PyTorch: one module a shard; `build` makes its optimizer."""
    torch.manual_seed(3)
    center = MODELS["mlp"][0]()
    outer = torch.optim.SGD(center.parameters(), getattr(strategy, "outerLearningRate", 1.0),
                            getattr(strategy, "outerMomentum", 0.0),
                            nesterov=getattr(strategy, "outerMomentum", 0.0) > 0)  # fmt: skip
    replicas = [copy.deepcopy(center) for _ in range(fit.shards)]
    optimizers = [build(replica.parameters()) for replica in replicas]
    for _ in range(rounds):
        for shard, (replica, optimizer) in enumerate(zip(replicas, optimizers)):
            replica.load_state_dict(center.state_dict())
            x, y = (torch.from_numpy(fit.values[name][shard : shard + 1]) for name in ("features", "label"))
            replica_steps(replica, optimizer, x, y, steps, 0.5)
        for parameter, *own in zip(center.parameters(), *(replica.parameters() for replica in replicas)):
            parameter.grad = parameter.detach() - torch.stack([p.detach() for p in own]).mean(0)
        outer.step()
        if strategy.innerState == "average":
            average_state(replicas, optimizers)
    return {name: tensor.detach().numpy() for name, tensor in center.state_dict().items()}


def average_state(replicas, optimizers):
    for own in zip(*(replica.parameters() for replica in replicas)):
        states = [optimizer.state.get(p, {}) for optimizer, p in zip(optimizers, own)]
        for key in states[0]:
            if key != "step" and states[0][key] is not None:
                mean = torch.stack([state[key] for state in states]).mean(0)
                for state in states:
                    state[key].copy_(mean)


@pytest.mark.parametrize("strategy", [LocalSGD(every=5), DiLoCo(every=5, outerLearningRate=0.6),
                                      DiLoCo(every=5, innerState="keep")], ids=["mean", "outer", "kept"])  # fmt: skip
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_weights_are_those_of_plain_torch(strategy, optimizer):
    settings = {"sgd": {"lr": 0.1, "momentum": 0.9}, "adam": {"lr": 1e-2}}[optimizer]
    fit = rows_alike(local(strategy, optimizer={"name": optimizer, "groups": [settings]}, rows=320))
    build = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    found, history = run(fit, 2)
    assert [epoch["steps"] for epoch in history["epochs"]] == [10, 10]
    wanted = reference(fit, strategy, 4, 5, lambda parameters: build(parameters, **settings))
    for name, values in wanted.items():
        assert np.abs(found[name] - values).max() <= 2e-6 * max(1, np.abs(values).max()), name


def test_the_last_round_of_an_epoch_is_short_and_epochs_have_all_their_steps():
    _, history = run(local(LocalSGD(every=7)), 2)
    assert [(epoch["steps"], epoch["rows"]) for epoch in history["epochs"]] == [(10, 300), (10, 300)]


def test_a_schedule_counts_the_steps_of_a_replica():
    schedule = {"name": "step", "unit": "steps", "epochs": 2, "step_size": 3, "gamma": 0.0}
    optimizer = {"name": "sgd", "groups": [{"lr": 0.1}], "schedule": schedule}
    three = run(local(LocalSGD(every=3), optimizer=optimizer), 2)[0]  # after three steps nothing moves
    ends = run(local(LocalSGD(every=3), optimizer=optimizer, epochs=1), 2)[0]
    assert all(three[name].tobytes() == ends[name].tobytes() for name in three)


KILLS = [("local", 2), ("forward", 3), ("partials", 1), ("exchange", 4), ("slice", 5), ("flip", 2), ("flipped", 6)]


@pytest.mark.parametrize(("point", "commit"), KILLS)
@pytest.mark.parametrize("name", ["outer", "kept"])
def test_a_death_redoes_a_round_to_the_same_bits(name, point, commit, alone):
    fault = {"STOKER_FAULTS": f"{point}@{commit}=die"}
    fit, options = local(STRATEGIES[name], "cnn"), {**HEARTBEAT, "force_tcp": name == "kept"}
    outcome = FaultyGang(fit, 2, options=options, timeout=60, environment=lambda place, attempt:
                         fault if (place, attempt) == (0, 0) else {}).run()  # fmt: skip
    assert len(outcome.told(Failed)) == 1
    assert_same(alone[name], (outcome.weights, outcome.history))


def test_what_is_told_of_a_death_counts_local_steps():
    fault = {"STOKER_FAULTS": "flipped@5=die"}  # commits are of 4, 4 and 2 steps, and so in each epoch
    outcome = FaultyGang(local(OUTER, "cnn"), 2, options=HEARTBEAT, timeout=60, environment=lambda place, attempt:
                         fault if (place, attempt) == (0, 0) else {}).run()  # fmt: skip
    lost, again = outcome.told(Failed)[0], outcome.told(Started)[1]
    assert (again.commit, again.step) == (6, 18)
    assert lost.step in (10, 14)  # it died before it told of the last round
    assert "after step 18 " in str(again)


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path, alone):
    for name, strategy in STRATEGIES.items():
        resumed = Checkpointed(local(strategy, "cnn"), str(tmp_path / name), interval=4, unit="steps")
        assert resumed.stopped(2) < 6
        assert_same(alone[name], resumed.run(3))


def test_a_checkpoint_of_another_strategy_is_an_error_that_says_so(tmp_path):
    Checkpointed(local(LOCAL), str(tmp_path)).run(1)
    with pytest.raises(UserError, match="the strategy's every is 5 and was 3"):
        Checkpointed(local(LocalSGD(every=5)), str(tmp_path)).run(1)
    with pytest.raises(UserError, match=r"the strategy's outerLearningRate is 0\.7 and was 1\.0"):
        Checkpointed(local(DiLoCo(every=3)), str(tmp_path)).run(1)


def test_the_best_epoch_of_an_averaged_fit_is_kept_too():
    fit = validated("cnn", **spec_of(as_strategy(OUTER)))
    fit = replace(fit, evaluation={"monitor": "val_loss", "patience": 1, "restore_best": True})
    one, two = run(fit, 1), run(fit, 3)
    assert_same(one, two)
    assert one[1]["best_epoch"] == two[1]["best_epoch"]


def test_steps_that_are_not_finite_leave_their_round_out():
    fit = local(LOCAL, optimizer=SGD)
    fit.values["features"][5] = np.inf
    with pytest.raises(RuntimeError, match=r"in epoch 1, (one of the steps to \d|step 10)"):
        run(fit, 2)
    _, history = run(replace(fit, more={**fit.more, "on_nan": "skip"}), 2)
    assert all(epoch["skipped_steps"] in (1, 3) for epoch in history["epochs"])  # the last round has one


def sent(strategy):
    fit = local(strategy, shards=2, batch_size=30, epochs=3)
    _, history = run(fit, 2, force_tcp=True)
    return sum(epoch["bytes_sent"] for epoch in history["epochs"])


def test_less_goes_over_the_wire_and_averaged_state_is_part_of_it():
    every = sent("allreduce")
    assert every / 12 < sent(LocalSGD(every=10, innerState="reset")) < every / 8
    assert every / 4 < sent(LocalSGD(every=10)) < every / 2.5, "Adam's two moments go too"


def test_codes_take_a_quarter_or_an_eighth():
    floats = DiLoCo(every=10, innerState="reset")
    plain = sent(floats)
    for code, fewer in (("int8", 4), ("int4", 8)):
        coded = sent(replace(floats, compress=code))
        assert plain / fewer / 1.1 < coded < plain / fewer * 1.6, (code, plain / coded)


def test_what_does_not_go_together_is_told_before_a_job(spark):
    df = table(spark, *blobs(60))
    for more, words in (({"averageWeights": "ema"}, "averageWeights does not go with strategy 'localSGD'"),):
        with pytest.raises(UserError, match=words):
            StokerClassifier(model=nn.Linear(4, 3), strategy=LocalSGD(), verbose=0, **more).fit(df)


@pytest.mark.parametrize(("told", "words"), [
    ("localsdg", "there is no 'localsdg'; did you mean 'localSGD'"),
    (7, "got 7, expected 'allreduce', stoker.LocalSGD"),
    ({"name": "localSGD", "evry": 3}, "localSGD has no setting 'evry'; did you mean 'every'"),
    (LocalSGD(every=0), "every is 0, expected a whole number of steps, at least 1"),
    (LocalSGD(innerState="none"), "innerState is 'none', expected one of 'average', 'reset', 'keep'"),
    (DiLoCo(outerMomentum=1.0), "outerMomentum is 1.0, expected a number from 0 to below 1"),
    (DiLoCo(compress="int2"), "compress is 'int2', expected one of None, 'int8', 'int4'"),
    (DiLoCo(outerLearningRate=0), "outerLearningRate is 0, expected a number above 0"),
])  # fmt: skip
def test_a_strategy_that_cannot_be_is_named(told, words):
    with pytest.raises(UserError, match=words):
        StokerClassifier(strategy=told)


def test_a_classifier_learns_with_local_steps_and_says_how(spark, tmp_path):
    df = table(spark, *blobs(300)).cache()
    torch.manual_seed(1)
    estimator = StokerClassifier(model=nn.Linear(4, 3), learningRate=0.1, optimizer="sgd", batchSize=30, epochs=3,
                                 numShards=2, verbose=0, strategy=stoker.DiLoCo(every=5))  # fmt: skip
    fitted = {workers: estimator.copy().setNumWorkers(workers).fit(df) for workers in (1, 2)}
    assert fitted[1].history.info["digest"] == fitted[2].history.info["digest"]
    assert fitted[2].history[-1]["accuracy"] > 0.9
    estimator.save(str(tmp_path / "estimator"))
    assert StokerClassifier.load(str(tmp_path / "estimator")).getStrategy() == estimator.getStrategy()
