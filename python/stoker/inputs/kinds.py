"""Types of columns, as declarations tell them apart."""

from __future__ import annotations

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

from stoker.spark.table import is_vector, is_whole

_OF_IMAGES = {"height", "width", "nChannels", "mode", "data"}


def is_number(kind: DataType) -> bool:
    return isinstance(kind, (NumericType, BooleanType))


def is_text(kind: DataType) -> bool:
    return isinstance(kind, StringType)


def is_key(kind: DataType) -> bool:
    return is_text(kind) or (is_whole(kind) and not isinstance(kind, ArrayType))


def is_time(kind: DataType) -> bool:
    return isinstance(kind, (DateType, TimestampType, TimestampNTZType))


def is_array(kind: DataType) -> bool:
    inner = kind
    while isinstance(inner, ArrayType):
        inner = inner.elementType
    return isinstance(kind, BinaryType) or is_vector(kind) or (inner is not kind and is_number(inner))


def is_image(kind: DataType) -> bool:
    return isinstance(kind, BinaryType) or (isinstance(kind, StructType) and set(kind.names) >= _OF_IMAGES)
