"""What cannot be compiled is said in the user's words: the module, its class, the file and line, the cause."""

import re
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

HERE = Path(__file__)
X = [TensorSpec("x", "float32", (4,))]
ONE = [TensorSpec("y", "float32", ())]
CLASS = [TensorSpec("y", "int64", ())]


class Inner(nn.Module):
    """A module with the forward that is given; sits at 'body.1' of the model."""

    def __init__(self, act):
        super().__init__()
        self.act = act
        self.register_buffer("state", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        return self.act(self, x)  # call


class Model(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), Inner(act))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.body(x))


def line_of(marker: str) -> str:
    lines = HERE.read_text().splitlines()
    (number,) = [i for i, text in enumerate(lines, 1) if text.endswith(f"# {marker}")]
    return f"{HERE}:{number}"


def error_of(model, loss=None, inputs=X, labels=ONE, **options) -> str:
    with pytest.raises(CompileError) as caught:
        compile(model, loss or nn.MSELoss(), inputs, labels, **options)
    return str(caught.value)


def branch_on_values(self, x):
    if x.sum() > 0:  # values
        return x
    return -x


def branch_on_rows(self, x):
    if x.shape[0] > 4:  # rows
        return x
    return -x


def rows_as_number(self, x):
    return x / int(x.shape[0])  # number


def fixed_rows(self, x):
    return x.reshape(7, 4) * 2  # fixed


def read_value(self, x):
    return x * x.mean().item()


def numpy_inside(self, x):
    return torch.from_numpy(x.detach().numpy())  # numpy


def moving_state(self, x):
    self.state.mul_(0.9).add_(x.mean(0).detach())
    return x + self.state


def count_by_two(self, x):
    self.count.add_(2)
    return x


def count_calls(self, x):
    self.count += 1
    return x / self.count


def count_twice(self, x):
    self.count += 1
    self.count.add_(1)
    return x


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3


def custom_function(self, x):
    return Double.apply(x)  # function


@torch.library.custom_op("stoker_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return x * 2


def custom_operator(self, x):
    return twice(x)


def mixed_precision(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (x @ x.new_ones(4, 4)).float()


def wrong_shape(self, x):
    return x @ x.new_ones(5, 4)  # shape


@pytest.mark.parametrize(
    "act, marker, text",
    [
        (branch_on_values, "values", "branches on the values of a tensor"),
        (branch_on_rows, "rows", "depends on the number of rows in the batch"),
        (rows_as_number, "number", "depends on the number of rows in the batch"),
        (fixed_rows, "fixed", "depends on the number of rows in the batch"),
        (read_value, "call", "reads a tensor's value into Python"),
        (numpy_inside, "numpy", "cannot be compiled"),
        (moving_state, "call", "changes 'body.1.state' in place"),
        (count_by_two, "call", "changes 'body.1.count' in place"),
        (count_twice, "call", "changes 'body.1.count' in place once more"),
        (custom_function, "function", "Double is a custom torch.autograd.Function"),
        (custom_operator, "call", "not one of PyTorch's own"),
        (mixed_precision, "call", "mixed precision"),
        (wrong_shape, "shape", "cannot be compiled"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_error_names_module_class_and_line(act, marker, text, capfd):
    message = error_of(Model(act))
    assert text in message
    assert f"body.1 (Inner), {line_of(marker)}" in message
    assert "torch.export" not in message and "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_answers_that_depend_on_how_often_the_model_was_asked():
    message = error_of(Model(count_calls))
    assert message.startswith("the model changes 'body.1.count' in evaluation mode too, and its outputs depend on it")


def embedding_with_max_norm():
    return nn.Sequential(nn.Embedding(5, 4, max_norm=1.0), nn.Flatten(), nn.Linear(4, 1))


def test_a_parameter_that_forward_changes():
    message = error_of(embedding_with_max_norm(), inputs=[TensorSpec("x", "int64", (1,))])
    assert message.startswith(
        "the model changes '0.weight' in place by aten.embedding_renorm_.default at 0 (Embedding)"
    )


def test_a_batch_norm_with_a_cumulative_mean():
    message = error_of(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=None)), labels=[TensorSpec("y", "float32", (3,))]
    )
    assert "1 (BatchNorm1d)" in message


def test_shapes_of_output_and_label_are_both_named():
    message = error_of(nn.Linear(4, 3), labels=[TensorSpec("y", "float32", (2,))])
    assert message == (
        "MSELoss needs one label value for each output value: the model's output has shape [rows, 3], "
        "the label has [rows, 2]"
    )


@pytest.mark.parametrize(
    "model, loss, labels, text",
    [
        (
            nn.Linear(4, 3),
            nn.CrossEntropyLoss(),
            [TensorSpec("y", "int64", (2,))],
            "needs one class number for each row",
        ),
        (
            nn.Linear(4, 1),
            nn.CrossEntropyLoss(),
            CLASS,
            "needs at least two classes (for one output use BCEWithLogitsLoss)",
        ),
        (
            nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)),
            nn.CrossEntropyLoss(),
            CLASS,
            "needs outputs of shape [rows, classes]",
        ),
        (nn.Linear(4, 3), nn.BCEWithLogitsLoss(), CLASS, "has shape [rows, 3], the label has [rows]"),
        (nn.Linear(4, 3), nn.MultiLabelMarginLoss(), CLASS, "needs labels of the output's shape"),
        (nn.Linear(4, 3), nn.GaussianNLLLoss(), ONE, "needs a model with two outputs; this one has 1"),
        (nn.LSTM(4, 3), nn.MSELoss(), ONE, "takes one output, but the model has 3 (0, 1.0, 1.1)"),
        (nn.Linear(4, 3), nn.MSELoss(), [*ONE, TensorSpec("z")], "takes one label, but there are 2 (y, z)"),
        (nn.Linear(4, 3), nn.MSELoss, ONE, "loss is the class MSELoss; give an instance: MSELoss()"),
        (nn.Linear(4, 3), "mse", ONE, "loss is a str; give a torch loss or a callable"),
        (nn.Linear(4, 3), lambda o, y: 3.0, ONE, "returns a float, not a tensor"),
        (nn.Linear(4, 3), lambda o, y: o.detach().sum(), ONE, "does not depend on any trainable parameter"),
        (nn.Linear(4, 3), lambda o, y: o.sum(1), ONE, "set lossReduction='none' if it has a loss for each row"),
        (nn.Linear(4, 3), lambda o, y: o.sum().double(), ONE, "gives float64; Stoker trains in float32"),
    ],
)
def test_a_loss_that_does_not_fit(model, loss, labels, text):
    assert text in error_of(model, loss, labels=labels)


def test_a_loss_for_each_row_that_is_not():
    message = error_of(nn.Linear(4, 3), lambda o, y: o.sum(), loss_reduction="none")
    assert "with lossReduction='none' it must have one loss for each row" in message


def test_sample_weights_with_a_loss_that_is_one_number():
    message = error_of(nn.Linear(4, 3), lambda o, y: o.sum(), weighted=True)
    assert "sample weights need a loss for each row" in message and "lossReduction='none'" in message


def test_an_unknown_reduction():
    assert "lossReduction is 'max'" in error_of(nn.Linear(4, 3), loss_reduction="max")


def test_an_error_in_the_user_s_loss_names_its_line():
    def loss(outputs, labels):
        return (outputs @ labels).mean()  # loss

    message = error_of(nn.Linear(4, 3), loss, labels=[TensorSpec("y", "float32", (2,))])
    assert line_of("loss") in message


@pytest.mark.parametrize(
    "model, text",
    [
        (nn.Linear(4, 1).half(), "parameter 'weight' is float16; Stoker keeps float32 weights: call model.float()"),
        (nn.Linear(4, 1).double(), "parameter 'weight' is float64; Stoker keeps float32 weights"),
        (nn.ReLU(), "the model has no trainable parameter"),
        (nn.Linear(4, 1).requires_grad_(False), "the model has no trainable parameter"),
        (len, "model is a builtin_function_or_method; give a torch.nn.Module"),
    ],
)
def test_a_model_that_cannot_be_trained(model, text):
    assert text in error_of(model)


def test_a_model_that_cannot_be_copied():
    model = nn.Linear(4, 1)
    model.extra = threading.Lock()
    assert error_of(model).startswith("the model or loss cannot be copied (copy.deepcopy)")


def test_a_model_that_returns_something_else():
    class Odd(nn.Linear):
        def forward(self, x):
            return {super().forward(x)}

    assert "the model returns a set" in error_of(Odd(4, 1), lambda o, y: next(iter(o)).mean())


def test_no_output_has_a_row_for_each_row():
    class Total(nn.Linear):
        def forward(self, x):
            return super().forward(x).sum(0)

    message = error_of(Total(4, 3), lambda o, y: o.mean() + y.mean(), loss_reduction="sum")
    assert message == "the model gives no output with one row for each input row, only 'output' with shape [3]"


def test_an_output_without_rows_is_left_out_and_told():
    class Recurrent(nn.LSTM):
        def forward(self, x):
            states, (last, _) = super().forward(x)
            return {"y": states, "last": last}

    specs = [TensorSpec("x", "float32", (5, 4))]
    compiled = compile(Recurrent(4, 3, batch_first=True), lambda o, y: o["y"].mean(), specs, ONE)
    assert compiled.output_shapes == {"y": (5, 3)}
    assert re.fullmatch(
        r"output 'last' with shape \[1, s\d+, 3\] has no row .* left out of transform", compiled.notes[0]
    )


def test_an_unknown_metric():
    with pytest.raises(ValueError, match="metric is 'f1'"):
        compile(nn.Linear(4, 1), nn.MSELoss(), X, ONE, metric="f1")


def packed(self, x):
    whole = nn.utils.rnn.pack_padded_sequence(x[:, :, None], torch.full((x.shape[0],), 4), batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(whole, batch_first=True)[0][:, :, 0]


@pytest.mark.parametrize(
    ("act", "cure"),
    [
        (lambda self, x: torch.cdist(x, x.new_ones(4, 4)), "compute_mode='donot_use_mm_for_euclid_dist'"),
        (lambda self, x: torch.vmap(torch.sin)(x), "torch.vmap is not compiled: write the operation for the whole"),
        (lambda self, x: torch.nested.nested_tensor([x[0], x[1]]), "Nested tensors are not compiled: pad the rows"),
        (packed, "Packed sequences read lengths as values: run the layer on padded rows"),
    ],
)
def test_where_torch_has_another_way_it_is_told(act, cure):
    assert cure in error_of(Model(act))


def test_a_loss_of_another_dtype_says_what_makes_it_so():
    text = error_of(nn.Linear(4, 1), lambda y, label: nn.functional.mse_loss(y, label).bfloat16())
    assert text.endswith("gives bfloat16; Stoker trains in float32: leave torch.autocast and .to() of other dtypes out "
                         "of model and loss")  # fmt: skip
