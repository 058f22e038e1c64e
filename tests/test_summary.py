"""What models and declarations say of themselves: whole, and short."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stoker.frontend.torch import compile as compile_module
from stoker.inputs import Category, DateParts, Numeric, Padded, Present, Text
from stoker.ml.models import StokerClassificationModel, StokerRegressionModel
from stoker.program import Compiled, TensorSpec


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.MultiheadAttention(8, 2))
        self.head = nn.Linear(8, 3)
        self.head.bias.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        y = self.body[2](self.body[1](self.body[0](x))).unsqueeze(1)
        return self.head(self.body[3](y, y, y, need_weights=False)[0].squeeze(1)) * self.scale


@pytest.fixture(scope="module")
def net():
    return Net()


@pytest.fixture(scope="module")
def model(spark, net):
    compiled = compile_module(
        net, nn.CrossEntropyLoss(), [TensorSpec("features", "float32", (4,))], [TensorSpec("label", "int64")]
    )
    return StokerClassificationModel(Compiled.from_files(compiled.to_files()))  # as one that was loaded


def test_a_summary_has_each_layer_with_its_class_and_all_tensors(model, net):
    layers = {layer.name: layer for layer in model.summary().layers}
    modules = {name: type(module).__name__ for name, module in net.named_modules() if name}
    assert {name: layer.kind for name, layer in layers.items() if name} == {
        name: kind for name, kind in modules.items() if name not in ("body", "body.3.out_proj")
    }
    tensors = {f"{layer.name}.{name}".lstrip("."): shape for layer in layers.values()
               for name, shape in layer.tensors.items()}  # fmt: skip
    assert tensors == {name: tuple(values.shape) for name, values in net.state_dict().items()}
    assert (layers["head"].parameters, layers["head"].fixed) == (24, 3)


def test_its_sums_are_torchs(model, net):
    summary = model.summary()
    assert summary.parameters == sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert summary.bytes == sum(values.nbytes for values in net.state_dict().values())
    assert summary.outputs == {"output": (3,)}
    text = repr(summary)
    assert f"{summary.parameters:,} parameters and {summary.fixed:,} fixed values, {summary.bytes:,} bytes" in text
    assert [line.split() for line in text.splitlines() if line.startswith("body.0")] == [
        ["body.0", "Linear", "40", "weight", "[8,", "4],", "bias", "[8]"]
    ]


def test_a_model_shows_what_it_is(model, net):
    count = sum(math.prod(p.shape) for p in net.parameters() if p.requires_grad)
    assert repr(model) == f"StokerClassificationModel: uid={model.uid}, numClasses=3, numFeatures=4, parameters={count}"
    assert repr(StokerRegressionModel(model._compiled)).endswith(f", numFeatures=4, parameters={count}")


def test_a_large_vocabulary_does_not_fill_the_screen(model):
    words = [f"word{i}" for i in range(30_000)]
    learnt = model.copy().setInputs({"features": [Category("carrier", words), Text("note", 8, vocabulary=words)]})
    assert len(learnt.explainParams()) < len(model.explainParams()) + 400
    assert "('word0', 'word1', 'word2', 'word3', ... 30,000 in all)" in str(learnt.getInputs())


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (Numeric("x", standardize=True, fill=0.5), "Numeric('x', standardize=True, fill=0.5)"),
        (Category("c", [1, 2]), "Category('c', vocabulary=(1, 2))"),
        (DateParts("d", ["year"]), "DateParts('d', parts=('year',))"),
        (Padded(Numeric("x"), 5), "Padded(Numeric('x'), length=5)"),
        (Present("x"), "Present('x')"),
        (Present(Numeric("x", nulls="fill")), "Present(Numeric('x', nulls='fill'))"),
    ],
)
def test_a_declaration_shows_what_differs_from_its_defaults(declared, text):
    assert repr(declared) == text
