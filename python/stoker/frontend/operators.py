"""Which operators a program may name: those of operators.txt, which the engine's loader reads too."""

from __future__ import annotations

import functools
from pathlib import Path

LIST = Path(__file__).parent.parent / "operators.txt"


@functools.cache
def allowed() -> frozenset[str]:
    """Operators of aten, without their overloads."""
    lines = LIST.read_text().splitlines()
    return frozenset(name for line in lines if not line.startswith(("#", '"')) for name in line.split())


def may_name(name: str, overload: str) -> bool:
    """`name` without the namespace. Variants that write into an argument "out" are none of them."""
    return name in allowed() and not (overload == "out" or overload.endswith("_out"))
