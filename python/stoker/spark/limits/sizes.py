"""Sizes of memory as people and Spark write them."""

from __future__ import annotations

import re
from typing import Any

from stoker.errors import UserError

MIB = 1 << 20
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE = re.compile(r"\s*(\d+)\s*([kmgtp]?)i?(b?)\s*", re.IGNORECASE)


def parse_size(value: Any, name: str, unit: int = 1, least: int = 1) -> int:
    """Bytes of 1000, "1000", "512m", "2g"; `unit` is that of bare numbers. Raises UserError."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value * unit
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        size = int(found[1]) * (1 << _SHIFTS[found[2].lower()] if found[2] or found[3] else unit)
    else:
        raise UserError(f"{name} is {value!r}; give bytes, or a size such as '512m' or '2g'")
    if size < least:
        raise UserError(f"{name} must be at least {least} byte, not {value!r}")
    return size
