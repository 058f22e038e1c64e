"""Models whose answer for a row depends on the rows beside it: found when compiled, refused or run by groups."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import stoker
from conftest import blobs, table
from stoker import StokerClassificationModel, StokerModel
from stoker.errors import UserError
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

FEATURES, LABEL = [TensorSpec("features", "float32", (6,))], [TensorSpec("label", "int64", ())]


class Of(nn.Module):
    """A function of the rows, then a layer."""

    def __init__(self, function, width=6):
        super().__init__()
        self.function, self.layer = function, nn.Linear(width, 2)

    def forward(self, x):
        return self.layer(self.function(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mixing, self.layer = nn.MultiheadAttention(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        rows = x.unsqueeze(1)  # sequences of one, if it were batch_first
        return self.layer(self.mixing(rows, rows, rows)[0].squeeze(1))


class Recurrence(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.recurrence, self.layer = nn.LSTM(2, 4, batch_first=batch_first), nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(self.recurrence(x.view(-1, 3, 2))[0][:, -1])


class Gated(nn.Module):
    """Couples rows only once its gate has been trained."""

    def __init__(self):
        super().__init__()
        self.gate, self.layer = nn.Parameter(torch.zeros(1)), nn.Linear(6, 2)

    def forward(self, x):
        return self.layer(x + self.gate * x.mean(0))


def numbered_attention(x):
    """An operator that could draw numbers, but does not: its dropout is 0."""
    rows = x.unsqueeze(1)
    return nn.functional.scaled_dot_product_attention(rows, rows, rows)[:, 0] * torch.arange(x.shape[0])[:, None]


def place(model, inputs=FEATURES):
    torch.manual_seed(0)
    compiled = compile(model, nn.CrossEntropyLoss(), inputs, LABEL)
    found = compiled.infer.get("coupled")
    assert found is None or any(found in note for note in compiled.notes)
    return found


@pytest.mark.parametrize(
    "function, operator",
    [
        (lambda x: x - x.mean(0), "mean"),
        (lambda x: x.cumsum(0), "cumsum"),
        (lambda x: x.flip(0), "flip"),
        (lambda x: x.roll(1, 0), "roll"),
        (lambda x: x.softmax(0), "softmax"),
        (lambda x: x.sort(0)[0], "sort"),
        (lambda x: x / x.std(), "std"),
        (lambda x: x * x.shape[0], "mul"),
    ],
)
def test_the_first_operator_that_couples_rows_is_named(function, operator):
    assert re.fullmatch(rf"Of, test_coupling.py:\d+ \(aten.{operator}\.\w+\)", place(Of(function)))


@pytest.mark.parametrize(
    "model, named",
    [
        (Attention(), "mixing (MultiheadAttention)"),
        (Recurrence(batch_first=False), "recurrence (LSTM)"),
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)), "1 (BatchNorm"),
        (Gated(), "Gated"),
        (Of(numbered_attention), "Of"),
    ],
)
def test_a_layer_over_the_wrong_dimension_is_named(model, named):
    assert place(model).startswith(named)


class Threshold(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.layer = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)), nn.Linear(3, 2)

    def forward(self, x):
        h = self.before(x)
        return self.layer(torch.where(h > h.median(), h, -h))


def test_a_threshold_of_all_rows_that_few_companions_move_is_found():
    for seed in range(12):
        torch.manual_seed(seed)
        compiled = compile(Threshold(), nn.CrossEntropyLoss(), FEATURES, LABEL)
        assert "median" in compiled.infer.get("coupled", ""), seed


def test_rows_of_whole_numbers_are_drawn_from_the_table():
    words = [TensorSpec("features", "int64", (4,))]
    apart = nn.Sequential(nn.Embedding(5, 6), nn.Flatten(), nn.Linear(24, 2))
    assert place(apart, words) is None
    assert "aten.mean" in place(nn.Sequential(*apart[:2], Of(lambda x: x - x.mean(0), 24)), words)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 2)),
        Recurrence(batch_first=True),
        Of(lambda x: nn.functional.dropout(x, 0.5, True)),  # random also in evaluation
        Of(lambda x: x.log()),  # NaN for half of the random rows
        Of(lambda x: (x - 100).sqrt()),  # NaN for all
        Of(lambda x: x[torch.arange(x.shape[0]), (x[:, 0] > 0).long()].unsqueeze(1), 1),
        Of(lambda x: x.topk(3)[0], 3),
        nn.Sequential(nn.Linear(6, 1), nn.LayerNorm(1), nn.Linear(1, 2)),
    ],
    ids=str,
)
def test_no_false_alarm(model):
    assert place(model) is None


def fitted(model, **params):
    torch.manual_seed(0)
    compiled = compile(model, nn.CrossEntropyLoss(), FEATURES, LABEL)
    return StokerClassificationModel(compiled, output_kind="logits").setParams(featuresCol="features", **params)


@pytest.fixture(scope="module")
def rows(spark):
    features, labels = blobs(60, width=6)
    return table(spark, features, labels, day=np.arange(60) % 7, at=np.arange(60)[::-1].copy()).repartition(3).cache()


def test_transform_and_functions_refuse_it_before_a_job_also_when_loaded(spark, rows, tmp_path):
    fitted(Of(lambda x: x - x.mean(0))).write().save(str(tmp_path / "model"))
    model = StokerClassificationModel.load(str(tmp_path / "model"))
    with pytest.raises(UserError, match=r"test_coupling.py:\d+ \(aten.mean.dim\).*set transformGroup"):
        model.transform(rows)
    with pytest.raises(UserError, match="transformGroup"):
        stoker.register_function(spark, "centred", model)


def test_a_declared_group_runs_together(rows, tmp_path):
    network = Of(lambda x: x - x.mean(0))
    fitted(network, transformGroup="day").write().save(str(tmp_path / "model"))
    model = StokerClassificationModel.load(str(tmp_path / "model"))
    found = model.transform(rows)
    assert found.columns == [*rows.columns, "rawPrediction", "probability", "prediction"]
    found = found.toPandas()
    assert len(found) == 60 and set(found["at"]) == set(range(60))
    for _, group in found.groupby("day"):
        wanted = network(torch.tensor(np.stack(group.features)))
        assert np.allclose(np.stack([v.toArray() for v in group.rawPrediction]), wanted.detach(), atol=1e-5)


def test_rows_of_a_group_are_in_the_declared_order(rows):
    network = Of(lambda x: x.cumsum(0))
    found = fitted(network, transformGroup=["day", "at"]).transform(rows).toPandas()
    for _, group in found.groupby("day"):
        ordered = group.sort_values("at")
        wanted = network(torch.tensor(np.stack(ordered.features)))
        assert np.allclose(np.stack([v.toArray() for v in ordered.rawPrediction]), wanted.detach(), atol=1e-4)


def test_a_group_larger_than_a_chunk_stays_whole(spark):
    features, labels = blobs(700, width=6)
    network = Of(lambda x: x - x.mean(0))
    found = fitted(network, transformGroup="label").transform(table(spark, features, labels * 0)).toPandas()
    wanted = network(torch.tensor(np.stack(found.features)))
    assert np.allclose(np.stack([v.toArray() for v in found.rawPrediction]), wanted.detach(), atol=1e-5)


def test_a_group_that_is_not_there_is_an_error(rows):
    with pytest.raises(UserError, match="transformGroup: the DataFrame has no column 'week'"):
        fitted(nn.Linear(6, 2), transformGroup="week").transform(rows)


def test_a_program_without_the_mark_runs_as_before(rows):
    model = StokerModel(compile(nn.Linear(6, 2), nn.CrossEntropyLoss(), FEATURES, LABEL))
    assert "coupled" not in model._compiled.infer
    assert model.setParams(featuresCol="features").transform(rows).count() == 60
