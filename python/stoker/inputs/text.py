"""Texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from pyspark.sql.types import DataType

from stoker.errors import UserError
from stoker.inputs import pieces
from stoker.inputs.declared import LookedUp, OfLength
from stoker.inputs.kinds import is_text
from stoker.inputs.spec import Field, base, compact, filled
from stoker.spark.columns import Sent

_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# As engine/data/spec/tokenizer.h has it: runs of letters, digits, '_' and what is beyond ASCII; else one character.
_WORD = r"r'[0-9A-Za-z_\x{80}-\x{10FFFF}]+|[^\x09-\x0D ]'"


@dataclass(frozen=True, repr=False)
class Text(OfLength, LookedUp):
    """A text as the numbers of its tokens, cut or padded to `length`. A null that is filled is an empty text.

    tokenizer: "word": by a vocabulary, given or learnt as Category does; 0 for words that are not in it. "byte": the
    UTF-8 bytes, 1 to 256. "sentencepiece": by the SentencePiece model `pieces` (the path of its file, or the content),
    as the model numbers them; bos and eos put its pieces for the sentence's begin and end around them, within `length`.
    lower: of words, ASCII letters are lowered first.

    Example:
        >>> from stoker.inputs import Text
        >>> Text("review", length=50, vocabulary=["good", "bad"]).size
        3
    """

    length: int
    tokenizer: str = "word"
    vocabulary: Sequence[str] | None = None
    lower: bool = True
    minCount: int = 1
    maxSize: int | None = None
    pad: int = 0
    nulls: str = "error"
    pieces: str | bytes | os.PathLike[str] | None = None
    bos: bool = False
    eos: bool = False

    def _check(self) -> None:
        if self.length < 1:
            raise UserError(f"{self}: length must be at least 1, not {self.length}")
        if self.pad < 0:
            raise UserError(f"{self}: pad is a number of 0 or more, not {self.pad}")
        if self.tokenizer not in ("word", "byte", "sentencepiece"):
            raise UserError(f"{self}: tokenizer is 'word', 'byte' or 'sentencepiece', not {self.tokenizer!r}")
        if self.nulls == "mask":
            raise UserError(f"{self}: nulls is 'error' or 'fill', which makes an empty text")
        if self.vocabulary is not None:
            if self.tokenizer != "word" or not all(isinstance(word, str) for word in self.vocabulary):
                raise UserError(f"{self}: a vocabulary holds words, and is for tokenizer='word' alone")
            if len(set(self.vocabulary)) < len(self.vocabulary):
                raise UserError(f"{self}: the vocabulary holds a word twice")
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        self._check_pieces()

    def _check_pieces(self) -> None:
        if (self.tokenizer == "sentencepiece") != (self.pieces is not None):
            raise UserError(f"{self}: tokenizer='sentencepiece' and pieces=, a SentencePiece model, go together")
        if self.tokenizer != "sentencepiece" and (self.bos or self.eos):
            raise UserError(f"{self}: bos and eos are for tokenizer='sentencepiece'")
        if self.pieces is not None:
            try:
                object.__setattr__(self, "pieces", pieces.kept(self.pieces, self.bos, self.eos))
            except UserError as error:
                raise UserError(f"{self}: {error}") from None

    @property
    def size(self) -> int:
        """How many numbers there are, with 0: what an Embedding needs."""
        if self.tokenizer == "word" and self.vocabulary is None:
            raise UserError(f"{self} has no vocabulary yet: stoker.inputs.learn(df, inputs) gives declarations that do")
        return max(self.numbers, self.pad + 1)

    @property
    def numbers(self) -> int:
        if self.tokenizer == "sentencepiece":
            return pieces.count(cast(str, self.pieces))
        return 257 if self.tokenizer == "byte" else len(self.vocabulary or ()) + 1

    expected = "a string"
    learns = "words"

    def fits(self, kind: DataType) -> bool:
        return is_text(kind)

    @property
    def waits(self) -> bool:
        return self.tokenizer == "word" and self.vocabulary is None

    def words_sql(self, name: str, row: Callable[[str], str]) -> str:
        text = f"translate({name}, '{_CAPITALS}', '{_CAPITALS.lower()}')" if self.lower else name
        return f"coalesce(transform(regexp_extract_all({text}, {_WORD}, 0), x -> {row('x')}), array())"

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        sent = Sent((self.column,))
        field = {**base("text", sent.columns, sent, compact(self.size)), "length": self.length, "pad": self.pad,
                 "tokenizer": self.tokenizer}  # fmt: skip
        if self.tokenizer == "word":
            field.update(words=list(self.vocabulary or ()), lower=self.lower)
        if self.tokenizer == "sentencepiece":
            field.update(pieces=pieces.encoded(cast(str, self.pieces)), bos=self.bos, eos=self.eos)
        return {**field, **filled(self.nulls, [0])}, sent
