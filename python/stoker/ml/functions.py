"""Models as SQL functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructField, StructType

from stoker.errors import UserError
from stoker.fit import layout
from stoker.fit.settings import naming_of
from stoker.ml.models import _StokerModel
from stoker.ml.scoring import schema_of
from stoker.spark import clock, compat, grouping
from stoker.spark.clock import Clock
from stoker.spark.columns import Source
from stoker.spark.function import Form, Function, Taken
from stoker.spark.infer import Scorer

EVERYTHING = "*"


def register_function(spark: SparkSession, name: str, model: Any, output: str | None = None) -> Any:
    """Makes a model a function of SQL: `SELECT name(features) FROM t`. A function of the same name is replaced.

    The arguments are the columns that the model was fit on, in the order of featuresCols or inputs; inputs that are not
    declared may also come packed, one array or vector each. It gives the column `output` of those that transform would
    add (default: the prediction), vectors as arrays; "*" gives all of them as a struct. Returns the function, which
    works on Columns too.
    """
    made = function_of(spark, name, model, output, _ours(model)._scorer(spark))
    return spark.udf.register(name, compat.arrow_function(*made))


def function(spark: SparkSession, model: Any, output: str | None = None) -> Any:
    """The same without a name in SQL, for Columns: `df.withColumn("p", function(spark, model)("features"))`.

    It asks nothing of a DataFrame, as transform does, so it works in dataset functions of declarative pipelines, where
    Spark allows no questions; make it outside of them. All weights travel with it: streaming tables see no files of the
    session, by which large ones come elsewhere.
    """
    made = function_of(spark, "the function", model, output, _ours(model)._inferred().here(model._outputs()))
    return compat.arrow_function(*made)


def _ours(model: Any) -> _StokerModel:
    if not isinstance(model, _StokerModel):
        cure = "; give its stage, such as model.stages[-1]" if hasattr(model, "stages") else ""
        raise UserError(f"a model that was fit by Stoker can be a function, not a {type(model).__name__}{cure}")
    return model


def function_of(
    spark: SparkSession, name: str, model: Any, output: str | None, scorer: Scorer
) -> tuple[Function, DataType]:
    """What runs in the workers, and the type that it gives."""
    naming = naming_of(model)
    if place := model._compiled.infer.get("coupled"):
        cure = "a function of SQL gets rows as Spark cuts them: use transform, with transformGroup"
        raise UserError(f"{grouping.told(place)}; {cure}")
    sources = layout.features_of_program(naming, None, model._compiled.infer["inputs"])
    clocks = {sent.zone: clock.of_zone(spark, sent.zone) for source in sources for sent in source.sent if sent.zone}
    forms = tuple(form for form in (_by_column(sources, clocks), _packed(sources)) if form)
    model._check_added()
    schema = StructType([StructField(f.name, f.dataType) for f in compat.crossing(schema_of(model._outputs()))])
    field = _chosen(model, schema.names, output)
    return Function(name, scorer, forms, field), schema if field is None else schema[field].dataType


def _chosen(model: Any, names: Sequence[str], output: str | None) -> str | None:
    if output is None:
        usual = model.getPredictionCol()
        return usual if usual in names else names[0] if len(names) == 1 else None
    if output == EVERYTHING:
        return None
    if output not in names:
        raise UserError(f"output='{output}': the model gives {', '.join(names)}, or '*' for all of them")
    return output


def _by_column(sources: Sequence[Source], clocks: Mapping[str, Clock]) -> Form:
    """Every column is an argument, once."""
    found: dict[str, Taken] = {}
    arguments: list[str] = []
    for source in sources:
        for column, name, zone in _columns_of(source):
            if column not in arguments:
                arguments.append(column)
            dtype = None if source.fields else source.dtype
            found[name] = Taken(name, arguments.index(column), dtype, clocks.get(zone or ""))
    specs = [source.spec() if source.fields or len(source.columns) == 1 else _spread(source) for source in sources]
    return Form(tuple(arguments), tuple(found.values()), json.dumps(specs))


def _columns_of(source: Source) -> Iterator[tuple[str, str, str | None]]:
    """The user's column, the engine's name for it, the zone of timestamps."""
    if source.fields:
        yield from ((column, sent.name, sent.zone) for sent in source.sent for column in sent.columns)
    elif len(source.columns) == 1:
        yield source.columns[0], source.sent_as, None
    else:
        yield from ((column, f"{source.sent_as}.{i}", None) for i, column in enumerate(source.columns))


def _spread(source: Source) -> dict[str, Any]:
    """An input whose values come in columns of their own."""
    fields = [{"kind": "plain", "column": name, "shown": [column], "stored": source.dtype}
              for column, name, _ in _columns_of(source)]  # fmt: skip
    return {**source.spec(), "fields": fields}


def _packed(sources: Sequence[Source]) -> Form | None:
    """Every input is an argument, an array or a vector. Not with declared ones: their columns are of many types."""
    if any(source.fields for source in sources):
        return None
    taken = tuple(Taken(source.sent_as, i, source.dtype) for i, source in enumerate(sources))
    return Form(tuple(source.name for source in sources), taken, json.dumps([source.spec() for source in sources]))
