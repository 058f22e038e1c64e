"""dist-keras' names: a program that was written for it runs with its import lines changed.

dist-keras (github.com/cerndb/dist-keras) trains a Keras model on a DataFrame by a parameter server. Here the trainers
of the same names train it by StokerEstimator and the strategies of stoker.strategy, by the formulas of the papers:
where dist-keras differs from them, docs/strategies.md says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from stoker import strategy
from stoker.errors import UserError
from stoker.ml.estimators import StokerEstimator


class Trainer:
    """What the trainers have in common; one of them is made, not this.

    Args:
        keras_model: a Keras 3 model; it stays as it is.
        worker_optimizer: a name or an instance of Keras' optimizers; its learning rate is each worker's.
        loss: a name or an instance of Keras' losses.
        metrics: of Keras; Stoker tells those that it has of rows that are held out.
        num_workers: tasks that train together, each a replica.
        batch_size: rows of one worker's step.
        features_col: the column of arrays or vectors, or several numeric columns.
        label_col: the column of class numbers, values or one-hot vectors.
        num_epoch: passes over the rows.

    Raises:
        UserError: what StokerEstimator says of its parameters.
    """

    def __init__(self, keras_model: Any, worker_optimizer: Any, loss: Any, metrics: Sequence[str] = ("accuracy",),
                 num_workers: int = 2, batch_size: int = 32, features_col: str | list[str] = "features",
                 label_col: str = "label", num_epoch: int = 1) -> None:  # fmt: skip
        self._asked = (worker_optimizer, loss, list(metrics))
        self.keras_model, self.num_workers, self.batch_size = keras_model, num_workers, batch_size
        self.features_col, self.label_col, self.num_epoch = features_col, label_col, num_epoch
        self.history: Any = None  # of the last train()
        self._seconds = 0.0

    def train(self, dataframe: DataFrame, shuffle: bool = False) -> Any:
        """The trained Keras model.

        Args:
            dataframe: rows with the columns of features and labels.
            shuffle: without meaning: rows are dealt by their hash and drawn in another order each epoch.
        """
        del shuffle
        begun = time.monotonic()
        model = self._copy()
        features: dict[str, Any] = {
            "featuresCols" if isinstance(self.features_col, list) else "featuresCol": self.features_col
        }
        fitted = StokerEstimator(model=model, epochs=self.num_epoch, numWorkers=self.num_workers, verbose=0,
                                 batchSize=self.num_workers * self.batch_size, labelCol=self.label_col,
                                 strategy=self._strategy(), **features).fit(dataframe)  # fmt: skip
        fitted.keras(into=model)
        self.history, self._seconds = fitted.history, time.monotonic() - begun
        return model

    def get_training_time(self) -> float:
        """Seconds of the last train()."""
        return self._seconds

    def _copy(self) -> Any:
        """The model with weights of its own, compiled."""
        import keras

        optimizer, loss, metrics = self._asked
        model = keras.models.clone_model(self.keras_model)
        model.set_weights(self.keras_model.get_weights())
        model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
        return model

    def _strategy(self) -> Any:
        raise UserError(f"{type(self).__name__}: take one of the trainers: SingleTrainer, DOWNPOUR, ADAG, DynSGD, "
                        "AEASGD or EAMSGD")  # fmt: skip


class SingleTrainer(Trainer):
    """One worker alone."""

    def __init__(self, keras_model: Any, worker_optimizer: Any, loss: Any, metrics: Sequence[str] = ("accuracy",),
                 features_col: str | list[str] = "features", label_col: str = "label", num_epoch: int = 1,
                 batch_size: int = 32) -> None:  # fmt: skip
        super().__init__(keras_model, worker_optimizer, loss, metrics, 1, batch_size, features_col, label_col,
                         num_epoch)  # fmt: skip

    def _strategy(self) -> Any:
        return "allreduce"


class DOWNPOUR(Trainer):
    """stoker.Downpour; `communication_window`: steps from one push to the next."""

    _kind: Any = strategy.Downpour

    def __init__(self, *args: Any, communication_window: int = 5, **more: Any) -> None:
        super().__init__(*args, **more)
        self.communication_window = communication_window

    def _strategy(self) -> Any:
        return self._kind(window=self.communication_window)


class ADAG(DOWNPOUR):
    """stoker.AGN: what dist-keras calls ADAG divides each push by the window."""

    _kind = strategy.AGN

    def __init__(self, *args: Any, communication_window: int = 12, **more: Any) -> None:
        super().__init__(*args, communication_window=communication_window, **more)


class DynSGD(DOWNPOUR):
    """stoker.DynSGD."""

    _kind = strategy.DynSGD


class AEASGD(DOWNPOUR):
    """stoker.AEASGD, whose share of the way is `rho * learning_rate`; the steps have `worker_optimizer`'s own rate."""

    def __init__(self, *args: Any, communication_window: int = 32, rho: float = 5.0, learning_rate: float = 0.1,
                 **more: Any) -> None:  # fmt: skip
        super().__init__(*args, communication_window=communication_window, **more)
        self.rho, self.learning_rate = rho, learning_rate

    def _strategy(self) -> Any:
        return strategy.AEASGD(window=self.communication_window, beta=self._beta)

    @property
    def _beta(self) -> float:
        return self.rho * self.learning_rate * self.num_workers


class EAMSGD(AEASGD):
    """stoker.EAMSGD: AEASGD with Nesterov's momentum; `worker_optimizer` is SGD without any."""

    def __init__(self, *args: Any, momentum: float = 0.9, **more: Any) -> None:
        super().__init__(*args, **more)
        self.momentum = momentum

    def _strategy(self) -> Any:
        return strategy.EAMSGD(window=self.communication_window, beta=self._beta, momentum=self.momentum)
