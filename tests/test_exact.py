"""The same bits for a given S, whatever the number of workers, their environment and the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from local_gang import LocalFit, run
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        convolution = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*convolution, nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 16, 5))

    def forward(self, x):
        return self.body(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        return self.head(self.table(x).flatten(1))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5)), (10,), "float32"),
    "cnn": (Images, (1, 8, 8), "float32"),
    "lstm": (Recurrent, (6, 4), "float32"),
    "transformer": (Attention, (5, 8), "float32"),
    "embedding": (Words, (3,), "int64"),
}


def make_fit(
    model: str, shards: int = 12, rows: int = 300, evaluated: bool = False, precision: str = "fp32", **more
) -> LocalFit:
    torch.manual_seed(3)
    build, shape, dtype = MODELS[model]
    rng = np.random.default_rng(5)
    x = rng.integers(0, 50, (rows, *shape)) if dtype == "int64" else rng.normal(size=(rows, *shape)).astype(np.float32)
    labels = rng.integers(0, 5, rows)
    compiled = compile_module(build(), nn.CrossEntropyLoss(), [TensorSpec("features", dtype, shape)],
                              [TensorSpec("label", "int64", ())], metric="argmax", evaluated=evaluated,
                              precision=precision)  # fmt: skip
    label = {"name": "label", "shown": "label", "dtype": "int64", "shape": [], "integral": True, "classes": 5}
    columns = [{"name": "features", "shown": "features", "dtype": dtype, "shape": list(shape)}, label]
    return LocalFit(compiled, columns, {"features": x, "label": labels}, shards=shards, more={"clip_norm": 0.5, **more})


def without_times(history: dict) -> dict:
    epochs = [{k: e[k] for k in ("epoch", "loss", "accuracy", "steps", "rows")} for e in history["epochs"]]
    return {"epochs": epochs, "digest": history["digest"], "shard_rows": history["shard_rows"]}


def assert_same(one, other):
    assert without_times(one[1]) == without_times(other[1])
    assert one[0].keys() == other[0].keys()
    for name, value in one[0].items():
        assert value.tobytes() == other[0][name].tobytes(), name


@pytest.mark.parametrize("model", MODELS)
def test_same_bits_for_one_to_four_workers(model):
    fit = make_fit(model)
    alone = run(fit, 1)
    assert alone[1]["epochs"][1]["loss"] < alone[1]["epochs"][0]["loss"]
    for workers in (2, 3, 4):
        assert_same(alone, run(fit, workers, order_seed=workers))


def test_same_bits_over_tcp():
    fit = make_fit("cnn")
    assert_same(run(fit, 3), run(fit, 3, force_tcp=True))


def test_same_bits_whatever_omp_num_threads_says():
    fit = make_fit("mlp", threads=2)
    few, many = ([{"OMP_NUM_THREADS": n}] * 2 for n in ("1", "4"))
    assert_same(run(fit, 2, few), run(fit, 2, many))


def test_same_bits_with_one_worker_on_a_lower_instruction_set():
    fit = make_fit("mlp")
    mixed = run(fit, 2, [{"STOKER_MAX_ISA": "avx2"}, {}])
    assert_same(mixed, run(fit, 1, [{"STOKER_MAX_ISA": "avx2"}]))


def test_other_seed_gives_other_bits():
    assert run(make_fit("mlp"), 1)[1]["digest"] != run(make_fit("mlp", seed=8), 1)[1]["digest"]
