"""From the user's columns to what the tasks read: checks, casts in the JVM, and which row goes to which shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    AtomicType,
    BooleanType,
    DataType,
    DecimalType,
    IntegralType,
    LongType,
    NumericType,
    VariantType,
)

from stoker.errors import UserError
from stoker.program import is_lookup
from stoker.spark import compat
from stoker.spark.placement import Held, Placement, late_shards
from stoker.spark.sql import text_literal

SHARD = "__shard"
_HELD = "held out"  # tells this hash of a row from the one of its shard
_PARTS = 1_000_000
_SQL_TYPE = {"float32": "float", "float64": "double"}
_WHOLE_DOUBLES = 1 << 53  # whole numbers up to here are doubles
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

    def expression(self, df: DataFrame) -> Column:
        names = [sql_name(df, name) for name in self.columns]
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
    role: str = "feature"  # or "label", "weight": each may have an input of the same name

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


def type_of(df: DataFrame, name: str, param: str) -> DataType:
    """The type of a column; an error that says which columns exist if it is not there."""
    found = [known for known in df.schema.fields if _same(df, known.name, name)]
    if len(found) > 1:
        raise UserError(f"{param}: the DataFrame has {len(found)} columns named '{name}' ("
                        f"{', '.join(known.name for known in found)}): rename or drop all but one")  # fmt: skip
    if found:
        return found[0].dataType
    if "." in name and (nested := _nested_type(df, name)) is not None:
        return nested
    raise UserError(f"{param}: the DataFrame has no column '{name}'. It has: {', '.join(df.columns)}")


def column(df: DataFrame, name: str) -> Column:
    return F.col(sql_name(df, name))


def sql_name(df: DataFrame, name: str) -> str:
    names = df.schema.names
    exact = name in names or any(_same(df, known, name) for known in names)
    return _quoted(name) if exact else name


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def check_absent(df: DataFrame, added: dict[str, str]) -> None:
    """`added`: columns by the parameter that names them."""
    for param, name in added.items():
        if any(_same(df, known, name) for known in df.columns):
            raise UserError(f"{param}='{name}': the DataFrame has a column of this name already. Drop it or set "
                            f"{param.partition('[')[0]} to another")  # fmt: skip
    check_distinct(added.values())


def check_distinct(added: Iterable[str]) -> None:
    names = [name.lower() for name in added]
    if len(set(names)) < len(names):
        raise UserError(f"two output columns have the same name: {', '.join(added)}")


def check_dataframe(df: Any, what: str) -> None:
    if not isinstance(df, DataFrame):
        cure = ": make one by spark.createDataFrame(...)" if type(df).__module__.startswith("pandas") else ""
        raise UserError(f"{what} takes a DataFrame of Spark, not a {type(df).__name__}{cure}")


def check_ends(df: DataFrame, what: str) -> None:
    """Streams have no end that a pass over their rows could reach."""
    if df.isStreaming:
        raise UserError(f"{what} needs rows that end, and this DataFrame is a stream: call {what} on each of its "
                        "batches, in df.writeStream.foreachBatch(lambda rows, number: ...)")  # fmt: skip


def is_vector(kind: DataType) -> bool:
    return isinstance(kind, VectorUDT)


def is_scalar(kind: DataType) -> bool:
    return isinstance(kind, (NumericType, BooleanType))


def is_array(kind: DataType) -> bool:
    return isinstance(kind, ArrayType) and is_scalar(kind.elementType)


def is_whole(kind: DataType) -> bool:
    """Integers and booleans, alone or in an array."""
    inner = kind.elementType if isinstance(kind, ArrayType) else kind
    return isinstance(inner, (IntegralType, BooleanType))


def check_values(df: DataFrame, source: Source) -> None:
    """The columns exist and hold numbers in a form that can be read."""
    kinds = {name: type_of(df, name, source.param) for name in source.columns}
    for name, kind in kinds.items():
        fits = is_scalar(kind) if len(kinds) > 1 else is_scalar(kind) or is_array(kind) or is_vector(kind)
        if not fits:
            wanted = "a numeric type" if len(kinds) > 1 else "a numeric type, an array of one, or an ML vector"
            raise UserError(f"{source.param}: column '{name}' has type {kind.simpleString()}; it must be {wanted}")


def check_scalar(df: DataFrame, name: str, param: str, hint: str = "") -> None:
    kind = type_of(df, name, param)
    if not is_scalar(kind):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be a numeric type{hint}")


def check_key(df: DataFrame, name: str, param: str) -> None:
    """Rows can be told apart by the column: it holds one value a row."""
    kind = type_of(df, name, param)
    if not isinstance(kind, AtomicType) or isinstance(kind, VariantType):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be one value a row, such as "
                        "a number, a string or a date")  # fmt: skip


def travelling(df: DataFrame, sources: Iterable[Source]) -> dict[str, Column]:
    """By name, the columns that the tasks read for the sources, each once."""
    found = {}
    for source in sources:
        if source.fields:
            found.update({sent.name: sent for sent in source.sent})
        else:
            found[source.sent_as] = source
    return {name: one.expression(df) if isinstance(one, Sent) else expression(df, one) for name, one in found.items()}


def expression(df: DataFrame, source: Source) -> Column:
    """The source as one column in a type that the engine stores without a further cast."""
    kinds = [type_of(df, name, source.param) for name in source.columns]
    to = crossing_type(source, kinds)
    if len(kinds) > 1:
        casts = [_cast(sql_name(df, name), kind, source, to) for name, kind in zip(source.columns, kinds)]
        return F.expr(f"array({', '.join(casts)})")  # one text: each Column made from Python is a call into the JVM
    value = column(df, source.columns[0])
    if is_vector(kinds[0]):
        return vector_to_array(value, "float32" if to == "float" else "float64")
    if isinstance(kinds[0], ArrayType):
        return value.cast(f"array<{to}>")
    return F.array(value.cast(to)) if is_packed(source, kinds) else value.cast(to)


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


def known_width(df: DataFrame, columns: Sequence[str], param: str) -> int | None:
    """Values of one row if the schema tells, else None."""
    if len(columns) > 1:
        return len(columns)
    kind = type_of(df, columns[0], param)
    if is_scalar(kind):
        return 1
    attributes = [f.metadata.get("ml_attr", {}) for f in df.schema.fields if _same(df, f.name, columns[0])]
    count = attributes[0].get("num_attrs") if attributes else None
    return int(count) if count else None


def width_of_first_row(df: DataFrame, source: Source) -> int:
    """Values of one row, read from the first: a Spark job, for where nothing else tells."""
    values = expression(df, source).alias("v")
    first = df.select(values).where("v is not null").select(F.size("v").alias("n")).first()
    if first is None:
        raise UserError(f"the DataFrame has no rows with a value in '{source.shown}'")
    return int(first["n"])


def check_mark(df: DataFrame, name: str, param: str) -> None:
    kind = type_of(df, name, param)
    if not isinstance(kind, BooleanType):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be boolean, true for rows "
                        f"to validate on: cast('boolean') makes it one")  # fmt: skip


def place(df: DataFrame, sources: Sequence[Source], how: Placement) -> DataFrame:
    """The columns that travel for the sources, in one partition per worker, with SHARD where a worker owns
    several shards."""
    named = travelling(df, sources)
    values = [value.alias(name) for name, value in named.items()]
    if how.assign == "partition":
        return df.select(*values) if how.held is None else _marked(df, named, how)[0]
    if how.shards == 1:
        return (df.select(*values) if how.held is None else _marked(df, named, how)[0]).repartition(1)
    marked, owner = _marked(df, named, how)
    placed = compat.place_by_id(marked, how.workers, owner)
    return placed.drop(SHARD) if how.shards == how.workers and how.held is None else placed


def place_part(df: DataFrame, sources: Sequence[Source], how: Placement, worker: int) -> DataFrame:
    """What place() gives to one worker, in one partition."""
    if how.shards == 1:
        return place(df, sources, how)
    marked, owner = _marked(df, travelling(df, sources), how)
    placed = marked.where(owner == worker).repartition(1)
    return placed.drop(SHARD) if how.shards == how.workers and how.held is None else placed


def place_late(df: DataFrame, sources: Sequence[Source], how: Placement, most: int) -> DataFrame:
    """What the late workers hold, in one partition each."""
    late = late_shards(how.workers, most, how.shards)
    shard = F.pmod(F.col(SHARD), F.lit(how.shards))
    holders = [next((i for i, shards in enumerate(late) if shard in shards), -1) for shard in range(how.shards)]
    marked, _ = _marked(df, travelling(df, sources), how)
    holder = F.element_at(F.array(*[F.lit(i) for i in holders]), shard + 1)
    return compat.place_by_id(marked.where(holder >= 0), len(late), holder)


def _marked(df: DataFrame, named: dict[str, Column], how: Placement) -> tuple[DataFrame, Column]:
    """The travelling columns with SHARD, and the number of the worker that owns it."""
    values = [value.alias(name) for name, value in named.items()]
    keys = [column(df, how.id_column)] if how.id_column else list(named.values())
    if how.id_column or how.held:
        marked = df.select(*values, _shard(df, keys, how))
    else:
        marked = df.select(*values).select("*", _shard(df, [F.col(_quoted(name)) for name in named], how))
    shard = F.col(SHARD) if how.held is None else F.pmod(F.col(SHARD), F.lit(how.shards))
    if how.shards == how.workers:
        return marked, shard
    return marked, F.floor(((shard + 1) * how.workers - 1) / how.shards).cast("int")


def _shard(df: DataFrame, keys: Sequence[Column], how: Placement) -> Column:
    """Rows that are held out are of shards of their own, as many numbers after those of the rest."""
    own = F.spark_partition_id() if how.assign == "partition" else F.pmod(F.xxhash64(*keys), F.lit(how.shards))
    if how.held is None:
        return own.cast("int").alias(SHARD)
    return (own + F.when(_held(df, keys, how.held), how.shards).otherwise(0)).cast("int").alias(SHARD)


def _held(df: DataFrame, keys: Sequence[Column], held: Held) -> Column:
    """Whether a row is held out, from its keys: always the same rows, whatever the number of shards is."""
    if not held.column:
        return F.pmod(F.xxhash64(F.xxhash64(*keys), F.lit(_HELD)), F.lit(_PARTS)) < round(held.fraction * _PARTS)
    mark = column(df, held.column)
    told = F.raise_error(F.lit(f"validationIndicatorCol: column '{held.column}' has a null: each row needs true "
                               "(held out for validation) or false"))  # fmt: skip
    return F.when(mark.isNull(), told.cast("boolean")).otherwise(mark)


def _same(df: DataFrame, known: str, wanted: str) -> bool:
    return known == wanted or (known.lower() == wanted.lower() and not _case_sensitive(df))


def _case_sensitive(df: DataFrame) -> bool:
    return (df.sparkSession.conf.get("spark.sql.caseSensitive", "false") or "false").lower() == "true"


def _nested_type(df: DataFrame, name: str) -> DataType | None:
    try:
        return df.select(name).schema.fields[0].dataType
    except Exception:  # Spark's analysis says no: the caller tells which columns there are
        return None
