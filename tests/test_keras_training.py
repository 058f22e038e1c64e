"""How Keras models are trained: optimizers, schedules and losses are Keras' own, and compile() is heard."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import blobs, table
from stoker import StokerClassifier, StokerEstimator, StokerRegressor, optimizer
from stoker.engine import core
from stoker.errors import UserError
from stoker.fit.compiled import with_metrics_that_fit
from stoker.fit.settings import FitSettings
from stoker.frontend import torch as frontend
from stoker.frontend.additivity import denominator_of
from stoker.frontend.interpret import Interpreter
from stoker.program import TensorSpec

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers, losses, optimizers = keras.layers, keras.losses, keras.optimizers
schedules = optimizers.schedules
ROWS, STEPS = 16, 20


def mlp(units=3, activation=None):
    keras.utils.set_random_seed(5)
    return keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(units, activation)])


def excluding():
    made = optimizers.AdamW(0.01, weight_decay=0.1)
    made.exclude_from_weight_decay(var_names=["bias"])
    return made


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(schedules.ExponentialDecay(0.05, 5, 0.5), momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(0.01),
    "adam with eps": lambda: optimizers.Adam(0.01, epsilon=0.1, beta_1=0.8),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, epsilon=1e-3, weight_decay=0.01),
    "adamw": lambda: optimizers.AdamW(0.01),
    "adamw excluding": excluding,
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rmsprop with all": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True, epsilon=1e-2),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01, weight_decay=0.1),
    "nadam": lambda: optimizers.Nadam(0.01),
    "lion": lambda: optimizers.Lion(0.001, weight_decay=0.1),
    "ftrl": lambda: optimizers.Ftrl(0.1, l1_regularization_strength=1e-3, l2_regularization_strength=1e-2, beta=0.1),
    "ftrl shrunk": lambda: optimizers.Ftrl(0.1, l2_shrinkage_regularization_strength=0.1, weight_decay=0.01),
    "lamb": lambda: optimizers.Lamb(0.01, weight_decay=0.1),
    "lamb of a schedule": lambda: optimizers.Lamb(schedules.PolynomialDecay(0.2, 15, 0.001), weight_decay=0.5),
    "adafactor": lambda: optimizers.Adafactor(0.05, weight_decay=0.1),
    "adafactor with all": lambda: optimizers.Adafactor(
        schedules.PolynomialDecay(0.2, 15, 0.001), beta_2_decay=-0.5, epsilon_1=1e-4, epsilon_2=1e-2, clip_threshold=0.5
    ),
    "clipnorm": lambda: optimizers.Adam(0.01, epsilon=0.1, clipnorm=0.05),
    "global_clipnorm": lambda: optimizers.SGD(0.1, global_clipnorm=0.05),
    "clipvalue": lambda: optimizers.SGD(0.1, clipvalue=0.01),
    "ema": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7),
}  # fmt: skip


def batches(seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(STEPS * ROWS, 4)).astype(np.float32)
    return features, random.integers(0, 3, STEPS * ROWS)


class Steps:
    """What a worker does in a step: the training program, then the engine's optimizer."""

    def __init__(self, estimator, label=("int64", ())):
        estimator = estimator._with_module()
        loss, specs = estimator.value("loss"), [TensorSpec("features", "float32", (4,))]
        self.compiled = frontend.compile(estimator._module(), loss, specs, [TensorSpec("label", *label)])
        spec = estimator._optimizer_spec(type("Of", (), {"compiled": self.compiled}))
        self.clip = spec.get("clip_value", 0.0)
        self.program = self.compiled.train
        names = [entry["name"] for entry in self.program["parameters"]]
        self.weights = {name: torch.tensor(self.compiled.weights[name]) for name in names}
        layout = [(name, list(self.weights[name].shape), spec["groups"].get(name, 0)) for name in names]
        self.optimizer = core().ArenaOptimizer(json.dumps(spec["options"]), layout)
        self.arena = self.flat(self.weights)
        self.state = [np.zeros_like(self.arena) for _ in self.optimizer.state_names()]

    def flat(self, tensors):
        flat = np.zeros(self.optimizer.floats(), np.float32)
        for i, name in enumerate(self.weights):
            flat[slice(*self.optimizer.extent(i))] = tensors[name].detach().numpy().reshape(-1)
        return flat

    def unflat(self, flat):
        return {name: torch.tensor(flat[slice(*self.optimizer.extent(i))].reshape(self.weights[name].shape))
                for i, name in enumerate(self.weights)}  # fmt: skip

    def run(self, features, labels):
        for step in range(STEPS):
            self.weights = self.unflat(self.arena)
            rows = slice(step * ROWS, (step + 1) * ROWS)
            gradients = self.gradients(torch.tensor(features[rows]), torch.tensor(labels[rows]))
            if self.clip:
                gradients = {name: g.clamp(-self.clip, self.clip) for name, g in gradients.items()}
            self.optimizer.update(step + 1, self.flat(gradients), 1.0, self.arena, self.state)
        averaged = "average" in self.optimizer.state_names()
        return self.given(self.unflat(self.state[-1] if averaged else self.arena))

    def given(self, weights):
        """As Keras has them."""
        arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
        given = replace(self.compiled, weights=arrays).given()
        return {name: torch.tensor(array) for name, array in given.items()}

    def gradients(self, features, label):
        trained = [self.weights[entry["name"]].requires_grad_() for entry in self.program["parameters"]]
        values = dict(zip([entry["slot"] for entry in self.program["parameters"]], trained))
        values |= {e["slot"]: {"features": features, "label": label}[e["name"]] for e in self.program["inputs"]}
        values |= {e["slot"]: torch.tensor(self.compiled.weights[e["name"]]) for e in self.program["constants"]}
        slots = Interpreter(self.program).run(values)
        mean = slots[self.program["loss"]["numerator"]] / (denominator_of(self.program, slots, ROWS) or 1)
        return dict(zip(self.weights, torch.autograd.grad(mean, trained)))


def assert_as_in_keras(weights, model, tolerance=1e-5):
    for variable in model.trainable_variables:
        expected, found = variable.numpy(), weights[variable.path].detach().numpy()
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected), variable.path


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_those_of_keras_fit(name):
    model, (features, labels) = mlp(), batches()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=OPTIMIZERS[name](), loss=loss)
    weights = Steps(StokerClassifier(model=model)).run(features, labels)
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    model.fit(features, labels, batch_size=ROWS, shuffle=False, verbose=0)
    assert not all(np.allclose(a, b.numpy(), atol=1e-3) for a, b in zip(before, model.trainable_variables))
    assert_as_in_keras(weights, model)


SCHEDULES = [
    schedules.ExponentialDecay(0.1, 7, 0.5), schedules.ExponentialDecay(0.1, 7, 0.5, staircase=True),
    schedules.PiecewiseConstantDecay([3, 10], [0.1, 0.3, 0.02]),
    schedules.PiecewiseConstantDecay([2.5, 9.75], [0.1, 0.3, 0.02]),
    schedules.PolynomialDecay(0.1, 12, 0.01, power=2.0),
    schedules.PolynomialDecay(0.1, 6, 0.01, cycle=True), schedules.InverseTimeDecay(0.1, 5, 0.5),
    schedules.InverseTimeDecay(0.1, 5, 0.5, staircase=True), schedules.CosineDecay(0.1, 15, alpha=0.1),
    schedules.CosineDecay(0.01, 15, alpha=0.1, warmup_target=0.2, warmup_steps=5),
    schedules.CosineDecayRestarts(0.1, 5, t_mul=1.5, m_mul=0.9, alpha=0.1),
    schedules.CosineDecayRestarts(0.1, 5, t_mul=1.0, m_mul=0.5),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_rates_are_those_of_keras_schedules(schedule):
    from stoker.frontend.keras import optimizers as read

    options = read.read(optimizers.SGD(schedule), [], None, True)["options"]
    rate, told = options["groups"][0]["lr"], json.dumps(options["schedule"])
    found = [core().learning_rate(told, rate, step + 1) for step in range(40)]
    assert np.allclose(found, [float(schedule(step)) for step in range(40)], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_schedules_of_keras_go_beside_any_optimizer(schedule):
    told = StokerClassifier(model=torch.nn.Linear(4, 3), lrSchedule=schedule).getLrSchedule()
    options, _ = optimizer.parse("adamw", None, {}, [], scheduled=True)
    options = optimizer.with_schedule(options, json.loads(json.dumps(told)), "steps", 1, False)
    rate = options["groups"][0]["lr"]
    found = [core().learning_rate(json.dumps(options["schedule"]), rate, step + 1) for step in range(40)]
    assert np.allclose(found, [float(schedule(step)) for step in range(40)], rtol=1e-4, atol=1e-7)
    with pytest.raises(UserError, match=r"begins from a learning rate of its own \(.*\), and learningRate is set"):
        optimizer.with_schedule(options, told, "steps", 1, True)


class Own(schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1


class OwnAdam(optimizers.Adam):
    pass


def test_a_schedule_of_a_class_of_ones_own_is_refused():
    with pytest.raises(UserError, match="lrSchedule is a Own, which calls Python in each step: Stoker reads Expo"):
        StokerClassifier(model=torch.nn.Linear(4, 3), lrSchedule=Own())


@pytest.mark.parametrize(("make", "told"), [
    (optimizers.Muon, "Keras optimizer Muon is none that Stoker has: it has SGD, Adam,"),
    (lambda: optimizers.LossScaleOptimizer(optimizers.SGD()), "LossScaleOptimizer is none"),
    (OwnAdam, "Keras optimizer OwnAdam is none"),
    (lambda: optimizers.SGD(gradient_accumulation_steps=4), "gradient_accumulation_steps=4, .* accumulate=4 does"),
    (lambda: optimizers.SGD(use_ema=True, ema_overwrite_frequency=3), "ema_overwrite_frequency=3, which Stoker has"),
    (lambda: optimizers.Ftrl(learning_rate_power=-0.7), "learning_rate_power=-0.7, which"),
    (lambda: optimizers.Lamb(clipnorm=1.0), "Lamb has clipnorm=1.0, which Stoker has not beside"),
    (lambda: optimizers.Adafactor(global_clipnorm=1.0), "Adafactor has global_clipnorm=1.0, which Stoker has not"),
    (lambda: optimizers.Adafactor(clip_threshold=None), "Adafactor has clip_threshold=None, expected a number"),
    (lambda: optimizers.Adafactor(epsilon_1=None), "Adafactor has epsilon_1=None, expected a number"),
    (lambda: optimizers.Adam(epsilon="small"), "Adam has epsilon='small', expected a number"),
    (lambda: optimizers.SGD(Own()), "learning rate is a Own, which calls Python in each step"),
])  # fmt: skip
def test_optimizers_that_are_not_there_are_refused_by_name(make, told):
    from stoker.frontend.keras import optimizers as read

    with pytest.raises(UserError, match=told):
        read.read(make(), [], None, True)


def test_what_the_estimator_is_told_comes_before_what_compile_was():
    model = mlp()
    model.compile(optimizer=optimizers.SGD(schedules.CosineDecay(0.3, 10), clipnorm=1.0), loss="hinge")

    def spec(**told):
        estimator = StokerClassifier(model=model, **told)._with_module()
        return estimator._optimizer_spec(None)["options"], estimator

    assert spec()[0]["clip"] == {"norm": 1.0, "by_parameter": True}
    assert spec(learningRate=0.5)[0]["groups"][0]["lr"] == 0.5 and "schedule" not in spec(learningRate=0.5)[0]
    assert spec(lrSchedule="cosine", epochs=3)[0]["schedule"]["epochs"] == 3
    assert "clip" not in spec(clipNorm=2.0)[0]
    assert spec(optimizer="adam")[0]["name"] == "adam"
    assert spec(loss="mse")[1].value("loss").name == "mean_squared_error"
    with pytest.raises(UserError, match="optimizerParams: the optimizer is a Keras optimizer"):
        spec(optimizerParams={"weight_decay": 0.1})
    assert StokerClassifier(model=model)._with_module().value("loss").name == "hinge"


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def signs(labels):
    return np.sign(one_hot(labels) - 0.5).astype(np.float32)


def ignoring(labels):
    return np.where(np.arange(len(labels)) % 3 == 0, -1, labels)


NUMBERS = ("int64", ())
SEVERAL = ("float32", (3,))
LOSSES = {
    "sparse": (losses.SparseCategoricalCrossentropy(from_logits=True), None, np.asarray, NUMBERS),
    "sparse of probabilities": (losses.SparseCategoricalCrossentropy(), "softmax", np.asarray, NUMBERS),
    "ignore_class": (losses.SparseCategoricalCrossentropy(True, ignore_class=-1), None, ignoring, NUMBERS),
    "sum": (losses.SparseCategoricalCrossentropy(True, reduction="sum"), None, np.asarray, NUMBERS),
    "smoothed": (losses.CategoricalCrossentropy(label_smoothing=0.2), "softmax", one_hot, SEVERAL),
    "categorical of numbers": (losses.CategoricalCrossentropy(from_logits=True), None, np.asarray, NUMBERS),
    "binary": (losses.BinaryCrossentropy(label_smoothing=0.1), "sigmoid", one_hot, SEVERAL),
    "binary of logits": (losses.BinaryCrossentropy(from_logits=True), None, one_hot, SEVERAL),
    "focal": (losses.BinaryFocalCrossentropy(apply_class_balancing=True), "sigmoid", one_hot, SEVERAL),
    "categorical focal": (losses.CategoricalFocalCrossentropy(), "softmax", one_hot, SEVERAL),
    "generalized": (losses.CategoricalGeneralizedCrossEntropy(), "softmax", np.asarray, NUMBERS),
    "hinge": (losses.Hinge(), None, one_hot, SEVERAL),
    "squared hinge": (losses.SquaredHinge(), None, signs, SEVERAL),
    "categorical hinge": (losses.CategoricalHinge(), None, one_hot, SEVERAL),
    "mse": ("mse", None, one_hot, SEVERAL),
    "mae": (losses.MeanAbsoluteError(), None, one_hot, SEVERAL),
    "mape": (losses.MeanAbsolutePercentageError(), None, signs, SEVERAL),
    "msle": (losses.MeanSquaredLogarithmicError(), "sigmoid", one_hot, SEVERAL),
    "huber": (losses.Huber(0.5), None, one_hot, SEVERAL),
    "log-cosh": (losses.LogCosh(), None, one_hot, SEVERAL),
    "poisson": (losses.Poisson(), "softplus", one_hot, SEVERAL),
    "kl": (losses.KLDivergence(), "softmax", one_hot, SEVERAL),
    "cosine": (losses.CosineSimilarity(), None, one_hot, SEVERAL),
    "dice by row": (losses.Dice(axis=-1), "sigmoid", one_hot, SEVERAL),
    "dice": (losses.Dice(), "sigmoid", one_hot, SEVERAL),
    "tversky": (losses.Tversky(0.3, 0.7, axis=-1), "sigmoid", one_hot, SEVERAL),
    "own": (lambda y, x: keras.ops.mean(keras.ops.abs(y - x) ** 3, axis=-1), None, one_hot, SEVERAL),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_keras_own(name):
    loss, activation, labels_of, label = LOSSES[name]
    model, (features, labels) = mlp(activation=activation), batches(1)
    labels = labels_of(labels)
    model.compile(optimizer=optimizers.SGD(0.02), loss=loss)
    weights = Steps(StokerEstimator(model=model), label).run(features, labels)
    given = one_hot(labels) if name == "categorical of numbers" else labels
    model.fit(features, given, batch_size=ROWS, shuffle=False, verbose=0)
    assert_as_in_keras(weights, model)


def terms_of(loss, outputs, labels, weight=None):
    from stoker.frontend.losses import Objective, as_module

    module = as_module(loss)
    terms = Objective(module, None, weight is not None)(module, outputs, labels, weight)
    rows = outputs.shape[0] * terms.rows
    return terms.numerator / (terms.denominator if terms.denominator is not None else rows if terms.rows else 1)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_and_masks_count_as_in_keras(reduction, masked):
    outputs = torch.randn(6, 5, 3, requires_grad=True)
    labels, weight = torch.randint(0, 3, (6, 5)), torch.rand(6)
    if masked:
        outputs._keras_mask = torch.rand(6, 5) > 0.4
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    expected = loss(labels, outputs, sample_weight=weight[:, None].repeat(1, 5)).item()
    assert terms_of(loss, outputs, labels, weight).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("loss", "told"), [
    (losses.CTC(), "the Keras loss ctc takes sequences"), (losses.Circle(), "the Keras loss circle compares each row"),
    (losses.Hinge(reduction=None), "hinge has reduction=None"),
])  # fmt: skip
def test_losses_that_are_not_there_are_refused_by_name(loss, told):
    from stoker.frontend.losses import as_module

    with pytest.raises(UserError, match=told):
        as_module(loss)


def test_labels_that_do_not_fit_are_told_in_shapes():
    with pytest.raises(UserError, match=r"mean_squared_error needs one label value .*\[rows, 3\].*\[rows, 2\]"):
        terms_of(losses.MeanSquaredError(), torch.zeros(4, 3, requires_grad=True), torch.zeros(4, 2))


def two_headed():
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    hidden = layers.Dense(6, "tanh")(x)
    return keras.Model(x, [layers.Dense(3, name="kind")(hidden), layers.Dense(1, name="size")(hidden)])


def test_a_loss_reads_its_own_output_where_others_have_none():
    from stoker.frontend.keras.losses import KerasLosses, of_compiled

    x = keras.Input((4,), name="x")
    model = keras.Model(x, [layers.Dense(2, name=name)(x) for name in "abc"])
    target, rows = torch.randn(5, 2), torch.randn(5, 4)
    for told in (["mse", None, "mse"], [None, None, "mse"]):
        model.compile("sgd", told)
        of = of_compiled(model)
        outputs = tuple(out.detach() for out in model(rows))
        read = [output for output, loss in zip(outputs, told) if loss]
        labels = {name: target for name, loss in zip("abc", told) if loss}
        assert isinstance(of, KerasLosses)
        found = of.terms(outputs, labels, None).numerator / 5
        wanted = sum(((one - target) ** 2).mean() for one in read)
        assert torch.isclose(found, wanted), told


def test_metrics_of_the_user_s_are_not_keras_by_their_names():
    from stoker.frontend.keras.metrics import of_compiled

    def accuracy(y_true, y_pred):
        return 42.0

    model = mlp(3)
    model.compile("sgd", "mse", metrics=[accuracy, keras.metrics.R2Score("variance_weighted_average"), "mae"])
    with pytest.warns(UserWarning, match="metrics that Stoker has not: accuracy, R2Score"):
        assert of_compiled(model, False) == ["mean_absolute_error"]


def test_losses_of_several_outputs_are_weighted(spark):
    model, (features, kinds) = two_headed(), batches(2)
    features, kinds, sizes = features[:64], kinds[:64], features[:64, :1] * 2
    model.compile("sgd", {"kind": losses.SparseCategoricalCrossentropy(True), "size": "mse"}, loss_weights=[1.0, 0.3])
    rows = [(x.tolist(), int(k), float(s[0])) for x, k, s in zip(features, kinds, sizes)]
    df = spark.createDataFrame(rows, "features array<float>, kind int, size float")
    fit = StokerEstimator(
        model=model, verbose=0, batchSize=64, epochs=10, labelCols={"kind": "kind", "size": "size"}
    ).fit(df)
    model.fit(features, [kinds, sizes], batch_size=64, epochs=10, verbose=0)
    assert_as_in_keras(fit.torch().state_dict(), model)


def test_a_compiled_model_trains_as_it_is(spark):
    model = mlp(activation="softmax")
    features, labels = blobs(60)
    loss = "sparse_categorical_crossentropy"
    model.compile(
        optimizers.Adam(0.05, epsilon=1e-3), loss, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2), loss]
    )
    estimator = StokerClassifier(model=model, verbose=0, batchSize=60, epochs=20, validationFraction=0.1)
    with pytest.warns(UserWarning, match="compiled with metrics that Stoker has not: sparse_cat"):
        assert "val_top_2_accuracy" in estimator.fit(table(spark, features, labels)).history[-1]
    fit = StokerClassifier(model=model, verbose=0, batchSize=60, epochs=20).fit(table(spark, features, labels))
    model.fit(features, labels, batch_size=60, epochs=20, verbose=0)
    trained = fit.keras().trainable_variables
    assert_as_in_keras({a.path: b.value for a, b in zip(model.trainable_variables, trained)}, model, 1e-4)


def test_a_regressor_takes_what_it_was_compiled_with():
    model = mlp(1)
    model.compile("rmsprop", "log_cosh")
    told = StokerRegressor(model=model)._with_module()
    assert told.value("loss").name == "log_cosh" and told._optimizer_spec(None)["options"]["name"] == "keras_rmsprop"


def test_metrics_of_the_model_that_do_not_fit_are_told_and_left_out():
    settings = FitSettings.of(StokerClassifier(model=mlp(3), evalMetrics=["accuracy"], validationFraction=0.1).value)
    with pytest.warns(UserWarning, match="compiled with are not computed: evalMetrics: 'accuracy' does not fit"):
        assert with_metrics_that_fit(settings, {"measured": {"outputs": "values", "width": 3}}).eval_metrics is None
    kept = with_metrics_that_fit(settings, {"measured": {"outputs": "logits", "width": 3}})
    assert kept.eval_metrics == ["accuracy"]
