"""From what a program puts out to the columns that a model adds. numpy and Arrow only: this runs in Spark's workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("logits", "probabilities", "logProbabilities")


@dataclass(frozen=True)
class Classification:
    """rawPrediction and probability as ML vectors, prediction as a double, or as a text where classes have words; what
    has an empty name is left out."""

    kind: str  # one of KINDS
    raw: str
    probability: str
    prediction: str
    thresholds: tuple[float, ...] = ()  # by class: the prediction is the largest probability / threshold
    words: tuple[str, ...] = ()  # by class

    def fields(self) -> list[tuple[str, str]]:
        """(name, 'vector' | 'double' | 'text') of the columns that are wanted."""
        every = [
            (self.raw, "vector"),
            (self.probability, "vector"),
            (self.prediction, "text" if self.words else "double"),
        ]
        return [(name, kind) for name, kind in every if name]

    def columns(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        raw, probability = scores(outputs[0].astype(np.float64), self.kind)
        classes = predictions(scaled(probability, self.thresholds) if self.thresholds else raw)
        every = [(self.raw, raw), (self.probability, probability), (self.prediction, self._told(classes))]
        return [values for name, values in every if name]

    def _told(self, classes: np.ndarray) -> np.ndarray:
        """Null where there is no class, or none with a word."""
        if not self.words:
            return classes
        known = dict(enumerate(self.words))
        return np.array([known.get(one) for one in classes], object)


@dataclass(frozen=True)
class Values:
    """Each output as it is: a double for one value a row, else a vector of the values in row-major order."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]  # values of one row
    vectors: bool = False  # also of one value

    def fields(self) -> list[tuple[str, str]]:
        kinds = ["vector" if self.vectors or size != 1 else "double" for size in self.sizes]
        return [(name, kind) for name, kind in zip(self.names, kinds) if name]

    def columns(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        kept = [(out, size) for name, out, size in zip(self.names, outputs, self.sizes) if name]
        flat = [out.reshape((len(out), size) if self.vectors or size != 1 else len(out)) for out, size in kept]
        return [values.astype(np.float64) for values in flat]


Outputs = Classification | Values


def scores(out: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(raw, probability), each [rows, classes]. One output is the score of class 1 of two."""
    if out.ndim == 1 or out.shape[1] == 1:
        return _binary(out.reshape(-1), kind)
    if kind == "logits":
        return out, _softmax(out)
    return out, np.exp(out) if kind == "logProbabilities" else out


def predictions(raw: np.ndarray) -> np.ndarray:
    """The class of the highest score; NaN where scores are NaN, for then there is none."""
    return np.where(np.isnan(raw).any(axis=1), np.nan, raw.argmax(axis=1))


def scaled(probability: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """As Spark has it: a class whose threshold is 0 wins, unless its probability is 0 too."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = probability / np.array(thresholds)
    return np.where(np.isnan(found) & ~np.isnan(probability), -np.inf, found)


def _binary(out: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == "logits":
        up = _sigmoid(out)
        return np.stack([-out, out], axis=1), np.stack([1 - up, up], axis=1)
    up = np.exp(out) if kind == "logProbabilities" else out
    both = np.stack([1 - up, up], axis=1)
    return both, both


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True)) if x.size else x
    return e / e.sum(axis=1, keepdims=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def to_struct(outputs: Outputs, results: Sequence[np.ndarray]) -> Any:
    """One Arrow struct array with a field per column; vectors are lists (see compat.crossing)."""
    import pyarrow as pa

    fields = outputs.fields()
    make = {"vector": row_lists, "double": pa.array, "text": lambda values: pa.array(values, pa.string())}
    arrays = [make[kind](values) for (_, kind), values in zip(fields, outputs.columns(results))]
    return pa.StructArray.from_arrays(arrays, names=[name for name, _ in fields])


def row_lists(values: np.ndarray) -> Any:
    """[rows, size] as one list a row."""
    import pyarrow as pa

    rows, size = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * size, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).reshape(-1)))
