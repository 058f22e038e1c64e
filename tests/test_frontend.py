"""What a compiled model is, on disk and in memory, and that the user's module stays as it was."""

import copy
import json
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conformance import models
from conformance.harness import infer_with_engine
from stoker.errors import CompileError
from stoker.frontend.module import ProgramModule
from stoker.frontend.torch import compile, default_output_kind, infer_input_shape
from stoker.program import Compiled, TensorSpec, load_weights, save_aligned, save_weights

X, Y = [TensorSpec("x", "float32", (4,))], [TensorSpec("y", "int64", ())]


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_the_module_stays_as_it_was():
    model = small()
    model[0].eval()
    model[4].weight.grad = torch.ones(3, 8)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    loss = nn.CrossEntropyLoss()
    compile(model, loss, X, Y)
    assert [m.training for m in model.modules()] == modes
    assert loss.reduction == "mean"
    assert torch.equal(model[4].weight.grad, torch.ones(3, 8))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_weights_do_not_share_memory_with_the_module():
    model = nn.Linear(4, 3)
    compiled = compile(model, nn.CrossEntropyLoss(), X, Y)
    compiled.weights["weight"][:] = 7
    assert not (model.weight == 7).any()


def test_the_widest_tensor_of_one_row_is_told():
    conv = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 6 * 6, 3))
    image = [TensorSpec("x", "float32", (1, 6, 6))]
    assert compile(conv, nn.CrossEntropyLoss(), image, Y).infer["widest"] == 5 * 6 * 6
    assert compile(nn.Linear(4, 3), nn.CrossEntropyLoss(), X, Y).infer["widest"] == 4


def test_weights_are_the_state_dict():
    model = small()
    compiled = compile(model, nn.CrossEntropyLoss(weight=torch.ones(3)), X, Y)
    named = {name for name in compiled.weights if not name.startswith("$")}
    assert named == set(model.state_dict())
    assert set(compiled.weights) - named == {"$loss.weight"}


def test_training_and_inference_differ_where_the_modes_do():
    compiled = compile(small(), nn.CrossEntropyLoss(), X, Y)
    train, infer = ([node["op"] for node in program["nodes"]] for program in (compiled.train, compiled.infer))
    assert "aten.dropout.default" in train and "aten.dropout.default" not in infer
    assert [(b["name"], b["rule"]) for b in compiled.train["buffers"]] == [
        ("1.running_mean", "mean"), ("1.running_var", "mean"), ("1.num_batches_tracked", "count")]  # fmt: skip
    assert compiled.infer["buffers"] == []


class AlwaysTraining(nn.Module):
    """Counts its calls and notes its statistics in evaluation too; no answer depends on them."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        statistics = self.norm.running_mean, self.norm.running_var
        return nn.functional.batch_norm(self.layer(x), *statistics, training=True)


def test_evaluation_leaves_buffers_alone():
    compiled = compile(AlwaysTraining(), nn.CrossEntropyLoss(), X, Y)
    assert {b["name"] for b in compiled.train["buffers"]} == {"calls", "norm.running_mean", "norm.running_var"}
    assert compiled.infer["buffers"] == []
    rows = [torch.randn(7, 4).numpy()]
    assert np.array_equal(*(infer_with_engine(compiled, rows)["output"] for _ in range(2)))


class AsksForTheMode(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Linear(4, 3)

    def forward(self, x):
        return self.part(x) if torch.is_grad_enabled() else torch.tanh(self.part(x))


def test_a_saved_model_computes_what_forward_does_without_gradients():
    model = AsksForTheMode()
    compiled = compile(model, nn.CrossEntropyLoss(), X, Y)
    ops = [[node["op"] for node in program["nodes"]] for program in (compiled.train, compiled.infer)]
    assert ["aten.tanh.default" in found for found in ops] == [False, True]


def test_one_trace_for_both_gives_what_two_give(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 1))
    for loss, label in ((nn.MSELoss(), ()), (nn.L1Loss(), (1,)), (nn.BCEWithLogitsLoss(), ())):
        labels = [TensorSpec("y", "float32", label)]
        once = compile(model, loss, X, labels).infer
        with monkeypatch.context() as patch:
            patch.setattr("stoker.frontend.torch.same_in_both_modes", lambda model: False)
            assert compile(model, loss, X, labels).infer == once


def test_frozen_parameters_are_constants_and_aliases_are_one_parameter():
    frozen = models.frozen_layers().compile().train
    assert {entry["name"] for entry in frozen["parameters"]} == {"3.weight", "3.bias"}
    assert {"0.weight", "0.bias", "1.weight", "1.bias"} <= {entry["name"] for entry in frozen["constants"]}
    tied = models.tied_weights().compile()
    first = tied.train["parameters"][0]
    assert (first["name"], first["aliases"]) == ("embed.weight", ["out.weight"])
    assert "out.weight" not in tied.weights


def test_a_parameter_that_the_loss_does_not_need_is_kept_and_not_trained():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    compiled = compile(Partly(), nn.CrossEntropyLoss(), X, Y)
    assert [p["name"] for p in compiled.train["parameters"]] == ["used.weight", "used.bias"]
    module = ProgramModule(compiled.infer, compiled.weights)
    assert set(module.state_dict()) == set(Partly().state_dict())


def test_lazy_layers_get_their_shape():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    compiled = compile(model, nn.CrossEntropyLoss(), X, Y)
    assert compiled.weights["0.weight"].shape == (8, 4)
    assert nn.parameter.is_lazy(model[0].weight)


def test_inputs_go_by_name_never_in_order():
    class Minus(nn.Linear):
        def forward(self, a, b):
            return super().forward(a - b)

    specs = [TensorSpec(name, "float32", (4,)) for name in ("b", "a")]
    infer = compile(Minus(4, 3), nn.CrossEntropyLoss(), specs, Y).infer
    first = infer["nodes"][0]["args"][0]["slot"]
    assert {entry["slot"]: entry["name"] for entry in infer["inputs"]}[first] == "a"
    for wrong in (("p", "q"), ("a", "q")):
        with pytest.raises(CompileError, match=r"forward of Minus has no argument '[pq]'\. Its arguments: a, b"):
            compile(Minus(4, 3), nn.CrossEntropyLoss(), [TensorSpec(name, "float32", (4,)) for name in wrong], Y)


def test_two_threads_compile_at_once():
    found, expected = [], compile(small().requires_grad_(), nn.CrossEntropyLoss(), X, Y).train["nodes"]
    work = [
        threading.Thread(target=lambda: found.append(compile(small(), nn.CrossEntropyLoss(), X, Y))) for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert [compiled.train["nodes"] for compiled in found] == [expected] * 4


def test_a_compiled_model_comes_back_from_its_files():
    compiled = models.cnn_with_batch_norm_and_dropout().compile(metric="argmax")
    files = compiled.to_files()
    assert set(files) == {"train.json", "infer.json", "weights.safetensors"}
    back = Compiled.from_files(files)
    assert (back.train, back.infer, back.notes) == (compiled.train, compiled.infer, compiled.notes)
    assert back.output_shapes == compiled.output_shapes == {"output": (4,)}
    assert back.weights.keys() == compiled.weights.keys()
    assert all(np.array_equal(back.weights[name], array) for name, array in compiled.weights.items())


def test_the_same_model_gives_the_same_bytes():
    torch.manual_seed(0)
    model = small()
    one, two = (compile(model, nn.CrossEntropyLoss(), X, Y).to_files() for _ in range(2))
    assert one == two


def test_the_example_in_the_format_s_page_is_true():
    page = (Path(__file__).parent.parent / "docs/formats/program.md").read_text()
    train, infer = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    model, inputs = nn.Sequential(nn.Linear(4, 3)), [TensorSpec("features", "float32", (4,))]
    compiled = compile(model, nn.CrossEntropyLoss(), inputs, [TensorSpec("label", "int64")], metric="argmax")
    assert (compiled.train, compiled.infer) == (train, infer)


@pytest.mark.parametrize("name", ["train.json", "infer.json", "weights.safetensors"])
@pytest.mark.parametrize("length", [0, 1, 7, -1])
def test_a_truncated_file_is_refused(name, length):
    files = compile(nn.Linear(4, 3), nn.CrossEntropyLoss(), X, Y).to_files()
    files[name] = files[name][:length]
    with pytest.raises(ValueError, match=r"truncated|not a whole safetensors file"):
        Compiled.from_files(files)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda f: f.pop("infer.json"), "not a saved Stoker model: infer.json is missing"),
        (lambda f: f.update({"train.json": b"[1, 2]"}), "train.json is not a Stoker program"),
        (lambda f: f.update({"train.json": f["infer.json"]}), "train.json is a program of kind 'infer', not 'train'"),
        (lambda f: edit(f, version=3), "train.json has version 3 of the format; this Stoker reads 1 and 2"),
        (lambda f: f.update({"weights.safetensors": save_weights({})}), "lacks 'weight' of train.json"),
        (
            lambda f: f.update({"weights.safetensors": wrong_shape()}),
            "has 'weight' with shape [3], train.json with [3, 4]",
        ),
    ],
)
def test_a_foreign_file_is_refused(change, text):
    files = compile(nn.Linear(4, 3), nn.CrossEntropyLoss(), X, Y).to_files()
    change(files)
    with pytest.raises(ValueError) as caught:
        Compiled.from_files(files)
    assert text in str(caught.value)


def edit(files, **fields):
    files["train.json"] = json.dumps(dict(json.loads(files["train.json"]), **fields)).encode()


def wrong_shape() -> bytes:
    return save_weights({"weight": np.zeros(3, np.float32), "bias": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    "array", [np.float32(3.5).reshape(()), np.zeros((0, 3), np.int64), np.arange(6.0).reshape(2, 3).T]
)
def test_weights_come_back_whatever_their_layout(array):
    (back,) = load_weights(save_weights({"w": array})).values()
    assert back.dtype == array.dtype and back.shape == array.shape and np.array_equal(back, array)


def test_a_module_from_a_program_can_be_copied_pickled_and_trained_on():
    case = models.tied_weights()
    compiled = case.compile()
    module = ProgramModule(compiled.infer, compiled.weights, compiled.train)
    token = case.inputs["token"]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), module):
        assert torch.equal(twin(token), case.model(token))
        assert twin.out.weight is twin.embed.weight
    module(token=token).sum().backward()
    assert module.embed.weight.grad is not None
    with pytest.raises(TypeError, match="'token' is missing"):
        module()


@pytest.mark.parametrize(
    "model, shape",
    [
        (nn.Sequential(nn.Linear(5, 3)), (5,)),
        (nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(5, 3)), (5,)),
        (nn.Sequential(nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 2, 3)), None),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(5, 3)), None),
        (nn.Embedding(5, 3), None),
        (nn.ReLU(), None),
        (nn.LazyLinear(3), None),
        (models.TwoInputs(), None),
        (models.TwoHeads(), (6,)),
    ],
)
def test_the_input_s_shape_is_read_where_certain(model, shape):
    assert infer_input_shape(model) == shape


@pytest.mark.parametrize(
    "last, loss, kind",
    [
        (nn.Identity(), nn.CrossEntropyLoss(), "logits"),
        (nn.Identity(), torch.nn.functional.cross_entropy, "logits"),
        (nn.LogSoftmax(1), nn.NLLLoss(), "log_probabilities"),
        (nn.Sigmoid(), nn.BCELoss(), "probabilities"),
        (nn.Identity(), nn.BCEWithLogitsLoss(), "logits"),
        (nn.Softmax(1), lambda o, y: o.sum(), "probabilities"),
        (nn.Sequential(nn.ReLU(), nn.LogSoftmax(1)), nn.MSELoss(), "log_probabilities"),
        (nn.Identity(), lambda o, y: o.sum(), "logits"),
    ],
)
def test_what_the_output_means(last, loss, kind):
    assert default_output_kind(nn.Sequential(nn.Linear(4, 3), last), loss) == kind


def test_importing_the_program_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, stoker.program; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_aligned_weights_come_back_and_each_begins_where_kernels_take_it():
    arrays = {"odd": np.arange(7, dtype=np.float32), "truth": np.ones((3, 2), bool), "none": np.zeros((0, 3), np.int64),
              "one": np.array(3.0), "turned": np.arange(6, dtype=np.int16).reshape(2, 3).T}  # fmt: skip
    data = save_aligned(arrays)
    back = load_weights(data)
    assert all(back[name].dtype == array.dtype and np.array_equal(back[name], array) for name, array in arrays.items())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    assert [(begin + header[name]["data_offsets"][0]) % 64 for name in arrays] == [0] * len(arrays)
