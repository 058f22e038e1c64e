"""How Keras models are trained: optimizers, schedules and losses are Keras' own, and compile() is heard."""

import json
import os

import numpy as np
import pytest
import torch

from conftest import blobs, table
from stoker import StokerClassifier, StokerEstimator, StokerRegressor, optimizer
from stoker.engine import core
from stoker.errors import UserError
from stoker.fit.compiled import with_metrics_that_fit
from stoker.fit.settings import FitSettings

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
training = pytest.importorskip("conformance.keras_training")
LOSSES, OPTIMIZERS, TOLERANCE = training.LOSSES, training.OPTIMIZERS, training.TOLERANCE
apart, batches, mlp = training.apart, training.batches, training.mlp
layers, losses, optimizers = keras.layers, keras.losses, keras.optimizers
schedules = optimizers.schedules


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_those_of_keras_fit(name):
    assert training.of_optimizer(name) <= TOLERANCE


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


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_keras_own(name):
    assert training.of_loss(name) <= TOLERANCE


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
    assert apart(fit.torch().state_dict(), model) <= TOLERANCE


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
    assert apart({a.path: b.value for a, b in zip(model.trainable_variables, trained)}, model) <= 1e-4


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
