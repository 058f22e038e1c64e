"""Shards that push as they arrive: what was recorded comes out again bit for bit, whoever runs it or dies."""

from __future__ import annotations

import sys
from collections import Counter
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
from stoker import SSP, Downpour, DynSGD, Hogwild, StokerClassifier
from stoker.errors import UserError
from stoker.events import Failed, GivenUp, Metrics, Started
from stoker.order import packed
from stoker.schedule import as_schedule, complete
from stoker.strategy import as_strategy, spec_of
from test_asynchronous import STRATEGIES as IN_TURNS
from test_callbacks import MANY, wished
from test_checkpoints import Checkpointed
from test_exact import assert_same
from test_growth import Late
from test_store import Story, on_disk
from test_strategies import ADAM, SGD, local
from test_validation import validated

STRATEGIES = {**IN_TURNS, "ssp": (SSP(bound=1, window=2), ADAM)}
EPOCHS = 4  # of ten steps, each a round


def fit_of(name, order="arrival", model="cnn", window=None, **more):
    strategy, optimizer = STRATEGIES[name]
    told = {} if window is None else {"window": window}
    return local(replace(strategy, order=order, **told), model, optimizer=optimizer, **{"epochs": EPOCHS, **more})


def order_of(history):
    return list(bytes.fromhex(history["order"]))


def slow(milliseconds, steps=400):
    """The environment of a worker each of whose steps takes so much more."""
    return {"STOKER_FAULTS": ";".join([f"local@1=slow:{milliseconds}"] * steps)}


def again(name, outcome, workers, **more):
    """With the order that was recorded."""
    return run(fit_of(name, order_of(outcome[1]), **more), workers, order_seed=workers)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_was_recorded_comes_out_again_for_any_number_of_workers(name):
    outcome = run(fit_of(name), 3, [{}, slow(5), {}])
    for workers in (1, 2, 4):
        assert_same(outcome, same := again(name, outcome, workers))
        assert order_of(same[1]) == order_of(outcome[1])


def test_a_slow_worker_makes_fewer_pushes_and_holds_nobody():
    _, history = run(fit_of("dynsgd", model="mlp"), 2, [{}, slow(40)])
    pushes = Counter(shard % 4 // 2 for shard in order_of(history))  # by worker
    assert pushes[0] > 1.5 * pushes[1]
    assert sum(pushes.values()) == EPOCHS * 4 * 4
    assert [epoch["steps"] for epoch in history["epochs"]] == [10] * EPOCHS


def ahead(order, shards=4):
    """By how many windows the one that pushes was ahead of the slowest as it did, at most."""
    pushes, most = [0] * shards, 0
    for shard in order:
        most = max(most, pushes[shard] - min(pushes))
        pushes[shard] += 1
    return most


@pytest.mark.parametrize("bound", [0, 2])
def test_nobody_runs_further_ahead_than_the_bound(bound):
    fit = local(SSP(bound=bound), "mlp", optimizer=SGD, epochs=EPOCHS)
    outcome = run(fit, 2, [{}, slow(20)])
    assert ahead(order_of(outcome[1])) <= bound
    free = run(local(Downpour(window=1, order="arrival"), "mlp", optimizer=SGD, epochs=EPOCHS), 2, [{}, slow(20)])
    assert ahead(order_of(free[1])) > bound


def test_the_bound_holds_through_deaths_and_growth():
    fit = local(SSP(bound=1), "mlp", optimizer=SGD, epochs=60)
    faults = {(0, 0): {"STOKER_FAULTS": "window@5=die"}, (1, 0): {"STOKER_FAULTS": "slice@20=die"}}
    gang = FaultyGang(fit, 2, 4, on_event=Late(), options=HEARTBEAT, timeout=60,
                      environment=lambda place, attempt: faults.get((place, attempt), slow(1))).run()  # fmt: skip
    assert len(gang.told(Failed)) == 2
    assert max(event.workers for event in gang.told(Started)) == 4
    order = order_of(gang.history)
    assert ahead(order) <= 1
    assert_same((gang.weights, gang.history), run(local(SSP(bound=1, order=order), "mlp", optimizer=SGD, epochs=60), 1))


def test_the_bound_holds_in_turns():
    one = run(local(SSP(bound=0, window=3, order="turns"), "mlp"), 2)
    assert_same(one, run(local(Downpour(window=3), "mlp"), 1))


def test_turns_are_one_of_the_orders():
    turns = run(fit_of("dynsgd", "turns", "mlp"), 2)
    same = run(fit_of("dynsgd", [0, 1, 2, 3] * (4 * EPOCHS), "mlp"), 3)
    assert turns[1]["digest"] == same[1]["digest"], "but for sums of losses, which add up round by round"


KILLS = [("local", 2), ("window", 3), ("ticket", 2), ("slice", 3), ("exchange", 1), ("written", 4), ("flip", 2),
         ("flipped", 3)]  # fmt: skip


def killed(fit, point, commit):
    faults = {(1, 0): {"STOKER_FAULTS": f"{point}@{commit}=die"}}
    return FaultyGang(fit, 2, options=HEARTBEAT, timeout=60,
                      environment=lambda place, attempt: faults.get((place, attempt), {})).run()  # fmt: skip


@pytest.mark.parametrize(("point", "commit"), KILLS)
def test_a_death_leaves_a_record_of_what_came_out(point, commit):
    name = list(STRATEGIES)[commit]
    outcome = killed(fit_of(name), point, commit)
    assert len(outcome.told(Failed)) == 1
    assert_same((outcome.weights, outcome.history), again(name, (outcome.weights, outcome.history), 1))


@pytest.mark.parametrize(("point", "commit"), KILLS)
def test_a_death_leaves_a_recorded_order_as_it_is(point, commit):
    outcome = run(fit_of("dynsgd"), 2)
    same = killed(fit_of("dynsgd", order_of(outcome[1])), point, commit)
    assert len(same.told(Failed)) == 1
    assert_same(outcome, (same.weights, same.history))


@pytest.mark.parametrize("name", ["dynsgd", "hogwild"])
def test_a_checkpoint_goes_on_with_the_record(name, tmp_path):
    resumed = Checkpointed(fit_of(name), str(tmp_path), interval=10)
    assert resumed.stopped(2) < 10 * EPOCHS
    outcome = resumed.run(3)
    assert len(order_of(outcome[1])) == EPOCHS * 4 * (4 if name == "dynsgd" else 10)
    assert_same(outcome, again(name, outcome, 1))


def test_a_checkpoint_of_another_order_is_an_error_that_says_so(tmp_path):
    Checkpointed(fit_of("dynsgd"), str(tmp_path)).run(1)
    with pytest.raises(UserError, match="the strategy's order is another one"):
        Checkpointed(fit_of("dynsgd", "turns"), str(tmp_path)).run(1)


def validated_fit(order="arrival", **evaluation):
    spec = spec_of(as_strategy(DynSGD(window=4, order=order)))
    fit = validated("cnn", **{"epochs": 6, "shards": 4, **spec})
    return replace(fit, evaluation={"monitor": "val_loss", "restore_best": True, **evaluation})


def test_evaluations_and_early_stopping_go_with_a_record():
    outcome = run(validated_fit(patience=1, min_delta=1.0), 3)
    assert len(outcome[1]["epochs"]) < 6
    same = run(validated_fit(order_of(outcome[1]), patience=1, min_delta=1.0), 2)
    assert_same(outcome, same)
    assert [epoch["val_loss"] for epoch in same[1]["epochs"]] == [epoch["val_loss"] for epoch in outcome[1]["epochs"]]
    assert same[1]["best_epoch"] == outcome[1]["best_epoch"]


def test_a_schedule_ends_with_the_fit_for_each_shard():
    schedule = complete(as_schedule("cosine"), "steps", EPOCHS)
    optimizer = {"name": "sgd", "groups": [{"lr": 0.1}], "schedule": schedule}
    fit = replace(fit_of("dynsgd", model="mlp"), optimizer=optimizer)
    outcome = run(fit, 2, [{}, slow(5)])
    order = order_of(outcome[1])
    assert_same(outcome, run(replace(fit_of("dynsgd", order, "mlp"), optimizer=optimizer), 1))


def test_a_time_that_is_over_ends_the_fit_and_its_record():
    outcome = run(fit_of("dynsgd", model="mlp", epochs=2000, max_seconds=0.3), 3)
    assert outcome[1]["stopped"] == "maxSeconds: 0.3 s of training were over"
    steps = sum(epoch["steps"] for epoch in outcome[1]["epochs"])
    assert_same(outcome, again("dynsgd", outcome, 2, model="mlp", epochs=2000, max_steps=steps))


def test_a_rate_that_a_callback_has_set_is_that_of_whole_rounds():
    plain = {"model": "mlp", "epochs": MANY, "clip_norm": 0.0}
    wisher, outcome = wished(2, fit_of("dynsgd", **plain))
    schedule = {"name": "multi_step", "milestones": [wisher.at], "gamma": 0.5, "unit": "steps"}
    steps = sum(epoch["steps"] for epoch in outcome.history["epochs"])
    fit = fit_of("dynsgd", order_of(outcome.history), **plain, max_steps=steps)
    same = run(replace(fit, optimizer={**fit.optimizer, "schedule": schedule}), 1)
    assert same[1]["digest"] == outcome.history["digest"]


def test_rows_that_are_accumulated_go_with_a_record():
    outcome = run(fit_of("aeasgd", model="mlp", accumulate=2), 2)
    assert_same(outcome, again("aeasgd", outcome, 1, model="mlp", accumulate=2))


@pytest.mark.parametrize("window", [sys.maxsize, 10**30])
def test_a_window_longer_than_the_epoch_is_the_epoch(window):
    outcome = run(fit_of("dynsgd", model="mlp", window=window), 2)
    assert len(order_of(outcome[1])) == 4 * EPOCHS
    assert_same(outcome, run(fit_of("dynsgd", order_of(outcome[1]), "mlp", window=10), 1))


def test_rows_on_disk_change_no_bit():
    story = Story([])
    outcome = run(fit_of("dynsgd", **on_disk(1)), 2, [{}, slow(5)], observe=story.event)
    assert story.info()["disk"]["rows"] == 300 * (64 * 4 + 8)
    for spilled in ({}, on_disk(10_000)):
        assert_same(outcome, again("dynsgd", outcome, 3, **spilled))


def test_who_is_done_without_makes_no_pushes_any_more():
    killed = []

    def kill(gang, event):
        if isinstance(event, Metrics) and event.epoch >= 5 and not killed:
            killed.append(event.epoch)
            gang.kill(1)

    lossy = {**HEARTBEAT, "worker_timeout": 0.3, "allow_lost_rows": True}
    fit = fit_of("dynsgd", model="mlp", epochs=MANY)
    came = FaultyGang(fit, 2, on_event=kill, options=lossy, restarts=False).run()
    assert len(came.told(GivenUp)) == 1
    order = order_of(came.history)
    assert set(order[: 4 * 4 * 5]) == {0, 1, 2, 3}
    assert set(order[-4 * 4 :]) == {0, 1}, "of the worker that is left"
    assert [epoch["rows"] for epoch in came.history["epochs"]][-1] == 150
    with pytest.raises(RuntimeError, match=f"order has {len(order)} pushes, and this fit makes {MANY * 16}"):
        run(fit_of("dynsgd", order, "mlp", epochs=MANY), 2)


def test_fewer_epochs_than_a_checkpoint_has_trained_are_an_error_that_says_so(tmp_path):
    Checkpointed(fit_of("dynsgd"), str(tmp_path), interval=1, unit="epochs").run(2)
    with pytest.raises(UserError, match="has trained 4 epochs, and epochs is 2; ask for as many at least"):
        Checkpointed(fit_of("dynsgd", epochs=2), str(tmp_path)).run(2)


def test_steps_that_are_not_finite_end_the_fit():
    fit = local(Downpour(window=3, order="arrival"), "mlp", optimizer=SGD)
    fit.values["features"][:] = np.inf  # whichever shard it is that pushes
    with pytest.raises(RuntimeError, match="in epoch 1, one of the steps to 10"):
        run(fit, 2)


def test_workers_on_several_hosts_are_told_what_to_do():
    with pytest.raises(RuntimeError, match="these are on 2 hosts: take order='turns', whose pushes go between hosts"):
        run(fit_of("dynsgd"), 2, force_tcp=True)


@pytest.mark.parametrize(("order", "words"), [
    ([0, 1, 2, 3] * 15, "order has 60 pushes, and this fit makes 64, of 4 shards in 10 steps an epoch: it is the "
                        "order of another fit"),
    ([0, 1, 2, 3] * 12, "or of one that was ended early: then set maxSteps to 30"),
    ([0, 1, 2, 3] * 17, "order has 68 pushes, and this fit makes 64"),
    ([0, 1, 2, 9] * 16, "order has a push of shard 9, and this fit has 4 shards"),
])  # fmt: skip
def test_an_order_of_another_fit_is_refused(order, words):
    with pytest.raises(RuntimeError, match=words):
        run(fit_of("dynsgd", order, "mlp"), 2)


def test_an_order_beyond_the_bound_is_refused():
    fit = local(SSP(bound=1, window=3, order=[0] * 16 + [1, 2, 3] * 16), "mlp", epochs=EPOCHS)
    with pytest.raises(RuntimeError, match="not one of SSP with bound 1: with push 3 shard 0 is further ahead"):
        run(fit, 2)


@pytest.mark.parametrize(("told", "words"), [
    (DynSGD(order="arival"), "order is 'arival', expected 'turns', 'arrival' or the list that the history.order"),
    (DynSGD(order=7), "order is 7, expected 'turns', 'arrival' or the list"),
    (DynSGD(order=[]), "order is an empty list, expected the shard of each push"),
    (DynSGD(order=[0, -1]), r"order\[1\] is -1, expected the number of a shard, from 0 to 255"),
    (DynSGD(order=["a"]), r"order\[0\] is 'a', expected the number of a shard"),
    (DynSGD(order=[float("nan")]), r"order\[0\] is nan, expected the number of a shard"),
    (DynSGD(order=packed([])), "order is a recorded one that is damaged: it is empty"),
    (DynSGD(order="record:abc"), "order is a recorded one that is damaged"),
    (SSP(bound=-1), "bound is -1, expected a whole number of pushes, at least 0"),
    (SSP(window=0), "window is 0, expected a whole number of steps, at least 1"),
])  # fmt: skip
def test_an_order_that_cannot_be_is_named(told, words):
    with pytest.raises(UserError, match=words):
        StokerClassifier(strategy=told)


@pytest.mark.parametrize(("more", "words"), [
    ({"strategy": SSP(), "numShards": 1}, "order='arrival' with one shard: nobody could arrive before it"),
    ({"strategy": DynSGD(order=[0, 0]), "numShards": 1}, "a recorded order with one shard"),
    ({"strategy": Hogwild(order="arrival"), "numShards": 257, "batchSize": 512}, "is for at most 256 shards"),
    ({"strategy": DynSGD(order="arrival"), "numShards": 2, "onNaN": "skip"}, "does not go with onNaN='skip'"),
    ({"strategy": DynSGD(order=[0, 1, 2]), "numShards": 2}, "a push of shard 2, and the fit has 2 shards"),
])  # fmt: skip
def test_what_does_not_go_together_is_told_before_a_job(spark, more, words):
    df = table(spark, *blobs(60))
    with pytest.raises(UserError, match=words):
        StokerClassifier(model=nn.Linear(4, 3), verbose=0, **more).fit(df)


def test_a_saved_models_history_makes_it_again(spark, tmp_path):
    df = table(spark, *blobs(300)).cache()
    torch.manual_seed(1)
    estimator = StokerClassifier(model=nn.Linear(4, 3), learningRate=0.1, optimizer="sgd", batchSize=30, epochs=3,
                                 numWorkers=2, numShards=4, verbose=0,
                                 strategy=stoker.DynSGD(window=5, order="arrival"))  # fmt: skip
    fitted = estimator.fit(df)
    fitted.save(str(tmp_path / "model"))
    history = type(fitted).load(str(tmp_path / "model")).history
    assert len(history.order) == 3 * 4 * 2
    assert history.order == fitted.history.order
    assert len(history.info["order"]) < 100
    for order in (history.order, history.info["order"]):
        same = estimator.copy().setStrategy(stoker.DynSGD(window=5, order=order)).setNumWorkers(1).fit(df)
        assert same.history.info["digest"] == fitted.history.info["digest"]
    estimator.setStrategy(stoker.DynSGD(window=5, order=history.order)).save(str(tmp_path / "estimator"))
    assert StokerClassifier.load(str(tmp_path / "estimator")).getStrategy() == estimator.getStrategy()


def test_a_fit_in_turns_has_no_order(spark):
    df = table(spark, *blobs(60))
    fitted = StokerClassifier(model=nn.Linear(4, 3), epochs=1, batchSize=30, numShards=2, verbose=0,
                              strategy=DynSGD()).fit(df)  # fmt: skip
    assert fitted.history.order == []
