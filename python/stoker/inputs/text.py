"""Texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyspark.sql.types import DataType

from stoker.errors import UserError
from stoker.inputs import pieces, tokenizers
from stoker.inputs.declared import LookedUp, OfLength
from stoker.inputs.kinds import is_text
from stoker.inputs.spec import Field, base, compact, filled
from stoker.spark.columns import Sent

_OF_MODELS = {
    "sentencepiece": "a SentencePiece model", "wordpiece": "a WordPiece tokenizer", "bpe": "a byte-level BPE tokenizer",
}  # fmt: skip
TOKENIZERS = ("word", "byte", *_OF_MODELS)
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# As engine/data/spec/tokenizer.h has it: runs of letters, digits, '_' and what is beyond ASCII; else one character.
_WORD = r"r'[0-9A-Za-z_\x{80}-\x{10FFFF}]+|[^\x09-\x0D ]'"


@dataclass(frozen=True, repr=False)
class Text(OfLength, LookedUp):
    """A text as the numbers of its tokens, cut or padded to `length`. A null that is filled is an empty text.

    tokenizer: "word": by a vocabulary, given or learnt as Category does; 0 for words that are not in it. "byte": the
    UTF-8 bytes, 1 to 256. "sentencepiece": by the SentencePiece model `pieces` (the path of its file, or the content),
    as the model numbers them; bos and eos put its pieces for the sentence's begin and end around them, within `length`.
    "wordpiece" and "bpe": as BERT's and GPT-2's tokenizers do, numbers as by the `tokenizers` package; `pieces` is a
    folder of Hugging Face, or a tokenizer.json, vocab.txt or vocab.json (beside merges.txt), or a fast tokenizer; bos
    and eos put what it puts before and after each text, such as [CLS] and [SEP]. Text.of_tokenizer declares all that.
    lower: of words, ASCII letters are lowered first; of a vocab.txt with nothing beside it, all letters.

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
    pieces: Any = None
    bos: bool = False
    eos: bool = False

    def _check(self) -> None:
        if self.length < 1:
            raise UserError(f"{self}: length must be at least 1, not {self.length}")
        if self.pad < 0:
            raise UserError(f"{self}: pad is a number of 0 or more, not {self.pad}")
        if self.tokenizer not in TOKENIZERS:
            raise UserError(f"{self}: tokenizer is {_listed(TOKENIZERS)}, not {self.tokenizer!r}")
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
        if (told := self.tokenizer in _OF_MODELS) != (self.pieces is not None):
            what = _OF_MODELS.get(self.tokenizer, "a pretrained tokenizer")
            raise UserError(f"{self}: tokenizer={self.tokenizer!r} {'needs' if told else 'takes no'} pieces=, {what}")
        if not told and (self.bos or self.eos):
            raise UserError(f"{self}: bos and eos are for tokenizer={_listed(_OF_MODELS)}")
        if told:
            try:
                object.__setattr__(self, "pieces", self._kept_pieces())
            except UserError as error:
                raise UserError(f"{self}: {error}") from None

    def _kept_pieces(self) -> str:
        if self.tokenizer == "sentencepiece":
            return pieces.kept(self.pieces, self.bos, self.eos)
        return tokenizers.kept(self.tokenizer, self.pieces, self.lower, self.bos, self.eos)

    @classmethod
    def of_tokenizer(cls, tokenizer: Any, column: str, length: int, nulls: str = "error") -> Text:
        """As a WordPiece or byte-level BPE tokenizer makes numbers of a text, with its special tokens around it, cut to
        `length` and padded: tokenizer(texts, truncation=True, padding="max_length", max_length=length). The mask is
        Present of it.

        Args:
            tokenizer: a fast tokenizer of transformers, a tokenizers.Tokenizer, or the path of a folder with
                tokenizer.json, vocab.txt, or vocab.json and merges.txt, or of one of these files.

        Raises:
            UserError: it cannot be read, or does what Text does not do exactly: another model, normalizer or cut into
                words, padding on the left. The text names it.
        """
        try:
            found = tokenizers.find(tokenizer)
        except UserError as error:
            raise UserError(f"{cls.__name__}({column!r}): {error}") from None
        return of_found(found, column, length, nulls)

    @property
    def size(self) -> int:
        """How many numbers there are, with 0: what an Embedding needs."""
        if self.tokenizer == "word" and self.vocabulary is None:
            raise UserError(f"{self} has no vocabulary yet: stoker.inputs.learn(df, inputs) gives declarations that do")
        return max(self.numbers, self.pad + 1)

    @property
    def numbers(self) -> int:
        if self.tokenizer in _OF_MODELS:
            count = pieces.count if self.tokenizer == "sentencepiece" else tokenizers.count
            return count(cast(str, self.pieces))
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
        if self.tokenizer in _OF_MODELS:
            field.update(pieces=pieces.encoded(cast(str, self.pieces)), bos=self.bos, eos=self.eos)
        return {**field, **filled(self.nulls, [0])}, sent


def of_found(found: tokenizers.Found, column: str, length: int, nulls: str) -> Text:
    """With what the tokenizer puts around each text."""
    told = found.description
    return Text(column, length, told["kind"], pieces=found.kept, pad=found.pad, nulls=nulls,
                bos=bool(told["before"]), eos=bool(told["after"]))  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}"
