"""Keras' optimizers and losses: a small network's weights after some steps, against keras.fit on torch. `make
conformance` writes their part of docs/keras-layers.md from it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch

from stoker import StokerClassifier, StokerEstimator
from stoker.engine import core
from stoker.frontend import torch as frontend
from stoker.frontend.additivity import denominator_of
from stoker.frontend.interpret import Interpreter
from stoker.program import TensorSpec

layers, losses, optimizers = keras.layers, keras.losses, keras.optimizers
schedules = optimizers.schedules
ROWS, STEPS = 16, 20
PAGE_STEPS = (3, 20)
TOLERANCE = 1e-5  # of a tensor's norm
_INTRODUCTION = {
    "Optimizers": ["A network of two dense layers is trained by the engine's optimizer and by keras.fit: how far "
                   "weights are apart, of a tensor's norm. All hold that are within 1e-5.", "",
                   "| optimizer | 3 steps | 20 steps |", "|---|---|---|"],
    "Losses": ["The same with SGD.", "", "| loss | 3 steps | 20 steps |", "|---|---|---|"],
}  # fmt: skip


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

    def run(self, features, labels, steps=STEPS):
        for step in range(steps):
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


def of_optimizer(name: str, steps: int = STEPS) -> float:
    """How far weights are from those of keras.fit after so many steps, by the norm of theirs."""
    model, (features, labels) = mlp(), batches()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=OPTIMIZERS[name](), loss=loss)
    weights = Steps(StokerClassifier(model=model)).run(features, labels, steps)
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    _keras_fit(model, features, labels, steps)
    moved = not all(
        np.allclose(a, b.numpy(), atol=1e-3 * steps / STEPS) for a, b in zip(before, model.trainable_variables)
    )
    return apart(weights, model) if moved else np.inf


def of_loss(name: str, steps: int = STEPS) -> float:
    loss, activation, labels_of, label = LOSSES[name]
    model, (features, labels) = mlp(activation=activation), batches(1)
    labels = labels_of(labels)
    model.compile(optimizer=optimizers.SGD(0.02), loss=loss)
    weights = Steps(StokerEstimator(model=model), label).run(features, labels, steps)
    _keras_fit(model, features, one_hot(labels) if name == "categorical of numbers" else labels, steps)
    return apart(weights, model)


def _keras_fit(model, features, labels, steps):
    rows = slice(steps * ROWS)
    model.fit(features[rows], labels[rows], batch_size=ROWS, shuffle=False, verbose=0)


def apart(weights, model) -> float:
    pairs = [(weights[variable.path].detach().numpy(), variable.numpy()) for variable in model.trainable_variables]
    return float(np.max([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs]))


def lines() -> tuple[list[str], int]:
    """Of the page; how many optimizers and losses are not within the tolerance."""
    told, differ = [], 0
    for title, names, run in (("Optimizers", OPTIMIZERS, of_optimizer), ("Losses", LOSSES, of_loss)):
        found = {name: [run(name, steps) for steps in PAGE_STEPS] for name in names}
        held = sum(all(value <= TOLERANCE for value in values) for values in found.values())
        differ += len(found) - held
        told += ["", f"## {title}", *_INTRODUCTION[title], *(
            f"| {name} | {' | '.join(map(rounded, values))} |" for name, values in found.items())]  # fmt: skip
        print(f"{title.lower()} that hold: {held} of {len(found)}")
    return told, differ


def rounded(value: float | None) -> str:
    """Up to a power of ten, so that other machines write the same page."""
    return "" if value is None else "0" if value == 0 else f"< 1e{int(np.floor(np.log10(value))) + 1}"
