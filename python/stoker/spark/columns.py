"""From the user's columns to what the tasks read: which of them fill an input, and their casts in the JVM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, DataType, DecimalType, LongType

from stoker.errors import UserError
from stoker.program import is_lookup
from stoker.spark.sql import text_literal
from stoker.spark.table import Table, is_scalar, is_vector, is_whole

_SQL_TYPE = {"float32": "float", "float64": "double"}
_WHOLE_DOUBLES = 1 << 53  # whole numbers up to here are doubles
_DENSE = 1  # as VectorUDT tells kinds
_FAR = 300_000_000_000_000_000  # microseconds of some 9,500 years; times beyond are refused, whatever the zone


@dataclass(frozen=True)
class Sent:
    """Columns that travel as they are: one by itself, several of one type as an array. With a zone, a timestamp travels
    as the microseconds that the zone's clock shows."""

    columns: tuple[str, ...]
    zone: str | None = None

    @property
    def name(self) -> str:
        """The same for the same columns."""
        return _name_in_arrow("raw", self.columns, self.zone)

    def expression(self, table: Table) -> Column:
        names = [table.sql_name(name) for name in self.columns]
        if len(names) > 1:
            return F.expr(f"array({', '.join(names)})")
        if self.zone is not None:
            (name,) = names
            on_clock = f"from_utc_timestamp({name}, {text_literal(self.zone)})"
            near = f"unix_micros({name}) between -{_FAR} and {_FAR}"
            return F.expr(f"unix_micros(if({near}, {on_clock}, {name}))")
        return F.expr(names[0])


@dataclass(frozen=True)
class Source:
    """One input of the program and the user's columns that fill it: either packed and cast in the JVM, or sent as they
    are and read by declared fields in the engine."""

    name: str
    columns: tuple[str, ...]
    param: str  # the user's parameter, for messages: "featuresCol"
    dtype: str = "float32"
    shape: tuple[int, ...] = ()  # of one row; empty for a scalar
    rules: dict[str, Any] = field(default_factory=dict)  # more fields of the engine's ColumnSpec
    fields: tuple[dict[str, Any], ...] = ()  # the engine's FieldSpecs, of declared inputs
    sent: tuple[Sent, ...] = ()  # for the fields
    role: str = "feature"  # or "label", "weight", "group": each may have an input of the same name
    tops: tuple[int, ...] = ()  # of declared whole numbers: the largest that each value of a row can be
    words: tuple[str, ...] = ()  # of a label of texts, by class
    hashed: bool = False  # texts of which only their equality matters

    @property
    def sent_as(self) -> str:
        """Its column's name on the way to the tasks."""
        return _name_in_arrow(self.role, self.name)

    @property
    def shown(self) -> str:
        return self.columns[0] if len(self.columns) == 1 else f"{self.param} ({', '.join(self.columns)})"

    def spec(self) -> dict[str, Any]:
        """The engine's ColumnSpec."""
        told = {"name": self.sent_as, "shown": self.shown, "dtype": self.dtype, "shape": list(self.shape), **self.rules}
        return {**told, "fields": list(self.fields)} if self.fields else told


def _name_in_arrow(kind: str, *content: Any) -> str:
    """Names that differ in content differ in more than case, and have no dots, over which Arrow's readers stumble."""
    return f"{kind}_{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"


def travelling(table: Table, sources: Iterable[Source]) -> dict[str, Column]:
    """By name, the columns that the tasks read for the sources, each once."""
    found: dict[str, Sent | Source] = {}
    for source in sources:
        if source.fields:
            found.update({sent.name: sent for sent in source.sent})
        else:
            found[source.sent_as] = source
    return {name: one.expression(table) if isinstance(one, Sent) else expression(table, one)
            for name, one in found.items()}  # fmt: skip


def expression(table: Table, source: Source) -> Column:
    """The source as one column in a type that the engine stores without a further cast."""
    if source.words:
        return F.expr(_class_of(table.sql_name(source.columns[0]), source))
    if source.hashed:
        value = table.column(source.columns[0])
        return F.when(value.isNotNull(), F.xxhash64(value))
    kinds = [table.type_of(name, source.param) for name in source.columns]
    to = crossing_type(source, kinds)
    if len(kinds) > 1:
        casts = [_cast(table.sql_name(name), kind, source, to) for name, kind in zip(source.columns, kinds)]
        return F.expr(f"array({', '.join(casts)})")  # one text: each Column made from Python is a call into the JVM
    value = table.column(source.columns[0])
    if is_vector(kinds[0]):
        return _numbers_of_vector(value, to)
    if isinstance(kinds[0], ArrayType):
        return value.cast(f"array<{to}>")
    return F.array(value.cast(to)) if is_packed(source, kinds) else value.cast(to)


def _numbers_of_vector(value: Column, to: str) -> Column:
    """A dense one has them in its struct; Spark's function for all kinds is a call for each row."""
    fields = F.unwrap_udt(value)
    return F.when(fields["type"] == _DENSE, fields["values"].cast(f"array<{to}>")).otherwise(
        vector_to_array(value, "float32" if to == "float" else "float64")
    )


def _class_of(name: str, source: Source) -> str:
    """The number of a text's class; null of a null."""
    words = f"array({', '.join(map(text_literal, source.words))})"
    told = f"{source.param}: column '{source.columns[0]}' has a value that was not there when classes were learnt: "
    unknown = f"cast(raise_error(concat({text_literal(told)}, {name})) as bigint)"
    return f"if({name} is null, null, coalesce(nullif(array_position({words}, {name}), 0) - 1, {unknown}))"


def crossing_type(source: Source, kinds: Sequence[DataType]) -> str:
    """The SQL type in which the source's numbers travel, `kinds` being those of its columns. For floats it is the one
    that is stored; for whole numbers one that keeps every value, and the engine checks that they are whole."""
    if not is_lookup(source.dtype):
        return _SQL_TYPE[source.dtype]
    inner = [kind.elementType if isinstance(kind, ArrayType) else kind for kind in kinds]
    if all(map(is_whole, inner)):
        return "bigint"
    if all(is_whole(kind) or isinstance(kind, DecimalType) for kind in inner):
        return _common_decimal([kind for kind in inner if isinstance(kind, DecimalType)], any(map(is_whole, inner)))
    return "double"


def _common_decimal(kinds: Sequence[DecimalType], beside_whole: bool) -> str:
    """Keeps the digits of all, and those of a bigint; double where none does."""
    scale = max(kind.scale for kind in kinds)
    before = max([kind.precision - kind.scale for kind in kinds] + [19] * beside_whole)
    return f"decimal({before + scale},{scale})" if before + scale <= 38 else "double"


def loses_digits(kind: DataType, source: Source, to: str) -> bool:
    """Whether whole numbers of a column may be lost among the doubles that it is packed with."""
    return to == "double" and is_lookup(source.dtype) and isinstance(kind, (LongType, DecimalType))


def _cast(name: str, kind: DataType, source: Source, to: str) -> str:
    cast = f"cast({name} as {to})"
    if not loses_digits(kind, source, to):
        return cast
    told = (f"{source.param}: column {name} has a value that is not a whole number of up to 2^53; columns that are "
            f"packed with floating point ones can hold no others: ")  # fmt: skip
    fits = f"{name} is null or ({name} = floor({name}) and {name} between -{_WHOLE_DOUBLES} and {_WHOLE_DOUBLES})"
    return f"if({fits}, {cast}, cast(raise_error(concat({text_literal(told)}, {name})) as double))"


def is_packed(source: Source, kinds: Sequence[DataType]) -> bool:
    """Whether scalar columns become one array."""
    lone = bool(source.shape) and not source.rules.get("integral")
    return len(kinds) > 1 or (is_scalar(kinds[0]) and lone)


def width_of_first_row(table: Table, source: Source) -> int:
    """Values of one row, read from the first: a Spark job, for where nothing else tells."""
    values = expression(table, source).alias("v")
    first = table.rows.select(values).where("v is not null").select(F.size("v").alias("n")).first()
    if first is None:
        raise UserError(f"the DataFrame has no rows with a value in '{source.shown}'")
    return int(first["n"])


def shape_of_first_row(table: Table, name: str, kind: DataType) -> tuple[int, ...]:
    """The sizes of the first row that has a value: a Spark job."""
    value = table.column(name)
    if is_vector(kind):
        value, kind = vector_to_array(value), ArrayType(BooleanType())
    sizes, inner = [], value
    while isinstance(kind, ArrayType):
        sizes.append(F.size(inner))
        inner, kind = inner.getItem(0), kind.elementType
    first = table.rows.where(value.isNotNull()).select(*sizes).first()
    if first is None:
        raise UserError(f"the DataFrame has no rows with a value in '{name}'")
    return tuple(first)
