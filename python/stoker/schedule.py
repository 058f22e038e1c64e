"""What the user says about learning rates over the fit, in the engine's words (engine/optim/schedule.h).

A dict with a name and settings, or a torch.optim.lr_scheduler instance: its class and settings are read, it is never
stepped. Rates are the optimizer's own, and the schedule says what becomes of them; but one that was Keras' has a rate
of its own ("first_lr").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]
_NONE = object()


@dataclass(frozen=True)
class Kind:
    words: str
    fits: Callable[[Any], bool]
    make: Callable[[Any], Any] = float


def _is_whole(value: Any) -> bool:
    return is_finite(value) and float(value).is_integer()


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _ascend(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(map(_is_whole, values)) and list(values) == sorted(values)


COUNT = Kind("a whole number of at least 1", lambda v: _is_whole(v) and v >= 1, int)
TURNS = Kind("a whole number, not negative", lambda v: _is_whole(v) and v >= 0, int)
RATE = Kind("a number, not negative", lambda v: is_finite(v) and v >= 0)
POSITIVE = Kind("a number above 0", lambda v: is_finite(v) and v > 0)
GROWTH = Kind("a number of at least 1", lambda v: is_finite(v) and v >= 1)
FACTORS = Kind("a list of numbers, not negative", lambda v: isinstance(v, (list, tuple)) and all(map(RATE.fits, v)),
               lambda v: list(map(float, v)))  # fmt: skip
PART = Kind("a number from 0 to 1", lambda v: is_finite(v) and 0 <= v <= 1)
FLAG = Kind("true or false", lambda v: isinstance(v, bool), bool)
TURNS_LIST = Kind("ascending whole numbers", _ascend, lambda v: [int(item) for item in v])
PARTS = Kind("a list of schedules", lambda v: isinstance(v, (list, tuple)) and len(v) > 0,
             lambda v: [as_schedule(item) for item in v])  # fmt: skip
RATES = Kind("a number or a list of one for each group of the optimizer",
             lambda v: all(map(RATE.fits, _several(v))), lambda v: list(map(float, _several(v))))  # fmt: skip
STRATEGY = Kind("'cos' or 'linear'", lambda v: v in ("cos", "linear"), str)

SCORE = Kind("the name of a score, such as 'val_loss'", lambda v: isinstance(v, str), str)
MODE = Kind("'auto', 'min' or 'max'", lambda v: v in ("auto", "min", "max"), str)
MEASURE = Kind("'rel' or 'abs'", lambda v: v in ("rel", "abs"), str)
LESS = Kind("a number below 1, not negative", lambda v: is_finite(v) and 0 <= v < 1)

# By name, the settings with their kinds and defaults; _NONE: must be given, None: may be left out.
SCHEDULES: dict[str, dict[str, tuple[Kind, Any]]] = {
    "constant": {"factor": (RATE, 1.0), "total": (TURNS, 0)},
    "linear": {"start_factor": (RATE, 1.0), "end_factor": (RATE, 0.0), "total": (COUNT, _NONE)},
    "step": {"step_size": (COUNT, _NONE), "gamma": (RATE, 0.1)},
    "multi_step": {"milestones": (TURNS_LIST, _NONE), "gamma": (RATE, 0.1)},
    "exponential": {"gamma": (RATE, _NONE)},
    "polynomial": {"power": (RATE, 1.0), "min_lr": (RATE, 0.0), "total": (COUNT, None), "cycle": (FLAG, False)},
    "piecewise": {"milestones": (TURNS_LIST, _NONE), "factors": (FACTORS, _NONE)},
    "inverse_time": {"decay_steps": (COUNT, _NONE), "decay_rate": (RATE, _NONE), "staircase": (FLAG, False)},
    "cosine": {"min_lr": (RATE, 0.0), "total": (COUNT, None), "returns": (FLAG, False)},
    "cosine_restarts": {"period": (COUNT, _NONE), "period_factor": (GROWTH, 1), "height_factor": (RATE, 1.0),
                        "min_lr": (RATE, 0.0)},
    "one_cycle": {"max_lr": (RATES, None), "total": (COUNT, None), "pct_start": (PART, 0.3),
                  "anneal_strategy": (STRATEGY, "cos"),
                  "div_factor": (POSITIVE, 25.0), "final_div_factor": (POSITIVE, 1e4), "three_phase": (FLAG, False),
                  "cycle_momentum": (FLAG, False), "base_momentum": (PART, 0.85), "max_momentum": (PART, 0.95)},
    "inverse_sqrt": {"timescale": (TURNS, 0)},
    "plateau": {"monitor": (SCORE, "val_loss"), "mode": (MODE, "auto"), "factor": (LESS, 0.1), "patience": (TURNS, 10),
                "threshold": (RATE, 1e-4), "threshold_mode": (MEASURE, "rel"), "cooldown": (TURNS, 0),
                "min_lr": (RATE, 0.0), "eps": (RATE, 1e-8)},
    "sequence": {"schedules": (PARTS, _NONE), "milestones": (TURNS_LIST, _NONE)},
    "product": {"schedules": (PARTS, _NONE)},
}  # fmt: skip
_ALONE = ("one_cycle", "plateau")
_OF_KERAS = {"first_lr": (RATE, None)}
_WARMUP = {"warmup": (TURNS, None), "warmup_start": (PART, None)}
_NOT_YET = {
    "reduce_on_plateau": "it is called 'plateau' here",
    "reducelronplateau": "it is called 'plateau' here",
    "noam": "it is called 'inverse_sqrt' here, with warmup=",
}


def as_schedule(value: Any) -> Settings:
    """A dict that a file can hold: what was told, with its defaults. UserError says what is wrong."""
    value = plain(value)
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, Mapping):
        return _checked(value)
    from stoker.torch_schedule import read

    return _checked(read(value))


def complete(schedule: Mapping[str, Any], unit: str, epochs: int) -> Settings:
    """What the engine reads. Where all of the fit is the length, how long that is belongs to it."""
    told = {**schedule, "unit": unit}
    whole = "total" in SCHEDULES.get(told["name"], {}) and not told.get("total")
    return {**told, "epochs": epochs} if whole and told["name"] != "constant" else told


def _checked(told: Mapping[str, Any]) -> Settings:
    name = told.get("name")
    if name is None:
        raise UserError(f"lrSchedule: 'name' is missing; it is one of {_listed(SCHEDULES)}")
    if name not in SCHEDULES:
        raise UserError(f"lrSchedule: unknown name {name!r}{_hint(str(name))}")
    known = {**SCHEDULES[name], **({} if name == "plateau" else _WARMUP), **_OF_KERAS}
    for key in told:
        if key != "name" and key not in known:
            near = did_you_mean(str(key), known) or f"; it has {_listed(known)}"
            raise UserError(f"lrSchedule: {name!r} has no setting {key!r}{near}")
    return {"name": name, **_settings(name, told, known)}


def _hint(name: str) -> str:
    if name.lower() in _NOT_YET:
        return f": {_NOT_YET[name.lower()]}"
    return did_you_mean(name, SCHEDULES) or f"; it is one of {_listed(SCHEDULES)}"


def _settings(name: str, told: Mapping[str, Any], known: Mapping[str, tuple[Kind, Any]]) -> Settings:
    found = {}
    for key, (kind, default) in known.items():
        value = told.get(key, default)
        if value is _NONE:
            raise UserError(f"lrSchedule: {name!r} needs {key!r}, {kind.words}")
        if value is None:
            continue
        if not kind.fits(value):
            raise UserError(f"lrSchedule: {name!r}: {key} is {value!r}, expected {kind.words}")
        found[key] = kind.make(value)
    _check_parts(found)
    if found.get("total", 0) and found.get("warmup", 0) >= found["total"]:
        raise UserError(f"lrSchedule: {name!r}: warmup ({found['warmup']}) must be shorter than total "
                        f"({found['total']}), which counts it")  # fmt: skip
    return found


def _check_parts(found: Settings) -> None:
    """Of a sequence, a product or what is told piece by piece."""
    parts = found.get("schedules", [])
    if "factors" in found and len(found["factors"]) != len(found["milestones"]) + 1:
        raise UserError(f"lrSchedule: 'piecewise' has {len(found['factors'])} factors and {len(found['milestones'])} "
                        f"milestones; it needs one milestone between two factors")  # fmt: skip
    if "milestones" in found and parts and len(found["milestones"]) != len(parts) - 1:
        raise UserError(f"lrSchedule: 'sequence' has {len(parts)} schedules and {len(found['milestones'])} milestones; "
                        f"it needs one milestone between two schedules")  # fmt: skip
    inner = next((part["name"] for part in parts if "warmup" in part or part["name"] in _ALONE), None)
    if inner is not None:
        raise UserError(f"lrSchedule: a part of another schedule cannot be 'one_cycle' or 'plateau', or have a "
                        f"warmup of its own, as {inner!r} does")  # fmt: skip


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
