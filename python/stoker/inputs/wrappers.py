"""Declarations about declarations: of the elements of arrays, and of whether there is a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql.types import ArrayType, DataType

from stoker.errors import UserError
from stoker.inputs.declared import Declared, OfLength
from stoker.inputs.spec import Field, base, compact, mask_of
from stoker.spark.columns import Sent
from stoker.spark.table import Table


@dataclass(frozen=True, repr=False)
class Padded(OfLength):
    """Arrays of any length, cut or padded to `length`. `of` says what the elements are: a Numeric, Category or Hashed
    of the same column. A null array counts as an empty one unless its nulls are an error.

    Example:
        >>> from stoker.inputs import Category, Padded, sizes, width
        >>> width(Padded(Category("tags", vocabulary=["new", "used"]), length=5))
        5
    """

    of: Any
    length: int
    pad: int | float = 0

    def __init__(self, of: Any, length: int, pad: int | float = 0) -> None:
        if not (isinstance(of, Declared) and of.of_arrays):
            raise UserError(f"Padded takes a Numeric, Category or Hashed of the arrays' elements, not {of!r}")
        for name, value in (("of", of), ("length", length), ("pad", pad), ("column", getattr(of, "column", None))):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def _check(self) -> None:
        if self.length < 1:
            raise UserError(f"{self}: length must be at least 1, not {self.length}")

    @property
    def nulls(self) -> str:
        return self.of.nulls

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Padded:
        return cls(settings["of"], settings["length"], settings["pad"])

    def check_type(self, kind: DataType, where: str, outer: str = "") -> None:
        if not isinstance(kind, ArrayType):
            raise self.wrong_type(kind, where, "an array")
        self.of.check_type(kind.elementType, where, "an array of ")

    @property
    def whole(self) -> bool | None:
        return self.of.whole

    @property
    def tops(self) -> list[int]:
        (top,) = self.of.tops
        return [max(top, int(self.pad))] * self.length

    @property
    def waits(self) -> bool:
        return self.of.waits

    @property
    def inner(self) -> Any:
        return self.of

    def with_inner(self, inner: Declared) -> Declared:
        return Padded(inner, self.length, self.pad)

    def words_sql(self, name: str, row: Callable[[str], str]) -> str:
        return f"coalesce(transform({name}, x -> {row('x')}), array())"

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        field, sent = self.of.spec(dtype, kind)
        field.update(shape=[self.length], padded=True, pad=self.pad)
        if field["kind"] != "number":
            field["stored"] = compact(max(self.of.size, int(self.pad) + 1))
        return field, sent


@dataclass(frozen=True, repr=False)
class Present(Declared):
    """1 where a declaration's column has a value, 0 where it is null or padded: a mask, of the same shape for an Array,
    Padded or Text, else one number a row.

    Example:
        >>> from stoker.inputs import Numeric, Present, width
        >>> width([Numeric("delay", nulls="fill"), Present("delay")])
        2
    """

    of: Any = None

    def __init__(self, of: Any) -> None:
        object.__setattr__(self, "of", None if isinstance(of, str) else of)
        object.__setattr__(self, "column", of if isinstance(of, str) else getattr(of, "column", None))
        self.__post_init__()

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Present:
        return cls(settings["of"] or settings["column"])

    def check_type(self, kind: DataType, where: str, outer: str = "") -> None:
        if self.of is not None:
            self.of.check_type(kind, where, outer)

    @property
    def whole(self) -> bool | None:
        return None

    @property
    def row_shape(self) -> tuple[int, ...]:
        return () if self.of is None else self.of.mask_shape

    @property
    def tops(self) -> list[int]:
        return [1] * math.prod(self.row_shape)

    def shaped(self, table: Table, where: str) -> Present:
        return self if self.of is None else Present(self.of.shaped(table, where))

    @property
    def learner(self) -> Declared | None:
        return None if self.of is None else self.of.learner

    def filled_in(self, learnt: Mapping[Declared, Declared]) -> Present:
        return self if self.of is None else Present(self.of.filled_in(learnt))

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        if self.of is not None:
            field, sent = self.of.spec(dtype, kind)
            return mask_of(field), sent
        sent = Sent((self.column,))
        return base("present", sent.columns, sent, "uint8"), sent
