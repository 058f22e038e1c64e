"""The table of operators: each is a function of its node and its inputs."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

OPERATORS: dict[str, Operator] = {}
EVERY = range(1 << 16)


@dataclass(frozen=True)
class Operator:
    """Inputs are tensors, but for those whose places are in `known` (arrays that no row's values decide, or None),
    `scalars` (a Python number where it is known and has no dimension) and `numbers` (likewise where it has one value
    and no more dimensions than another input). `reads`: the attributes that it goes by, or that change nothing."""

    run: Callable[..., Any]
    reads: frozenset[str] = frozenset()
    known: Container[int] = ()
    scalars: Container[int] = ()
    numbers: Container[int] = ()


def operator(*names: str, reads: str = "", known: Container[int] = (), scalars: Container[int] = (),
             numbers: Container[int] = ()) -> Callable[[Callable], Callable]:  # fmt: skip
    """Makes a function the operator of these names; `reads`: attributes, with spaces between them."""

    def add(function: Callable) -> Callable:
        for name in names:
            OPERATORS[name] = Operator(function, frozenset(reads.split()), known, scalars, numbers)
        return function

    return add
