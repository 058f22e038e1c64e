"""What a row counts by its class, as the user says or by how rare the class is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import functions as F

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain
from stoker.spark.table import Table

BALANCED = "balanced"
ClassWeight = Mapping[str, float] | str


def as_class_weight(value: Any) -> dict[str, float] | str:
    """'balanced', or a dict of classes, which are numbers or texts, to numbers. UserError says what is wrong."""
    value = plain(value)
    if value == BALANCED:
        return BALANCED
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"classWeight is {value!r}, expected 'balanced', or a dict of classes to numbers such as "
                        "{0: 1.0, 1: 5.0}")  # fmt: skip
    for name, one in value.items():
        if not is_finite(one) or one < 0:
            raise UserError(f"classWeight: class {name!r} has {one!r}, expected a number, not negative")
    if not any(value.values()):
        raise UserError("classWeight: every class counts 0, so nothing would be trained")
    return {str(plain(name)): float(one) for name, one in value.items()}


def check_loss(told: ClassWeight | None, loss: Any) -> None:
    """The loss does not weigh classes by itself."""
    from stoker.frontend.losses import as_module

    module = as_module(loss)
    own = next((name for name in ("weight", "pos_weight") if getattr(module, name, None) is not None), None)
    if told is not None and own is not None:
        raise UserError(f"classWeight and the loss's own {own} both say what classes count: leave one of them out")


def counted(table: Table, column: str, words: Sequence[str], mark: str | None) -> dict[int, int]:
    """Rows of each class, those that `mark` holds out for validation left out; a pass over the rows."""
    rows = table.rows if mark is None else table.rows.where(f"not coalesce({table.sql_name(mark)}, false)")
    name = F.expr(table.sql_name(column))
    numbers = {word: number for number, word in enumerate(words)}
    found = rows.where(name.isNotNull()).groupBy(name.alias("label")).agg(F.count(F.lit(1)).alias("n")).collect()
    return {numbers.get(row.label, -1) if words else int(row.label): row.n for row in found if _is_class(row.label)}


def _is_class(label: Any) -> bool:
    return isinstance(label, str) or (math.isfinite(label) and float(label).is_integer())


def of_classes(told: ClassWeight | None, classes: int, words: Sequence[str],
               counts: Mapping[int, int] | None) -> list[float] | None:  # fmt: skip
    """By class; those that are not told of count 1."""
    if told is None:
        return None
    if isinstance(told, str):
        return _balanced(classes, counts)
    names = {word: number for number, word in enumerate(words)} or {str(number): number for number in range(classes)}
    for name in told:
        if name not in names:
            near = did_you_mean(name, names) or f"; there are {', '.join(list(names)[:8])}"
            raise UserError(f"classWeight: there is no class {name!r}{near}")
    by_number = {names[name]: weight for name, weight in told.items()}
    return [by_number.get(number, 1.0) for number in range(classes)]


def _balanced(classes: int, counts: Mapping[int, int] | None) -> list[float]:
    """As scikit-learn: rows / (classes that occur x rows of the class)."""
    if counts is None:
        raise UserError("classWeight='balanced' is learnt from rows, and an estimator is saved before its first fit "
                        "without any: give the weights as a dict, or fit it, and save the model")  # fmt: skip
    there = {number: n for number, n in counts.items() if 0 <= number < classes}
    rows = sum(there.values())
    return [rows / (len(there) * there[number]) if number in there else 1.0 for number in range(classes)]
