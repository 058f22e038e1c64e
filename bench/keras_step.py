"""One worker's step of a Keras model against keras.fit on Keras' torch backend, one thread.

Run: make bench-keras, or with BENCH="mlp lstm" for some cases. Both sides train the same compiled model (Adam) on the
same batches; the time of keras.fit is that of its steps in the middle of an epoch. A line a case tells the time to
compile.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

import report
from stoker.engine import load_torch
from stoker.frontend.torch import compile as compile_program
from stoker.ml.estimators import StokerClassifier
from stoker.program import TensorSpec

L = keras.layers
BLOCKS = 5
BLOCK_SECONDS = 1.0
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
    bar: float

    def model(self) -> keras.Model:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([*self.layers(), L.Dense(CLASSES, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    def draw(self, spec: TensorSpec) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(5)
        shape = (self.batch, *spec.shape)
        labels = random.integers(0, CLASSES, self.batch)
        if spec.dtype == "float32":
            return random.standard_normal(shape, dtype=np.float32), labels
        words = random.integers(1, WORDS, shape).astype(spec.dtype)
        lengths = random.integers(5, shape[1], self.batch)
        return np.where(np.arange(shape[1]) < lengths[:, None], words, 0).astype(spec.dtype), labels


CASES = {
    "mlp": Case(mlp, 32, 10.0),
    "cnn": Case(cnn, 64, 3.0),
    "lstm": Case(lstm, 64, 2.5),
    "masked lstm": Case(lambda: lstm(True), 64, 5.0),
    "elephas": Case(elephas, 64, 2.0),
}


class Ours:
    """The engine's side: the same step in C++, commit included. Called with a number of steps, gives seconds of one."""

    def __init__(self, case: Case) -> None:
        estimator = StokerClassifier(model=case.model())._with_module()
        module, loss = estimator._module(), estimator.value("loss")
        (name,) = (parameter.name for parameter in module.arguments())
        self.features = TensorSpec(name, module.told_type(name) or "float32", module.told_shape(name))
        label = TensorSpec("label", "int64", ())
        start = time.perf_counter()
        compiled = compile_program(module, loss, [self.features], [label])
        self.seconds = time.perf_counter() - start
        self.weights = compiled.to_files()["weights.safetensors"]
        self.inputs = list(case.draw(self.features))
        self.spec = json.dumps({
            "program": compiled.train, "optimizer": estimator._optimizer_spec(None)["options"],
            "columns": [{"name": s.name, "dtype": s.dtype, "shape": s.shape} for s in (self.features, label)],
            "batch_size": case.batch, "epochs": 1, "seed": 1, "shuffle": False, "shards": 1, "threads": 1,
        })  # fmt: skip

    def __call__(self, steps: int) -> float:
        return load_torch().bench_steps(self.spec, self.weights, self.inputs, steps)


class Times(keras.callbacks.Callback):
    """When the batches of an epoch began."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.begun: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.begun.append(time.perf_counter())


class Keras:
    """keras.fit's side."""

    def __init__(self, case: Case, features: TensorSpec) -> None:
        self.model, self.batch, self.rows = case.model(), case.batch, case.draw(features)

    def __call__(self, steps: int) -> float:
        times = Times()
        features, labels = (np.concatenate([part] * (steps + 1)) for part in self.rows)
        self.model.fit(features, labels, batch_size=self.batch, shuffle=False, verbose=0, callbacks=[times])
        return median(np.diff(times.begun))


def measure(case: Case) -> tuple[float, float, float]:
    """Seconds of a step: ours, Keras'; and to compile."""
    ours = Ours(case)
    theirs = Keras(case, ours.features)
    ours(3)
    steps = max(5, int(BLOCK_SECONDS / theirs(5)))
    blocks = [(ours(steps), theirs(steps)) for _ in range(BLOCKS)]
    return median(block[0] for block in blocks), median(block[1] for block in blocks), ours.seconds


def main() -> None:
    asked = report.asked(__doc__, CASES)
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if name in asked:
            ours, theirs, compiling = measure(case)
            ratio = theirs / ours
            report.row("step", name, ours * 1e3, theirs * 1e3, "keras.fit", "ms", ratio, case.bar, ratio >= case.bar)
            print(f"       {name}: compiled in {compiling:.1f} s")
    report.finish()


if __name__ == "__main__":
    main()
