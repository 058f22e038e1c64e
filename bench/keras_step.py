"""A worker's step of a Keras model against keras.fit on torch and on TensorFlow, one thread; Elephas' example beside
Elephas itself; the time to compile MobileNetV2.

Run: make bench-keras, or with BENCH="mlp lstm-tensorflow" for some cases. Both sides of a step train the same compiled
model (Adam) on the same batches; the time of keras.fit is that of its steps in the middle of an epoch. TensorFlow and
Elephas live in environments of their own below build/.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

import report
from conformance.backends import environment
from keras_cases import CASES, CLASSES, Case, KerasFit
from sides import PEERS
from stoker.engine import load_torch
from stoker.frontend.torch import compile as compile_program
from stoker.ml.estimators import StokerClassifier
from stoker.program import Compiled, TensorSpec
from tasks import ROOT, TASKS

BLOCKS = 5
BLOCK_SECONDS = 1.0
COMPILE_SECONDS = 10.0
ELEPHAS = "elephas==7.3.0"
ELEPHAS_BARS = 10.0, 0.97  # times as fast; accuracy

Side = Callable[[int], float]  # a number of steps -> seconds of one


def compiled(model: keras.Model) -> tuple[Compiled, TensorSpec, StokerClassifier, float]:
    """With the features' spec, the estimator, and the seconds that it took."""
    estimator = StokerClassifier(model=model)._with_module()
    module, loss = estimator._module(), estimator.value("loss")
    (name,) = (parameter.name for parameter in module.arguments())
    features = TensorSpec(name, module.told_type(name) or "float32", module.told_shape(name))
    start = time.perf_counter()
    program = compile_program(module, loss, [features], [TensorSpec("label", "int64", ())])
    return program, features, estimator, time.perf_counter() - start


class Ours:
    """The engine's side: the same step in C++, commit included. Called with a number of steps, gives seconds of one."""

    def __init__(self, case: Case) -> None:
        program, features, estimator, _ = compiled(case.model())
        self.weights = program.to_files()["weights.safetensors"]
        self.inputs = list(case.draw())
        columns = [{"name": s.name, "dtype": s.dtype, "shape": s.shape}
                   for s in (features, TensorSpec("label", "int64", ()))]  # fmt: skip
        self.spec = json.dumps({
            "program": program.train, "optimizer": estimator._optimizer_spec(None)["options"], "columns": columns,
            "batch_size": case.batch, "epochs": 1, "seed": 1, "shuffle": False, "shards": 1, "threads": 1,
        })  # fmt: skip

    def __call__(self, steps: int) -> float:
        return load_torch().bench_steps(self.spec, self.weights, self.inputs, steps)


@contextlib.contextmanager
def on_tensorflow(name: str) -> Iterator[Side]:
    quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    command = [environment("tensorflow"), PEERS / "keras_steps.py", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env={**os.environ, **quiet}) as process:  # fmt: skip

        def fit(steps: int) -> float:
            print(steps, file=process.stdin, flush=True)
            return float(process.stdout.readline())

        yield fit
        process.stdin.close()


def compare(title: str, case: Case, theirs: Side, other: str) -> None:
    ours = Ours(case)
    ours(3)
    theirs(5)
    steps = max(5, int(BLOCK_SECONDS / theirs(5)))
    blocks = [(ours(steps), theirs(steps)) for _ in range(BLOCKS)]
    mine, its = (median(block[side] for block in blocks) for side in (0, 1))
    bar, ratio = case.bars[other], its / mine
    report.row("step", title, mine * 1e3, its * 1e3, f"keras.fit, {other}", "ms", ratio, bar, ratio >= bar)


def beside_torch(name: str) -> None:
    compare(name, CASES[name], KerasFit(CASES[name]), "torch")


def beside_tensorflow(name: str) -> None:
    with on_tensorflow(name) as theirs:
        compare(f"{name}-tensorflow", CASES[name], theirs, "tensorflow")


def compile_mobilenet() -> None:
    model = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=CLASSES)
    model.compile("adam", "sparse_categorical_crossentropy")
    seconds = compiled(model)[-1]
    report.row("compile", "compile MobileNetV2", seconds, COMPILE_SECONDS, "the bar", "s", COMPILE_SECONDS / seconds, 1,
               seconds <= COMPILE_SECONDS)  # fmt: skip


def elephas_python() -> Path:
    """Of an environment with Elephas, its TensorFlow and its Spark."""
    folder = ROOT / "build/peers/elephas"
    stamp = folder / "made"
    if not stamp.exists() or stamp.read_text() != ELEPHAS:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", ELEPHAS], check=True)
        stamp.write_text(ELEPHAS)
    return folder / "bin/python"


def run_example(python: Path | str, package: str, backend: str, arrays: str) -> dict:
    around = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1",
              "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python),
              "SPARK_LOCAL_IP": "127.0.0.1"}  # fmt: skip
    done = subprocess.run([python, PEERS / "elephas_fit.py", package, arrays], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **around})  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def fit_elephas_example() -> None:
    task = TASKS["mnist"]
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for split in ("train", "test"):
            pixels, labels = task.arrays(split)
            arrays |= {f"x_{split}": pixels.reshape(-1, 28, 28, 1), f"y_{split}": labels}
        np.savez(file := f"{folder}/mnist.npz", **arrays)
        ours = run_example(sys.executable, "stoker.compat.elephas", "torch", file)
        theirs = run_example(elephas_python(), "elephas", "tensorflow", file)
    (fast, accurate), ratio = ELEPHAS_BARS, theirs["seconds"] / ours["seconds"]
    print(f"elephas-fit: {ours['accuracy']:.4f} right, Elephas {theirs['accuracy']:.4f}")
    report.row("fit", "elephas-fit", ours["seconds"], theirs["seconds"], "Elephas", "s", ratio, fast,
               ratio >= fast and ours["accuracy"] >= accurate)  # fmt: skip


RUNS: dict[str, Callable[[], None]] = {
    **{name: functools.partial(beside_torch, name) for name in CASES},
    **{f"{name}-tensorflow": functools.partial(beside_tensorflow, name)
       for name, case in CASES.items() if "tensorflow" in case.bars},
    "compile": compile_mobilenet,
    "elephas-fit": fit_elephas_example,
}  # fmt: skip


def main() -> None:
    asked = report.asked(__doc__, RUNS)
    torch.set_num_threads(1)
    for name, run in RUNS.items():
        if name in asked:
            run()
    report.finish()


if __name__ == "__main__":
    main()
