"""Gradients that are added up and travel in bfloat16: numpy's tree of sums to the bit, whoever adds them and whoever
dies, and what is not finite is found."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from faults.gang import HEARTBEAT
from faulty_gang import FaultyGang
from local_gang import LocalFit, run
from stoker import DiLoCo, Downpour, LocalSGD, StokerClassifier
from stoker.checkpoint.manifest import differences
from stoker.errors import UserError
from stoker.events import Failed
from stoker.fit.settings import FitSettings
from stoker.frontend.torch import compile as compile_module
from stoker.optimizer import check_full_batch
from stoker.program import TensorSpec
from test_exact import assert_same, make_fit

BF16 = {"reduce_dtype": "bf16"}
ROWS, FEATURES = 64, 6
FAULTS = [("partials", False), ("exchange", True), ("exchanged", True), ("slice", True)]


def nearest(values: np.ndarray) -> np.ndarray:
    """To 8 significant bits, half to even."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(fraction * 256), exponent - 8).astype(np.float32)


def tree(leaves: list[np.ndarray]) -> np.ndarray:
    """The sum over shards of docs/design.md, each node rounded."""
    if len(leaves) == 1:
        return nearest(leaves[0])
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return nearest(tree(leaves[:half]) + tree(leaves[half:]))


def regression(shards: int, x: np.ndarray, y: np.ndarray, rate: float = 1.0, **more) -> LocalFit:
    """One step of SGD from zeros, so that the weights are the gradient's mean, times -rate: 2 x y summed over rows."""
    module = nn.Linear(FEATURES, 1, bias=False)
    nn.init.zeros_(module.weight)
    compiled = compile_module(module, nn.MSELoss(), [TensorSpec("x", "float32", (FEATURES,))],
                              [TensorSpec("y", "float32", (1,))])  # fmt: skip
    columns = [{"name": n, "shown": n, "dtype": "float32", "shape": [w]} for n, w in (("x", FEATURES), ("y", 1))]
    told = {"batch_size": len(x), "epochs": 1, **BF16, **more}
    return LocalFit(compiled, columns, {"x": x, "y": y}, {"name": "sgd", "groups": [{"lr": rate}]}, shards, told)


@pytest.mark.parametrize("shards", [1, 3, 4, 7, 8])
def test_the_sum_is_numpys_rounded_tree(shards):
    """Whole numbers, so that a shard's gradient is exact, and rows a power of two, so that the mean is."""
    random = np.random.default_rng(shards)
    x = random.integers(-99, 100, (ROWS, FEATURES)).astype(np.float32)
    y = random.integers(-99, 100, (ROWS, 1)).astype(np.float32)
    gradients = [(-2 * x * y)[np.arange(ROWS) % shards == s].sum(0) for s in range(shards)]
    expected = 0 - tree(gradients) / ROWS
    assert not np.array_equal(expected, 0 - sum(gradients) / ROWS), "rounding shows"
    for workers, tcp in ((1, False), (min(shards, 2), False), (min(shards, 3), True)):
        weights, _ = run(regression(shards, x, y), workers, force_tcp=tcp)
        assert weights["weight"].tobytes() == expected[np.newaxis].tobytes(), (workers, tcp)


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def fit(request):
    """Whose shards run together, and one by one with float buffers beside the gradients."""
    return make_fit(request.param, 7, **BF16)


@pytest.fixture(scope="module")
def alone(fit):
    return run(fit, 1)


@pytest.mark.parametrize(("workers", "tcp"), [(2, False), (4, False), (2, True), (3, True), (7, True)])
def test_any_number_of_workers_and_hosts_gives_the_same_bits(workers, tcp, fit, alone):
    assert_same(alone, run(fit, workers, order_seed=workers, force_tcp=tcp))


def test_it_is_another_fit_than_in_float32_with_about_its_loss(fit, alone):
    plain = run(LocalFit(**{**vars(fit), "more": {**fit.more, "reduce_dtype": "fp32"}}), 1)
    assert plain[1]["digest"] != alone[1]["digest"]
    assert alone[1]["epochs"][1]["loss"] == pytest.approx(plain[1]["epochs"][1]["loss"], rel=0.02)


@pytest.mark.parametrize(("point", "tcp"), FAULTS)
def test_a_death_repeats_the_step_to_the_same_bits(point, tcp, fit, alone):
    fault = {"STOKER_FAULTS": f"{point}@4=die"}
    gang = FaultyGang(fit, 3, options={**HEARTBEAT, "force_tcp": tcp}, timeout=60,
                      environment=lambda place, attempt: fault if (place, attempt) == (1, 0) else {})  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == 1
    assert outcome.history["digest"] == alone[1]["digest"]


@pytest.mark.parametrize("tcp", [False, True])
def test_a_sum_that_is_too_large_for_bfloat16_alone_ends_the_fit_or_is_left_out(tcp):
    x, y = np.zeros((4, FEATURES), np.float32), np.full((4, 1), -0.5, np.float32)
    x[0, 3] = 3.4e38  # a float32 that is nearer to infinity than to the largest bfloat16
    plain, _ = run(regression(2, x, y, 1e-36, reduce_dtype="fp32"), 2, force_tcp=tcp)
    assert np.isfinite(plain["weight"]).all()
    assert np.abs(plain["weight"]).max() > 0
    with pytest.raises(RuntimeError, match="user: the gradient or a new weight is not finite in epoch 1, step 1"):
        run(regression(2, x, y, 1e-36), 2, force_tcp=tcp)
    weights, history = run(regression(2, x, y, 1e-36, on_nan="skip"), 2, force_tcp=tcp)
    assert not weights["weight"].any()
    assert history["epochs"][0]["skipped_steps"] == 1


def settings(**told) -> FitSettings:
    return FitSettings.of(StokerClassifier(model=nn.Linear(2, 2), reduceDtype="bf16", **told).value)


@pytest.mark.parametrize(("told", "text"), [
    ({"reduceDtype": "fp16"}, "reduceDtype must be one of 'fp32', 'bf16', not 'fp16'"),
    ({"strategy": LocalSGD(every=5)}, "reduceDtype='bf16' is for the gradients of each step, and with strategy "
     "'localSGD' shards take steps alone: leave one of them out"),
    ({"strategy": DiLoCo(every=5)}, "reduceDtype='bf16' is for the gradients of each step, and with strategy 'diLoCo' "
     "shards take steps alone: leave one of them out, or set its compress"),
    ({"strategy": Downpour()}, "reduceDtype='bf16' is for the gradients of each step, and with strategy "
     "'downpour' shards take steps alone: leave one of them out"),
])  # fmt: skip
def test_what_does_not_go_with_it_is_said(told, text):
    with pytest.raises(UserError) as caught:
        FitSettings.of(StokerClassifier(**{"model": nn.Linear(2, 2), "reduceDtype": "bf16", **told}).value)
    assert str(caught.value) == text


def test_line_searches_want_exact_sums():
    options = {"name": "lbfgs", "groups": [{}]}
    with pytest.raises(UserError, match="optimizer 'lbfgs' does not go with reduceDtype='bf16'"):
        check_full_batch(options, settings(epochs=5))


def test_a_checkpoint_of_another_one_is_refused_by_name():
    assert differences(BF16, {}) == ["reduceDtype is bf16 and was fp32"]


def test_a_fit_by_spark_has_the_bits_of_one_worker(rows):
    one, two, plain = (
        StokerClassifier(model=lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)), epochs=3,
                         reduceDtype=kind, numWorkers=workers, verbose=0).fit(rows)
        for kind, workers in (("bf16", 1), ("bf16", 2), ("fp32", 1))
    )  # fmt: skip
    digests = [model.history.info["digest"] for model in (one, two, plain)]
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture(scope="module")
def rows(spark):
    return spark.range(400).selectExpr("array(sin(id), cos(id)) AS features", "int(sin(id) > 0) AS label")
