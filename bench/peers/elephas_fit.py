"""Elephas' classic example on MNIST, 3 epochs on 2 workers, by the package whose name is the first argument: `elephas`,
or `stoker.compat.elephas` with the import line changed. The second is a file of arrays; prints JSON."""

import importlib
import json
import sys
import time

import keras
import numpy as np
from pyspark.sql import SparkSession

L = keras.layers


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    convolutions = [L.Conv2D(n, 3, activation="relu") for n in (4, 8, 12)]
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), *convolutions, L.Flatten(), L.Dense(256, "relu"), L.Dense(10, "softmax")]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def names(package: str) -> tuple:
    """SparkModel, to_simple_rdd."""
    if package == "elephas":
        return (
            importlib.import_module("elephas.spark_model").SparkModel,
            importlib.import_module("elephas.utils.rdd_utils").to_simple_rdd,
        )
    module = importlib.import_module(package)
    return module.SparkModel, module.to_simple_rdd


def main() -> None:
    package, file = sys.argv[1:]
    arrays = np.load(file)
    (x, y), (x_test, y_test) = ((arrays[f"x_{part}"], np.eye(10)[arrays[f"y_{part}"]]) for part in ("train", "test"))
    SparkModel, to_simple_rdd = names(package)
    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "3g")
    spark = builder.config("spark.ui.enabled", False).config("spark.ui.showConsoleProgress", False).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    start = time.perf_counter()
    rdd = to_simple_rdd(spark.sparkContext, x, y)
    model = SparkModel(network(), frequency="epoch", mode="asynchronous", num_workers=2)
    model.fit(rdd, epochs=3, batch_size=64, verbose=0, validation_split=0.1)
    seconds = time.perf_counter() - start
    scores = model.master_network.predict(x_test, verbose=0)
    accuracy = float((scores.argmax(1) == y_test.argmax(1)).mean())
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))
    spark.stop()


if __name__ == "__main__":
    main()
