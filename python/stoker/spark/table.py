"""What a DataFrame says of its columns, asked once when it comes in; pure but for `rows`, which is the DataFrame itself
for what no schema tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, DataType, IntegralType, NumericType, StructField

from stoker.errors import UserError


@dataclass(frozen=True)
class Table:
    """Names, types and widths of columns, how names are compared, and whose clock timestamps show."""

    fields: tuple[StructField, ...]
    case_sensitive: bool = False
    zone: str = "UTC"
    rows: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, df: DataFrame) -> Table:
        conf = df.sparkSession.conf
        exact = (conf.get("spark.sql.caseSensitive", "false") or "false").lower() == "true"
        return cls(fields_of(df), exact, conf.get("spark.sql.session.timeZone") or "UTC", df)

    @property
    def names(self) -> list[str]:
        return [known.name for known in self.fields]

    def has(self, name: str) -> bool:
        return bool(self._named(name))

    def type_of(self, name: str, param: str) -> DataType:
        """An error that says which columns exist if it is not there."""
        found = self._named(name)
        if len(found) > 1:
            raise UserError(f"{param}: the DataFrame has {len(found)} columns named '{name}' ("
                            f"{', '.join(known.name for known in found)}): rename or drop all but one")  # fmt: skip
        if found:
            return found[0].dataType
        if "." in name and (nested := self._nested(name)) is not None:
            return nested
        raise UserError(f"{param}: the DataFrame has no column '{name}'. It has: {', '.join(self.names)}")

    def width_of(self, columns: Sequence[str], param: str) -> int | None:
        """Values of one row if the schema tells, else None."""
        if len(columns) > 1:
            return len(columns)
        if is_scalar(self.type_of(columns[0], param)):
            return 1
        found = self._named(columns[0])
        count = found[0].metadata.get("ml_attr", {}).get("num_attrs") if found else None
        return int(count) if count else None

    def sql_name(self, name: str) -> str:
        return quoted(name) if self.has(name) else name

    def column(self, name: str) -> Column:
        return F.col(self.sql_name(name))

    def _named(self, name: str) -> list[StructField]:
        return [known for known in self.fields if self._same(known.name, name)]

    def _same(self, known: str, wanted: str) -> bool:
        return known == wanted or (known.lower() == wanted.lower() and not self.case_sensitive)

    def _nested(self, name: str) -> DataType | None:
        try:
            return None if self.rows is None else self.rows.select(name).schema.fields[0].dataType
        except Exception:  # Spark's analysis says no: the caller tells which columns there are
            return None


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


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


def fields_of(df: DataFrame) -> tuple[StructField, ...]:
    try:
        return tuple(df.schema.fields)
    except Exception as error:
        if "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION" not in str(error):
            raise
        raise UserError(
            "inside a dataset function of a pipeline no DataFrame can be asked for its columns: make "
            "score = stoker.function(spark, model) outside of it, and select score(...) there"
        ) from error
