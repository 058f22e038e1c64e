"""The declarations of columns, as they are given and kept (stoker/inputs/__init__.py)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from stoker.errors import UserError, did_you_mean, now_called
from stoker.inputs import pieces
from stoker.plain import plain

NULLS = ("error", "fill", "mask")
FEW, FEW_LETTERS = 4, 40  # of what is longer so much is shown
PARTS = {"year": 0, "month": 12, "day": 31, "weekday": 7, "yearday": 366, "hour": 24, "minute": 60, "second": 60}
RENAMED = {"standardise": "standardize"}
COUNTED_FROM_ONE = ("month", "day", "yearday")
CLOCK_PARTS = ("hour", "minute", "second")


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

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.column!r})"

    def __repr__(self) -> str:
        """With what differs from the defaults; short, however large a vocabulary."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("column", "of")}
        defaults = {one.name: one.default for one in fields(self)}
        shown = [f"{name}={_short(value)}" for name, value in given.items() if value != defaults[name]]
        return f"{type(self).__name__}({', '.join([repr(getattr(self, 'of', None) or self.column), *shown])})"


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


@dataclass(frozen=True, repr=False)
class Numeric(Declared):
    """A number, boolean or decimal. NaN counts as null.

    standardize: (value - mean) / scale, both learnt. fill: stands in for nulls (default: the mean where it is known,
    else 0). lossy: digits that float32 cannot keep may be lost.
    """

    standardize: bool = False
    nulls: str = "error"
    fill: float | None = None
    lossy: bool = False
    mean: float | None = None
    scale: float | None = None

    def _check(self) -> None:
        if self.fill is not None and not math.isfinite(self.fill):
            raise UserError(f"{self}: fill must be a finite number, not {self.fill}")
        if (self.mean is None) != (self.scale is None) or self.scale == 0:
            raise UserError(f"{self}: mean and scale come together, and scale is not 0")


@dataclass(frozen=True, repr=False)
class Category(Declared):
    """A string, whole number or boolean by its number in a vocabulary: 1, 2, ...; 0 for values that are not in it.

    The vocabulary is given or learnt, the most frequent value first: values that occur at least minCount times, at
    most maxSize of them. fill: the value that stands in for nulls (default: none, which gives 0).
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
        if self.vocabulary is None:
            raise UserError(f"{self} has no vocabulary yet: stoker.inputs.learn(df, inputs) gives declarations that do")
        return len(self.vocabulary) + 1


@dataclass(frozen=True, repr=False)
class Hashed(Declared):
    """A string or whole number by a hash of its content: 1 to buckets - 1; 0 for nulls where they are filled."""

    buckets: int
    nulls: str = "error"

    def _check(self) -> None:
        if self.buckets < 2:
            raise UserError(f"{self}: buckets must be at least 2, not {self.buckets}")

    @property
    def size(self) -> int:
        return self.buckets


@dataclass(frozen=True, repr=False)
class DateParts(Declared):
    """Parts of a date or timestamp as numbers: year, month (1-12), day, weekday (Monday is 0), yearday (1-366), hour,
    minute, second. cyclic: each as a sine and a cosine. zone: whose clock is read (default: the session's at fit)."""

    parts: Sequence[str] = ("month", "day", "weekday")
    cyclic: bool = False
    nulls: str = "error"
    zone: str | None = None

    def _check(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UserError(f"{self}: parts are some of {', '.join(PARTS)}; {unknown or 'none'} given")
        if self.cyclic and "year" in self.parts:
            raise UserError(f"{self}: the year is not cyclic; declare it apart")


@dataclass(frozen=True, repr=False)
class Array(Declared):
    """Arrays, nested arrays, vectors or bytes of a fixed shape (default: the first row's).

    stored="uint8" keeps a byte per value; the model sees each value times `unit`, such as 1/255. fill and lossy: as of
    Numeric.
    """

    shape: Sequence[int] | None = None
    stored: str | None = None
    unit: float = 1.0
    nulls: str = "error"
    fill: float = 0.0
    lossy: bool = False

    def _check(self) -> None:
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
            if not self.shape or min(self.shape) < 1:
                raise UserError(f"{self}: a shape has at least one size, and each is at least 1: {list(self.shape)}")
        if self.stored not in (None, "uint8"):
            raise UserError(f"{self}: stored is 'uint8' or left out, not {self.stored!r}")


@dataclass(frozen=True, repr=False)
class Image(Declared):
    """JPEG, PNG or WebP files in a binary column, or Spark's image struct, as float planes [channels, height, width].

    Each picture is brought to `size` (height, width) by antialiased bilinear resizing: fit="stretch" distorts it,
    fit="cover" takes the middle in that shape. crop: (height, width) of a part of it, taken at random in training and
    from the middle in transform. flip: half of the rows are mirrored in training. The model sees
    (pixel / 255 - mean) / std, with one mean and std for all channels or one for each.
    """

    size: Sequence[int]
    crop: Sequence[int] | None = None
    flip: bool = False
    fit: str = "stretch"
    channels: int = 3
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    nulls: str = "error"
    fill: int = 0
    maxPixels: int = 100_000_000

    def _check(self) -> None:
        object.__setattr__(self, "size", self._pair("size", self.size))
        if self.crop is not None:
            object.__setattr__(self, "crop", self._pair("crop", self.crop))
            if self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
                raise UserError(f"{self}: crop {list(self.crop)} is larger than size {list(self.size)}")
        if self.channels not in (1, 3):
            raise UserError(f"{self}: channels is 3 (red, green, blue) or 1 (grey), not {self.channels}")
        if self.fit not in ("stretch", "cover"):
            raise UserError(f"{self}: fit is 'stretch' or 'cover', not {self.fit!r}")
        if self.nulls == "mask" or not 0 <= self.fill <= 255:
            raise UserError(f"{self}: nulls is 'error' or 'fill', and fill a pixel's value, 0 to 255")
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._per_channel(name, getattr(self, name)))
        if 0 in self.std:
            raise UserError(f"{self}: std is not 0")

    def _pair(self, name: str, value: Any) -> tuple[int, ...]:
        pair = tuple(value) if isinstance(value, Sequence) else ()
        if len(pair) != 2 or not all(isinstance(n, int) and 1 <= n <= 1 << 14 for n in pair):
            raise UserError(f"{self}: {name} is (height, width) in pixels, such as (224, 224), not {value!r}")
        return pair

    def _per_channel(self, name: str, value: Any) -> tuple[float, ...]:
        many = tuple(value) if isinstance(value, Sequence) else (value,) * self.channels
        if len(many) != self.channels or not all(math.isfinite(one) for one in many):
            raise UserError(f"{self}: {name} is a number, or one for each of the {self.channels} channels: {value!r}")
        return tuple(float(one) for one in many)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *(self.crop or self.size))


@dataclass(frozen=True, repr=False)
class Text(Declared):
    """A text as the numbers of its tokens, cut or padded to `length`. A null that is filled is an empty text.

    tokenizer: "word": by a vocabulary, given or learnt as Category does; 0 for words that are not in it. "byte": the
    UTF-8 bytes, 1 to 256. "sentencepiece": by the SentencePiece model `pieces` (the path of its file, or the content),
    as the model numbers them; bos and eos put its pieces for the sentence's begin and end around them, within `length`.
    lower: of words, ASCII letters are lowered first.
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
            return pieces.count(self.pieces)
        return 257 if self.tokenizer == "byte" else len(self.vocabulary) + 1


@dataclass(frozen=True, repr=False)
class Padded(Declared):
    """Arrays of any length, cut or padded to `length`. `of` says what the elements are: a Numeric, Category or Hashed
    of the same column. A null array counts as an empty one unless its nulls are an error."""

    of: Any
    length: int
    pad: int | float = 0

    def __init__(self, of: Any, length: int, pad: int | float = 0) -> None:
        if not isinstance(of, (Numeric, Category, Hashed)):
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


@dataclass(frozen=True, repr=False)
class Present(Declared):
    """1 where a declaration's column has a value, 0 where it is null or padded: a mask, of the same shape for an Array,
    Padded or Text, else one number a row."""

    of: Any = None

    def __init__(self, of: Any) -> None:
        object.__setattr__(self, "of", None if isinstance(of, str) else of)
        object.__setattr__(self, "column", of if isinstance(of, str) else getattr(of, "column", None))
        self.__post_init__()


_KINDS: dict[str, type] = {
    c.__name__: c for c in (Numeric, Category, Hashed, DateParts, Array, Image, Text, Padded, Present)
}

Item = str | Declared
Inputs = Mapping[str, Item | Sequence[Item]]


def learn(df: Any, inputs: Any) -> dict[str, Any]:
    """The inputs with everything that `df` tells filled in: vocabularies, means, shapes. A pass over the rows
    for vocabularies, one for statistics."""
    from stoker.inputs.learning import complete
    from stoker.spark import columns

    columns.check_dataframe(df, "learn")
    columns.check_ends(df, "learn")
    return complete(df, as_inputs(inputs))


def sizes(entry: Any) -> list[int]:
    """For each value of a row of complete declarations, how many numbers it takes: what its Embedding needs."""
    return [size for item in items_of(entry) for size in _sizes(item)]


def _sizes(item: Any) -> list[int]:
    if isinstance(item, DateParts) and not item.cyclic and "year" not in item.parts:
        return [PARTS[part] + (part in COUNTED_FROM_ONE) for part in item.parts]
    if isinstance(item, (Category, Hashed)):
        return [item.size]
    if isinstance(item, Text):
        return [item.size] * item.length
    raise UserError(f"{item} is no number of a few: an Embedding takes Category, Hashed, Text and DateParts")


def width(entry: Any) -> int:
    """Values of a row of complete declarations, masks among them."""
    from stoker.inputs import fields

    return math.prod(fields.source("it", entry, None).shape)


def as_inputs(value: Any) -> dict[str, Any]:
    """By name, packs as flat lists. A bare list is the input 'features'."""
    named = value if isinstance(value, Mapping) else {"features": value}
    return {str(name): _item_or_pack(name, entry) for name, entry in named.items()}


def _item_or_pack(name: str, entry: Any) -> Any:
    if isinstance(entry, (str, Declared)):
        return entry
    pack = list(_flat(entry)) if isinstance(entry, Sequence) else []
    if not pack or not all(isinstance(item, (str, Declared)) for item in pack):
        raise UserError(f"inputs['{name}'] takes a column, a declaration such as Numeric('x'), or a list of them; "
                        f"not {entry!r}")  # fmt: skip
    return pack


def _flat(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, Sequence) and not isinstance(item, str):
            yield from _flat(item)
        else:
            yield item


def items_of(entry: Any) -> list[Item]:
    return entry if isinstance(entry, list) else [entry]


def has_declared(inputs: Any) -> bool:
    """Whether there is anything but names of columns."""
    return any(isinstance(item, Declared) for entry in (inputs or {}).values() for item in items_of(entry))


def to_json(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [_item_json(item) for item in entry] if isinstance(entry, list) else _item_json(entry)
            for name, entry in inputs.items()}  # fmt: skip


def from_json(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [_item_of(item) for item in entry] if isinstance(entry, list) else _item_of(entry)
            for name, entry in told.items()}  # fmt: skip


def _item_json(item: Any) -> Any:
    if not isinstance(item, Declared):
        return item
    told = {one.name: getattr(item, one.name) for one in fields(item)}
    told = {name: _item_json(value) if isinstance(value, Declared) else value for name, value in told.items()}
    return {"declare": type(item).__name__, **told}


def _item_of(told: Any) -> Any:
    if not isinstance(told, Mapping):
        return told
    kind = _KINDS.get(told["declare"])
    if kind is None:
        raise UserError(f"this version of Stoker knows no declaration '{told['declare']}'")
    settings = {RENAMED.get(name, name): _item_of(value) for name, value in told.items() if name != "declare"}
    if kind is Padded:
        settings.pop("column")
    if kind is Present:
        return Present(settings["of"] or settings["column"])
    return kind(**settings)
