"""What a user gives as `inputs`: declarations by the name of forward's arguments, and how they are kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pyspark.sql.types import BinaryType, DateType

from stoker.errors import UserError
from stoker.inputs.array import Array
from stoker.inputs.category import Category, Hashed
from stoker.inputs.dates import DateParts
from stoker.inputs.declared import RENAMED, Declared
from stoker.inputs.image import Image
from stoker.inputs.kinds import is_text, is_time
from stoker.inputs.number import Numeric
from stoker.inputs.text import Text
from stoker.inputs.wrappers import Padded, Present
from stoker.spark.table import Table

_KINDS: dict[str, type[Declared]] = {
    cls.__name__: cls for cls in (Numeric, Category, Hashed, DateParts, Array, Image, Text, Padded, Present)
}

Item = str | Declared
Inputs = Mapping[str, Item | Sequence[Item]]


def sizes(entry: Any) -> list[int]:
    """For each value of a row of complete declarations, how many numbers it takes: what its Embedding needs."""
    return [size for item in items_of(entry) for size in item.sizes()]


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


def items_of(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def has_declared(inputs: Any) -> bool:
    """Whether there is anything but names of columns."""
    return any(isinstance(item, Declared) for entry in (inputs or {}).values() for item in items_of(entry))


def to_json(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as JSON can hold them: what is saved."""
    return {name: [_item_json(item) for item in entry] if isinstance(entry, list) else _item_json(entry)
            for name, entry in inputs.items()}  # fmt: skip


def from_json(told: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that to_json was given."""
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
    settings: dict[str, Any] = {RENAMED.get(str(name), str(name)): _item_of(value) for name, value in told.items()
                                if name != "declare"}  # fmt: skip
    return kind.from_settings(settings)


def default_of(table: Table | None, column: str, where: str) -> Declared:
    """What a column that is only named is declared as."""
    if table is None:
        raise UserError(f"{where}: what '{column}' is depends on the DataFrame; declare it: Numeric('{column}')")
    kind = table.type_of(column, where)
    if is_text(kind):
        return Category(column)
    if is_time(kind) and not isinstance(kind, DateType):
        return DateParts(column, ("month", "weekday", "hour"))
    for one in (Numeric(column), DateParts(column), Array(column)):
        if one.fits(kind) and not isinstance(kind, BinaryType):
            return one
    raise UserError(f"{where}: column '{column}' has type {kind.simpleString()}: declare how it is read "
                    f"(docs/inputs.md), such as Padded(Category('{column}'), 20)")  # fmt: skip
