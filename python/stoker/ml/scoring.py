"""Columns that an inference program adds to a DataFrame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyspark.ml.functions import vector_to_array  # noqa: F401  (registers the vector type with Spark's Arrow conversion)
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from stoker.fit import layout
from stoker.fit.settings import naming_of
from stoker.spark import columns, compat, grouping
from stoker.spark.infer import Batches, Groups, Scorer
from stoker.spark.outputs import Outputs
from stoker.spark.table import Table
from stoker.spark.weights import Carried, send

_TYPES = {"vector": VectorUDT, "double": DoubleType, "text": StringType}


@dataclass(frozen=True)
class Inferred:
    """An inference program and its weights, as workers get them."""

    infer: dict[str, Any]
    weights: Carried

    def here(self, outputs: Outputs) -> Scorer:
        """What runs in this process."""
        return Scorer(json.dumps(self.infer), self.weights, outputs)

    def scorer(self, spark: SparkSession, outputs: Outputs, together: bool = False) -> Scorer:
        """What runs in the workers of a session: rows in chunks, or all that come at once together."""
        told = {"coupled": "by transformGroup", **self.infer} if together else self.infer
        return Scorer(json.dumps(told), send(spark, self.weights), outputs)


def schema_of(outputs: Outputs) -> StructType:
    """The columns that are added."""
    return StructType([StructField(name, _TYPES[kind](), False) for name, kind in outputs.fields()])


def scored(params: Any, table: Table, df: DataFrame, model: Inferred, outputs: Outputs) -> DataFrame:
    """`df` with the outputs' columns, the inputs' being those that `params` (stoker.ml.params.InputParams) say."""
    sources = layout.features_of_program(naming_of(params), table, model.infer["inputs"])
    inputs = columns.travelling(table, sources)
    schema = schema_of(outputs)
    if not schema.fields:
        return df
    specs = json.dumps([source.spec() for source in sources])
    group = params.value("transformGroup")
    grouping.check(table, group, model.infer.get("coupled"))
    if group:
        together = Groups(model.scorer(df.sparkSession, outputs, together=True), specs, tuple(inputs))
        return grouping.append_outputs(table, together, inputs, schema, group)
    scoring = Batches(model.scorer(df.sparkSession, outputs), specs, tuple(inputs))
    return compat.append_outputs(df, scoring, list(inputs.values()), schema)
