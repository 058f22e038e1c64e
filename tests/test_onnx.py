"""Models go out as ONNX, come in from ONNX, and are trained on: outputs equal onnxruntime's, names stay."""

import os
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

os.environ.setdefault("KERAS_BACKEND", "torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import stoker  # noqa: E402
from conftest import blobs, table  # noqa: E402
from stoker import StokerClassificationModel, StokerClassifier, StokerFeaturizer, replace_head  # noqa: E402
from stoker.errors import UserError  # noqa: E402
from stoker.frontend import torch as frontend  # noqa: E402
from stoker.frontend.onnx.build import module_of  # noqa: E402
from stoker.program import TensorSpec  # noqa: E402

OPEN = "rows"


def by_runtime(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def imported(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stoker.from_onnx(path)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.table(x).mean(1))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layers(x).mean(1))


NETS = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)), (8,)),
    "pictures": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                                       nn.Conv2d(8, 8, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                       nn.Dropout(0.2), nn.Linear(8, 3)), (3, 12, 12)),
    "attention": (Attending, (5, 16)), "lstm": (lambda: Recurrent(nn.LSTM), (5, 8)),
    "gru": (lambda: Recurrent(nn.GRU), (5, 8)), "words": (Words, (6,)),
}  # fmt: skip


def rows_of(shape, count):
    rng = np.random.default_rng(count)
    return (
        rng.integers(0, 50, (count, *shape)) if shape == (6,) else rng.normal(0, 1, (count, *shape)).astype("float32")
    )


def net_of(name):
    torch.manual_seed(1)
    net = NETS[name][0]()
    with torch.no_grad():
        for parameter in net.parameters():  # exporters write equal weights once
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return net.eval()


def plainly(net, x, path, optimize=True):
    """As torch's own users export."""
    rows = torch.export.Dim(OPEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=({0: rows},), verbose=False,
                          external_data=False, optimize=optimize)  # fmt: skip


def gradients(net, x, y):
    loss = nn.functional.cross_entropy(net(x), y)
    names, tensors = zip(*net.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, tensors)))


@pytest.mark.parametrize("name", NETS)
def test_what_torch_exports_comes_in_and_trains_as_the_original(name, tmp_path, one_thread):
    net, shape = net_of(name), NETS[name][1]
    x, path = torch.from_numpy(rows_of(shape, 5)), tmp_path / "net.onnx"
    plainly(net, x, path, optimize=False)
    made, few = module_of(path).eval(), x[:3]
    (wanted,) = by_runtime(path, **{onnx.load(path).graph.input[0].name: few.numpy()})
    np.testing.assert_allclose(made(few).detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    y = torch.tensor([0, 2, 1])
    ours, theirs = gradients(made, few, y), gradients(net, few, y)
    assert ours.keys() == theirs.keys()
    top = max(float(one.abs().max()) for one in theirs.values())
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key].numpy(), value.numpy(), atol=1e-5 * top)
    spec = TensorSpec("x", str(x.dtype).removeprefix("torch."), shape)
    compiled = frontend.compile(made, nn.CrossEntropyLoss(), [spec], [TensorSpec("y", "int64")])
    assert {entry["name"] for entry in compiled.train["parameters"]} == set(theirs)


def test_what_the_exporter_has_folded_is_told_and_trains_too(tmp_path, one_thread):
    net, shape = net_of("pictures"), NETS["pictures"][1]
    x, path = torch.from_numpy(rows_of(shape, 5)), tmp_path / "net.onnx"
    plainly(net, x, path)
    with pytest.warns(UserWarning) as caught:
        made = stoker.from_onnx(path)
    told = " ".join(str(one.message) for one in caught)
    assert "net.onnx: it has 2 convolutions and no batch norm" in told and "it has no dropout" in told
    np.testing.assert_allclose(made(x).detach().numpy(), net(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert len(list(made.parameters())) == 6


@pytest.fixture(scope="module")
def trained(spark):
    """A small net with batch norm, trained by Stoker; its rows."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    rows = table(spark, *blobs(120))
    return StokerClassifier(model=net, epochs=2, batchSize=24, numShards=1, verbose=0).fit(rows), rows


@pytest.fixture(scope="module")
def path(trained, tmp_path_factory):
    model, _ = trained
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    model.onnx(path)
    return path


def raw(df):
    return np.array([row.rawPrediction.toArray() for row in df.select("rawPrediction").collect()])


def test_round_trip(trained, path, spark):
    """Train, write, onnxruntime, read, transform, train on."""
    model, rows = trained
    features = blobs(120)[0]
    wanted = raw(model.transform(rows))
    for count in (120, 1):
        (found,) = by_runtime(path, features=features[:count])
        np.testing.assert_allclose(found, wanted[:count], rtol=1e-5, atol=1e-5)
    graph = onnx.load(path).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param and graph.output[0].name == "output"
    net = imported(path)
    assert net.state_dict().keys() == {k for k in model.torch().state_dict() if not k.endswith("num_batches_tracked")}
    still = StokerClassifier(model=net, epochs=1, learningRate=0.0, optimizer="sgd", batchSize=24, numShards=1,
                             freeze=["0", "1"], verbose=0).fit(rows)  # fmt: skip
    np.testing.assert_allclose(raw(still.transform(rows)), wanted, rtol=1e-5, atol=1e-5)
    longer = StokerClassifier(model=net, epochs=4, learningRate=0.02, batchSize=24, numShards=1, verbose=0)
    with pytest.warns(UserWarning, match="net.onnx: it has no dropout"):
        more = longer.fit(rows)
    assert more.history[-1]["loss"] < more.history[0]["loss"] and more.history[-1]["accuracy"] > 0.9
    filled = more.torch()
    with torch.no_grad():
        np.testing.assert_allclose(filled.eval()(torch.from_numpy(features)).numpy(), raw(more.transform(rows)),
                                   rtol=1e-5, atol=1e-5)  # fmt: skip


def test_batch_norm_of_a_file_trains_as_torchs(trained, path):
    model, _ = trained
    ours, theirs = imported(path).train(), model.torch().train()
    theirs[3].p = 0.0
    x = torch.from_numpy(blobs(30)[0])
    np.testing.assert_allclose(ours(x).detach().numpy(), theirs(x).detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.state_dict()["1.running_var"], theirs[1].running_var, rtol=1e-5)


def test_a_model_that_was_saved_is_written_too(trained, path, tmp_path):
    model, _ = trained
    model.save(f"{tmp_path}/model")
    again = tmp_path / "again.onnx"
    StokerClassificationModel.load(f"{tmp_path}/model").onnx(again, opset=18)
    assert onnx.load(again).opset_import[0].version == 18
    few = blobs(5)[0]
    np.testing.assert_array_equal(by_runtime(path, features=few)[0], by_runtime(again, features=few)[0])


def test_a_keras_model_is_written(spark, tmp_path):
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "relu", name="first"),
                            keras.layers.BatchNormalization(), keras.layers.Dense(3, name="last")])  # fmt: skip
    rows, (features, _) = table(spark, *blobs(60)), blobs(60)
    model = StokerClassifier(model=net, epochs=1, batchSize=20, verbose=0).fit(rows)
    model.onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(by_runtime(tmp_path / "net.onnx", features=features)[0], raw(model.transform(rows)),
                               rtol=1e-5, atol=1e-5)  # fmt: skip


def test_a_new_head_and_frozen_layers(trained, path, spark):
    _, rows = trained
    net = imported(path)
    wider = replace_head(net, 5)
    assert wider(torch.zeros(2, 4)).shape == (2, 5) and net(torch.zeros(2, 4)).shape == (2, 3)
    assert torch.equal(wider.state_dict()["0.weight"], net.state_dict()["0.weight"])
    layer = next(name for name, op in net.parts().values() if op == "Relu")
    model = StokerClassifier(model=wider, freeze={"upTo": layer}, epochs=3, learningRate=0.05, batchSize=24,
                             verbose=0).fit(rows)  # fmt: skip
    after = model.torch().state_dict()
    assert torch.equal(after["0.weight"], net.state_dict()["0.weight"])
    assert torch.equal(after["1.running_mean"], net.state_dict()["1.running_mean"])
    assert model.history[-1]["accuracy"] > 0.8
    found = StokerFeaturizer(model=str(path), layer=layer).transform(rows).first().vector.toArray()
    hidden = nn.Sequential(*list(trained[0].torch().eval())[:3])(torch.from_numpy(blobs(1)[0]))
    assert found.shape == (8,) and hidden.shape == (1, 8)


# --- what is refused --------------------------------------------------------------------------------------------------


def graph_of(nodes, constants=(), opset=17, outputs=("y",), shape=(None, 4), kind=TensorProto.FLOAT):
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    kept = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants]
    graph = helper.make_graph(nodes, "g", inputs, given, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def told(model):
    with pytest.raises(UserError) as caught:
        module_of(model if isinstance(model, bytes) else model.SerializeToString())
    return str(caught.value)


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), name=f"the_{op}", **attributes)


def test_operators_opsets_and_types_that_are_not_known_are_named():
    text = told(graph_of([node("NonZero", ["x"], ["i"]), node("Unique", ["i"])]))
    assert "operators that Stoker does not know: 'the_NonZero' (NonZero), 'the_Unique' (Unique)" in text
    assert "docs/onnx.md lists those that it knows" in text
    branch = helper.make_graph([], "b", [], [])
    text = told(graph_of([node("If", ["x"], then_branch=branch, else_branch=branch)]))
    assert "'the_If' is If, and a program has no branches and loops: export the model anew with the decision" in text
    strange = node("FusedMatMul", ["x", "x"])
    strange.domain = "com.microsoft"
    assert "'the_FusedMatMul' is FusedMatMul of the domain 'com.microsoft'" in told(graph_of([strange]))
    assert "is of opset 99, and Stoker knows 7 to 28: export" in told(graph_of([node("Relu", ["x"])], opset=99))
    text = told(graph_of([node("Identity", ["x"])], kind=TensorProto.STRING))
    assert "the input 'x' is of type STRING; Stoker takes float32" in text
    assert "'the_LSTM' (LSTM): it has peepholes" in ran(
        [node("LSTM", ["x", "w", "r", "", "", "", "", "p"])], [("w", np.zeros((1, 8, 4), "f")),
         ("r", np.zeros((1, 8, 2), "f")), ("p", np.zeros((1, 6), "f"))], torch.zeros(3, 2, 4))  # fmt: skip
    assert "its input 's' is computed from the rows' values" in ran(
        [node("Cast", ["x"], ["s"], to=TensorProto.INT64), node("Reshape", ["x", "s"])], [], torch.zeros(4)
    )


def ran(nodes, constants, x):
    with pytest.raises(UserError) as caught:
        module_of(graph_of(nodes, constants).SerializeToString())(x)
    return str(caught.value)


def test_an_error_while_it_runs_names_the_node():
    net = module_of(graph_of([node("MatMul", ["x", "w"])], [("w", np.zeros((5, 3), "f"))]).SerializeToString())
    with pytest.raises(UserError, match=r"the ONNX model: 'the_MatMul' \(MatMul\): .*shapes cannot be multiplied"):
        net(torch.zeros(2, 4))


def test_a_file_for_one_number_of_rows_is_told(tmp_path, spark):
    model = graph_of([node("Reshape", ["x", "s"], ["r"]), node("MatMul", ["r", "w"])],
                     [("s", np.array([1, 4])), ("w", np.ones((4, 3), "f"))], shape=(1, 4))  # fmt: skip
    onnx.save(model, tmp_path / "one.onnx")
    with pytest.warns(UserWarning, match="its input 'x' is declared for one number of rows"):
        net = stoker.from_onnx(tmp_path / "one.onnx")
    with pytest.raises(UserError, match=r"'the_Reshape' \(Reshape\)|number of rows"):
        StokerClassifier(model=net, verbose=0).fit(table(spark, *blobs(20)))


def test_a_circle_and_what_nobody_gives_are_told():
    circle = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])]
    assert "'the_Add' (Add) reads 'b', which nothing before it gives: the graph has a circle" in told(
        graph_of(circle, outputs=["b"])
    )
    assert "nothing gives its output 'z'" in told(graph_of([node("Relu", ["x"])], outputs=["z"]))
    assert "'y' is made twice" in told(graph_of([node("Relu", ["x"]), node("Abs", ["x"])]))


def test_what_is_no_onnx_file_is_told(tmp_path):
    whole = graph_of([node("MatMul", ["x", "w"])], [("w", np.ones((4, 3), "f"))]).SerializeToString()
    assert "is no ONNX model" in told(b"") and "is no ONNX model" in told(b"\x00\xff" * 100)
    for end in range(0, len(whole) - 1, 7):
        assert told(whole[:end])
    with pytest.raises(UserError, match="there is no ONNX file"):
        stoker.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="an ONNX model is a int; give the path of a file, or its bytes"):
        stoker.from_onnx(3)


def test_bytes_that_are_spoilt_end_in_words(path):
    whole, rng, ends = path.read_bytes(), np.random.default_rng(0), set()
    for _ in range(400):
        spoilt = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            spoilt[place] = rng.integers(0, 256)
        try:
            net = module_of(bytes(spoilt))
            net(torch.zeros(2, 4))
            ends.add("ran")
        except UserError:
            ends.add("refused")
        except (RuntimeError, TypeError):
            ends.add("failed while it ran")
    assert {"ran", "refused"} <= ends


def with_weight(**change):
    model = graph_of([node("MatMul", ["x", "w"])], [("w", np.ones((4, 3), "f"))])
    weight = model.graph.initializer[0]
    for name, value in change.items():
        if name == "dims":
            weight.ClearField("dims")
            weight.dims.extend(value)
        else:
            setattr(weight, name, value)
    return model


def test_weights_of_wrong_sizes_take_no_memory():
    assert "needs 4000000000000000000 bytes, and has 48: the file is damaged" in told(with_weight(dims=[10**9, 10**9]))
    assert "has the shape [-1, 3]" in told(with_weight(dims=[-1, 3]))
    assert "needs 12 numbers, and has 0" in told(clear_raw(with_weight()))
    huge = graph_of([node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"])], [("s", np.array([1 << 40]))])
    assert "'the_ConstantOfShape' (ConstantOfShape) makes 1099511627776 values of constants alone" in told(huge)


def clear_raw(model):
    model.graph.initializer[0].ClearField("raw_data")
    return model


@pytest.fixture
def beside(tmp_path):
    """A file whose weight lies in another one; where, is to be told."""
    (tmp_path / "model").mkdir()
    np.arange(12, dtype="f").tofile(tmp_path / "model/w.bin")
    np.arange(12, dtype="f").tofile(tmp_path / "secret.bin")
    (tmp_path / "model/link.bin").symlink_to(tmp_path / "secret.bin")

    def write(location, **more):
        model = clear_raw(with_weight())
        weight = model.graph.initializer[0]
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            weight.external_data.add(key=key, value=str(value))
        path = tmp_path / "model/net.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_weights_in_another_file_are_read_from_the_models_folder_alone(beside, tmp_path):
    net = imported(beside("w.bin"))
    assert torch.equal(net.w, torch.arange(12.0).reshape(4, 3))
    outside = ("../secret.bin", "link.bin", str(tmp_path / "secret.bin"), "", "/etc/passwd", "a\0b", "..")
    for location in outside:
        with pytest.raises(
            UserError, match=r"weight 'w': the file .* lies outside of the model's folder, which is not"
        ):
            imported(beside(location))
    with pytest.raises(UserError, match=r"the file 'none.bin' with its values is not there"):
        imported(beside("none.bin"))
    for more in ({"offset": 4}, {"offset": -4}, {"length": 4}, {"offset": "x"}, {"length": 1 << 60}):
        with pytest.raises(UserError, match=r"'w.bin' does not hold the 48 bytes of it"):
            imported(beside("w.bin", **more))
    with pytest.raises(UserError, match="of the model there are only bytes: give the path of its file"):
        module_of(beside("w.bin").read_bytes())


def test_names_of_any_kind_are_kept_or_replaced():
    long = ".".join(["a"] * 500)
    names = ["train", "a.b", "a", "a..c", "5", "x.y/z:0", "onnx::MatMul_1", long]
    nodes, before = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Mul", [before, name], [f"a.b.{i}"]))
        before = f"a.b.{i}"
    made = module_of(graph_of(nodes, [(name, np.full(4, 1.5, "f")) for name in names],
                              outputs=[before]).SerializeToString())  # fmt: skip
    assert len(list(made.parameters())) == len(names)
    np.testing.assert_allclose(made(torch.ones(2, 4)).detach().numpy(), np.full((2, 4), 1.5 ** len(names)), rtol=1e-5)
    state = made.state_dict()
    assert {"5", "x.y/z:0", "onnx::MatMul_1", "train_"} <= state.keys()


def test_masks_and_small_numbers_are_no_weights():
    constants = [("w", np.ones((4, 4), "f")), ("eps", np.float32(1e-5)), ("mask", np.array([0, 0, -np.inf, 0], "f")),
                 ("bias", np.zeros(4, "f")), ("mean", np.ones(4, "f")), ("half", np.full(1, 0.5, "f"))]  # fmt: skip
    nodes = [node("Sub", ["x", "mean"], ["a"]), node("MatMul", ["a", "w"], ["b"]), node("Add", ["b", "bias"], ["c"]),
             node("Add", ["c", "mask"], ["d"]), node("Add", ["d", "eps"], ["e"]),
             node("Mul", ["e", "half"])]  # fmt: skip
    net = module_of(graph_of(nodes, constants).SerializeToString())
    assert [name for name, _ in net.named_parameters()] == ["w", "bias"]


def test_a_token_beside_computed_values_is_a_weight_and_padding_is_none():
    constants = [("token", np.arange(4, dtype="f").reshape(1, 4)), ("pad", np.zeros((1, 4), "f")),
                 ("w", np.ones((4, 4), "f"))]  # fmt: skip
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Identity", ["token"], ["t"]),
             node("Concat", ["t", "a", "pad"], axis=0)]  # fmt: skip
    net = module_of(graph_of(nodes, constants).SerializeToString())
    assert {name for name, _ in net.named_parameters()} == {"w", "token"}


def test_a_weight_that_is_read_twice_is_told():
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["a", "w"])]
    net = module_of(graph_of(nodes, [("w", np.ones((4, 4), "f"))]).SerializeToString())
    assert any("its weight 'w' is read by several nodes and trained as one" in note for note in net.notes())


def test_without_the_packages_it_is_told(trained, path, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        UserError, match=r"read by the package onnx, which is not here .*: pip install 'stoker\[onnx\]'"
    ):
        stoker.from_onnx(path)
    with pytest.raises(
        UserError, match=r"written by the packages onnx and onnxscript, which are not here .*stoker\[onnx"
    ):
        trained[0].onnx(tmp_path / "x.onnx")
