"""From declared inputs to what the engine reads: the fields of an input, and the columns that are sent for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from stoker.errors import UserError
from stoker.inputs.declarations import default_of, items_of
from stoker.inputs.declared import Declared
from stoker.inputs.spec import Field, mask_of
from stoker.spark.columns import Sent, Source
from stoker.spark.table import Table


def source(name: str, entry: Any, table: Table | None, told: str | None = None) -> Source:
    """The input of complete declarations; `told` is the dtype that the user wants."""
    where = f"inputs['{name}']"
    items = [item if isinstance(item, Declared) else default_of(table, item, where) for item in items_of(entry)]
    if table is not None:
        for item in items:
            check_type(table, item, where)
    pack, dtype = isinstance(entry, list), told or _dtype(items)
    read = list(_read(items, table, dtype))
    masked = [item for item in items if getattr(item, "nulls", "error") == "mask"]
    if masked and not pack:
        raise UserError(f"{where}: nulls='mask' adds a value, so the input must be a list: [{items[0]}]; or "
                        f"declare Present({items[0]}) as an input of its own")  # fmt: skip
    widths = [math.prod(item.row_shape) for item in items] + [math.prod(item.mask_shape) for item in masked]
    shape = (sum(widths),) if pack else items[0].row_shape
    return Source(name, tuple(dict.fromkeys(item.column for item in items)), where, dtype, shape,
                  fields=tuple(field for field, _ in read), sent=tuple(dict.fromkeys(sent for _, sent in read)),
                  tops=_tops(items, masked) if dtype == "int64" else ())  # fmt: skip


def check_type(table: Table, item: Declared, where: str) -> None:
    """The column exists and is of a type that the declaration can be read from."""
    item.check_type(table.type_of(item.column, where), where)


def width(entry: Any) -> int:
    """Values of a row of complete declarations, masks among them."""
    return math.prod(source("it", entry, None).shape)


def _tops(items: Sequence[Declared], masked: Sequence[Declared]) -> tuple[int, ...]:
    """The largest number that each value of a row can be."""
    return tuple([top for item in items for top in item.tops] +
                 [1 for item in masked for _ in range(math.prod(item.mask_shape))])  # fmt: skip


def _dtype(items: Sequence[Declared]) -> str:
    """Numbers for lookups where every item is one, else floats."""
    whole = [item.whole for item in items if item.whole is not None]
    return "int64" if whole and all(whole) else "float32"


def _read(items: Sequence[Declared], table: Table | None, dtype: str) -> Iterator[tuple[Field, Sent]]:
    """Fields with the columns that they are read from; those of masks come last."""

    def kind_of(item: Declared) -> Any:
        return None if table is None else table.type_of(item.column, "inputs")

    masks = []
    for _, group in groupby(enumerate(items), lambda placed: placed[1].likeness(kind_of(placed[1])) or placed[0]):
        alike = [item for _, item in group]
        field, sent = alike[0].together(alike, dtype, kind_of(alike[0]))
        yield field, sent
        if getattr(alike[0], "nulls", "error") == "mask":
            masks.append((mask_of(field), sent))
    yield from masks
