"""Shards that push one after the other: the formulas, and the same bits whoever runs them or dies."""

from __future__ import annotations

import copy
import warnings
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
from stoker import (
    AEASGD,
    AGN,
    EAMSGD,
    DiLoCo,
    DistanceADAG,
    Downpour,
    DynSGD,
    Hogwild,
    LocalSGD,
    StokerClassifier,
)
from stoker.errors import UserError
from stoker.events import Failed
from stoker.strategy import as_strategy, spec_of
from test_checkpoints import Checkpointed
from test_exact import MODELS, assert_same, make_fit
from test_strategies import ADAM, SGD, assert_same_for_any_number_of_workers, local, rows_alike
from test_validation import ROWS, validated

STRATEGIES = {
    "downpour": (Downpour(window=3), ADAM),
    "agn": (AGN(window=4, innerState="reset"), ADAM),
    "dynsgd": (DynSGD(window=3), ADAM),
    "distance": (DistanceADAG(window=4), SGD),
    "aeasgd": (AEASGD(window=3), ADAM),
    "eamsgd": (EAMSGD(window=4), SGD),
    "hogwild": (Hogwild(), ADAM),
}


def fit_of(name, model="cnn", **more):
    strategy, optimizer = STRATEGIES[name]
    return local(strategy, model, optimizer=optimizer, **more)


@pytest.fixture(scope="module")
def alone():
    return {name: run(fit_of(name), 1) for name in STRATEGIES}


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_bits_for_any_number_of_workers(name, alone):
    assert_same_for_any_number_of_workers(alone[name], fit_of(name))


def test_strategies_differ(alone):
    assert len({outcome[1]["digest"] for outcome in alone.values()}) == len(STRATEGIES)


def take_window(replica, optimizer, x, y, steps, momentum, velocity):
    for _ in range(steps):
        before = [p.detach().clone() for p in replica.parameters()]
        with torch.no_grad():
            for p, v in zip(replica.parameters(), velocity):
                p.add_(v, alpha=momentum)
        optimizer.zero_grad()
        nn.functional.cross_entropy(replica(x), y).backward()
        nn.utils.clip_grad_norm_(replica.parameters(), 0.5)
        optimizer.step()
        for v, p, old in zip(velocity, replica.parameters(), before):
            v.copy_(p.detach() - old)


def push(strategy, shards, steps, stale, pulled, replica, common):
    for old, mine, theirs in zip(pulled, replica.parameters(), common.parameters()):
        if isinstance(strategy, (AEASGD, EAMSGD)):
            pull = strategy.beta / shards * (mine - theirs)
            mine.sub_(pull)
            theirs.add_(pull)
            continue
        way = mine - old
        if isinstance(strategy, (AGN, DistanceADAG)):
            way = way / steps
        if isinstance(strategy, DynSGD):
            way = way / (stale + 1)
        if isinstance(strategy, DistanceADAG):
            way = way / (1 + (theirs - old) ** 2 / strategy.gamma)
        theirs.add_(way)
        mine.copy_(theirs)


def reference(fit, strategy, rounds, steps, build):
    """The same in plain PyTorch: one module a shard, all rows of a shard alike."""
    torch.manual_seed(3)
    common = MODELS["mlp"][0]()
    replicas = [copy.deepcopy(common) for _ in range(fit.shards)]
    optimizers = [build(replica.parameters()) for replica in replicas]
    velocities = [[torch.zeros_like(p) for p in replica.parameters()] for replica in replicas]
    pulled, made = [0] * fit.shards, 0
    for _ in range(rounds):
        starts = [[p.detach().clone() for p in replica.parameters()] for replica in replicas]
        for shard, replica in enumerate(replicas):
            x, y = (torch.from_numpy(fit.values[name][shard : shard + 1]) for name in ("features", "label"))
            momentum = getattr(strategy, "momentum", 0.0)
            take_window(replica, optimizers[shard], x, y, steps, momentum, velocities[shard])
        for shard, replica in enumerate(replicas):
            with torch.no_grad():
                push(strategy, fit.shards, steps, made - pulled[shard], starts[shard], replica, common)
            made += 1
            pulled[shard] = made
    return {name: tensor.detach().numpy() for name, tensor in common.state_dict().items()}


@pytest.mark.parametrize("strategy", [Downpour(5), AGN(5), DynSGD(5), DistanceADAG(5, gamma=1e-3), AEASGD(5),
                                      EAMSGD(5)], ids=lambda strategy: type(strategy).__name__)  # fmt: skip
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_weights_are_those_of_plain_torch(strategy, optimizer):
    settings = {"lr": 0.05} if optimizer == "sgd" else {"lr": 1e-2}
    fit = rows_alike(local(strategy, optimizer={"name": optimizer, "groups": [settings]}, rows=320))
    build = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    found, history = run(fit, 2)
    assert [epoch["steps"] for epoch in history["epochs"]] == [10, 10]
    wanted = reference(fit, strategy, 4, 5, lambda parameters: build(parameters, **settings))
    for name, values in wanted.items():
        assert np.abs(found[name] - values).max() <= 1e-5 * max(1, np.abs(values).max()), name


def test_gradients_that_are_pushed_are_those_of_plain_torch():
    fit = rows_alike(local(Hogwild(), optimizer=ADAM, rows=320))
    found, _ = run(fit, 2)
    torch.manual_seed(3)
    common = MODELS["mlp"][0]()
    optimizer = torch.optim.Adam(common.parameters(), lr=1e-2)
    replicas = [copy.deepcopy(common) for _ in range(fit.shards)]
    for _ in range(20):
        for shard, replica in enumerate(replicas):
            x, y = (torch.from_numpy(fit.values[name][shard : shard + 1]) for name in ("features", "label"))
            replica.zero_grad()
            nn.functional.cross_entropy(replica(x), y).backward()
            nn.utils.clip_grad_norm_(replica.parameters(), 0.5)
            for theirs, mine in zip(common.parameters(), replica.parameters()):
                theirs.grad = mine.grad.clone()
            optimizer.step()
            replica.load_state_dict(common.state_dict())
    for name, tensor in common.state_dict().items():
        values = tensor.numpy()
        assert np.abs(found[name] - values).max() <= 2e-5 * max(1, np.abs(values).max()), name


@pytest.mark.parametrize("optimizer", [SGD, ADAM, {"name": "lamb", "groups": [{"lr": 1e-2}]}], ids=lambda o: o["name"])
@pytest.mark.parametrize("strategy", [Downpour(3), DynSGD(3)], ids=["downpour", "dynsgd"])
def test_one_shard_is_plain_training_bit_for_bit(strategy, optimizer):
    weights, _ = run(local("allreduce", shards=1, optimizer=optimizer), 1)
    found, _ = run(local(strategy, shards=1, optimizer=optimizer), 1)
    assert all(found[name].tobytes() == weights[name].tobytes() for name in weights)


def killed(name, workers, fault, place, tcp):
    faults = {(place, 0): {"STOKER_FAULTS": fault}}
    return FaultyGang(fit_of(name), workers, options={**HEARTBEAT, "force_tcp": tcp}, timeout=60,
                      environment=lambda place, attempt: faults.get((place, attempt), {})).run()  # fmt: skip


KILLS = [("local", 2, 1), ("partials", 1, 2), ("exchange", 4, 1), ("slice", 5, 2), ("written", 3, 1), ("flip", 2, 2),
         ("flipped", 6, 1)]  # fmt: skip


@pytest.mark.parametrize(("point", "commit", "hosts"), KILLS)
def test_a_death_redoes_a_round_to_the_same_bits(point, commit, hosts, alone):
    name = "dynsgd" if commit % 2 else "eamsgd"
    outcome = killed(name, 2, f"{point}@{commit}=die", 0, hosts == 2)
    assert len(outcome.told(Failed)) == 1
    assert_same(alone[name], (outcome.weights, outcome.history))


def test_a_host_that_dies_while_replicas_go_between_hosts_is_no_loss(alone):
    outcome = killed("aeasgd", 3, "replicas@3=die", 1, True)
    assert len(outcome.told(Failed)) == 1
    assert_same(alone["aeasgd"], (outcome.weights, outcome.history))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path, alone):
    resumed = Checkpointed(fit_of(name), str(tmp_path), interval=4, unit="steps")
    assert resumed.stopped(2) < 6
    assert_same(alone[name], resumed.run(3))


def test_a_checkpoint_of_another_strategy_is_an_error_that_says_so(tmp_path):
    Checkpointed(local(AEASGD(window=3)), str(tmp_path)).run(1)
    with pytest.raises(UserError, match="the strategy's window is 5 and was 3"):
        Checkpointed(local(AEASGD(window=5)), str(tmp_path)).run(1)
    with pytest.raises(UserError, match=r"the strategy's beta is 0\.8 and was 0\.9"):
        Checkpointed(local(AEASGD(window=3, beta=0.8)), str(tmp_path)).run(1)


@pytest.mark.parametrize("strategy", [DynSGD(window=4), DiLoCo(every=4, innerState="keep")],
                         ids=lambda it: type(it).__name__)  # fmt: skip
def test_evaluations_leave_replicas_as_they_are(strategy):
    fit = validated("mlp", **spec_of(as_strategy(strategy)))
    values = {name: array[:ROWS] for name, array in fit.values.items()}
    without = replace(fit, compiled=make_fit("mlp").compiled, values=values, held=None)
    assert_same(run(without, 1), run(fit, 3))


def test_the_best_epoch_is_kept_for_any_number_of_workers():
    fit = validated("cnn", **spec_of(as_strategy(DynSGD(window=4))))
    fit = replace(fit, evaluation={"monitor": "val_loss", "patience": 1, "restore_best": True})
    one, two = run(fit, 1), run(fit, 3)
    assert_same(one, two)
    assert one[1]["best_epoch"] == two[1]["best_epoch"]


def test_steps_that_are_not_finite_leave_their_round_out():
    fit = local(Downpour(window=3), optimizer=SGD)
    fit.values["features"][5] = np.inf
    with pytest.raises(RuntimeError, match=r"in epoch 1, (one of the steps to \d|step 10)"):
        run(fit, 2)
    skipping = replace(fit, more={**fit.more, "on_nan": "skip"})
    one, two = run(skipping, 1), run(skipping, 3, force_tcp=True)
    assert_same(one, two)
    assert all(epoch["skipped_steps"] in (1, 3) for epoch in one[1]["epochs"])  # the last round has one


@pytest.mark.parametrize(("told", "words"), [
    (Downpour(window=0), "window is 0, expected a whole number of steps, at least 1"),
    (Downpour(innerState="average"), "innerState is 'average', expected one of 'keep', 'reset'"),
    (DistanceADAG(gamma=0), "gamma is 0, expected a number above 0"),
    (AEASGD(beta=-1), "beta is -1, expected a number above 0"),
    (EAMSGD(momentum=1.0), "momentum is 1.0, expected a number above 0 and below 1"),
    ({"name": "downpour", "every": 3}, "downpour has no setting 'every'; it has window, innerState, order"),
    ("hogwilt", "there is no 'hogwilt'; did you mean 'hogwild'"),
])  # fmt: skip
def test_a_strategy_that_cannot_be_is_named(told, words):
    with pytest.raises(UserError, match=words):
        StokerClassifier(strategy=told)


@pytest.mark.parametrize(("more", "words"), [
    ({"strategy": Downpour(), "averageWeights": "ema"}, "averageWeights does not go with strategy 'downpour'"),
    ({"strategy": EAMSGD()}, "EAMSGD has the momentum itself: give it optimizer='sgd' without momentum"),
    ({"strategy": EAMSGD(), "optimizer": "sgd", "optimizerParams": {"momentum": 0.9}}, "EAMSGD has the momentum"),
    ({"strategy": EAMSGD(), "optimizer": "sgd",
      "lrSchedule": {"name": "one_cycle", "max_lr": 0.1, "cycle_momentum": True}},
     r"EAMSGD has the momentum .* also in lrSchedule \(cycle_momentum=False\)"),
    ({"strategy": Hogwild(), "optimizer": "lamb"}, "Hogwild does not go with 'lamb' by norms of whole tensors"),
    ({"strategy": AGN(), "batchNorm": "batch"}, "batchNorm='batch' needs all shards .* strategy 'agn'"),
])  # fmt: skip
def test_what_does_not_go_together_is_told_before_a_job(spark, more, words):
    df = table(spark, *blobs(60))
    with pytest.raises(UserError, match=words):
        StokerClassifier(model=nn.Linear(4, 3), verbose=0, **more).fit(df)


@pytest.mark.parametrize(("more", "words"), [
    ({"strategy": DynSGD(), "numShards": 1}, "with one shard: there is nobody to be asynchronous to"),
    ({"strategy": AEASGD(beta=3.0), "numShards": 2, "optimizer": "sgd"}, r"beta / numShards = 1\.5; above 1"),
    ({"strategy": Downpour(), "numShards": 8}, "adds up what 8 shards moved by, .* 'adam' makes 8 steps of full size"),
])  # fmt: skip
def test_what_may_not_be_meant_is_a_warning(spark, more, words):
    df = table(spark, *blobs(60))
    with pytest.warns(UserWarning, match=words):
        StokerClassifier(model=nn.Linear(4, 3), verbose=0, epochs=1, batchSize=30, learningRate=1e-3, **more).fit(df)


@pytest.mark.parametrize(("strategy", "warned"), [(LocalSGD(every=2), True), (DynSGD(), True), ("allreduce", False)])
def test_shards_that_take_steps_alone_in_partitions_as_they_are_get_a_warning(spark, strategy, warned):
    df = table(spark, *blobs(60)).repartition(2)
    estimator = StokerClassifier(model=nn.Linear(4, 3), verbose=0, epochs=1, batchSize=30, learningRate=1e-3,
                                 numWorkers=2, numShards=2, assign="partition", strategy=strategy)  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        estimator.fit(df)
    found = [str(one.message) for one in told if "partitions that are sorted" in str(one.message)]
    assert len(found) == warned


def test_a_classifier_learns_with_pushes_and_says_how(spark, tmp_path):
    df = table(spark, *blobs(300)).cache()
    torch.manual_seed(1)
    estimator = StokerClassifier(model=nn.Linear(4, 3), learningRate=0.1, optimizer="sgd", batchSize=30, epochs=3,
                                 numShards=2, verbose=0, strategy=stoker.DynSGD(window=5))  # fmt: skip
    fitted = {workers: estimator.copy().setNumWorkers(workers).fit(df) for workers in (1, 2)}
    assert fitted[1].history.info["digest"] == fitted[2].history.info["digest"]
    assert fitted[2].history[-1]["accuracy"] > 0.9
    estimator.save(str(tmp_path / "estimator"))
    assert StokerClassifier.load(str(tmp_path / "estimator")).getStrategy() == estimator.getStrategy()
