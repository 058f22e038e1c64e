"""Elephas' names: a program that was written for it runs with its import lines changed.

Elephas (github.com/danielenricocahall/elephas) trains a compiled Keras model on an RDD of pairs. Here the same calls
train it by StokerEstimator: synchronously with each step's gradients added up, asynchronously by stoker.Downpour, whose
workers push in turns, so that the same model comes out each time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame, SparkSession

from stoker.compat.elephas_ml import (
    ElephasEstimator,
    ElephasTransformer,
    load_ml_estimator,
    load_ml_transformer,
    strategy_of,
    to_data_frame,
)
from stoker.errors import UserError
from stoker.fit import compiling
from stoker.ml.estimators import StokerEstimator

__all__ = ["AsynchronousSparkModel", "ElephasEstimator", "ElephasTransformer", "SparkModel", "load_ml_estimator",
           "load_ml_transformer", "load_spark_model", "to_data_frame", "to_simple_rdd"]  # fmt: skip


def to_simple_rdd(sc: SparkContext, features: np.ndarray, labels: np.ndarray) -> RDD:
    """An RDD of (features, label) pairs.

    Args:
        sc: the Spark context.
        features: an array of rows, of any shape of a row.
        labels: an array of as many numbers, or vectors (one-hot classes, several values).
    """
    return sc.parallelize(list(zip(np.asarray(features), np.asarray(labels), strict=True)))


class SparkModel:
    """A compiled Keras model that is trained on an RDD of pairs.

    Args:
        model: a compiled Keras 3 model. fit writes the trained weights into it, as Elephas does.
        mode: 'asynchronous' or 'hogwild': workers add what they moved by to the common weights, in turns, so none of it
            is lost; 'synchronous': each step has all workers' gradients.
        frequency: when a worker does so: after an 'epoch' or a 'batch'; without meaning where it is synchronous.
        num_workers: tasks that train together (default: as many as the RDD has partitions, at most the cores of the
            Spark session).
        batch_size: rows of one worker's step, where fit does not say.
        more: Elephas' other arguments, such as parameter_server_mode, which have no meaning here.

    Raises:
        UserError: a mode or frequency that is not known, or a model that is not compiled.
    """

    def __init__(self, model: Any, mode: str = "asynchronous", frequency: str = "epoch",
                 num_workers: int | None = None, batch_size: int = 32, **more: Any) -> None:  # fmt: skip
        self._strategy = strategy_of(mode, frequency, "SparkModel")
        model = compiling.loaded(model) if compiling.is_keras_file(model) else model
        if not getattr(model, "compiled", False):
            raise UserError("SparkModel: the Keras model is not compiled: call compile(optimizer, loss) first")
        self.master_network, self.mode, self.frequency = model, mode, frequency
        self.num_workers, self.batch_size = num_workers, batch_size
        self.training_histories: list[Any] = []

    def fit(self, rdd: RDD, epochs: int = 10, batch_size: int | None = None, verbose: int = 0,
            validation_split: float = 0.0, **more: Any) -> None:  # fmt: skip
        """Trains on an RDD of (features, label) pairs; the history is the last of training_histories.

        Args:
            rdd: pairs of arrays, as to_simple_rdd makes them.
            epochs: passes over the rows.
            batch_size: rows of one worker's step.
            verbose: 1: progress.
            validation_split: the share of the rows that is held out, by their hash.
            more: of Keras' fit; an argument that Stoker has not is an error.
        """
        if more:
            raise UserError(f"SparkModel.fit: {', '.join(more)} is not known here; see StokerEstimator")
        workers = self.num_workers or min(rdd.getNumPartitions(), rdd.context.defaultParallelism)
        estimator = StokerEstimator(model=self.master_network, epochs=epochs, numWorkers=workers, verbose=verbose,
                                    batchSize=workers * (batch_size or self.batch_size), strategy=self._strategy,
                                    validationFraction=validation_split or None)  # fmt: skip
        model = estimator.fit(_frame(rdd))
        model.keras(into=self.master_network)
        self.training_histories.append(model.history)

    def predict(self, data: Any) -> np.ndarray:
        """The master network's answers for an array of rows, or an RDD of them."""
        rows = np.stack(data.collect()) if isinstance(data, RDD) else np.asarray(data)
        return self.master_network.predict(rows, verbose=0)

    def evaluate(self, features: np.ndarray, labels: np.ndarray, **more: Any) -> Any:
        """What Keras' evaluate gives for the master network."""
        return self.master_network.evaluate(features, labels, **{"verbose": 0, **more})

    def save(self, path: str) -> None:
        """The master network as a .keras file."""
        self.master_network.save(path)


class AsynchronousSparkModel(SparkModel):
    """SparkModel by its older name."""


def load_spark_model(path: str) -> SparkModel:
    """A SparkModel of a file that save wrote."""
    return SparkModel(compiling.loaded(path), mode="synchronous")


def _frame(rdd: RDD) -> DataFrame:
    """Flat features, and labels as they are: a number, or a vector."""
    several = np.ndim(rdd.first()[1]) > 0
    kind = "array<float>" if several else "double"

    def flat(pair: tuple[Any, Any]) -> tuple[list[float], Any]:
        features, label = pair
        number = [float(one) for one in np.ravel(label)]
        return np.ravel(features).astype(float).tolist(), number if several else number[0]

    return SparkSession.builder.getOrCreate().createDataFrame(rdd.map(flat), f"features array<float>, label {kind}")
