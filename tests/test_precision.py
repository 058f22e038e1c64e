"""precision='bf16': what is trained is eager PyTorch under autocast, to its bits where one shard runs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conformance.harness import Case, EngineRunner, PythonRunner
from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier, UserError, events
from stoker.engine import load_torch
from stoker.errors import CompileError
from stoker.observe.log import WARNING, level_of
from stoker.program import is_mixed
from stoker.spark.task import slower
from test_eager_bits import Last, Mean

ROWS = 32
STEPS = 5


class Products(nn.Module):
    """Operators that autocast reaches only inside of others; a cast of the user's; a block that is out of it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 8), nn.Parameter(torch.randn(8, 8) / 3), nn.Linear(8, 3)

    def forward(self, x):
        y = torch.einsum("bi,ij->bj", self.a(x).tanh(), self.b)
        with torch.autocast("cpu", enabled=False):
            y = y.float() @ self.b
        return self.head(torch.nn.functional.layer_norm(y, (8,)) + self.a(x).float())


class Steps(nn.Module):
    """What the loss sees comes straight from a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(5, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3)
    )


MODELS = {mlp: (12,), cnn: (1, 12, 12), Mean: (5, 8), Products: (8,), Last: (6, 5), Steps: (6, 5)}


def compiled(model: nn.Module, x: torch.Tensor, y: torch.Tensor, **more):
    return Case(model, nn.CrossEntropyLoss(), {"x": x}, {"y": y}).compile(precision="bf16", **more)


def eager(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        outputs = model(x)
    loss = nn.functional.cross_entropy(outputs.float(), y)
    loss.backward()
    return loss.item()


@pytest.mark.parametrize("runner", [PythonRunner, EngineRunner])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_gradients_are_the_bits_of_eager_autocast(make, runner):
    if runner is EngineRunner and not load_torch().has_bf16():
        pytest.skip("here the engine multiplies float32 numbers that are rounded to bfloat16")
    torch.manual_seed(0)
    model = make().train()
    x, y = torch.randn(ROWS, *MODELS[make]), torch.randint(0, 3, (ROWS,))
    program = compiled(model, x, y).train
    run = runner(program)
    for _ in range(STEPS):
        weights = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
        loss = eager(model, x, y)
        result = run.run(weights, [x.numpy(), y.numpy()])
        assert result["numerator"] / ROWS == pytest.approx(loss, rel=1e-6)
        for name, parameter in model.named_parameters():
            ours = result["gradients"][name] / np.float32(result["denominator"])
            assert_equal(ours, parameter.grad.numpy(), name)
            parameter.data -= 0.1 * parameter.grad


def assert_equal(ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
    """The division by the rows comes after the products here and before them in eager: the same bits for powers of
    two."""
    np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_gradients_are_those_of_float32_within_what_bfloat16_holds():
    torch.manual_seed(0)
    model, x, y = mlp(), torch.randn(ROWS, 12), torch.randint(0, 3, (ROWS,))
    mixed = compiled(model, x, y)
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    result = EngineRunner(mixed.train).run(weights, [x.numpy(), y.numpy()])
    nn.functional.cross_entropy(model(x), y).backward()
    for name, parameter in model.named_parameters():
        ours, theirs = result["gradients"][name] / ROWS, parameter.grad.numpy()
        assert 0 < np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs), name


def test_only_the_model_is_mixed_and_only_while_it_trains():
    x, y = torch.randn(ROWS, 12), torch.randint(0, 3, (ROWS,))
    found = compiled(mlp(), x, y, evaluated=True)
    train = {node["op"]: "autocast" in node for node in found.train["nodes"]}
    assert train["aten.linear.default"]
    assert not train["aten.cross_entropy_loss.default"]
    assert found.train["version"] == 2
    assert not is_mixed(found.infer)
    assert not is_mixed(found.evaluation)
    assert found.infer["version"] == 1


def test_a_program_of_a_later_version_is_refused_by_the_engine():
    found = compiled(mlp(), torch.randn(ROWS, 12), torch.randint(0, 3, (ROWS,))).train
    with pytest.raises(Exception, match="format version 3; this build reads versions 1 to 2"):
        EngineRunner(json.loads(json.dumps({**found, "version": 3})))


def test_models_in_bfloat16_are_told_the_way():
    model = copy.deepcopy(mlp()).to(torch.bfloat16)
    with pytest.raises(CompileError) as told:
        compiled(model, torch.randn(ROWS, 12), torch.randint(0, 3, (ROWS,)))
    assert str(told.value) == ("parameter '0.weight' is bfloat16; Stoker keeps float32 weights: call model.float() "
                               "first, and set precision='bf16' to have products in bfloat16")  # fmt: skip


@pytest.fixture(scope="module")
def rows(spark):
    return table(spark, *blobs(200)).cache()


def classifier(**params):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    return StokerClassifier(model=net, precision="bf16", numShards=4, batchSize=64, epochs=3, learningRate=0.02,
                            verbose=0, **params)  # fmt: skip


def test_any_number_of_workers_trains_the_same_model_which_is_saved_as_mixed(rows, tmp_path):
    one, two = (classifier(numWorkers=workers).fit(rows) for workers in (1, 2))
    assert one.history.info["digest"] == two.history.info["digest"]
    plain = classifier(numWorkers=1).setPrecision("fp32").fit(rows)
    assert plain.history.info["digest"] != one.history.info["digest"]
    assert one.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.05)
    one.save(str(tmp_path / "m"))
    loaded = StokerClassificationModel.load(str(tmp_path / "m"))
    on = StokerClassifier(initialModel=loaded, numShards=4, batchSize=64, verbose=0).fit(rows)
    assert is_mixed(on._compiled.train)
    scored = one.torch().eval()(torch.ones(1, 4)).detach().numpy()  # float32, as transform computes
    np.testing.assert_allclose(loaded.predictRaw([1.0] * 4).toArray(), scored[0], rtol=1e-5)


def test_batch_norms_of_the_whole_batch_go_with_it(rows):
    torch.manual_seed(1)
    norms = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    told = {"model": norms, "batchNorm": "batch"}
    one, two = (classifier(numWorkers=workers).setParams(**told).fit(rows) for workers in (1, 2))
    assert one.history.info["digest"] == two.history.info["digest"]
    plain = classifier(numWorkers=1).setParams(precision="fp32", **told).fit(rows)
    assert one.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.05)


def test_precision_is_one_of_two_and_compiled_in(rows):
    assert complaint(classifier().setPrecision("fp16"), rows) == ("precision must be one of 'fp32', 'bf16', not 'fp16'")
    model = classifier(numWorkers=1).setEpochs(1).fit(rows)
    told = complaint(StokerClassifier(initialModel=model, precision="fp32"), rows)
    assert told == ("initialModel is trained as it was; its precision is compiled in. To change the precision, set "
                    "model too")  # fmt: skip


def complaint(estimator, rows) -> str:
    with pytest.raises(UserError) as caught:
        estimator.fit(rows)
    return str(caught.value)


def test_machines_without_fast_products_say_so_once():
    class Torch:
        def has_bf16(self):
            return False

        def cpu_capability(self):
            return "AVX2"

    mixed, plain = ({"program": {"nodes": [node]}} for node in ({"autocast": "bfloat16"}, {}))
    first, second = {"generation": 1, "rank": 0}, {"generation": 1, "rank": 1}
    told = slower(mixed, Torch(), first)
    assert slower(plain, Torch(), first) == slower(mixed, Torch(), second) == {}
    event = events.parse("metrics", json.dumps({**told, "rank": 0}))
    assert str(event) == ("precision='bf16': workers run at level AVX2 of CPUs that do not multiply bfloat16; products "
                          "are of float32 numbers rounded to bfloat16, so the fit is no faster")  # fmt: skip
    assert level_of(event) == WARNING


@pytest.mark.parametrize("level", ["avx2", "baseline"])
def test_lower_levels_train_the_same_up_to_roundings(level):
    """In a process of its own, as a process has one level for good."""
    text = (Path(__file__).parent / "precision_at_level.py").as_posix()
    found = subprocess.run([sys.executable, text, level], capture_output=True, text=True, check=False, timeout=120)
    assert found.stdout.splitlines()[-1:] == ["close"], found.stderr
