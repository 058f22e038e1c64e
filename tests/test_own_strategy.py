"""A user's own outer step: what the built-in ones do, to their bits, whoever runs it or dies; what it may not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import run
from stoker import DiLoCo, LocalSGD, OwnStrategy, StokerClassifier
from stoker.errors import CompileError, UserError
from stoker.events import Failed
from stoker.fit.strategies import as_compiled
from stoker.strategy import spec_of
from test_checkpoints import Checkpointed
from test_exact import assert_same, make_fit
from test_strategies import ADAM, assert_same_for_any_number_of_workers, local


def nesterov(center, delta, state):
    gradient = -delta
    velocity = 0.9 * state["velocity"] + gradient
    return center - 0.7 * (gradient + 0.9 * velocity), {"velocity": velocity}


def adam(center, delta, state):
    """FedAdam (Reddi et al. 2021) with its bias corrections."""
    rounds = state["rounds"] + 1
    mean = 0.9 * state["mean"] + 0.1 * delta
    square = 0.99 * state["square"] + 0.01 * delta * delta
    way = mean / (1 - 0.9**rounds) / ((square / (1 - 0.99**rounds)).sqrt() + 1e-3)
    return center + 0.01 * way, {"rounds": rounds, "mean": mean, "square": square}


def mean(center, delta, state):
    return center + delta, {}


FED_ADAM = ("rounds", "mean", "square")
STRATEGIES = {
    "nesterov": OwnStrategy(every=4, outer=nesterov, state=("velocity",)),
    "adam": OwnStrategy(every=3, outer=adam, state=FED_ADAM),
    "int8": OwnStrategy(every=4, outer=nesterov, state=("velocity",), innerState="reset", compress="int8"),
    "kept": OwnStrategy(every=4, outer=adam, state=FED_ADAM, innerState="keep"),
}
BUILT_IN = {
    "nesterov": DiLoCo(every=4),
    "int8": DiLoCo(every=4, innerState="reset", compress="int8"),
    "mean": LocalSGD(every=3),
}


def own(strategy, model="cnn", **more):
    return replace(make_fit(model, **{"shards": 4, "batch_size": 32, "epochs": 2, **spec_of(as_compiled(strategy)),
                                      **more}), optimizer=ADAM)  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    return {name: run(own(strategy), 1) for name, strategy in STRATEGIES.items()}


@pytest.mark.parametrize("name", ["nesterov", "int8"])
def test_diloco_written_by_hand_is_the_built_in_one_bit_for_bit(name, alone):
    assert_same(alone[name], run(local(BUILT_IN[name], "cnn"), 2))


def test_averaging_written_by_hand_is_the_built_in_one_too():
    found, _ = run(own(OwnStrategy(every=3, outer=mean)), 2)
    wanted, _ = run(local(BUILT_IN["mean"], "cnn"), 1)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_bits_for_any_number_of_workers(name, alone):
    assert_same_for_any_number_of_workers(alone[name], own(STRATEGIES[name]))


def test_the_functions_are_not_each_other(alone):
    assert len({outcome[1]["digest"] for outcome in alone.values()}) == len(STRATEGIES)


def test_a_state_goes_on_from_round_to_round(alone):
    def forgetful(center, delta, state):
        center, _ = nesterov(center, delta, {"velocity": torch.zeros_like(center)})
        return center, {}

    assert run(own(OwnStrategy(every=4, outer=forgetful)), 1)[1]["digest"] != alone["nesterov"][1]["digest"]


KILLS = [("local", 2), ("partials", 1), ("slice", 5), ("flip", 2), ("flipped", 6)]


@pytest.mark.parametrize(("point", "commit"), KILLS)
@pytest.mark.parametrize("name", ["adam", "kept"])
def test_a_death_redoes_a_round_to_the_same_bits(name, point, commit, alone):
    fault = {"STOKER_FAULTS": f"{point}@{commit}=die"}
    options = {**HEARTBEAT, "force_tcp": name == "kept"}
    outcome = FaultyGang(own(STRATEGIES[name]), 2, options=options, timeout=60, environment=lambda place, attempt:
                         fault if (place, attempt) == (0, 0) else {}).run()  # fmt: skip
    assert len(outcome.told(Failed)) == 1
    assert_same(alone[name], (outcome.weights, outcome.history))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path, alone):
    resumed = Checkpointed(own(STRATEGIES[name]), str(tmp_path), interval=4, unit="steps")
    assert resumed.stopped(2) < 6
    assert_same(alone[name], resumed.run(3))


def moved(lines):
    """The same function somewhere else in its file."""
    names = {}
    code = "\n" * lines + "def outer(center, delta, state):\n    return center + 0.5 * delta, {}\n"
    exec(compile(code, "outer.py", "exec"), names)
    return names["outer"]


def test_a_checkpoint_knows_what_a_function_does_and_not_where_it_stands(tmp_path):
    Checkpointed(own(OwnStrategy(every=3, outer=moved(1)), "mlp"), str(tmp_path)).run(1)
    Checkpointed(own(OwnStrategy(every=3, outer=moved(7)), "mlp"), str(tmp_path)).run(1)
    with pytest.raises(UserError, match="what the strategy's outer does is another one"):
        Checkpointed(own(OwnStrategy(every=3, outer=mean), "mlp"), str(tmp_path)).run(1)
    with pytest.raises(UserError, match=r"the strategy's state is \['velocity'\] and was \[\]"):
        Checkpointed(own(replace(STRATEGIES["nesterov"], every=3), "mlp"), str(tmp_path)).run(1)


def test_weights_that_are_not_finite_end_the_fit():
    def inverse(center, delta, state):
        return center + 0 * delta / (delta - delta), {}

    with pytest.raises(RuntimeError, match="the gradient or a new weight is not finite"):
        run(own(OwnStrategy(every=4, outer=inverse)), 2)


REFUSED = {
    "norm": (lambda c, d, s: (c + d / d.norm(), {}), (), r"linalg_vector_norm \(test_own_strategy\.py:\d+\)"),
    "sum": (lambda c, d, s: (c + d.sum(), {}), (), r"sum \(test_own_strategy\.py:\d+\) is not elementwise"),
    "length": (lambda c, d, s: (c + d / len(d), {}), (), r"number of rows in the batch at .*test_own_strategy.py:\d+"),
    "moved": (lambda c, d, s: (c + d.roll(1), {}), (), "roll .* is not elementwise"),
    "sorted": (lambda c, d, s: (c + d.sort().values, {}), (), "sort .* is not elementwise"),
    "part": (lambda c, d, s: (c + d if d[0] > 0 else c, {}), (), "select .* is not elementwise"),
    "drawn": (lambda c, d, s: (c + d * torch.rand_like(d), {}), (), "rand_like .* draws random numbers"),
    "dropped": (lambda c, d, s: (c + nn.functional.dropout(d), {}), (), " draws random numbers"),
    "in_place": (lambda c, d, s: (c.add_(d), {}), (), "the function writes into center in place"),
    "state_in_place": (lambda c, d, s: (c, {"v": s["v"].add_(d)}), ("v",), r"writes into state\['v'\] in place"),
    "one_number": (lambda c, d, s: (torch.tensor(1.0), {}), (), r"the center of shape \[\] for a center of \[29\]"),
    "doubles": (lambda c, d, s: (c.double() + d, {}), (), "returns the center as float64, expected float32"),
    "half_state": (lambda c, d, s: (c, {"v": d.half()}), ("v",), r"returns state\['v'\] as float16"),
    "no_pair": (lambda c, d, s: c + d, (), r"the function returns a Tensor, expected \(center, state\)"),
    "three": (lambda c, d, s: (c, d, s), (), r"returns \(Tensor, Tensor, dict\), expected"),
    "other_state": (lambda c, d, s: (c, {"w": d}), ("v",), r"the state \{'w'\}, and the strategy has state=\('v'"),
    "unknown_state": (lambda c, d, s: (c + s["v"], {}), (), "cannot be called: 'v'"),
    "arguments": (lambda c, d: (c + d, {}), (), "the function of .center, delta, state. cannot be called: .*takes"),
    "a_number": (lambda c, d, s: (1.0, {}), (), "returns a float as the center, expected a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_function_that_is_not_elementwise_is_refused_by_name_before_a_fit(name):
    outer, state, words = REFUSED[name]
    with pytest.raises(CompileError, match=f"^strategy: outer: .*{words}"):
        StokerClassifier(strategy=OwnStrategy(outer=outer, state=state))


def test_a_tensor_of_its_own_is_no_state():
    rounds = torch.zeros(())

    def counting(center, delta, state):
        return center + delta / rounds.add_(1), {}

    with pytest.raises(CompileError, match=r"^strategy: outer: "):
        StokerClassifier(strategy=OwnStrategy(outer=counting))


def test_a_function_that_changes_is_found():
    calls = []

    def changing(center, delta, state):
        calls.append(1)
        return center + len(calls) * delta, {}

    with pytest.raises(CompileError, match="makes other numbers of slices than of the whole, first in the center"):
        StokerClassifier(strategy=OwnStrategy(outer=changing))


@pytest.mark.parametrize(("told", "words"), [
    (OwnStrategy(), "outer is None, expected a function of"),
    (OwnStrategy(outer={"name": "sgd", "groups": [{"lr": 1.0}]}), r"outer is .*, expected a function"),
    (OwnStrategy(outer={}), r"outer is \{\}, expected a function"),
    (OwnStrategy(outer=mean, every=0), "every is 0, expected a whole number of steps, at least 1"),
    (OwnStrategy(outer=nesterov, state=("a b",)), r"state is \('a b',\), expected names such as"),
    (OwnStrategy(outer=nesterov, state=("v", "v")), "in which a name comes twice"),
    (OwnStrategy(outer=mean, compress="int2"), "compress is 'int2', expected one of None, 'int8', 'int4'"),
])  # fmt: skip
def test_settings_that_cannot_be_are_named(told, words):
    with pytest.raises(UserError, match=words):
        StokerClassifier(strategy=told)


def test_constants_casts_and_comparisons_are_elementwise():
    limit = torch.tensor(0.01)

    def clipped(center, delta, state):
        kept = torch.where(delta.abs() > limit, delta.sign() * limit, delta)
        exact = (center.double() + kept.double()).float()
        return exact.clamp(-10, 10), {"seen": state["seen"] + (kept != delta)}

    strategy = OwnStrategy(every=4, outer=clipped, state=("seen",))
    one, two = (run(own(strategy, "mlp"), workers)[0] for workers in (1, 2))
    start = own(strategy, "mlp").compiled.weights
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert 0 < max(np.abs(one[name] - start[name]).max() for name in one) < 6 * 0.01 + 1e-6, "six rounds"


def test_a_classifier_learns_with_it_and_is_saved_with_what_it_was_compiled_to(spark, tmp_path):
    df = table(spark, *blobs(300)).cache()
    torch.manual_seed(1)
    estimator = StokerClassifier(model=nn.Linear(4, 3), learningRate=0.1, optimizer="sgd", batchSize=30, epochs=3,
                                 numShards=2, verbose=0, strategy=replace(STRATEGIES["nesterov"], every=5))  # fmt: skip
    digests = {workers: estimator.copy().setNumWorkers(workers).fit(df).history.info["digest"] for workers in (1, 2)}
    built_in = estimator.copy().setStrategy(DiLoCo(every=5)).fit(df)
    assert set(digests.values()) == {built_in.history.info["digest"]}
    estimator.save(str(tmp_path / "estimator"))
    loaded = StokerClassifier.load(str(tmp_path / "estimator"))
    assert loaded.getStrategy() == estimator.getStrategy()
    assert loaded.fit(df).history.info["digest"] == digests[1]
