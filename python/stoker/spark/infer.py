"""Inference inside Spark's Python workers: batches of Arrow arrays through the engine's inference program."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stoker.engine import core
from stoker.spark.outputs import Outputs, to_struct

ROWS_AT_ONCE = 1024  # bounds the memory of activations
KEPT_MODELS = 4


@dataclass(frozen=True)
class Scorer:
    """Runs one model over batches; travels to the workers by value."""

    program: str  # the inference program's JSON
    weights: bytes  # safetensors
    columns: str  # the engine's ColumnSpecs of the inputs, as JSON
    names: tuple[str, ...]  # of the columns that come in
    outputs: Outputs

    def __call__(self, batches: Iterator[tuple]) -> Iterator[Any]:
        import pyarrow as pa

        engine, reader = loaded(self), core().TensorReader(self.columns, partition())
        for arrays in batches:
            read = reader.read(pa.RecordBatch.from_arrays(list(arrays), list(self.names)))
            yield to_struct(self.outputs, run(engine, read))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.program.encode() + self.weights).hexdigest()


def partition() -> int:
    from pyspark import TaskContext

    task = TaskContext.get()
    return task.partitionId() if task is not None else 0


def run(engine: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    rows = len(inputs[0])
    starts = range(0, max(rows, 1), ROWS_AT_ONCE)
    parts = [engine.run([values[start : start + ROWS_AT_ONCE] for values in inputs]) for start in starts]
    return [np.concatenate(column) for column in zip(*parts)] if len(parts) > 1 else parts[0]


class _Loaded:
    """The models that this process has loaded, the last few of them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: OrderedDict[str, Any] = OrderedDict()

    def __call__(self, scorer: Scorer) -> Any:
        with self._lock:
            if scorer.digest not in self._engines:
                from stoker.engine import load_torch

                self._engines[scorer.digest] = load_torch().Inference(scorer.program, scorer.weights)
            self._engines.move_to_end(scorer.digest)
            while len(self._engines) > KEPT_MODELS:
                self._engines.popitem(last=False)
            return self._engines[scorer.digest]


loaded = _Loaded()
