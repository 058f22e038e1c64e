"""Keras models: each kind is what Keras makes of it (loss, gradients, steps, statistics), and the way back."""

import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier, StokerEstimator
from stoker.errors import UserError
from stoker.frontend import torch as frontend
from stoker.frontend.additivity import denominator_of
from stoker.frontend.bridges import as_torch
from stoker.frontend.chance import draws
from stoker.frontend.interpret import Interpreter
from stoker.program import TensorSpec

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers
ROWS, RATE = 24, 0.1


class Penalised(layers.Layer):
    """A layer of the user's own: a weight, and a loss of its activations."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return x * self.scale


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, units=5, **more):
        super().__init__(**more)
        self.units, self.dense, self.norm = units, layers.Dense(units, "tanh"), layers.BatchNormalization()
        self.drop, self.last = layers.Dropout(0.0), layers.Dense(3)

    def call(self, x, training=None):
        return self.last(self.drop(self.norm(self.dense(x), training=training), training=training))

    def get_config(self):
        return {"units": self.units}


def sequential():
    first = layers.Dense(8, "relu", kernel_regularizer="l2")
    last = layers.Dense(3, activity_regularizer="l1")
    return keras.Sequential([keras.Input((4,)), first, layers.BatchNormalization(momentum=0.8), last])


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    return keras.Model({"a": a, "b": b}, layers.Dense(3)(layers.Concatenate()([layers.Dense(3)(a), b])))


def nested_and_shared():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu"), layers.LayerNormalization()])
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(layers.Add()([inner(x), inner(inner(x))])))


def frozen():
    model = sequential()
    model.layers[0].trainable = False
    return model


def with_own_layer():
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), Penalised(), layers.Dense(3)])


def convolution():
    return keras.Sequential([keras.Input((4,)), layers.Reshape((2, 2, 1)), layers.Conv2D(4, 2, padding="same"),
                             layers.GlobalAveragePooling2D(), layers.Dense(3)])  # fmt: skip


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


KINDS = [sequential, two_inputs, nested_and_shared, frozen, with_own_layer, convolution, subclassed]


def rows_for(model):
    random = np.random.default_rng(0)
    sizes = {"a": 4, "b": 2} if len(getattr(model, "inputs", None) or ()) > 1 else {"features": 4}
    rows = {name: torch.tensor(random.normal(size=(ROWS, size)).astype(np.float32)) for name, size in sizes.items()}
    return rows, torch.tensor(random.integers(0, 3, ROWS))


def by_keras(model, rows, label):
    """Loss, gradients and new weights of one step."""
    given = rows if len(rows) > 1 else next(iter(rows.values()))
    loss = nn.functional.cross_entropy(model(given, training=True), label) + sum(model.losses)
    values = [variable.value for variable in model.trainable_variables]
    gradients = torch.autograd.grad(loss, values)
    with torch.no_grad():
        for value, gradient in zip(values, gradients):
            value.sub_(RATE * gradient)
    return loss.item(), gradients


def as_given(tensor, layout):
    return tensor.permute(layout) if layout else tensor


def by_program(compiled, weights, rows, label):
    """The same by the training program; `weights` are stepped."""
    program = compiled.train
    named = {e["name"]: weights[e["name"]] for k in ("parameters", "buffers", "constants") for e in program[k]}
    values = {e["slot"]: named[e["name"]] for k in ("parameters", "buffers", "constants") for e in program[k]}
    values |= {e["slot"]: {**rows, "label": label}[e["name"]] for e in program["inputs"]}
    trained = [named[e["name"]].requires_grad_() for e in program["parameters"]]
    slots = Interpreter(program).run(values)
    mean = slots[program["loss"]["numerator"]] / denominator_of(program, slots, ROWS)
    gradients = torch.autograd.grad(mean, trained)
    for entry, gradient in zip(program["parameters"], gradients):
        weights[entry["name"]] = weights[entry["name"]].detach() - RATE * gradient
    return mean.item(), gradients


def compiled_of(model, rows):
    specs = [TensorSpec(name, "float32", tuple(values.shape[1:])) for name, values in rows.items()]
    return frontend.compile(model, nn.CrossEntropyLoss(), specs, [TensorSpec("label", "int64", ())])


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_three_steps_are_those_of_keras(make):
    keras.utils.set_random_seed(3)
    model = make()
    rows, label = rows_for(model)
    compiled = compiled_of(model, rows)
    weights = {name: torch.tensor(values) for name, values in compiled.weights.items()}
    entries = [*compiled.train["parameters"], *compiled.train["constants"]]
    layouts = {entry["name"]: entry.get("layout") for entry in entries}
    for _ in range(3):
        expected, gradients = by_keras(model, rows, label)
        loss, found = by_program(compiled, weights, rows, label)
        assert loss == pytest.approx(expected, rel=1e-5)
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        for a, b, entry in zip(found, gradients, compiled.train["parameters"], strict=True):
            assert float((as_given(a, layouts[entry["name"]]) - b).abs().max()) <= 1e-5 * largest
    for variable in model.variables:
        if "seed_generator" not in variable.path:
            found = as_given(weights[variable.path].detach(), layouts.get(variable.path)).numpy()
            assert np.allclose(found, variable.numpy(), rtol=1e-4, atol=1e-5), variable.path


def test_the_model_that_is_given_stays_as_it_is():
    model = sequential()
    before = [variable.numpy().copy() for variable in model.variables]
    rows, _ = rows_for(model)
    compiled_of(model, rows)
    assert all(np.array_equal(a, variable.numpy()) for a, variable in zip(before, model.variables))
    assert np.isfinite(model.predict(rows["features"].numpy(), verbose=0)).all()


def test_dropout_is_drawn_by_the_workers_and_off_in_transform():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dropout(0.5, seed=3), layers.Dense(3)])
    compiled = compiled_of(model, rows_for(model)[0])
    assert sum(map(draws, compiled.train["nodes"])) == 1
    assert not any(map(draws, compiled.infer["nodes"]))


def test_own_losses_count_the_same_over_shards_of_any_size():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l2")])
    compiled = compiled_of(model, rows_for(model)[0])
    assert compiled.notes == []


def error_of(model, **options):
    with pytest.raises(UserError) as caught:
        StokerClassifier(model=model, **options)._naming()
    return str(caught.value)


def test_a_model_that_is_not_built_is_refused_by_name():
    told = error_of(keras.Sequential([layers.Dense(3)], name="late"))
    assert "the Keras model 'late' (Sequential) is not built" in told and "keras.Input" in told


def test_a_subclassed_model_does_not_tell_what_its_outputs_mean():
    with pytest.raises(UserError, match=r"'net'.* set outputKind"):
        model = Subclassed(name="net")
        model(np.zeros((1, 4), np.float32))
        frontend.default_output_kind(as_torch(model), None)


def test_constraints_and_penalties_beside_a_sum_are_refused():
    bound = layers.Dense(3, kernel_constraint="max_norm", name="bound")
    told = error_of(keras.Sequential([keras.Input((4,)), bound]))
    assert "bound/kernel' has the constraint MaxNorm" in told
    with pytest.raises(UserError, match="adds losses of its own"):
        loss, row = nn.CrossEntropyLoss(reduction="sum"), [TensorSpec("features", "float32", (4,))]
        frontend.compile(sequential(), loss, row, [TensorSpec("label", "int64", ())])


class Counting(layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign(self.calls + 1)
        return x


class Branching(layers.Layer):
    def call(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("layer", "told"), [
    (Counting(name="tally"), "changes its variable '.*tally/calls'"),
    (Branching(name="fork"), r"branches on the values of a tensor at .*fork \(Branching\), .*test_keras.py"),
])  # fmt: skip
def test_errors_name_the_keras_layer(layer, told):
    model = keras.Sequential([keras.Input((4,)), layer, layers.Dense(3)])
    with pytest.raises(UserError, match=told):
        compiled_of(model, rows_for(model)[0])


def test_a_fit_gives_the_keras_model_back_also_after_loading(spark, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.BatchNormalization(),
                              layers.Dense(3, "softmax")])  # fmt: skip
    features, labels = blobs(300)
    before = copy.deepcopy(model.get_weights())
    fit = StokerClassifier(model=model, epochs=4, batchSize=30, learningRate=0.02).fit(table(spark, features, labels))
    expected = fit.keras().predict(features, verbose=0)
    assert (expected.argmax(1) == labels).mean() > 0.9
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    rows = fit.transform(table(spark, features[:50], labels[:50])).select("probability").collect()
    assert np.allclose([row.probability.toArray() for row in rows], expected[:50], atol=1e-5)
    fit.write().save(str(tmp_path / "model"))
    loaded = StokerClassificationModel.load(str(tmp_path / "model"))
    assert np.array_equal(loaded.keras().predict(features, verbose=0), expected)


def test_a_subclassed_model_comes_back_by_its_configuration_or_into_another(spark):
    model = subclassed()
    features, labels = blobs(60)
    estimator = StokerEstimator(model=model, loss=nn.CrossEntropyLoss(), labelTypes={"label": "int64"}, epochs=1)
    fit = estimator.fit(table(spark, features, labels))
    other = subclassed()
    assert fit.keras(into=other) is other
    assert np.array_equal(fit.keras()(features).detach().numpy(), other(features).detach().numpy())
    with pytest.raises(UserError, match="into=net"):
        fit.keras(into=with_own_layer())


def test_a_call_without_training_runs_its_layers_as_keras_does_and_says_so():
    class Untold(keras.Model):
        def __init__(self):
            super().__init__(name="untold")
            self.dense, self.drop = layers.Dense(3), layers.Dropout(0.5)

        def call(self, x):
            return self.drop(self.dense(x))

    model = Untold()
    rows, _ = rows_for(model)
    model(rows["features"])
    compiled = compiled_of(model, rows)
    assert not any(map(draws, compiled.train["nodes"]))
    assert any("takes no training=" in note and "(Dropout)" in note for note in compiled.notes)
