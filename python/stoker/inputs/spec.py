"""What the engine reads of a declaration: its FieldSpec (engine/data/spec/columns.h)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.spark.columns import Sent

Field = dict[str, Any]


def base(kind: str, shown: Sequence[str], sent: Sent, stored: str) -> Field:
    return {"kind": kind, "column": sent.name, "shown": list(shown), "stored": stored}


def filled(nulls: str, fill: Sequence[float]) -> Field:
    """What becomes of nulls."""
    return {} if nulls == "error" else {"fill_missing": True, "fill": list(fill)}


def mask_of(field: Field) -> Field:
    """The field that is 1 where this one has a value."""
    if field["kind"] == "text":
        return {**field, "mask": True, "stored": "uint8", **filled("fill", [0])}
    kept: Field = {key: field[key] for key in ("column", "shown", "shape", "padded") if key in field}
    return {**kept, "kind": "present", "stored": "uint8"}


def compact(size: int) -> str:
    """The dtype that holds the numbers below `size`."""
    return "uint8" if size <= 1 << 8 else "uint16" if size <= 1 << 16 else "int32"
