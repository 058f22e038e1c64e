"""What all declarations share, and what there is to know of one: each family of them is a file beside this."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pyspark.sql.types import DataType

from stoker.errors import UserError, did_you_mean, now_called
from stoker.inputs.spec import Field
from stoker.plain import plain
from stoker.spark.columns import Sent
from stoker.spark.table import Table

NULLS = ("error", "fill", "mask")
FEW, FEW_LETTERS = 4, 40  # of what is longer so much is shown
RENAMED = {"standardise": "standardize"}


@dataclass(frozen=True, repr=False)
class Declared:
    """What all declarations share. Immutable."""

    column: str

    def __new__(cls, *_: Any, **settings: Any) -> Declared:
        known = [one.name for one in fields(cls)]
        for name in settings:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no setting '{name}'{_what_else(name, known)}")
        return super().__new__(cls)

    @classmethod
    def each(cls, *columns: str, **settings: Any) -> list[Any]:
        """The same for several columns, as a list to be put into a pack."""
        return [cls(column, **settings) for column in columns]

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, plain(getattr(self, one.name)))
        if not isinstance(self.column, str) or not self.column:
            raise UserError(f"{type(self).__name__} takes the name of a column, not {self.column!r}")
        nulls = getattr(self, "nulls", "error")
        if nulls not in NULLS:
            raise UserError(f"{self}: nulls must be one of {', '.join(map(repr, NULLS))}, not {nulls!r}")
        self._check()

    def _check(self) -> None:
        """Raises UserError for settings that make no sense."""

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Declared:
        """Of all its fields by name, as they are saved."""
        return cls(**settings)

    # --- what there is to know of it; a family says what is other than here ---

    expected = ""  # types of columns, in words
    of_arrays = False  # whether it may say what the elements of arrays are
    learns = ""  # from the rows: "words" or "moments"

    def fits(self, kind: DataType) -> bool:
        """Whether it can be read from columns of a type."""
        raise NotImplementedError

    def check_type(self, kind: DataType, where: str, outer: str = "") -> None:
        if not self.fits(kind):
            raise self.wrong_type(kind, where, outer + self.expected)

    def wrong_type(self, kind: DataType, where: str, expected: str) -> UserError:
        return UserError(f"{where}: {self}: the column has type {kind.simpleString()}; expected {expected}")

    @property
    def whole(self) -> bool | None:
        """Whether its values are numbers to look up; None: they go with the others."""
        return False

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of one row, where it is an input by itself."""
        return ()

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Of one row of what tells whether it has a value."""
        return ()

    @property
    def tops(self) -> list[int]:
        """The largest number that each value of a row can be; 0 where they are not looked up."""
        return [0] * math.prod(self.row_shape)

    def sizes(self) -> list[int]:
        """How many numbers each value of a row takes: what its Embedding needs."""
        raise UserError(f"{self} is no number of a few: an Embedding takes Category, Hashed, Text and DateParts")

    def likeness(self, kind: DataType | None) -> Any:
        """Neighbours of equal ones are sent as one array: fewer columns cross faster. None: it goes alone."""
        return None

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        """What the engine reads, and the columns that it is read from, for an input of a dtype and a column of a type
        (None: not known)."""
        raise NotImplementedError

    def together(self, alike: Sequence[Any], dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        """The same for neighbours, of which it is the first, that are alike."""
        return self.spec(dtype, kind)

    def shaped(self, table: Table, where: str) -> Declared:
        """With its shape, where it has one that the rows tell."""
        return self

    def zoned(self, zone: str) -> Declared:
        """With a zone whose clock is read, where it needs one and has none."""
        return self

    @property
    def waits(self) -> bool:
        """Whether it must learn something first."""
        return False

    @property
    def learner(self) -> Declared | None:
        """Who waits: it, or what it is made of."""
        return self if self.waits else None

    @property
    def inner(self) -> Any:
        """What a value is, of one or of many."""
        return self

    def with_inner(self, inner: Declared) -> Declared:
        return inner

    def filled_in(self, learnt: Mapping[Declared, Declared]) -> Declared:
        """With what was learnt, by who waited."""
        return learnt.get(self, self)

    def words_sql(self, name: str, row: Callable[[str], str]) -> str:
        """SQL for an array with a row for each of a column's words; `row` makes one of a word."""
        raise NotImplementedError

    # --- as text ---

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.column!r})"

    def __repr__(self) -> str:
        """With what differs from the defaults; short, however large a vocabulary."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("column", "of")}
        defaults = {one.name: one.default for one in fields(self)}
        shown = [f"{name}={_short(value)}" for name, value in given.items() if value != defaults[name]]
        return f"{type(self).__name__}({', '.join([repr(getattr(self, 'of', None) or self.column), *shown])})"


class LookedUp(Declared):
    """Whose values are numbers from 0 to size - 1, to be looked up."""

    @property
    def size(self) -> int:
        raise NotImplementedError

    @property
    def whole(self) -> bool:
        return True

    @property
    def tops(self) -> list[int]:
        return [self.size - 1] * math.prod(self.row_shape)

    def sizes(self) -> list[int]:
        return [self.size] * math.prod(self.row_shape)


class OfLength(Declared):
    """Whose rows are `length` values, each there or not."""

    length: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        return self.row_shape


def _short(value: Any) -> str:
    if isinstance(value, (str, bytes)) and len(value) > FEW_LETTERS:
        return f"{value[:FEW_LETTERS]!r}... ({len(value):,} in all)"
    if isinstance(value, tuple) and len(value) > FEW:
        return f"({', '.join(_short(one) for one in value[:FEW])}, ... {len(value):,} in all)"
    return repr(value)


def _what_else(name: str, known: Sequence[str]) -> str:
    if RENAMED.get(name) in known:
        return f": {now_called(name, RENAMED[name])}"
    return did_you_mean(name, known) or f". It has: {', '.join(known)}"
