"""Gradients that are told in fewer numbers, as thin factors, as the largest ones or as signs: what plain torch makes of
them, and the same bits whoever runs shards or dies."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import PowerSGD, StokerClassifier, Threshold, TopK
from stoker.errors import UserError
from stoker.events import Failed, Started
from stoker.strategy import as_strategy, spec_of
from test_checkpoints import Checkpointed
from test_exact import MODELS, assert_same
from test_strategies import ADAM, SGD, assert_same_for_any_number_of_workers, local, rows_alike, sent
from test_validation import validated

STRATEGIES = {
    "two": (PowerSGD(rank=2, every=4), ADAM),
    "one": (PowerSGD(rank=1, every=7), SGD),
    "top": (TopK(share=0.05, every=4), ADAM),
    "signs": (Threshold(0.01, 0.02, 0.04, decayRate=0.8, every=4), ADAM),
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


@pytest.mark.parametrize("strategy", [PowerSGD(every=4), TopK(every=4), Threshold(every=4)],
                         ids=["factors", "top", "signs"])  # fmt: skip
def test_shards_with_few_rows_are_left_out_of_steps_to_the_same_bits(strategy):
    shard_of = np.repeat(np.arange(4), [4, 6, 90, 200])
    fit = replace(local(strategy), shard_of=shard_of)
    one, *others = (run(fit, workers, force_tcp=tcp) for workers, tcp in ((1, False), (2, False), (3, True)))
    for other in others:
        assert_same(one, other)


KEY = 0x6C6F7772616E6B


def drawn(index):
    """The factors that the engine begins with (engine/sync/low_rank.cc)."""
    z = (KEY + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return ((z ^ (z >> 31)) >> 40) / 2**23 - 1


def first_factors(shapes, rank):
    found, begin = [], 0
    for _, columns in shapes:
        numbers = [drawn(begin + i) for i in range(rank * columns)]
        found.append(torch.tensor(numbers, dtype=torch.float64).reshape(rank, columns).T)
        begin += -(-rank * columns // 16) * 16
    return found


def shard_gradients(fit, model, shard):
    """Of the sum over a step's rows, which are alike."""
    x, y = (torch.from_numpy(fit.values[name][shard : shard + 1]) for name in ("features", "label"))
    loss = 8 * nn.functional.cross_entropy(model(x.double()), y)
    return torch.autograd.grad(loss, list(model.parameters()))


def take_step(fit, model, rate, gradients):
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients):
            parameter.sub_(rate * gradient / (8 * fit.shards))


def start():
    torch.manual_seed(3)
    return MODELS["mlp"][0]().double()


def factors(fit, rank, steps, rate):
    """In float64, by algorithm 1 of the paper; all rows of a shard are one, of which each step has eight."""
    model = start()
    lies_turned = ["layout" in entry for entry in fit.compiled.train["parameters"]]
    parameters = list(model.parameters())
    matrices = [i for i, parameter in enumerate(parameters) if parameter.dim() == 2]

    def as_it_lies(i, tensor):
        return tensor.T if lies_turned[i] else tensor

    rights = dict(zip(matrices, first_factors([as_it_lies(i, parameters[i]).shape for i in matrices], rank)))
    kept = [dict.fromkeys(matrices, 0.0) for _ in range(fit.shards)]
    for _ in range(steps):
        gradients = [shard_gradients(fit, model, shard) for shard in range(fit.shards)]
        made = [sum(of_shard) for of_shard in zip(*gradients)]
        for i in matrices:
            own = [as_it_lies(i, gradients[shard][i]) + kept[shard][i] for shard in range(fit.shards)]
            left = torch.linalg.qr(sum(matrix @ rights[i] for matrix in own))[0]
            told = [matrix.T @ left for matrix in own]
            for shard, matrix in enumerate(own):
                kept[shard][i] = matrix - left @ told[shard].T
            rights[i] = sum(told)
            made[i] = as_it_lies(i, left @ rights[i].T)
        take_step(fit, model, rate, made)
    return model


def largest(fit, share, steps, rate):
    model = start()
    sizes = [parameter.numel() for parameter in model.parameters()]
    kept = torch.zeros(fit.shards, sum(sizes), dtype=torch.float64)
    for _ in range(steps):
        told = torch.zeros(sum(sizes), dtype=torch.float64)
        for shard in range(fit.shards):
            kept[shard] += torch.cat([gradient.flatten() for gradient in shard_gradients(fit, model, shard)])
            at = kept[shard].abs().topk(round(share * sum(sizes))).indices
            told[at] += kept[shard][at]
            kept[shard][at] = 0
        parts = [part.view_as(parameter) for part, parameter in zip(told.split(sizes), model.parameters())]
        take_step(fit, model, rate, parts)
    return model


def signs(fit, told, steps, rate):
    model = start()
    sizes = [parameter.numel() for parameter in model.parameters()]
    kept = torch.zeros(fit.shards, sum(sizes), dtype=torch.float64)
    thresholds = [told.initialThreshold] * fit.shards
    for _ in range(steps):
        made = torch.zeros(sum(sizes), dtype=torch.float64)
        for shard in range(fit.shards):
            kept[shard] += torch.cat([gradient.flatten() for gradient in shard_gradients(fit, model, shard)])
            step = 8 * thresholds[shard]
            at = kept[shard].abs() >= step
            made[at] += step * kept[shard][at].sign()
            kept[shard][at] -= step * kept[shard][at].sign()
            if told.residualClip is not None:
                kept[shard].clamp_(-told.residualClip * step, told.residualClip * step)
            share = at.double().mean().item()
            if share < told.minTargetSparsity:
                thresholds[shard] *= told.decayRate
            elif share > told.maxTargetSparsity:
                thresholds[shard] /= told.decayRate
        parts = [part.view_as(parameter) for part, parameter in zip(made.split(sizes), model.parameters())]
        take_step(fit, model, rate, parts)
    return model


FOLLOWS = Threshold(0.1, 0.02, 0.05, decayRate=0.8, residualClip=3, every=4)
STAYS = Threshold(0.02, 0, 1, residualClip=None, every=4)


@pytest.mark.parametrize(("strategy", "reference"), [
    (PowerSGD(rank=1, every=4), lambda fit: factors(fit, 1, 20, 0.1)),
    (PowerSGD(rank=2, every=4), lambda fit: factors(fit, 2, 20, 0.1)),
    (TopK(share=0.1, every=4), lambda fit: largest(fit, 0.1, 20, 0.1)),
    (FOLLOWS, lambda fit: signs(fit, FOLLOWS, 20, 0.1)),
    (STAYS, lambda fit: signs(fit, STAYS, 20, 0.1)),
], ids=["one", "two", "top", "follows", "stays"])  # fmt: skip
def test_the_weights_are_those_of_the_algorithm_in_plain_torch(strategy, reference):
    fit = rows_alike(local(strategy, optimizer=SGD, rows=320, clip_norm=0.0))
    found, history = run(fit, 2)
    assert [epoch["steps"] for epoch in history["epochs"]] == [10, 10]
    wanted = {name: tensor.numpy() for name, tensor in reference(fit).state_dict().items()}
    assert set(found) == set(wanted)
    plain, _ = run(rows_alike(local("allreduce", optimizer=SGD, rows=320, clip_norm=0.0)), 1)
    for name, values in wanted.items():
        mine = fit.compiled.as_given(name, found[name])
        assert np.abs(mine - values).max() < 2e-5, name
        assert values.ndim == 1 or np.abs(mine - fit.compiled.as_given(name, plain[name])).max() > 1e-4, name


KILLS = [("two", "local", 2), ("two", "lefts", 3), ("two", "rights", 2), ("two", "slice", 4), ("two", "partials", 1),
         ("two", "replicas", 3), ("two", "flip", 2), ("two", "flipped", 5), ("top", "messages", 2), ("top", "local", 3),
         ("top", "slice", 4), ("top", "replicas", 2), ("signs", "messages", 3), ("signs", "local", 2),
         ("signs", "slice", 4), ("signs", "replicas", 3), ("signs", "flipped", 2)]  # fmt: skip


@pytest.mark.parametrize(("name", "point", "commit"), KILLS)
@pytest.mark.parametrize("tcp", [False, True], ids=["host", "hosts"])
def test_a_death_redoes_a_round_to_the_same_bits(tcp, name, point, commit, alone):
    if point == "replicas" and not tcp:
        pytest.skip("nothing goes between hosts where there is one")
    fault = {"STOKER_FAULTS": f"{point}@{commit}=die"}
    outcome = FaultyGang(fit_of(name), 2, options={**HEARTBEAT, "force_tcp": tcp}, timeout=60, environment=lambda
                         place, attempt: fault if (place, attempt) == (0, 0) else {}).run()  # fmt: skip
    assert len(outcome.told(Failed)) == 1
    assert len(outcome.told(Started)) == 2
    assert_same(alone[name], (outcome.weights, outcome.history))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path, alone):
    resumed = Checkpointed(fit_of(name), str(tmp_path), interval=4, unit="steps")
    assert resumed.stopped(2) < 6
    assert_same(alone[name], resumed.run(3))


def test_a_checkpoint_of_another_rank_is_an_error_that_says_so(tmp_path):
    Checkpointed(local(PowerSGD(2, 3)), str(tmp_path)).run(1)
    with pytest.raises(UserError, match="the strategy's rank is 1 and was 2"):
        Checkpointed(local(PowerSGD(1, 3)), str(tmp_path)).run(1)


def test_a_checkpoint_of_another_threshold_is_an_error_that_says_so(tmp_path):
    Checkpointed(local(Threshold(0.01, every=3)), str(tmp_path)).run(1)
    for other, words in (
        (Threshold(0.02, every=3), "the strategy's initialThreshold is 0.02 and was 0.01"),
        (Threshold(0.01, residualClip=None, every=3), "the strategy's residualClip is 0.0 and was 5.0"),
    ):
        with pytest.raises(UserError, match=words):
            Checkpointed(local(other), str(tmp_path)).run(1)


@pytest.mark.parametrize("strategy", [PowerSGD(), TopK(0.05), Threshold()], ids=["factors", "top", "signs"])
def test_rounds_do_not_change_what_is_trained_and_epochs_end_them(strategy):
    one, two = (run(local(replace(strategy, every=every), optimizer=SGD), 2) for every in (1, 100))
    assert all(one[0][name].tobytes() == two[0][name].tobytes() for name in one[0])
    assert [epoch["steps"] for epoch in two[1]["epochs"]] == [10, 10]


def test_the_best_epoch_is_kept_too():
    fit = validated("cnn", **spec_of(as_strategy(PowerSGD(2, 4))))
    fit = replace(fit, evaluation={"monitor": "val_loss", "patience": 1, "restore_best": True})
    one, two = run(fit, 1), run(fit, 3)
    assert_same(one, two)


@pytest.mark.parametrize("strategy", [PowerSGD(2, 3), Threshold(every=3)], ids=["factors", "signs"])
def test_steps_that_are_not_finite_leave_their_round_out(strategy):
    fit = local(strategy, optimizer=SGD)
    fit.values["features"][5] = np.inf
    with pytest.raises(RuntimeError, match=r"in epoch 1, (one of the steps to \d|step 10)"):
        run(fit, 2)
    fit.more["on_nan"] = "skip"
    _, history = run(fit, 2)
    assert all(epoch["skipped_steps"] in (1, 3) for epoch in history["epochs"])


def test_less_goes_over_the_wire():
    """Of 517 weights, factors of rank 1 and biases are 116, a tenth with places is 104, two bits of each are 32; what
    shards keep goes once in ten steps, to one host."""
    every = sent("allreduce")
    assert every / 4.5 < sent(PowerSGD(rank=1, every=10)) < every / 1.5
    assert every / 4.5 < sent(TopK(share=0.1, every=10)) < every / 1.5
    assert every / 7 < sent(Threshold(1e-9, 0, 1, every=10)) < every / 1.5, "all of them"
    assert sent(Threshold(1e9, 0, 1, every=10)) < sent(Threshold(1e-9, 0, 1, every=10)), "none"


@pytest.mark.parametrize(("more", "words"), [
    ({"reduceDtype": "bf16"}, "reduceDtype='bf16' is for gradients that are added up as they are, and strategy"),
    ({"batchNorm": "batch"}, "batchNorm='batch' does not go with strategy 'powerSGD'"),
    ({"optimizer": "lbfgs", "epochs": 5}, "optimizer 'lbfgs' does not go with strategy 'powerSGD'"),
    ({"optimizer": "adafactor"}, "optimizer 'adafactor' does not go with strategy 'powerSGD'"),
])  # fmt: skip
def test_what_does_not_go_together_is_told_before_a_job(more, words, spark):
    with pytest.raises(UserError, match=words):
        StokerClassifier(model=nn.Linear(4, 3), strategy=PowerSGD(), verbose=0, **more).fit(table(spark, *blobs(60)))


@pytest.mark.parametrize(("told", "words"), [
    (PowerSGD(rank=0), "rank is 0, expected a whole number of columns, at least 1"),
    (PowerSGD(rank=1.5), "rank is 1.5, expected a whole number of columns, at least 1"),
    (PowerSGD(every=0), "every is 0, expected a whole number of steps, at least 1"),
    (TopK(share=0), "share is 0, expected a number above 0 and at most 1"),
    (TopK(share=1.5), "share is 1.5, expected a number above 0 and at most 1"),
    (Threshold(0), "initialThreshold is 0, expected a number above 0"),
    (Threshold(float("inf")), "initialThreshold is inf, expected a number above 0"),
    (Threshold(minTargetSparsity=-1), "minTargetSparsity is -1, expected a number from 0 to 1"),
    (Threshold(minTargetSparsity=0.1), "maxTargetSparsity is 0.01, expected a number from minTargetSparsity to 1"),
    (Threshold(maxTargetSparsity=2), "maxTargetSparsity is 2, expected a number from minTargetSparsity to 1"),
    (Threshold(decayRate=1), "decayRate is 1, expected a number from 0.5 to below 1"),
    (Threshold(residualClip=0.5), "residualClip is 0.5, expected a number of thresholds, at least 1, or None"),
    (Threshold(every=0), "every is 0, expected a whole number of steps, at least 1"),
])  # fmt: skip
def test_settings_that_cannot_be_are_named(told, words):
    with pytest.raises(UserError, match=words):
        StokerClassifier(strategy=told)


def test_a_classifier_learns_with_averaged_weights_and_goes_on_with_its_optimizer(spark):
    df = table(spark, *blobs(300, width=8)).cache()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    estimator = StokerClassifier(model=model, learningRate=0.02, optimizer="adam", batchSize=30, epochs=3, numShards=2,
                                 verbose=0, strategy=PowerSGD(2, 5), averageWeights="swa",
                                 saveOptimizer=True)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted = {workers: estimator.copy().setNumWorkers(workers).fit(df) for workers in (1, 2)}
    assert fitted[1].history.info["digest"] == fitted[2].history.info["digest"]
    assert fitted[2].history[-1]["accuracy"] > 0.8
    further = estimator.copy().setInitialModel(fitted[2]).fit(df)
    assert further.history[-1]["loss"] < fitted[2].history[-1]["loss"]
