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

from stoker.errors import UserError
from stoker.spark.outputs import Outputs, to_struct

ROWS_AT_ONCE = 1024  # bounds the memory of activations
KEPT_MODELS = 4


@dataclass(frozen=True)
class Input:
    """One input of the program, and the user's name of it for messages."""

    shown: str
    dtype: str
    shape: tuple[int, ...]

    def read(self, array: Any) -> np.ndarray:
        """[rows, *shape] without a copy. Nulls and rows of another width are errors."""
        if array.null_count:
            raise UserError(f"column '{self.shown}' has a null; the model needs a value in every row")
        if hasattr(array, "offsets"):
            array = self._flattened(array)
        values = array.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)
        return values.reshape(-1, *self.shape)

    def _flattened(self, lists: Any) -> Any:
        offsets = lists.offsets.to_numpy()
        width = int(np.prod(self.shape))
        wrong = np.flatnonzero(np.diff(offsets) != width)
        if len(wrong):
            got = int(offsets[wrong[0] + 1] - offsets[wrong[0]])
            raise UserError(f"column '{self.shown}' has a row of {got} values; the model takes {width}")
        values = lists.values[offsets[0] : offsets[-1]]
        if values.null_count:
            raise UserError(f"column '{self.shown}' has an array with a null element")
        return values


@dataclass(frozen=True)
class Scorer:
    """Runs one model over batches; travels to the workers by value."""

    program: str  # the inference program's JSON
    weights: bytes  # safetensors
    inputs: tuple[Input, ...]
    outputs: Outputs

    def __call__(self, batches: Iterator[tuple]) -> Iterator[Any]:
        engine = loaded(self)
        for arrays in batches:
            read = [wanted.read(array) for wanted, array in zip(self.inputs, arrays)]
            yield to_struct(self.outputs, run(engine, read))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.program.encode() + self.weights).hexdigest()


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
