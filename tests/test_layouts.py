"""Parameters that are read through a transpose are stored that way; whoever gets them back has them as they were."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier
from stoker.engine import load_torch
from stoker.frontend import torch as frontend
from stoker.frontend.module import ProgramModule
from stoker.program import Compiled, TensorSpec

os.environ.setdefault("KERAS_BACKEND", "torch")


class Product(nn.Module):
    """x @ w + b, and what else `more` computes of w."""

    def __init__(self, more=lambda w: 0.0):
        super().__init__()
        self.w, self.b, self.more = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(3)), more

    def forward(self, x):
        return x @ self.w + self.b + self.more(self.w)


def compiled_of(module, size=4, **more):
    torch.manual_seed(0)
    inputs, labels = [TensorSpec("x", "float32", (size,))], [TensorSpec("label", "int64")]
    return frontend.compile(module, nn.CrossEntropyLoss(), inputs, labels, **more)


def entry_of(program, name="w"):
    return next(entry for entry in program["parameters"] if entry["name"] == name)


def test_a_product_reads_its_parameter_and_no_transpose():
    compiled = compiled_of(Product(), evaluated=True)
    for program in (compiled.train, compiled.infer, compiled.evaluation):
        assert not any(node["op"] == "aten.t.default" for node in program["nodes"])
        assert (entry_of(program)["shape"], entry_of(program)["layout"]) == ([3, 4], [1, 0])
    assert compiled.weights["w"].shape == (3, 4) and compiled.given()["w"].shape == (4, 3)


@pytest.mark.parametrize(
    "more",
    [lambda w: w.sum(0), lambda w: w.square().sum(1).mean(), lambda w: w.t().flatten()[:3], lambda w: w[1]],
    ids=["sum of rows", "sum of columns", "a view of the transpose", "a row"],
)
def test_what_is_read_otherwise_too_stays(more):
    compiled = compiled_of(Product(more), evaluated=True)
    x = torch.randn(5, 4)
    module = ProgramModule(compiled.infer, compiled.given()).eval()
    expected = Product(more)
    expected.load_state_dict({name: torch.from_numpy(value) for name, value in compiled.given().items()})
    torch.testing.assert_close(module(x), expected(x))


def test_a_sum_over_all_of_it_does_not_hinder():
    compiled = compiled_of(Product(lambda w: 0.1 * w.square().sum()))
    assert entry_of(compiled.train)["shape"] == [3, 4]


def test_outputs_and_gradients_are_those_of_the_module():
    module = Product()
    compiled = compiled_of(module)
    x, label = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    nn.CrossEntropyLoss(reduction="sum")(module(x), label).backward()
    files, engine = compiled.to_files(), load_torch()
    found = engine.TrainProgram(files["train.json"].decode()).run(compiled.weights, [x.numpy(), label.numpy()])
    np.testing.assert_allclose(found["gradients"]["w"].T, module.w.grad, rtol=1e-5, atol=1e-6)
    infer = engine.Inference(files["infer.json"].decode(), files["weights.safetensors"])
    np.testing.assert_allclose(infer.run([x.numpy()])[0], module(x).detach(), rtol=1e-5, atol=1e-6)


class Biased(nn.Module):
    """A channels-last convolution whose bias is added afterwards, as Keras' are."""

    def __init__(self, spread=(1, 1, 1, 3)):
        super().__init__()
        self.conv, self.bias, self.spread = nn.Conv2d(1, 3, 2, bias=False), nn.Parameter(torch.randn(3)), spread

    def forward(self, x):
        pictures = self.conv(x.reshape(-1, 1, 4, 4)).permute(0, 2, 3, 1)
        return (pictures + self.bias.reshape(self.spread)).sum((1, 2))


@pytest.mark.parametrize(("spread", "fused"), [((1, 1, 1, 3), True), ((1, 1, 3, 1), False), ((1, 3, 1, 1), False)])
def test_a_bias_joins_its_convolution_where_it_is_of_the_channels(spread, fused):
    module = Biased(spread)
    compiled, x = compiled_of(module, 16), torch.randn(5, 16)
    assert any(node["op"] == "aten.add.Tensor" for node in compiled.infer["nodes"]) != fused
    torch.testing.assert_close(ProgramModule(compiled.infer, compiled.given()).eval()(x), module(x))


def test_files_keep_the_layout():
    compiled = compiled_of(Product())
    back = Compiled.from_files(compiled.to_files())
    assert np.array_equal(back.given()["w"], compiled.given()["w"])
    assert np.array_equal(back.with_given({"w": back.given()["w"] + 1}).given()["w"], compiled.given()["w"] + 1)


def test_a_keras_model_comes_back_as_it_went(spark, tmp_path):
    keras = pytest.importorskip("keras")
    conv = [keras.layers.Reshape((2, 2, 1)), keras.layers.Conv2D(3, (1, 2)), keras.layers.Flatten()]
    net = keras.Sequential([keras.Input((4,)), *conv, keras.layers.Dense(5, "relu"), keras.layers.Dense(3)])
    features, labels = blobs(60)
    df = table(spark, features, labels)
    fit = StokerClassifier(model=net, epochs=3, batchSize=60, verbose=0).fit(df)
    expected = fit.torch()(torch.tensor(features)).detach().numpy()
    fit.save(str(tmp_path / "model"))
    for model in (fit, StokerClassificationModel.load(str(tmp_path / "model"))):
        np.testing.assert_allclose(model.keras()(features).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
        on = StokerClassifier(initialModel=model, model=net, epochs=1, learningRate=0.0, verbose=0).fit(df)
        np.testing.assert_allclose(on.keras()(features).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    shapes = {layer.kind: layer.tensors for layer in fit.summary().layers if layer.tensors}
    assert any((1, 2, 1, 3) in tensors.values() for tensors in shapes.values())


def test_what_is_frozen_is_stored_that_way_too():
    torch.manual_seed(0)
    module = nn.Sequential(Product(), nn.Linear(3, 2))
    compiled = compiled_of(module, freeze=["0"], evaluated=True)
    for program in (compiled.train, compiled.infer, compiled.evaluation):
        assert not any(node["op"] == "aten.t.default" for node in program["nodes"])
    assert compiled.weights["0.w"].shape == (3, 4)
    assert np.array_equal(compiled.state()["0.w"], module[0].w.detach().numpy())
    assert np.array_equal(compiled.with_given({"0.w": np.ones((4, 3), np.float32)}).state()["0.w"], np.ones((4, 3)))
