"""Parts that stay as they are, and new heads: nothing but what is meant is trained."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier, replace_head
from stoker.errors import UserError
from stoker.fit.compiling import Prepared
from stoker.frontend import torch as frontend
from stoker.ml.estimators import with_weights_of
from stoker.program import TensorSpec

ROWS = [TensorSpec("features", "float32", (4,))]
LABEL = [TensorSpec("label", "int64", ())]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, features):
        return self.head(self.encoder(features))


def trained(model, *patterns, upTo=None):
    compiled = frontend.compile(model, nn.CrossEntropyLoss(), ROWS, LABEL, freeze={"upTo": upTo} if upTo else patterns)
    return [entry["name"] for entry in compiled.train["parameters"]], compiled


@pytest.mark.parametrize("pattern", ["encoder.*", "encoder", "enc*"])
def test_what_matches_is_not_trained_and_keeps_its_statistics(pattern):
    net = Net()
    names, compiled = trained(net, pattern)
    assert names == ["head.weight", "head.bias"] and compiled.train["buffers"] == []
    assert any("frozen: 4 of 6 parameters" in note for note in compiled.notes)
    assert all(parameter.requires_grad for parameter in net.parameters()) and net.encoder[1].training


def test_a_norm_that_is_frozen_in_part_is_trained_as_before():
    names, compiled = trained(Net(), "encoder.1.bias")
    assert "encoder.1.weight" in names and compiled.train["buffers"]


def test_a_norm_without_parameters_lies_in_the_part_that_is_frozen():
    net = nn.Sequential()
    net.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False))
    net.head = nn.Linear(6, 3)
    assert trained(net, "body")[1].train["buffers"] == [] and trained(net, "body.0")[1].train["buffers"]


@pytest.mark.parametrize(("patterns", "told"), [
    (["encodr"], "freeze: no parameter of the model matches 'encodr'; did you mean 'encoder'?"),
    (["zzz*"], "freeze: no parameter of the model matches 'zzz*'; it has 'encoder.0.weight'"),
    (["*"], "freeze: its patterns match every parameter"),
])  # fmt: skip
def test_patterns_that_freeze_nothing_or_all_are_errors(patterns, told):
    with pytest.raises(UserError) as caught:
        trained(Net(), *patterns)
    assert told in str(caught.value)


class Branches(nn.Module):
    """Whose layers are declared in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.head, self.right = nn.Linear(8, 3), nn.Linear(4, 4)
        self.left = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Dropout(0.5))
        self.twice, self.after = nn.Linear(4, 4), nn.BatchNorm1d(8, affine=False)

    def forward(self, features):
        found = self.twice(self.twice(self.left(features)))
        return self.head(self.after(torch.cat([found, self.right(features)], 1)))


def test_all_that_a_layer_is_made_of_is_frozen_and_nothing_beside_it():
    net = Branches()
    names, compiled = trained(net, upTo="left.1")
    assert names == ["head.weight", "head.bias", "right.weight", "right.bias", "twice.weight", "twice.bias"]
    norms = {entry["name"].rpartition(".")[0] for entry in compiled.train["buffers"]}
    assert norms == {"after"}, "the norm without parameters before the layer's end is still"
    assert all(part.training for part in net.modules()) and not net.left[1]._forward_hooks
    assert trained(net, upTo="after")[0] == ["head.weight", "head.bias"]
    assert trained(net, upTo="after")[1].train["buffers"] == []


class Beside(nn.Module):
    """Whose norms without parameters are called first: one is beside the encoder, the other before it."""

    def __init__(self):
        super().__init__()
        self.norm, self.first = nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4, affine=False)
        self.enc, self.head = nn.Linear(4, 4), nn.Linear(8, 3)

    def forward(self, features):
        beside = self.norm(features)
        return self.head(torch.cat([beside, self.enc(self.first(features))], 1))


def test_a_norm_that_merely_runs_earlier_is_trained_as_before():
    buffers = [entry["name"] for entry in trained(Beside(), upTo="enc")[1].train["buffers"]]
    assert buffers == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_a_norm_whose_parameters_the_user_froze_is_still_up_to_a_layer():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    net[1].requires_grad_(False)
    assert trained(net)[1].train["buffers"] and trained(net, "0", "1")[1].train["buffers"] == []
    names, compiled = trained(net, upTo="1")
    assert names == ["2.weight", "2.bias"] and compiled.train["buffers"] == []
    assert [parameter.requires_grad for parameter in net.parameters()] == [True, True, False, False, True, True]


@pytest.mark.parametrize(("layer", "told"), [
    ("left.7", "freeze: the model has no layer 'left.7'; the nearest are 'left."),
    ("twice", "freeze: 'twice' is called 2 times when the model runs"),
    ("head", "freeze: up to 'head' lies every parameter of the model, so nothing is left to train"),
])  # fmt: skip
def test_up_to_where_nothing_or_all_is_frozen_is_an_error(layer, told):
    with pytest.raises(UserError) as caught:
        trained(Branches(), upTo=layer)
    assert told in str(caught.value)
    with pytest.raises(UserError, match="no parameter of the model decides what the layer '0' gives"):
        trained(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), upTo="0")
    with pytest.raises(TypeError, match=r"{'upTo': 'the name of a layer'}, not {'to': 'x'}"):
        StokerClassifier(model=Net(), freeze={"to": "x"})


def test_a_new_head_is_trained_on_the_frozen_trunk(spark):
    net = Net()
    model = replace_head(net, 5)
    assert model.head.out_features == 5 and net.head.out_features == 3
    features, labels = blobs(90)
    fit = StokerClassifier(model=model, freeze="encoder", batchSize=30, epochs=3, verbose=0)
    state = fit.fit(table(spark, features, labels)).torch().state_dict()
    before = net.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before if name.startswith("encoder"))
    assert not torch.equal(state["head.weight"], model.head.weight)


def test_a_last_layer_that_is_none_of_linear_is_told():
    with pytest.raises(UserError, match=r"last layer is '1' \(Conv1d\), not an nn.Linear"):
        replace_head(nn.Sequential(nn.Linear(4, 4), nn.Conv1d(1, 1, 1)), 2)
    with pytest.raises(UserError, match="classes is 0"):
        replace_head(Net(), 0)


def test_a_head_of_two_names_is_replaced_under_both():
    net = nn.Module()
    net.fc = nn.Linear(4, 10)
    net.classifier = net.fc
    made = replace_head(net, 3)
    assert made.classifier is made.fc and made.fc.out_features == 3 and net.fc.out_features == 10


def test_a_part_of_another_layer_is_no_head():
    net = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    with pytest.raises(UserError, match=r"last layer is '1\.out_proj'"):
        replace_head(net, 3)


@pytest.fixture
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def of_keras(keras):
    layers = keras.layers
    trunk = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.BatchNormalization(name="norm")], name="trunk")
    return keras.Sequential([keras.Input((4,)), trunk, layers.Dense(3, "softmax", name="top")])


def test_keras_layers_are_frozen_by_their_paths(keras):
    model = of_keras(keras)
    names, compiled = trained(model, "trunk")
    assert all("top" in name for name in names) and len(names) == 2 and compiled.train["buffers"] == []
    assert all(layer.trainable for layer in model._flatten_layers())
    assert len(trained(model, "*/bias")[0]) == 4
    for layer in ("trunk", "trunk/norm", model.layers[0].layers[1].name):
        names, compiled = trained(model, upTo=layer)
        assert len(names) == 2 and all("top" in name for name in names) and compiled.train["buffers"] == []
    names, compiled = trained(model, upTo=model.layers[0].layers[0].name)
    assert len(names) == 4 and len(compiled.train["buffers"]) == 2


def test_keras_norms_without_parameters_are_still_where_they_decide(keras):
    layers, rows = keras.layers, keras.Input((4,))
    bare = {"center": False, "scale": False}
    beside = layers.BatchNormalization(name="beside", **bare)(rows)
    found = layers.Dense(4, name="enc")(layers.BatchNormalization(name="first", **bare)(rows))
    model = keras.Model(rows, layers.Dense(3, name="top")(layers.Concatenate()([beside, found])))
    buffers = [entry["name"] for entry in trained(model, upTo="enc")[1].train["buffers"]]
    assert len(buffers) == 2 and all("beside" in name for name in buffers)


def test_what_the_user_froze_stays_so_and_norms_of_a_frozen_part_only_are_still(keras):
    layers = keras.layers

    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="blk")
            self.dense, self.norm = layers.Dense(4, name="d"), layers.BatchNormalization(name="bn")

        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
            self.dense.build(shape)
            self.norm.build(shape)

        def call(self, x, training=None):
            return self.norm(self.dense(x) * self.scale, training=training)

    model = keras.Sequential([keras.Input((4,)), Block(), layers.Dense(3, name="top")])
    model.layers[0].dense.trainable = False
    names, compiled = trained(model, "*scale")
    assert not model.layers[0].dense.trainable and model.layers[0].norm.trainable
    assert any("gamma" in name for name in names) and compiled.train["buffers"], "the norm is trained"


def test_a_keras_model_gets_a_new_head(keras):
    model = of_keras(keras)
    made, x = replace_head(model, 5), np.ones((2, 4), np.float32)
    assert made.output_shape == (None, 5) and model.output_shape == (None, 3)
    assert np.array_equal(made.layers[-2](x).detach(), model.layers[-2](x).detach())
    assert replace_head(model, 1).layers[-1].activation is keras.activations.sigmoid
    of_two = keras.layers.Dense(1, "sigmoid", kernel_regularizer="l2")
    binary = replace_head(keras.Sequential([keras.Input((4,)), of_two]), 5).layers[-1]
    assert binary.activation is keras.activations.softmax and binary.kernel_regularizer is not None
    with pytest.raises(UserError, match=r"last layer is 'drop' \(Dropout\), not a Dense"):
        replace_head(keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.1, name="drop")]), 2)


def test_frozen_parts_begin_with_the_weights_and_statistics_of_an_initial_model(spark):
    def fit(**params):
        torch.manual_seed(params.get("epochs"))
        return StokerClassifier(model=Net(), numWorkers=1, numShards=2, verbose=0, **params).fit(rows)

    rows = table(spark, *blobs(100))
    first = fit(epochs=2)
    on, before = fit(epochs=1, initialModel=first, freeze=["encoder"]).torch().state_dict(), first.torch().state_dict()
    kept = {name: torch.equal(values, before[name]) for name, values in on.items()}
    assert kept == {name: name.startswith("encoder.") for name in before}


def test_frozen_tied_weights_are_those_of_an_initial_model_under_each_name():
    def net():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
        model[1].weight = model[0].weight
        return model

    first, frozen = trained(net())[1], trained(net(), "0", "1")[1]
    on = with_weights_of(first, Prepared(frozen)).compiled
    for name in ("0.weight", "1.weight", "1.bias"):
        np.testing.assert_array_equal(on.state()[name], first.state()[name])
