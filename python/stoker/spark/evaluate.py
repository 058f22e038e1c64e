"""Evaluation inside Spark's Python workers: the numbers that a program's loss and metrics come to, which add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame

from stoker.errors import UserError
from stoker.spark.infer import Reader
from stoker.spark.weights import Weights, carried, send

NUMBERS = "numbers array<double>, collected binary"


@dataclass(frozen=True)
class Evaluate:
    """What a task does with its rows; travels to the workers by value."""

    spec: str  # engine/train/spec.h: EvaluationSpec
    columns: str  # the engine's ColumnSpecs of the program's inputs
    weights: Weights

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        """One row for each part of the rows: its numbers, and its rows where metrics need them."""
        import pyarrow as pa

        from stoker.engine import load_torch

        evaluation = load_torch().Evaluation(self.spec, bytes(self.weights.open()))
        reader = Reader(self.columns)
        for batch in batches:
            found = [evaluation.run(rows) for rows in reader.parts(batch) if batch.num_rows]
            numbers = pa.array([numbers for numbers, _ in found], pa.list_(pa.float64()))
            collected = pa.array([rows for _, rows in found], pa.binary())
            yield pa.RecordBatch.from_pydict({"numbers": numbers, "collected": collected})


def evaluated(df: DataFrame, spec: str, sources: list[dict[str, Any]], sent: dict[str, Column],
              weights: bytes) -> dict[str, Any]:  # fmt: skip
    """What the rows come to, by name: "loss" and the metrics."""
    task = Evaluate(spec, json.dumps(sources), send(df.sparkSession, carried(weights)))
    rows = df.select(*[value.alias(name) for name, value in sent.items()])
    parts = [(row.numbers, bytes(row.collected)) for row in rows.mapInArrow(task, NUMBERS).collect()]
    if not parts:
        raise UserError("evaluate: the DataFrame has no rows")
    return {name.removeprefix("val_"): value for name, value in told(spec, weights, parts).items()}


def told(spec: str, weights: bytes, parts: list[tuple[list[float], bytes]]) -> dict[str, Any]:
    """What the numbers of all parts come to, and their rows, by name."""
    from stoker.engine import load_torch

    totals = [sum(column) for column in zip(*(numbers for numbers, _ in parts))]
    return json.loads(load_torch().Evaluation(spec, weights).told(totals, [rows for _, rows in parts]))
