"""Whole fits of Keras models on the backend that KERAS_BACKEND names: model.keras() is of that backend and gives what
transform gives, and its weights are those of keras.fit there. `make conformance` runs it on TensorFlow and on JAX, each
in an environment of its own."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from pyspark.sql import DataFrame, SparkSession

from stoker import StokerClassifier, StokerFeaturizer
from stoker.compat.elephas import SparkModel, to_simple_rdd
from stoker.errors import UserError

L = keras.layers
BACKEND = keras.config.backend()
ROWS, STEPS, CLASSES, WORDS = 96, 8, 3, 20
SAME, TRAINED = 1e-5, 1e-4  # of outputs; of a tensor's norm after all steps, each of all rows
Table = tuple[np.ndarray, np.ndarray]


class Scaled(L.Layer):
    """Of __main__, not registered, with a nested layer and a function of this module."""

    def __init__(self, units: int, **more):
        super().__init__(**more)
        self.units, self.inner = units, L.Dense(units, softened)

    def build(self, shape):
        self.inner.build(shape)
        self.scale = self.add_weight(shape=(self.units,), initializer="ones", name="scale")

    def call(self, x):
        return keras.ops.multiply(self.inner(x), self.scale)


class Whole(keras.Model):
    def __init__(self, units: int = 6):
        super().__init__()
        self.scaled, self.norm, self.last = Scaled(units), L.BatchNormalization(), L.Dense(CLASSES, "softmax")

    def call(self, x, training=None):
        return self.last(self.norm(self.scaled(x), training=training))


def softened(x):
    return keras.ops.tanh(x)


def halved(x):
    return keras.ops.multiply(x, 0.5)


def mlp() -> keras.Model:
    return keras.Sequential(
        [keras.Input((8,)), L.Dense(16, "relu"), L.BatchNormalization(), L.Dense(CLASSES, "softmax")]
    )


def subclassed() -> keras.Model:
    model = Whole()
    model(np.zeros((1, 8), np.float32))
    return model


def functional() -> keras.Model:
    x = keras.Input((8,), name="x")
    h = L.Dense(8, softened)(x)
    h = L.Add()([h, L.Lambda(halved)(x)])
    return keras.Model(x, L.Dense(CLASSES, "softmax", kernel_regularizer="l2")(h))


def frozen() -> keras.Model:
    model = mlp()
    model.layers[0].trainable = False
    return model


def embedded() -> keras.Model:
    return keras.Sequential([keras.Input((8,), dtype="int32"), L.Embedding(WORDS, 6), L.GlobalAveragePooling1D(),
                             L.Dense(CLASSES, "softmax")])  # fmt: skip


def cnn() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), L.Reshape((4, 2, 1)), L.Conv2D(5, 2, padding="same", activation="relu"),
                             L.MaxPooling2D(2), L.Flatten(), L.Dense(CLASSES, "softmax")])  # fmt: skip


def masked_lstm() -> keras.Model:
    return keras.Sequential([keras.Input((8,), dtype="int32"), L.Embedding(WORDS, 6, mask_zero=True), L.LSTM(7),
                             L.Dense(CLASSES, "softmax")])  # fmt: skip


def gru() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), L.Reshape((4, 2)), L.Bidirectional(L.GRU(5)),
                             L.Dense(CLASSES, "softmax")])  # fmt: skip


MODELS: list[Callable[[], keras.Model]] = [mlp, subclassed, functional, frozen, embedded, cnn, masked_lstm, gru]


@dataclass
class Session:
    spark: SparkSession

    def rows(self, model: keras.Model) -> Table:
        random = np.random.default_rng(7)
        numbers = random.normal(size=(ROWS, 8)).astype(np.float32)
        if any(isinstance(layer, L.Embedding) for layer in model.layers):
            numbers = np.where(np.arange(8) < random.integers(2, 9, (ROWS, 1)), random.integers(1, WORDS, (ROWS, 8)), 0)
        return numbers, random.integers(0, CLASSES, ROWS)

    def frame(self, table: Table) -> DataFrame:
        rows = [(row.tolist(), int(label)) for row, label in zip(*table)]
        kind = "float" if table[0].dtype == np.float32 else "int"
        return self.spark.createDataFrame(rows, f"features array<{kind}>, label int").coalesce(1)


def compiled(build: Callable[[], keras.Model]) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = build()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())


def estimator(model: keras.Model | str) -> StokerClassifier:
    return StokerClassifier(model=model, epochs=STEPS, batchSize=ROWS, numWorkers=1, verbose=0)


def whole(session: Session, build: Callable[[], keras.Model]) -> dict[str, tuple[float, float]]:
    """What differs by how much, and what it may."""
    model = compiled(build)
    before, table = model.get_weights(), session.rows(model)
    fitted = estimator(model).fit(frame := session.frame(table))
    assert all(map(np.array_equal, before, model.get_weights())), "fit has changed the user's model"
    back = fitted.keras()
    given = np.array([row.probability.toArray() for row in fitted.transform(frame).select("probability").collect()])
    model.fit(*table, batch_size=ROWS, epochs=STEPS, verbose=0)
    return {"transform": (apart(given, back.predict(table[0], verbose=0)), SAME),
            "keras.fit": (max(map(_away, back.get_weights(), model.get_weights())), TRAINED)}  # fmt: skip


def _away(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-3))


def files(session: Session) -> dict[str, tuple[float, float]]:
    model, found = compiled(mlp), {}
    table = session.rows(model)
    wanted = estimator(model).fit(session.frame(table)).keras().get_weights()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("net.keras", "net.h5"):
            model.save(path := str(Path(folder, name)))
            weights = estimator(path).fit(session.frame(table)).keras().get_weights()
            found[name] = (max(map(apart, weights, wanted)), 0.0)
    return found


def featurizer(session: Session) -> dict[str, tuple[float, float]]:
    model = mlp()
    table = session.rows(model)
    layer = model.layers[1]
    found = StokerFeaturizer(model=model, layer=layer.name, outputCol="found").transform(session.frame(table))
    given = np.array([row.found.toArray() for row in found.select("found").collect()])
    return {"featurizer": (apart(given, keras.Model(model.inputs, layer.output).predict(table[0], verbose=0)), SAME)}


def elephas(session: Session) -> dict[str, tuple[float, float]]:
    model = compiled(mlp)
    features, labels = session.rows(model)
    before = model.get_weights()
    SparkModel(model, mode="synchronous", num_workers=1).fit(
        to_simple_rdd(session.spark.sparkContext, features, labels), epochs=1
    )
    moved = min(apart(*pair) for pair in zip(before[:2], model.get_weights()))
    return {"SparkModel's network stays as it was": (float(moved == 0.0), 0.0)}


def refused(session: Session) -> dict[str, tuple[float, float]]:
    """A layer that calls its backend itself."""
    native = __import__("tensorflow").math if BACKEND == "tensorflow" else __import__("jax").numpy

    class Native(L.Layer):
        def call(self, x):
            return native.tanh(x)

    model = keras.Sequential([keras.Input((8,)), Native(name="mine"), L.Dense(CLASSES)])
    try:
        estimator(model).fit(session.frame(session.rows(model)))
    except UserError as error:
        print(f"    {error}")
        told = "mine (Native)" in str(error) and f"It calls {BACKEND}" in str(error)
        return {"words of the refusal": (float(not told), 0.0)}
    return {"refused": (1.0, 0.0)}


def main() -> None:
    warnings.simplefilter("ignore")
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    logging.disable()
    session, failed = Session(spark), 0
    cases = {build.__name__: lambda build=build: whole(session, build) for build in MODELS}
    cases |= {case.__name__: lambda case=case: case(session) for case in (files, featurizer, elephas, refused)}
    for name in sys.argv[1:] or cases:
        for what, (found, allowed) in cases[name]().items():
            failed += not found <= allowed
            print(f"{BACKEND:12}{name:14}{what:40}{found:10.1e}  {'' if found <= allowed else 'FAILS'}", flush=True)
    spark.stop()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
