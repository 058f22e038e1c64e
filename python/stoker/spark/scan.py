"""When workers read the DataFrame's Parquet files by themselves, instead of getting rows through a shuffle and a pipe.

That is done where Spark's plan proves that the rows are those of the files, and where columns, types and files are of
kinds that are known to give the same bits; everything else is refused with the reason, and goes through the pipe.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import types as T

from stoker.spark import columns, parquet, plan, session
from stoker.spark.columns import Source
from stoker.spark.placement import Placement
from stoker.spark.plan import Refused
from stoker.spark.table import Table

MAX_WORKERS = 4  # each reads all rows, so the work that is saved goes down with every worker
MAX_FILES = 256  # the driver reads every footer
_BATCH_BYTES = 2 << 20  # of tensors: batches that stay in cache
_CONFIGURED = (  # what makes Spark read other rows or columns than those that stand in the files
    "spark.sql.files.ignoreCorruptFiles",
    "spark.sql.files.ignoreMissingFiles",
    "spark.sql.parquet.fieldId.read.enabled",
)
_ARROW: dict[T.DataType, pa.DataType] = {
    T.BooleanType(): pa.bool_(),
    T.ByteType(): pa.int8(),
    T.ShortType(): pa.int16(),
    T.IntegerType(): pa.int32(),
    T.LongType(): pa.int64(),
    T.FloatType(): pa.float32(),
    T.DoubleType(): pa.float64(),
    T.StringType(): pa.string(),
    T.BinaryType(): pa.binary(),
}
_WHOLE = {T.BooleanType(), T.ByteType(), T.ShortType(), T.IntegerType(), T.LongType()}
_NUMBERS = {*_WHOLE, T.FloatType(), T.DoubleType()}


@dataclass(frozen=True)
class Scan:
    """What a worker must know to read its rows."""

    files: tuple[tuple[str, parquet.Identity], ...]
    columns: tuple[str, ...]  # of the files
    deal: dict[str, Any]  # engine/data/deal/deal.h
    batch_rows: int

    def spec(self) -> dict[str, Any]:
        files = [{"path": path, **asdict(identity)} for path, identity in self.files]
        return {"files": files, "columns": self.columns, "deal": self.deal, "batch_rows": self.batch_rows}


def look(table: Table, sources: Sequence[Source], how: Placement,
         allowed: bool) -> tuple[Scan | None, dict[str, Any]]:  # fmt: skip
    """The scan, if there may be one, and what the history tells of it."""
    try:
        if not allowed:
            raise Refused("directScan is off")
        found = find(table, sources, how)
    except Refused as why:
        return None, {"by": "pipe", "because": str(why)}
    return found, {"by": "scan", "files": len(found.files)}


def find(table: Table, sources: Sequence[Source], how: Placement) -> Scan:
    """How workers can read what shards.place() would give. Raises Refused."""
    _check_session(table, how)
    kinds = {field.name: field.dataType for field in table.fields}
    crossings = {entry["name"]: entry for source in sources for entry in _crossings(table, source, kinds)}
    wanted = dict.fromkeys(name for entry in crossings.values() for name in entry["columns"])
    if how.id_column:
        _check_id(_checked(table, how.id_column), kinds[how.id_column])
        wanted[how.id_column] = None
    try:
        found = plan.file_columns(table.rows, list(wanted))
        paths = [_path(uri) for uri in table.rows.inputFiles()]
    except PySparkException as error:
        raise Refused(f"its plan cannot be looked at ({type(error).__name__})") from None
    files = _identities(paths, {found[name]: kinds[name] for name in wanted})
    for entry in crossings.values():
        entry["columns"] = [found[name] for name in entry["columns"]]
    id_name = found[how.id_column] if how.id_column else ""
    deal = {"columns": list(crossings.values()), "shards": how.shards, "id": id_name}
    return Scan(files, tuple(dict.fromkeys(found.values())), deal, _batch_rows(sources))


def _check_session(table: Table, how: Placement) -> None:
    if how.held is not None:
        raise Refused("rows are held out for validation")
    if how.assign != "hash":
        raise Refused(f"assign is '{how.assign}'")
    if how.workers > MAX_WORKERS:
        raise Refused(f"numWorkers is above {MAX_WORKERS}, and each worker would read all rows")
    conf = session.conf_of(table.rows.sparkSession)
    for key in _CONFIGURED:
        if (conf(key) or "false").lower() != "false":
            raise Refused(f"{key} is set")
    if session.is_connect(table.rows.sparkSession) and not session.is_local(conf):
        raise Refused("this is a client of Spark Connect, which does not see the cluster's files")


def _checked(table: Table, name: str) -> str:
    if table.names.count(name) != 1:
        raise Refused(f"'{name}' is not exactly the name of one of its columns")
    return name


def _crossings(table: Table, source: Source, kinds: dict[str, T.DataType]) -> list[dict[str, Any]]:
    """What columns.travelling() has Spark send for a source, by the engine's Crossing."""
    if source != Source(source.name, source.columns, source.param, source.dtype, source.shape, source.rules,
                        source.fields, source.sent, source.role, source.tops):  # fmt: skip
        raise Refused(f"'{source.shown}' is of a kind that only the pipe brings")
    if source.fields:
        return [_as_is(sent.name, [_checked(table, name) for name in sent.columns], sent.zone, kinds)
                for sent in source.sent]  # fmt: skip
    names = [_checked(table, name) for name in source.columns]
    theirs = [kinds[name] for name in names]
    to, packed = columns.crossing_type(source, theirs), columns.is_packed(source, theirs)
    for name in names:
        _check_cast(name, kinds[name], packed)
        if columns.loses_digits(kinds[name], source, to):
            raise Refused(f"column '{name}' of type {kinds[name].simpleString()} is packed with doubles")
    return [{"name": source.sent_as, "type": to, "columns": names, "packed": packed}]


def _as_is(name: str, names: list[str], zone: str | None, kinds: dict[str, T.DataType]) -> dict[str, Any]:
    """As columns.Sent has Spark send it. Packed booleans and bytes become shorts, the same numbers."""
    packed = len(names) > 1
    for column in names:
        kind = kinds[column]
        inner = kind.elementType if isinstance(kind, T.ArrayType) and not packed else kind
        lone_text = kind in (T.StringType(), T.BinaryType()) and not packed
        if zone is not None or not (_is_in(_NUMBERS, inner) or lone_text):
            raise Refused(f"column '{column}' has type {kind.simpleString()}")
    to = kinds[names[0]].simpleString() if packed else ""
    return {"name": name, "type": {"boolean": "smallint", "tinyint": "smallint"}.get(to, to), "columns": names,
            "packed": packed}  # fmt: skip


def _is_in(kinds: Container[T.DataType], kind: T.DataType) -> bool:
    """Types of users, as vectors are, have no hash on Spark 4.0."""
    return not isinstance(kind, T.UserDefinedType) and kind in kinds


def _check_cast(name: str, kind: T.DataType, packed: bool) -> None:
    """Numbers alone are cast, to types that hold them all: that neither fails nor depends on spark.sql.ansi.enabled."""
    inner = kind.elementType if isinstance(kind, T.ArrayType) and not packed else kind
    if not _is_in(_NUMBERS, inner):
        raise Refused(f"column '{name}' has type {kind.simpleString()}")


def _check_id(name: str, kind: T.DataType) -> None:
    decimal = isinstance(kind, T.DecimalType) and kind.precision <= 18
    if not decimal and not _is_in(_ARROW, kind):
        raise Refused(f"idCol '{name}' has type {kind.simpleString()}")


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        raise Refused(f"its files are at {parts.scheme}:, not in a file system that every worker sees")
    return unquote(parts.path)


def _identities(paths: list[str], kinds: dict[str, T.DataType]) -> tuple[tuple[str, parquet.Identity], ...]:
    if not paths:
        raise Refused("it has no files")
    if len(paths) > MAX_FILES:
        raise Refused(f"it has more than {MAX_FILES} files")
    found, rows = [], 0
    for path in sorted(paths):
        _check_folders(path, kinds)
        try:
            with parquet.opened(path) as (file, identity):
                _check_footer(path, file, kinds)
        except (OSError, pa.ArrowException) as error:
            raise Refused(f"{path} cannot be read ({type(error).__name__})") from None
        found.append((path, identity))
        rows += file.metadata.num_rows
    if rows == 0:
        raise Refused("it has no rows")
    return tuple(found)


def _check_folders(path: str, kinds: dict[str, T.DataType]) -> None:
    """Columns that come from folders' names win over those in the files."""
    partitioned = {unquote(part.split("=")[0]).lower() for part in path.split("/")[:-1] if "=" in part}
    for name in kinds:
        if name.lower() in partitioned:
            raise Refused(f"column '{name}' is part of the files' paths")


def _check_footer(path: str, file: Any, kinds: dict[str, T.DataType]) -> None:
    schema, metadata = file.schema_arrow, file.metadata
    known = [name.lower() for name in schema.names]
    for name, kind in kinds.items():
        if "." in name or name not in schema.names or known.count(name.lower()) != 1:
            raise Refused(f"{path} has no column of its own that is named exactly '{name}'")
        if not _same_type(schema.field(name).type, kind) or not _same_levels(metadata, name, kind):
            raise Refused(f"column '{name}' is stored as {schema.field(name).type} in {path}, not as "
                          f"{kind.simpleString()}")  # fmt: skip
    for codec in parquet.codecs(metadata) - {"UNCOMPRESSED"}:
        if not pa.Codec.is_available(codec.lower()):
            raise Refused(f"{path} is compressed by {codec}")


def _same_type(stored: pa.DataType, kind: T.DataType) -> bool:
    if isinstance(kind, T.ArrayType):
        return pa.types.is_list(stored) and stored.value_type == _ARROW[kind.elementType]
    if isinstance(kind, T.DecimalType):
        return stored == pa.decimal128(kind.precision, kind.scale)
    return stored == _ARROW[kind]


def _same_levels(metadata: Any, name: str, kind: T.DataType) -> bool:
    """Lists in the form of today's standard: older ones are told apart by rules that readers differ in."""
    paths = parquet.leaf_paths(metadata, name)
    if isinstance(kind, T.ArrayType):
        return paths in ([f"{name}.list.element"], [f"{name}.list.item"])
    return paths == [name]


def _batch_rows(sources: Sequence[Source]) -> int:
    row_bytes = sum(8 * math.prod(source.shape) for source in sources)
    return max(64, min(65536, _BATCH_BYTES // row_bytes))
