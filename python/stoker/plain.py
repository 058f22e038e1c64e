"""Values as a file can hold them: numpy's numbers and arrays become Python's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same, with numpy's values inside lists, tuples and dicts turned into Python's; all others as they are."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def settings(value: Any) -> dict[str, Any]:
    """A dict of names to booleans, numbers, texts, or lists of them or of such dicts. TypeError says what is not."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a dict of names to values, not {value!r}")
    told = {str(name): plain(list(item) if isinstance(item, tuple) else item) for name, item in value.items()}
    for name, item in told.items():
        if isinstance(item, list) and item and all(isinstance(one, Mapping) for one in item):
            told[name] = [settings(one) for one in item]
        elif not all(isinstance(one, (bool, int, float, str)) for one in (item if isinstance(item, list) else [item])):
            raise TypeError(f"{name!r} is a {type(item).__name__}; expected a number, a boolean or a text")
    return told


def is_number(value: Any) -> bool:
    """Of any kind, but for booleans, which Python counts among them."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) <= sys.float_info.max


class Described(str):
    """The text of something that no file can hold: a module, a loss, an optimizer in a grid of parameters, which
    Spark's validators write as JSON. `value` is the thing itself; in what was loaded it is gone."""

    value: Any = None

    @classmethod
    def of(cls, value: Any) -> Any:
        if isinstance(value, (str, type(None))):
            return value
        text = cls(f"{value!r}"[:2000])
        text.value = value
        return text


def thing(value: Any) -> Any:
    """What is described, or the value itself."""
    return value.value if isinstance(value, Described) else value
