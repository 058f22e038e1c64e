"""Which columns fill which inputs of the program, in which dtype and shape.

Works without a DataFrame too (to save an estimator before its first fit), as far as parameters and model tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql.types import StringType

from stoker.errors import UserError
from stoker.fit.names import Naming, check_known
from stoker.inputs import fields
from stoker.inputs.declarations import has_declared
from stoker.program import TensorSpec, is_lookup
from stoker.spark import checks, columns
from stoker.spark.columns import Source
from stoker.spark.table import Table, is_scalar, is_vector, is_whole

LABEL_RULES = {"finite": True}
WEIGHT_RULES = {"finite": True, "non_negative": True}


def spec_of(source: Source) -> TensorSpec:
    return TensorSpec(source.name, source.dtype, source.shape)


def typed(source: Source, dtype: str) -> Source:
    """Integers are checked to be whole, rather than cut."""
    rules = {**source.rules, "integral": True} if is_lookup(dtype) else source.rules
    return replace(source, dtype=dtype, rules=rules)


def feature_columns(naming: Naming) -> dict[str, Source]:
    """Input name to its columns, where they are named and not declared; shape and dtype still open."""
    if named := naming.inputs:
        plain = {name: entry for name, entry in named.items() if not has_declared({name: entry})}
        return {name: Source(name, _tuple(cols), f"inputs['{name}']") for name, cols in plain.items()}
    if many := naming.features_cols:
        return {"features": Source("features", tuple(many), "featuresCols")}
    return {"features": Source("features", (naming.features_col,), "featuresCol")}


def declared_features(naming: Naming, table: Table | None) -> dict[str, Source]:
    """Inputs that are declared, and complete (stoker.inputs.learn)."""
    types = naming.input_types or {}
    return {name: fields.source(name, entry, table, types.get(name))
            for name, entry in (naming.inputs or {}).items() if has_declared({name: entry})}  # fmt: skip


def features(naming: Naming, table: Table | None, module: Any) -> list[Source]:
    found = list(declared_features(naming, table).values())
    for named in feature_columns(naming).values():
        if table is not None:
            checks.check_values(table, named)
        source = typed(named, _feature_type(naming, named.name, module))
        found.append(replace(source, shape=_feature_shape(naming, table, module, source)))
    return found


def features_of_program(naming: Naming, table: Table | None, inputs: list[Mapping[str, Any]]) -> list[Source]:
    """The same for a program that exists already: it says shapes and dtypes."""
    wanted, made = feature_columns(naming), declared_features(naming, table)
    check_known("inputs", [*wanted, *made], [entry["name"] for entry in inputs], "input of the model")
    found = []
    for entry in inputs:
        if entry["name"] in made:
            found.append(_fitting(made[entry["name"]], entry))
            continue
        if entry["name"] not in wanted:
            names = ", ".join([*wanted, *made])
            raise UserError(f"the model has an input '{entry['name']}', but inputs names {names} only")
        source = replace(typed(wanted[entry["name"]], entry["dtype"]), shape=tuple(entry["shape"]))
        if table is not None:
            checks.check_values(table, source)
            _check_width(source, table.width_of(source.columns, source.param))
        found.append(source)
    return found


def _fitting(source: Source, entry: Mapping[str, Any]) -> Source:
    if list(source.shape) != list(entry["shape"]):
        raise UserError(f"{source.param}: a row is declared with shape {list(source.shape)}, but the model takes "
                        f"{list(entry['shape'])}")  # fmt: skip
    return replace(source, dtype=entry["dtype"])


def label_columns(naming: Naming) -> dict[str, Source]:
    named = naming.label_cols
    if isinstance(named, dict):
        return {name: Source(name, _tuple(cols), f"labelCols['{name}']", rules=LABEL_RULES, role="label")
                for name, cols in named.items()}  # fmt: skip
    if named:
        return {"label": Source("label", _tuple(named), "labelCols", rules=LABEL_RULES, role="label")}
    return {"label": Source("label", (naming.label_col,), "labelCol", rules=LABEL_RULES, role="label")}


def labels_of_program(naming: Naming, table: Table | None, entries: list[Mapping[str, Any]]) -> list[Source]:
    wanted = label_columns(naming)
    check_known("labelCols", wanted, [entry["name"] for entry in entries], "label of the program")
    found = []
    for entry in entries:
        if entry["name"] not in wanted:
            raise UserError(f"the program has a label '{entry['name']}', but labelCols names {', '.join(wanted)} only")
        source = replace(typed(wanted[entry["name"]], entry["dtype"]), shape=tuple(entry["shape"]))
        if table is not None and holds_texts(table, source):
            source = by_words(naming, source)
        elif table is not None:
            checks.check_values(table, source)
        found.append(source)
    return found


def holds_texts(table: Table, label: Source) -> bool:
    return len(label.columns) == 1 and isinstance(table.type_of(label.columns[0], label.param), StringType)


def by_words(naming: Naming, label: Source) -> Source:
    """A label of texts, whose classes have been learnt."""
    if not naming.label_words:
        raise UserError(f"{label.param}: column '{label.columns[0]}' holds texts, and this model's labels are numbers")
    return replace(label, words=naming.label_words)


def check_classes(sources: Sequence[Source], classes: int | None) -> None:
    """There are no more words than classes."""
    for source in sources:
        if classes is not None and len(source.words) > classes:
            raise UserError(f"{source.param}: column '{source.columns[0]}' holds {len(source.words)} different texts, "
                            f"and the model gives {classes} classes: a model of {len(source.words)} outputs knows them "
                            "all")  # fmt: skip


def sources_of_evaluation(naming: Naming, table: Table, entries: list[Mapping[str, Any]], weight_col: str | None,
                          group_col: str | None) -> list[Source]:  # fmt: skip
    """In the order of an evaluation program's inputs."""
    weight_col, group_col = weight_col or None, group_col or None
    told = {"weight": weight_col, "group": group_col}
    for role, column in told.items():
        if any(entry["role"] == role for entry in entries) != bool(column):
            was = "with" if column is None else "without"
            raise UserError(f"{role}Col{' is missing' if column is None else ''}: this model was fit {was} it")
    naming = replace(naming, weight_col=weight_col, group_col=group_col)
    found = features_of_program(naming, table, [entry for entry in entries if entry["role"] == "feature"])
    found += labels_of_program(naming, table, [entry for entry in entries if entry["role"] == "label"])
    found += [source for source in (weight(naming, table), group(naming, table)) if source is not None]
    by_name = {(source.role, source.name): source for source in found}
    return [by_name[entry["role"], entry["name"]] for entry in entries]


def class_label(naming: Naming, table: Table | None) -> Source:
    """The label of a classifier: one whole number."""
    source = Source("label", (naming.label_col,), "labelCol", "int64", rules={**LABEL_RULES, "integral": True},
                    role="label")  # fmt: skip
    if table is not None and holds_texts(table, source):
        return by_words(naming, source)
    if table is not None:
        (name,) = source.columns
        if is_vector(table.type_of(name, "labelCol")):
            raise UserError(f"labelCol: column '{name}' holds vectors, and a classifier takes class numbers: of "
                            "one-hot vectors give the column of indices that they were made from")  # fmt: skip
        checks.check_scalar(table, name, "labelCol", " of class numbers, or texts")
    return source


def own_type(table: Table | None, label: Source) -> str:
    """int64 for columns that hold whole numbers by their type."""
    kinds = [] if table is None else [table.type_of(name, label.param) for name in label.columns]
    return "int64" if kinds and all(map(is_whole, kinds)) else "float32"


def value_labels(naming: Naming, table: Table | None, dtype: Callable[[Source], str],
                 size: Callable[[Source], int | None]) -> list[Source]:  # fmt: skip
    """Labels that are numbers or arrays of numbers. `size` tells how many values a row has by the model, if it can."""
    found = []
    for named in label_columns(naming).values():
        if table is not None:
            checks.check_values(table, named)
        source = typed(named, dtype(named))
        found.append(replace(source, shape=_label_shape(table, source, size)))
    return found


def weight(naming: Naming, table: Table | None) -> Source | None:
    if naming.weight_col is None:
        return None
    source = Source("weight", (naming.weight_col,), "weightCol", rules=WEIGHT_RULES, role="weight")
    if table is not None:
        checks.check_scalar(table, source.columns[0], "weightCol")
    return source


def group(naming: Naming, table: Table | None) -> Source | None:
    """Whole numbers as they are, texts by their hash."""
    if naming.group_col is None:
        return None
    source = Source("group", (naming.group_col,), "groupCol", "int64", rules={"integral": True}, role="group")
    if table is None:
        return source
    kind = table.type_of(naming.group_col, "groupCol")
    if not (is_scalar(kind) and is_whole(kind)) and not isinstance(kind, StringType):
        raise UserError(f"groupCol: column '{naming.group_col}' is {kind.simpleString()}, expected whole numbers or "
                        "texts")  # fmt: skip
    return replace(source, hashed=isinstance(kind, StringType))


def _tuple(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _feature_type(naming: Naming, name: str, module: Any) -> str:
    from stoker.frontend import hugging
    from stoker.frontend.foreign import Foreign, is_hugging

    types = naming.input_types or {}
    if name in types:
        return types[name]
    if isinstance(module, Foreign):
        return module.told_type(name) or "float32"
    if is_hugging(module):
        return hugging.told_type(module, name)
    return "int64" if not types and starts_with_embedding(module) else "float32"


def starts_with_embedding(module: Any) -> bool:
    """Whether the model's first layer looks numbers up, so that its input must be whole."""
    from torch import nn

    layers = [layer for layer in module.modules() if not any(layer.children())]
    weighty = [layer for layer in layers if any(True for _ in layer.parameters(recurse=False))]
    return bool(weighty) and isinstance(weighty[0], (nn.Embedding, nn.EmbeddingBag))


def _feature_shape(naming: Naming, table: Table | None, module: Any, source: Source) -> tuple[int, ...]:
    width = table.width_of(source.columns, source.param) if table is not None else _many(source)
    shape = _told_shape(naming, source.name) or _shape_of_module(naming, module, source.name)
    if shape is not None:
        shaped = replace(source, shape=shape)
        _check_width(shaped, width)
        return shape
    if width is not None:
        return (width,)
    if table is None:
        raise UserError(f"the shape of a row of '{source.shown}' is not known: set inputShape, such as [784]")
    return (columns.width_of_first_row(table, replace(source, shape=(0,))),)


def _many(source: Source) -> int | None:
    return len(source.columns) if len(source.columns) > 1 else None


def _told_shape(naming: Naming, name: str) -> tuple[int, ...] | None:
    told = naming.input_shape
    shape = told.get(name) if isinstance(told, Mapping) else told
    return None if shape is None else tuple(shape)


def _shape_of_module(naming: Naming, module: Any, name: str) -> tuple[int, ...] | None:
    from stoker.frontend.foreign import Foreign
    from stoker.frontend.torch import infer_input_shape

    if isinstance(module, Foreign):
        return module.told_shape(name)
    if naming.inputs:
        return None
    shape = infer_input_shape(module)
    return None if shape is None else tuple(shape)


def _check_width(source: Source, width: int | None) -> None:
    wanted = math.prod(source.shape)
    if width is not None and width != wanted:
        raise UserError(f"{source.param}: '{source.shown}' has {width} values a row, but the model takes {wanted} "
                        f"(shape {list(source.shape)})")  # fmt: skip


def _label_shape(table: Table | None, source: Source, size: Callable[[Source], int | None]) -> tuple[int, ...]:
    if len(source.columns) > 1:
        return (len(source.columns),)
    if table is None:
        known = size(source)
        return () if known in (None, 1) else (known,)
    if is_scalar(table.type_of(source.columns[0], source.param)):
        return ()
    width = table.width_of(source.columns, source.param) or size(source)
    return (width or columns.width_of_first_row(table, source),)
