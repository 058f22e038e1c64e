"""Inference inside Spark's Python workers: batches of Arrow arrays through the engine's inference program."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.engine import core
from stoker.spark.outputs import Outputs, to_struct
from stoker.spark.weights import Weights

KEPT_MODELS = 4
PART_BYTES = 16 << 20


@dataclass(frozen=True)
class Scorer:
    """One model, ready to run; travels to the workers by value."""

    program: str  # the inference program's JSON
    weights: Weights
    outputs: Outputs

    def results(self, batches: Iterator[tuple[str, Mapping[str, Any]]]) -> Iterator[Any]:
        """For each batch, given as the engine's ColumnSpecs in JSON and the arrays that they read, a struct array of
        the columns that the model adds."""
        import pyarrow as pa

        engine = loaded(self)
        readers = _Readers(engine.chunk_rows)
        for columns, arrays in batches:
            batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
            parts = [engine.run(read) for read in readers[columns].parts(batch)]
            whole = parts[0] if len(parts) == 1 else [np.concatenate(same) for same in zip(*parts)]
            yield to_struct(self.outputs, whole)

    def alone(self, columns: str, arrays: Mapping[str, Any]) -> list[np.ndarray]:
        """The same for rows that are here, in whatever process: the values of each column."""
        import pyarrow as pa

        batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
        return self.outputs.columns(loaded(self).run(Reader(columns).whole(batch)))


@dataclass(frozen=True)
class Batches:
    """What transform runs: columns come in, cast and packed by Spark."""

    scorer: Scorer
    columns: str  # the engine's ColumnSpecs of the inputs, as JSON
    names: tuple[str, ...]  # of the columns that come in

    def __call__(self, batches: Iterator[tuple]) -> Iterator[Any]:
        return self.scorer.results((self.columns, dict(zip(self.names, arrays))) for arrays in batches)


@dataclass(frozen=True)
class Groups:
    """What transform runs where rows belong together: each value of the only column is a group, a list of structs of
    the inputs, and gives a list as long of structs of the columns that the model adds."""

    scorer: Scorer
    columns: str
    names: tuple[str, ...]

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for groups in batches:
            outputs = [self._together(group.values) for group in groups] or [self._together(groups.flatten())]
            ends = np.cumsum([0, *(len(output) for output in outputs)])[: len(groups) + 1]
            yield pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.concat_arrays(outputs))

    def _together(self, rows: Any) -> Any:
        import pyarrow as pa

        batch = pa.RecordBatch.from_struct_array(rows)
        engine = loaded(self.scorer)
        whole = engine.run(Reader(self.columns, part_bytes=sys.maxsize).whole(batch))
        return to_struct(self.scorer.outputs, whole)


class Reader:
    """Reads batches in parts whose tensors take little memory: Spark gives thousands of rows at once, and pictures grow
    when they are decoded. Counts the rows of its partition, for messages."""

    def __init__(self, columns: str, chunk_rows: int = 0, part_bytes: int = PART_BYTES) -> None:
        """A part has whole chunks of the program, if they are of a certain number of rows."""
        self._reader = core().TensorReader(columns, partition())
        row_bytes = sum(math.prod(told["shape"]) * np.dtype(told["dtype"]).itemsize for told in json.loads(columns))
        chunk = max(chunk_rows, 1)
        self._rows = max(part_bytes // max(row_bytes, 1) // chunk, 1) * chunk

    def parts(self, batch: Any) -> Iterator[Any]:
        """The tensors of some rows after the other; at least once."""
        for begin in range(0, max(batch.num_rows, 1), self._rows):
            yield self._reader.read(batch.slice(begin, self._rows))

    def whole(self, batch: Any) -> Any:
        return self._reader.read(batch)


class _Readers(dict):
    """By their ColumnSpecs."""

    def __init__(self, chunk_rows: int) -> None:
        super().__init__()
        self._chunk_rows = chunk_rows

    def __missing__(self, columns: str) -> Reader:
        self[columns] = Reader(columns, self._chunk_rows)
        return self[columns]


def partition() -> int:
    from pyspark import TaskContext

    task = TaskContext.get()
    return task.partitionId() if task is not None else 0


class _Loaded:
    """The models that this process has loaded, the last few of them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def __call__(self, scorer: Scorer) -> Any:
        key = (scorer.program, scorer.weights.digest)
        with self._lock:
            if key not in self._engines:
                from stoker.engine import load_torch

                self._engines[key] = load_torch().Inference(scorer.program, scorer.weights.open())
            self._engines.move_to_end(key)
            while len(self._engines) > KEPT_MODELS:
                self._engines.popitem(last=False)
            return self._engines[key]


loaded = _Loaded()
