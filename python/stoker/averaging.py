"""What the user says about an average of the weights, in the engine's words (engine/optim/averaged.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_number, plain

Settings = dict[str, Any]

_SETTINGS: dict[Any, Settings] = {"ema": {"decay": 0.999, "start": 1, "every": 1}, "swa": {"start": 1, "every": 1}}


def as_average(value: Any) -> Settings:
    """A name, or a dict of a name and settings, with its defaults. UserError says what is wrong."""
    value = plain(value)
    told = {"name": value} if isinstance(value, str) else value
    if not isinstance(told, Mapping):
        raise UserError(f"averageWeights: got {value!r}, expected 'ema', 'swa' or a dict such as "
                        f"{{'name': 'ema', 'decay': 0.999}}")  # fmt: skip
    name = told.get("name")
    if name not in _SETTINGS:
        raise UserError(f"averageWeights: 'name' is {name!r}, expected one of 'ema', 'swa'")
    for key in told:
        if key != "name" and key not in _SETTINGS[name]:
            near = did_you_mean(str(key), _SETTINGS[name]) or f"; it has {', '.join(map(repr, _SETTINGS[name]))}"
            raise UserError(f"averageWeights: {name!r} has no setting {key!r}{near}")
    found = {"name": name, **_SETTINGS[name], **told}
    _check(found)
    return found


def _check(found: Settings) -> None:
    for key in ("start", "every"):
        if not is_number(found[key]) or found[key] < 1 or not float(found[key]).is_integer():
            raise UserError(f"averageWeights: {key} is {found[key]!r}, expected a whole number of steps, at least 1")
        found[key] = int(found[key])
    if "decay" in found and not (is_number(found["decay"]) and 0 < found["decay"] < 1):
        raise UserError(f"averageWeights: decay is {found['decay']!r}, expected a number between 0 and 1")
