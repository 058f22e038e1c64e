"""Keras' learning rate schedules in the words of stoker.schedule: a rate, and what becomes of it by steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from stoker.errors import UserError

Config = Mapping[str, Any]
Read = tuple[float, dict[str, Any]]


def _exponential(told: Config) -> Read:
    steps, rate = told["decay_steps"], told["decay_rate"]
    if told["staircase"]:
        return told["initial_learning_rate"], {"name": "step", "step_size": steps, "gamma": rate}
    return told["initial_learning_rate"], {"name": "exponential", "gamma": rate ** (1 / steps)}


def _piecewise(told: Config) -> Read:
    """Keras changes the value after the step of a boundary."""
    top = max(told["values"]) or 1.0
    factors = [value / top for value in told["values"]]
    return top, {"name": "piecewise", "milestones": [math.floor(b) + 1 for b in told["boundaries"]], "factors": factors}


def _polynomial(told: Config) -> Read:
    return told["initial_learning_rate"], {"name": "polynomial", "power": told["power"], "total": told["decay_steps"],
                                           "min_lr": told["end_learning_rate"], "cycle": told["cycle"]}  # fmt: skip


def _inverse_time(told: Config) -> Read:
    settings = {key: told[key] for key in ("decay_steps", "decay_rate", "staircase")}
    return told["initial_learning_rate"], {"name": "inverse_time", **settings}


def _cosine(told: Config) -> Read:
    first, top, warmup = told["initial_learning_rate"], told["warmup_target"], told["warmup_steps"]
    if top is None:
        return first, _half_cosine(first, told)
    up = {"name": "linear", "start_factor": first / top, "end_factor": 1.0, "total": max(warmup, 1)}
    return top, {"name": "sequence", "schedules": [up, _half_cosine(top, told)], "milestones": [warmup]}


def _half_cosine(top: float, told: Config) -> dict[str, Any]:
    return {"name": "cosine", "min_lr": told["alpha"] * top, "total": told["decay_steps"]}


def _restarts(told: Config) -> Read:
    first = told["initial_learning_rate"]
    return first, {"name": "cosine_restarts", "period": told["first_decay_steps"], "period_factor": told["t_mul"],
                   "height_factor": told["m_mul"], "min_lr": told["alpha"] * first}  # fmt: skip


_READ: dict[str, Callable[[Config], Read]] = {
    "ExponentialDecay": _exponential,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "InverseTimeDecay": _inverse_time,
    "CosineDecay": _cosine,
    "CosineDecayRestarts": _restarts,
}


def read(schedule: keras.optimizers.schedules.LearningRateSchedule,
         what: str = "the Keras optimizer's learning rate") -> Read:  # fmt: skip
    """The rate that it begins from, and a schedule of factors of it. `what` it is, for messages."""
    name = type(schedule).__name__
    if name not in _READ or not type(schedule).__module__.startswith("keras."):
        raise UserError(f"{what} is a {name}, which calls Python in each step: Stoker "
                        f"reads {', '.join(_READ)}; or set lrSchedule")  # fmt: skip
    return _READ[name](schedule.get_config())
