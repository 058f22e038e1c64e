"""Recorded orders of pushes: the shard of each push of a fit, one after the other."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import UserError
from stoker.plain import is_finite

MOST_SHARDS = 256  # the engine's kMostRecorded
_MARK = "record:"


def is_record(text: str) -> bool:
    return text.startswith(_MARK)


def packed(shards: Sequence[int]) -> str:
    """A text that is as short as it can be.

    >>> unpacked(packed([0, 1, 1, 0]))
    [0, 1, 1, 0]
    """
    return _MARK + base64.b85encode(zlib.compress(bytes(shards), 9)).decode()


def unpacked(text: str) -> list[int]:
    """UserError where it is no such text."""
    try:
        if not is_record(text):
            raise ValueError("it begins otherwise")
        if not (shards := zlib.decompress(base64.b85decode(text.removeprefix(_MARK)))):
            raise ValueError("it is empty")
        return list(shards)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise UserError(f"strategy: order is a recorded one that is damaged: {error}") from error


def told(history: Mapping[str, Any]) -> dict[str, str]:
    """Of the engine's history, which has two hexadecimal digits a push."""
    return {"order": packed(bytes.fromhex(history["order"]))} if "order" in history else {}


def of_list(value: Sequence[Any]) -> str:
    """The text of a list that history.order gave, or one like it. UserError says what is wrong."""
    if not value:
        raise UserError("strategy: order is an empty list, expected the shard of each push, as a fit's history.order "
                        "has them")  # fmt: skip
    shards: list[int] = []
    for i, shard in enumerate(value):
        if not is_finite(shard) or shard != int(shard) or not 0 <= shard < MOST_SHARDS:
            raise UserError(f"strategy: order[{i}] is {shard!r}, expected the number of a shard, from 0 to "
                            f"{MOST_SHARDS - 1}")  # fmt: skip
        shards.append(int(shard))
    return packed(shards)
