"""Names mean what they say: which argument an input goes to, keys that speak of nothing, spellings of dtypes."""

import numpy as np
import pytest
import torch
from torch import nn

from stoker import StokerClassifier, StokerEstimator, UserError
from stoker.fit.compiling import Probe
from stoker.frontend import structure
from stoker.frontend.module import ProgramModule
from stoker.inputs import Array, Numeric
from stoker.ml.dtypes import dtype_of
from stoker.spark.columns import Source


class Towers(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def forward(self, wide, deep):
        return super().forward(wide) - deep


def prepared(model=None, **params):
    usual = {"model": model or Towers(), "inputShape": [2], "inputs": {"wide": "a", "deep": "b"}}
    return StokerClassifier(**{**usual, **params})._prepare(None)


def refusal(*args, **params):
    with pytest.raises(UserError) as told:
        prepared(*args, **params)
    return str(told.value)


def test_a_misspelt_input_is_told_with_the_nearest_argument():
    told = refusal(inputs={"deeep": "b", "wide": "a"})
    assert told == (
        "inputs['deeep']: forward of Towers has no argument 'deeep'; did you mean 'deep'? Its arguments: wide, deep"
    )


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"deep": "b"}, "needs the argument 'wide', and no input feeds it: inputs has deep. Its arguments: wide, deep"),
        ({"deeep": "b"}, "has no argument 'deeep'; did you mean 'deep'?"),
        (["a", "b"], "needs the argument 'deep', and no input feeds it: inputs has features."),
    ],
)
def test_an_argument_that_no_input_feeds_is_told(inputs, told):
    assert told in refusal(inputs=inputs)


def test_one_input_may_have_any_name_only_where_forward_has_one_argument():
    class Masked(nn.Linear):
        def forward(self, x, mask=None):
            return super().forward(x if mask is None else x * mask)

    prepared(nn.Linear(2, 2), inputs={"whatever": "a"})
    prepared(Masked(2, 2), inputs=["a", "b"])
    prepared(Masked(2, 2), inputs={"x": "a"})
    assert "did you mean 'mask'?" in refusal(Masked(2, 2), inputs={"maks": "a"})


def arguments_of(forward, **tensors):
    model = nn.Module()
    model.forward = forward
    return structure.call(model, tensors)


def test_every_kind_of_argument_gets_the_input_of_its_name():
    assert arguments_of(lambda a, /, b, *, c, d=4: (a, b, c, d), c=3, b=2, a=1) == (1, 2, 3, 4)
    assert arguments_of(lambda a, *more, **named: (a, more, named), z=3, a=1) == (1, (), {"z": 3})
    assert arguments_of(lambda a=1, b=2: (a, b), b=5) == (1, 5)
    assert arguments_of(lambda *all: all, a=1) == (1,)
    for forward in (lambda *all: all, lambda batch: batch):
        with pytest.raises(UserError, match="has no argument 'a'"):
            arguments_of(forward, a=1, b=2)
    with pytest.raises(UserError, match="needs the argument 'c', and no input feeds it: inputs has a, z"):
        arguments_of(lambda a, *, c, **named: a, a=1, z=2)


def test_a_saved_model_takes_no_other_names():
    compiled = prepared()[0].compiled
    module, wide, deep = ProgramModule(compiled.infer, compiled.weights), torch.ones(3, 2), torch.zeros(3, 2)
    assert torch.equal(module(wide, deep), module(deep=deep, wide=wide))
    for args, named in (((wide, deep, deep), {}), ((wide,), {"wide": deep}), ((wide, deep), {"dep": deep})):
        with pytest.raises(TypeError, match="forward takes wide, deep, each once"):
            module(*args, **named)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"inputTypes": {"wied": "int64"}}, "inputTypes: there is no input 'wied'; did you mean 'wide'?"),
        ({"inputShape": {"wied": [2]}}, "inputShape: there is no input 'wied'; did you mean 'wide'?"),
        ({"inputs": {"wide": Array("a", [2]), "deep": "b"}, "inputShape": {"wide": [2]}}, "leave 'wide' out here"),
        ({"inputs": {"wide": Array("a", [2]), "deep": Numeric("b")}}, "every input is declared"),
        ({"featuresCols": ["a"]}, "featuresCols and inputs are both set"),
        ({"featuresCol": "a"}, "featuresCol and inputs are both set"),
        ({"inputs": {}}, "inputs is empty"),
        ({"inputTypes": "int64"}, "inputTypes takes dtypes by name"),
    ],
)
def test_what_speaks_of_no_input_is_refused(params, told):
    assert told in refusal(**params)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"labelTypes": {"pirce": "int64"}}, "labelTypes: there is no label 'pirce'; did you mean 'price'?"),
        ({"labelCol": "y"}, "labelCol and labelCols are both set"),
    ],
)
def test_what_speaks_of_no_label_is_refused(params, told):
    estimator = StokerEstimator(model=nn.Linear(2, 2), loss=nn.MSELoss(), labelCols={"price": "y"}, **params)
    with pytest.raises(UserError, match=told):
        estimator._prepare(None)


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("int64", ["int64", "long", "bigint", "torch.long", torch.int64, torch.long, np.int64, np.dtype("int64"), int]),
        ("int32", ["int", "Integer", torch.int, np.int32, np.dtype("<i4"), np.intc]),
        ("float64", ["double", torch.double, np.float64, np.dtype(float), "np.float64"]),
        ("float32", ["float", "Float32", torch.float32, np.float32, float]),
        ("uint8", ["uint8", torch.uint8, np.uint8]),
    ],
)
def test_dtypes_go_by_any_usual_spelling(name, spellings):
    assert {dtype_of("x", told) for told in spellings} == {name}


@pytest.mark.parametrize("told", ["flaot32", "half", torch.bfloat16, np.float16, "bool", bool, np.bool_, None, "int8"])
def test_other_dtypes_are_refused_in_words(told):
    with pytest.raises(UserError, match=r"inputTypes\['x'\]: .* is no dtype of inputs and labels: (it may be|give) "):
        StokerClassifier(inputTypes={"x": told})


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Linear, "model is the class Linear; give an instance"),
        ("resnet", "model is a text, 'resnet': give the torch.nn.Module"),
        ([], "model is a list"),
    ],
)
def test_what_is_no_module_is_refused(model, told):
    with pytest.raises(UserError, match=told):
        StokerClassifier(model=model)._prepare(None)


class CrossEntropy(nn.Module):
    """Not torch's own, so that nothing is known of its labels."""

    def forward(self, outputs, label):
        return nn.functional.cross_entropy(outputs, label.reshape(-1)[: outputs.shape[0]])


def test_a_loss_module_of_the_user_s_is_tried_with_both_dtypes():
    probe = Probe(nn.Linear(2, 3), [Source("features", ("x",), "featuresCol", shape=(2,))])
    label = Source("label", ("y",), "labelCol", role="label")
    assert [source.dtype for source in probe.typed_for(CrossEntropy(), [label], {})] == ["int64"]
    assert [source.dtype for source in probe.typed_for(CrossEntropy(), [label], {"label"})] == ["float32"]
