"""Programs that were written for Elephas run with the import lines changed."""

import os

import numpy as np
import pytest

from conftest import blobs
from stoker.compat.elephas import SparkModel, load_spark_model, to_simple_rdd
from stoker.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers


def classic():
    """The net of its example, on smaller pictures."""
    keras.utils.set_random_seed(0)
    convolutions = [layers.Conv2D(n, 3, activation="relu") for n in (4, 8, 12)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *convolutions, layers.Flatten(), layers.Dense(256, "relu"),
                              layers.Dense(3, "softmax")])  # fmt: skip
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_classic_example_learns_and_fills_its_model(spark):
    features, labels = blobs(240, width=64)
    features, one_hot = features.reshape(-1, 8, 8, 1), np.eye(3, dtype=np.float32)[labels]
    rdd = to_simple_rdd(spark.sparkContext, features, one_hot)
    with pytest.warns(UserWarning, match="mode 'asynchronous' runs as 'synchronous'"):
        spark_model = SparkModel(classic(), frequency="epoch", mode="asynchronous", num_workers=2)
    spark_model.fit(rdd, epochs=4, batch_size=16, verbose=0, validation_split=0.1)
    assert spark_model.evaluate(features, one_hot)[1] > 0.9
    (history,) = spark_model.training_histories
    assert history[-1]["val_categorical_accuracy"] > 0.9


def test_a_model_that_is_saved_comes_back(tmp_path):
    spark_model, features = SparkModel(classic(), mode="synchronous"), np.ones((5, 8, 8, 1), np.float32)
    spark_model.save(str(tmp_path / "net.keras"))
    again = load_spark_model(str(tmp_path / "net.keras"))
    assert np.allclose(again.predict(features), spark_model.predict(features), atol=1e-6)


def test_what_elephas_would_not_take_is_told():
    with pytest.raises(UserError, match="mode is 'async', expected one of 'asynchronous', 'hogwild', 'synchronous'"):
        SparkModel(classic(), mode="async")
    with pytest.raises(UserError, match="is not compiled: call compile"):
        SparkModel(keras.Sequential([keras.Input((2,)), layers.Dense(1)]))
