"""A row's outputs are the same bits however rows are cut: every activation, and layers of every kind."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerRegressionModel
from stoker.engine import load_torch
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

ROWS = 301  # one chunk that is full and one that is not
ARGUMENTS = {"Threshold": (-1, 0), "Softmin": (1,), "Softmax": (1,), "LogSoftmax": (1,), "Softmax2d": None}
ACTIVATIONS = [name for name in nn.modules.activation.__all__
               if name != "MultiheadAttention" and ARGUMENTS.get(name, ()) is not None]  # fmt: skip


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mixing = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.mixing(x, x, x)[0].mean(1)


class Last(nn.Module):
    def __init__(self, recurrence):
        super().__init__()
        self.recurrence, self.layer = recurrence, nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(self.recurrence(x)[0][:, -1])


class Products(nn.Module):
    """Not one linear layer that the engine knows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(14, 7)), nn.Parameter(torch.randn(7, 3))

    def forward(self, x):
        return torch.tanh(x @ self.a) @ self.b


class Sides(nn.Module):
    """Rows lie along the inner dimension."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 7)

    def forward(self, x):
        return nn.functional.gelu(self.layer(x).t().contiguous()).t() * 2


def engine(model, shape, dtype="float32", widest=None):
    """The inference program; `widest` makes its chunks small, as pictures do."""
    torch.manual_seed(0)
    specs = [TensorSpec("x", dtype, shape)], [TensorSpec("y", "float32", ())]
    compiled = compile(model, lambda o, t: o.float().mean() + t.mean() * 0, *specs)
    if widest:
        compiled.infer["widest"] = widest
    files = compiled.to_files()
    return load_torch().Inference(files["infer.json"].decode(), files["weights.safetensors"])


def check_cuts(inference, rows):
    whole = inference.run([rows])[0]
    for size in (1, 3, 7, 64):
        parts = [inference.run([rows[i : i + size]])[0] for i in range(0, len(rows), size)]
        assert np.array_equal(np.concatenate(parts), whole, equal_nan=True), size
    order = np.random.default_rng(1).permutation(len(rows))
    assert np.array_equal(inference.run([rows[order]])[0], whole[order], equal_nan=True)


def random_rows(*shape):
    return (np.random.default_rng(0).normal(size=(ROWS, *shape)) * 3).astype(np.float32)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    activation = getattr(nn, name)(*ARGUMENTS.get(name, ()))
    model = nn.Sequential(nn.Linear(6, 14), activation, nn.LazyLinear(6), activation)
    check_cuts(engine(model, (6,)), random_rows(6))


@pytest.mark.parametrize("name", ["GELU", "Tanh", "SiLU", "Mish", "Softplus", "Sigmoid", "ELU", "LogSigmoid"])
def test_activations_where_few_rows_are_a_chunk(name):
    inference = engine(nn.Sequential(nn.Linear(6, 9), getattr(nn, name)()), (6,), widest=1 << 18)
    assert inference.chunk_rows in (1, 2, 4)  # as many as this machine's products give the same bits
    check_cuts(inference, random_rows(6)[:61])


@pytest.mark.parametrize(
    "model, shape",
    [
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.GELU(), nn.Conv2d(3, 5, 1), nn.Flatten(), nn.Linear(80, 3)), (1, 6, 6)),
        (nn.Sequential(nn.Conv1d(2, 3, 2), nn.SiLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2)), (2, 5)),
        (Last(nn.LSTM(2, 3, batch_first=True)), (5, 2)),
        (Last(nn.GRU(7, 3, batch_first=True)), (4, 7)),
        (Attention(), (5, 6)),
        (nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 3)), (6,)),
        (nn.Sequential(nn.TransformerEncoderLayer(6, 2, 7, batch_first=True), nn.Flatten(), nn.Linear(30, 2)), (5, 6)),
        (Products(), (14,)),
        (Sides(), (6,)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers(model, shape):
    check_cuts(engine(model, shape), random_rows(*shape))


def test_embeddings():
    model = nn.Sequential(nn.Embedding(40, 7), nn.GELU(), nn.Flatten(), nn.Linear(21, 3), nn.Tanh(), nn.Linear(3, 2))
    check_cuts(engine(model, (3,), "int64"), np.random.default_rng(0).integers(0, 40, (ROWS, 3)))


def test_in_place_activations_change_what_they_are_given():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 9)

        def forward(self, x):
            y = self.layer(x)
            nn.functional.silu(y, inplace=True)
            return y

    model = Twice()
    inference = engine(model, (6,), widest=1 << 18)
    rows = random_rows(6)[:5]
    assert np.allclose(inference.run([rows])[0], model(torch.tensor(rows)).detach(), atol=1e-5)


def test_transform_in_small_batches(spark):
    torch.manual_seed(0)
    specs = [TensorSpec("features", "float32", (4,))], [TensorSpec("label", "float32", ())]
    network = nn.Sequential(nn.Linear(4, 14), nn.GELU(), nn.Linear(14, 3), nn.Tanh())
    compiled = compile(network, lambda o, t: o.mean() + t.mean() * 0, *specs)
    model = StokerRegressionModel(compiled).setParams(featuresCol="features")
    df = table(spark, *blobs(300), id=np.arange(300))

    def answers(partitions):
        rows = model.transform(df.repartition(partitions)).select("id", "prediction").collect()
        return {row.id: row.prediction.toArray().tobytes() for row in rows}

    whole = answers(1)
    try:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 7)
        assert answers(3) == whole
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
