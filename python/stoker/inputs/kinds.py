"""Which types of columns a declaration can be read from, and what a column that is only named is declared as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    NumericType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from stoker.errors import UserError
from stoker.inputs.declarations import (
    CLOCK_PARTS,
    Array,
    Category,
    DateParts,
    Declared,
    Hashed,
    Image,
    Numeric,
    Padded,
    Present,
    Text,
)
from stoker.spark import columns


@dataclass(frozen=True)
class _Rule:
    fits: Callable[[DataType], bool]
    expected: str


def _is_number(kind: DataType) -> bool:
    return isinstance(kind, (NumericType, BooleanType))


def _is_key(kind: DataType) -> bool:
    return isinstance(kind, StringType) or (columns.is_whole(kind) and not isinstance(kind, ArrayType))


def _is_time(kind: DataType) -> bool:
    return isinstance(kind, (DateType, TimestampType, TimestampNTZType))


def _is_array(kind: DataType) -> bool:
    inner = kind
    while isinstance(inner, ArrayType):
        inner = inner.elementType
    return isinstance(kind, BinaryType) or columns.is_vector(kind) or (inner is not kind and _is_number(inner))


def _is_image(kind: DataType) -> bool:
    struct = isinstance(kind, StructType) and {"height", "width", "nChannels", "mode", "data"} <= set(kind.names)
    return isinstance(kind, BinaryType) or struct


_RULES: dict[type, _Rule] = {
    Numeric: _Rule(_is_number, "a numeric type"),
    Category: _Rule(_is_key, "a string, a whole number or a boolean"),
    Hashed: _Rule(_is_key, "a string, a whole number or a boolean"),
    DateParts: _Rule(_is_time, "a date or a timestamp"),
    Array: _Rule(_is_array, "an array of numbers, nested or not, a vector or binary"),
    Text: _Rule(lambda kind: isinstance(kind, StringType), "a string"),
    Image: _Rule(_is_image, "binary (JPEG, PNG or WebP files) or Spark's image struct"),
}


def check_type(df: DataFrame, item: Declared, where: str) -> None:
    """The column exists and is of a type that the declaration can be read from."""
    kind = columns.type_of(df, item.column, where)
    if isinstance(item, Present):
        if item.of is not None:
            check_type(df, item.of, where)
        return
    if isinstance(item, Padded):
        if not isinstance(kind, ArrayType):
            raise _wrong(item, kind, where, "an array")
        _check_one(item.of, kind.elementType, where, "an array of ")
        return
    _check_one(item, kind, where, "")


def _check_one(item: Declared, kind: DataType, where: str, outer: str) -> None:
    rule = _RULES[type(item)]
    if not rule.fits(kind):
        raise _wrong(item, kind, where, outer + rule.expected)
    if isinstance(item, DateParts) and isinstance(kind, DateType) and set(item.parts) & set(CLOCK_PARTS):
        raise _wrong(item, kind, where, "a timestamp, for dates have no " + " or ".join(CLOCK_PARTS))
    if isinstance(item, Category) and item.vocabulary:
        words = isinstance(item.vocabulary[0], str)
        if words != isinstance(kind, StringType):
            held = "strings" if words else "whole numbers"
            raise _wrong(item, kind, where, f"{outer}{held}, as its vocabulary holds")


def _wrong(item: Declared, kind: DataType, where: str, expected: str) -> UserError:
    return UserError(f"{where}: {item}: the column has type {kind.simpleString()}; expected {expected}")


def default_of(df: DataFrame | None, column: str, where: str) -> Declared:
    """What a column that is only named is declared as."""
    if df is None:
        raise UserError(f"{where}: what '{column}' is depends on the DataFrame; declare it: Numeric('{column}')")
    kind = columns.type_of(df, column, where)
    if isinstance(kind, StringType):
        return Category(column)
    for cls in (Numeric, DateParts, Array):
        if _RULES[cls].fits(kind) and not isinstance(kind, BinaryType):
            stamp = cls is DateParts and not isinstance(kind, DateType)
            return DateParts(column, ("month", "weekday", "hour")) if stamp else cls(column)
    raise UserError(f"{where}: column '{column}' has type {kind.simpleString()}: declare how it is read "
                    f"(docs/inputs.md), such as Padded(Category('{column}'), 20)")  # fmt: skip
