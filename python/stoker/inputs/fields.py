"""From declared inputs to what the engine reads: the fields of an input, and the columns that are sent for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql.types import BooleanType, DataType, TimestampType

from stoker.errors import UserError
from stoker.inputs import pieces
from stoker.inputs.declarations import (
    COUNTED_FROM_ONE,
    PARTS,
    Array,
    Category,
    DateParts,
    Declared,
    Hashed,
    Image,
    Numeric,
    Padded,
    Present,
    Text,
    items_of,
)
from stoker.inputs.kinds import check_type, default_of
from stoker.spark import columns
from stoker.spark.columns import Sent, Source

Field = dict[str, Any]
"""The engine's FieldSpec (engine/data/columns.h)."""


def source(name: str, entry: Any, df: DataFrame | None, told: str | None = None) -> Source:
    """The input of complete declarations; `told` is the dtype that the user wants."""
    where = f"inputs['{name}']"
    items = [item if isinstance(item, Declared) else default_of(df, item, where) for item in items_of(entry)]
    if df is not None:
        for item in items:
            check_type(df, item, where)
    pack = isinstance(entry, list)
    dtype = told or _dtype(items)
    fields, sent = [], []
    for field, column in _Fields(df, dtype).of(items, where, pack):
        fields.append(field)
        sent.append(column)
    shape = (sum(map(width_of, fields)),) if pack else _own_shape(items[0])
    names = dict.fromkeys(item.column for item in items)
    return Source(name, tuple(names), where, dtype, shape, fields=tuple(fields), sent=tuple(dict.fromkeys(sent)))


def width_of(field: Field) -> int:
    """Values of one row."""
    if field["kind"] == "part":
        return sum(len(part["table"][0]) if "table" in part else 1 for part in field["parts"])
    if field["kind"] == "text":
        return field["length"]
    if field["kind"] == "image":
        return field["image"]["channels"] * math.prod(field["image"]["crop"])
    return math.prod(field.get("shape", ()))


def largest(source: Source) -> list[int]:
    """The largest number that each value of a row can be."""
    return [value for field in source.fields for value in _largest(field)]


def _largest(field: Field) -> list[int]:
    if field["kind"] == "part":
        return [9999 if part == "year" else PARTS[part] - (part not in COUNTED_FROM_ONE)
                for part in (told["part"] for told in field["parts"])]  # fmt: skip
    known = len(field.get("words", field.get("numbers", ())))
    tokenizer = field.get("tokenizer")
    last_piece = pieces.count_of(field["pieces"]) - 1 if tokenizer == "sentencepiece" else 0
    text = {"byte": 256, "sentencepiece": last_piece}.get(tokenizer, known)
    top = {"category": known, "text": text, "hash": field.get("buckets", 0) - 1, "present": 1}.get(field["kind"], 0)
    return [max(top, int(field.get("pad", 0)))] * width_of(field)


def _own_shape(item: Declared) -> tuple[int, ...]:
    if isinstance(item, Present):
        return _own_shape(item.of) if isinstance(item.of, (Padded, Text, Array)) else ()
    if isinstance(item, (Padded, Text)):
        return (item.length,)
    if isinstance(item, Image):
        return item.shape
    if isinstance(item, Array):
        if item.shape is None:
            raise UserError(f"{item} has no shape yet: give it, such as shape=[28, 28]")
        return tuple(item.shape)
    if isinstance(item, DateParts):
        width = len(item.parts) * (2 if item.cyclic else 1)
        return (width,) if width > 1 else ()
    return ()


def _dtype(items: Sequence[Declared]) -> str:
    """Numbers for lookups where every item is one, else floats. Masks go with the others."""
    kinds = [item.of if isinstance(item, Padded) else item for item in items if not isinstance(item, Present)]
    whole = [isinstance(k, (Category, Hashed, Text)) or (isinstance(k, DateParts) and not k.cyclic) for k in kinds]
    return "int64" if whole and all(whole) else "float32"


class _Fields:
    """Fields with the columns that they are read from, for one input."""

    def __init__(self, df: DataFrame | None, dtype: str) -> None:
        self._df, self._dtype = df, dtype

    def of(self, items: Sequence[Declared], where: str, pack: bool) -> Iterator[tuple[Field, Sent]]:
        masks = []
        for _, group in groupby(items, self._likeness):
            for alike in self._groups(list(group)):
                field, sent = self._field(alike)
                yield field, sent
                if getattr(alike[0], "nulls", "error") == "mask":
                    masks.append((_mask(field), sent))
        if masks and not pack:
            raise UserError(f"{where}: nulls='mask' adds a value, so the input must be a list: [{items[0]}]; or "
                            f"declare Present({items[0]}) as an input of its own")  # fmt: skip
        yield from masks

    def _likeness(self, item: Declared) -> Any:
        """Neighbours that are alike are sent as one array: fewer columns cross faster."""
        if not isinstance(item, Numeric) or self._df is None:
            return id(item)
        return (self._type_of(item).simpleString(), item.nulls, item.lossy, item.mean is None)

    def _groups(self, alike: list[Declared]) -> list[list[Declared]]:
        return [alike] if isinstance(alike[0], Numeric) else [[item] for item in alike]

    def _field(self, alike: list[Declared]) -> tuple[Field, Sent]:
        first = alike[0]
        if isinstance(first, Numeric):
            return self._numbers(alike)
        make: dict[type, Callable[[Any], tuple[Field, Sent]]] = {
            Category: self._category, Hashed: self._hashed, DateParts: self._parts, Array: self._array,
            Image: self._image, Text: self._text, Padded: self._padded, Present: self._present,
        }  # fmt: skip
        return make[type(first)](first)

    def _numbers(self, alike: list[Numeric]) -> tuple[Field, Sent]:
        first, sent = alike[0], Sent(tuple(item.column for item in alike))
        field = _base("number", [item.column for item in alike], sent, self._stored_number(alike))
        if len(alike) > 1:
            field["shape"] = [len(alike)]
        field.update(lossy=first.lossy, **_filled(first.nulls, [_fill_of(item) for item in alike]))
        if first.mean is not None:
            field.update(mean=[item.mean for item in alike], scale=[item.scale for item in alike], stored=self._dtype)
        return field, sent

    def _stored_number(self, alike: list[Numeric]) -> str:
        boolean = isinstance(self._type_of(alike[0]), BooleanType)
        return "uint8" if boolean and all(item.fill in (None, 0, 1) for item in alike) else self._dtype

    def _type_of(self, item: Declared) -> DataType | None:
        return None if self._df is None else columns.type_of(self._df, item.column, "inputs")

    def _category(self, item: Category) -> tuple[Field, Sent]:
        sent = Sent((item.column,))
        field = _base("category", [item.column], sent, _compact(item.size))
        words = not item.vocabulary or isinstance(item.vocabulary[0], str)
        field["words" if words else "numbers"] = list(item.vocabulary)
        stand_in = item.vocabulary.index(item.fill) + 1 if item.fill in item.vocabulary else 0
        return {**field, **_filled(item.nulls, [stand_in])}, sent

    def _hashed(self, item: Hashed) -> tuple[Field, Sent]:
        sent = Sent((item.column,))
        field = _base("hash", [item.column], sent, _compact(item.buckets))
        return {**field, "buckets": item.buckets, **_filled(item.nulls, [0])}, sent

    def _parts(self, item: DateParts) -> tuple[Field, Sent]:
        zoned = self._df is None or isinstance(self._type_of(item), TimestampType)
        sent = Sent((item.column,), item.zone if zoned else None)
        small = not {"year", "yearday"} & set(item.parts)
        field = _base("part", [item.column], sent, "float32" if item.cyclic else "uint8" if small else "uint16")
        field["parts"] = [{"part": part, **({"table": _circle(part)} if item.cyclic else {})} for part in item.parts]
        return {**field, **_filled(item.nulls, [0])}, sent

    def _array(self, item: Array) -> tuple[Field, Sent]:
        sent = Sent((item.column,))
        field = _base("number", [item.column], sent, item.stored or self._dtype)
        field.update(shape=list(_own_shape(item)), unit=item.unit, lossy=item.lossy, **_filled(item.nulls, [item.fill]))
        return field, sent

    def _image(self, item: Image) -> tuple[Field, Sent]:
        if not self._dtype.startswith("float"):
            raise UserError(f"{item}: pictures are floats, and inputTypes says {self._dtype}")
        sent = Sent((item.column,))
        field = _base("image", [item.column], sent, "uint8")
        field["image"] = {
            "channels": item.channels, "size": item.size, "crop": item.crop or item.size, "flip": item.flip,
            "cover": item.fit == "cover", "max_pixels": item.maxPixels, "mean": item.mean, "deviation": item.std,
        }  # fmt: skip
        return {**field, **_filled(item.nulls, [item.fill])}, sent

    def _text(self, item: Text) -> tuple[Field, Sent]:
        sent = Sent((item.column,))
        field = {**_base("text", [item.column], sent, _compact(item.size)), "length": item.length, "pad": item.pad,
                 "tokenizer": item.tokenizer}  # fmt: skip
        if item.tokenizer == "word":
            field.update(words=list(item.vocabulary), lower=item.lower)
        if item.tokenizer == "sentencepiece":
            field.update(pieces=pieces.encoded(item.pieces), bos=item.bos, eos=item.eos)
        return {**field, **_filled(item.nulls, [0])}, sent

    def _padded(self, item: Padded) -> tuple[Field, Sent]:
        field, sent = self._field([item.of])
        field.update(shape=[item.length], padded=True, pad=item.pad)
        if field["kind"] != "number":
            field["stored"] = _compact(max(item.of.size, int(item.pad) + 1))
        return field, sent

    def _present(self, item: Present) -> tuple[Field, Sent]:
        if item.of is not None:
            field, sent = self._field([item.of])
            return _mask(field), sent
        sent = Sent((item.column,))
        return _base("present", [item.column], sent, "uint8"), sent


def _base(kind: str, shown: list[str], sent: Sent, stored: str) -> Field:
    return {"kind": kind, "column": sent.name, "shown": shown, "stored": stored}


def _mask(field: Field) -> Field:
    if field["kind"] == "text":
        return {**field, "mask": True, "stored": "uint8", **_filled("fill", [0])}
    kept = {key: field[key] for key in ("column", "shown", "shape", "padded") if key in field}
    return {**kept, "kind": "present", "stored": "uint8"}


def _filled(nulls: str, fill: list[float]) -> Field:
    return {} if nulls == "error" else {"fill_missing": True, "fill": fill}


def _fill_of(item: Numeric) -> float:
    if item.fill is not None:
        return item.fill
    return item.mean if item.mean is not None else 0.0


def _compact(size: int) -> str:
    return "uint8" if size <= 1 << 8 else "uint16" if size <= 1 << 16 else "int32"


def _circle(part: str) -> list[list[float]]:
    """Sine and cosine for each value, so that the last is a neighbour of the first."""
    steps = PARTS[part]
    return [[math.sin(2 * math.pi * i / steps), math.cos(2 * math.pi * i / steps)] for i in range(steps)]


def with_zone(item: Declared, zone: str) -> Declared:
    return replace(item, zone=item.zone or zone) if isinstance(item, DateParts) else item
