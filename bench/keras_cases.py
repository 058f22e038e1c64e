"""The Keras models of `make bench-keras`, and keras.fit's side of their steps, on whatever backend Keras is here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import keras
import numpy as np

L = keras.layers
CLASSES, WORDS = 10, 1000


def mlp() -> list:
    return [keras.Input((30,)), L.Dense(128, "relu"), L.Dense(64, "relu")]


def cnn() -> list:
    first, second = (L.Conv2D(n, 3, padding="same", activation="relu") for n in (16, 32))
    return [keras.Input((28, 28, 1)), first, L.MaxPooling2D(), second, L.MaxPooling2D(), L.Flatten(), L.Dropout(0.25)]


def lstm(masked: bool = False) -> list:
    return [keras.Input((40,), dtype="int32"), L.Embedding(WORDS, 32, mask_zero=masked), L.LSTM(64)]


def elephas() -> list:
    """The net of its classic example."""
    convolutions = [L.Conv2D(n, 3, activation="relu") for n in (4, 8, 12)]
    return [keras.Input((28, 28, 1)), *convolutions, L.Flatten(), L.Dense(256, "relu")]


@dataclass(frozen=True)
class Case:
    layers: Callable[[], list]
    batch: int
    bars: dict[str, float]  # by the backend of keras.fit

    def model(self) -> keras.Model:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([*self.layers(), L.Dense(CLASSES, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of a batch."""
        random, entry = np.random.default_rng(5), self.layers()[0]
        shape = (self.batch, *entry.shape[1:])
        labels = random.integers(0, CLASSES, self.batch)
        if entry.dtype == "float32":
            return random.standard_normal(shape, dtype=np.float32), labels
        words = random.integers(1, WORDS, shape).astype(entry.dtype)
        lengths = random.integers(5, shape[1], self.batch)
        return np.where(np.arange(shape[1]) < lengths[:, None], words, 0).astype(entry.dtype), labels


CASES = {
    "mlp": Case(mlp, 32, {"torch": 10.0, "tensorflow": 8.0}),
    "cnn": Case(cnn, 64, {"torch": 3.0, "tensorflow": 1.8}),
    "lstm": Case(lstm, 64, {"torch": 2.5, "tensorflow": 1.3}),
    "masked lstm": Case(lambda: lstm(True), 64, {"torch": 5.0}),
    "elephas": Case(elephas, 64, {"torch": 2.0, "tensorflow": 2.0}),
}


class Times(keras.callbacks.Callback):
    """When the batches of an epoch began."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.begun: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.begun.append(time.perf_counter())


class KerasFit:
    """Called with a number of steps, gives the seconds of one in the middle of an epoch."""

    def __init__(self, case: Case) -> None:
        self.model, self.batch, self.rows = case.model(), case.batch, case.draw()

    def __call__(self, steps: int) -> float:
        times = Times()
        features, labels = (np.concatenate([part] * (steps + 1)) for part in self.rows)
        self.model.fit(features, labels, batch_size=self.batch, shuffle=False, verbose=0, callbacks=[times])
        return median(np.diff(times.begun))
