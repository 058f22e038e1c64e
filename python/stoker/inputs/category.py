"""Values of a few, or of many, by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql.types import DataType

from stoker.errors import UserError
from stoker.inputs.declared import LookedUp
from stoker.inputs.kinds import is_key, is_text
from stoker.inputs.spec import Field, base, compact, filled
from stoker.spark.columns import Sent


@dataclass(frozen=True, repr=False)
class Category(LookedUp):
    """A string, whole number or boolean by its number in a vocabulary: 1, 2, ...; 0 for values that are not in it.

    The vocabulary is given or learnt, the most frequent value first: values that occur at least minCount times, at
    most maxSize of them. fill: the value that stands in for nulls (default: none, which gives 0).

    Example:
        >>> from stoker.inputs import Category, sizes
        >>> sizes(Category("carrier", vocabulary=["AA", "DL"]))
        [3]
    """

    vocabulary: Sequence[str] | Sequence[int] | None = None
    minCount: int = 1
    maxSize: int | None = None
    nulls: str = "error"
    fill: str | int | None = None

    def _check(self) -> None:
        if self.vocabulary is None:
            return
        kinds = {type(value) for value in self.vocabulary}
        if not kinds <= {str} and not kinds <= {int}:
            raise UserError(f"{self}: a vocabulary holds strings, or whole numbers, and no others")
        if len(set(self.vocabulary)) < len(self.vocabulary):
            raise UserError(f"{self}: the vocabulary holds a value twice")
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))

    @property
    def size(self) -> int:
        """How many numbers there are, with 0: what an Embedding needs."""
        return len(self.complete_vocabulary()) + 1

    def complete_vocabulary(self) -> Sequence[Any]:
        if self.vocabulary is None:
            raise UserError(f"{self} has no vocabulary yet: stoker.inputs.learn(df, inputs) gives declarations that do")
        return self.vocabulary

    expected = "a string, a whole number or a boolean"
    of_arrays = True
    learns = "words"

    def fits(self, kind: DataType) -> bool:
        return is_key(kind)

    def check_type(self, kind: DataType, where: str, outer: str = "") -> None:
        super().check_type(kind, where, outer)
        if self.vocabulary and self._of_words() != is_text(kind):
            held = "strings" if self._of_words() else "whole numbers"
            raise self.wrong_type(kind, where, f"{outer}{held}, as its vocabulary holds")

    def _of_words(self) -> bool:
        return not self.vocabulary or isinstance(self.vocabulary[0], str)

    @property
    def waits(self) -> bool:
        return self.vocabulary is None

    def words_sql(self, name: str, row: Callable[[str], str]) -> str:
        return f"array({row(name)})"

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        sent, vocabulary = Sent((self.column,)), self.complete_vocabulary()
        field = base("category", sent.columns, sent, compact(self.size))
        field["words" if self._of_words() else "numbers"] = list(vocabulary)
        stand_in = vocabulary.index(self.fill) + 1 if self.fill in vocabulary else 0
        return {**field, **filled(self.nulls, [stand_in])}, sent


@dataclass(frozen=True, repr=False)
class Hashed(LookedUp):
    """A string or whole number by a hash of its content: 1 to buckets - 1; 0 for nulls where they are filled.

    Example:
        >>> from stoker.inputs import Hashed, sizes
        >>> sizes(Hashed("tailnum", buckets=1000))
        [1000]
    """

    buckets: int
    nulls: str = "error"

    def _check(self) -> None:
        if self.buckets < 2:
            raise UserError(f"{self}: buckets must be at least 2, not {self.buckets}")

    @property
    def size(self) -> int:
        return self.buckets

    expected = Category.expected
    of_arrays = True

    def fits(self, kind: DataType) -> bool:
        return is_key(kind)

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        sent = Sent((self.column,))
        field = base("hash", sent.columns, sent, compact(self.buckets))
        return {**field, "buckets": self.buckets, **filled(self.nulls, [0])}, sent
