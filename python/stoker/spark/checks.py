"""What must be so of a DataFrame and of the columns that a user names: each check ends in silence or in a UserError."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql.types import AtomicType, BooleanType, VariantType

from stoker.errors import UserError
from stoker.spark.columns import Source
from stoker.spark.table import Table, is_array, is_scalar, is_vector


def check_absent(table: Table, added: dict[str, str]) -> None:
    """`added`: columns by the parameter that names them."""
    for param, name in added.items():
        if table.has(name):
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


def check_values(table: Table, source: Source) -> None:
    """The columns exist and hold numbers in a form that can be read."""
    kinds = {name: table.type_of(name, source.param) for name in source.columns}
    for name, kind in kinds.items():
        fits = is_scalar(kind) if len(kinds) > 1 else is_scalar(kind) or is_array(kind) or is_vector(kind)
        if not fits:
            wanted = "a numeric type" if len(kinds) > 1 else "a numeric type, an array of one, or an ML vector"
            raise UserError(f"{source.param}: column '{name}' has type {kind.simpleString()}; it must be {wanted}")


def check_scalar(table: Table, name: str, param: str, hint: str = "") -> None:
    kind = table.type_of(name, param)
    if not is_scalar(kind):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be a numeric type{hint}")


def check_key(table: Table, name: str, param: str) -> None:
    """Rows can be told apart by the column: it holds one value a row."""
    kind = table.type_of(name, param)
    if not isinstance(kind, AtomicType) or isinstance(kind, VariantType):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be one value a row, such as "
                        "a number, a string or a date")  # fmt: skip


def check_mark(table: Table, name: str, param: str) -> None:
    kind = table.type_of(name, param)
    if not isinstance(kind, BooleanType):
        raise UserError(f"{param}: column '{name}' has type {kind.simpleString()}; it must be boolean, true for rows "
                        f"to validate on: cast('boolean') makes it one")  # fmt: skip
