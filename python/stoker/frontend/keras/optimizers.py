"""Keras' optimizers in the engine's words (engine/optim/keras.h): class and settings are read, none is ever stepped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from stoker.errors import UserError
from stoker.frontend.keras import schedules
from stoker.schedule import as_schedule, complete

# By class: the engine's name, and its settings by Keras' names; betas and epsilons are two of Keras'.
_BETAS = {"beta_1": "betas", "beta_2": "betas"}
_EPS = {"epsilon": "eps"}
_ADAM = {**_BETAS, **_EPS, "amsgrad": "amsgrad"}
_KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "SGD": ("keras_sgd", {"momentum": "momentum", "nesterov": "nesterov"}),
    "Adam": ("keras_adam", _ADAM),
    "AdamW": ("keras_adam", _ADAM),
    "RMSprop": ("keras_rmsprop", {"rho": "alpha", "momentum": "momentum", "centered": "centered", **_EPS}),
    "Adagrad": ("keras_adagrad", {"initial_accumulator_value": "initial_accumulator_value", **_EPS}),
    "Adadelta": ("keras_adadelta", {"rho": "rho", **_EPS}),
    "Adamax": ("keras_adamax", {**_BETAS, **_EPS}),
    "Nadam": ("keras_nadam", {**_BETAS, **_EPS}),
    "Lion": ("keras_lion", _BETAS),
    "Ftrl": ("keras_ftrl", {"initial_accumulator_value": "initial_accumulator_value", "beta": "beta",
                            "l1_regularization_strength": "l1", "l2_regularization_strength": "l2",
                            "l2_shrinkage_regularization_strength": "l2_shrinkage"}),
    "Lamb": ("keras_lamb", {**_BETAS, **_EPS}),
    "Adafactor": ("keras_adafactor", {"beta_2_decay": "beta2_decay", "epsilon_1": "epsilons", "epsilon_2": "epsilons",
                                      "clip_threshold": "d"}),
}  # fmt: skip
_OFF = {"ema_overwrite_frequency": None, "loss_scale_factor": None, "gradient_accumulation_steps": None,
        "learning_rate_power": -0.5}  # fmt: skip
"""Settings that Stoker has not, and what they must be."""
_CLIPS = ("clipnorm", "global_clipnorm")


def read(optimizer: keras.optimizers.Optimizer, trained: Sequence[tuple[str, Any]], rate: float | None,
         clips: bool) -> dict[str, Any]:  # fmt: skip
    """The engine's options, each parameter's group, and the largest value of a gradient.

    trained: the variables by name. rate: takes the place of the optimizer's, and of its schedule. clips: whether the
    optimizer's own clipping counts."""
    name, settings = _kind_of(optimizer)
    _check(optimizer)
    usual = _settings(settings, optimizer) | {"weight_decay": float(optimizer.weight_decay or 0.0)}
    usual["lr"], schedule = (rate, {}) if rate is not None else _rate_of(optimizer)
    if name == "keras_sgd" and not usual["momentum"]:
        usual["nesterov"] = False
    spared = _without_decay(optimizer, trained) if usual["weight_decay"] else {}
    groups = [usual, {**usual, "weight_decay": 0.0}] if spared else [usual]
    clip = _clip_of(name, optimizer) if clips else {}
    options = {"name": name, "groups": groups, **schedule, **_average_of(optimizer), **clip}
    value = float(optimizer.clipvalue or 0.0) if clips else 0.0
    return {"options": options, "groups": spared, "clip_value": value}


def _kind_of(optimizer: Any) -> tuple[str, dict[str, str]]:
    kind = type(optimizer)
    if kind.__module__.startswith("keras.src.") and kind.__name__ in _KINDS:
        return _KINDS[kind.__name__]
    raise UserError(f"the Keras optimizer {kind.__name__} is none that Stoker has: it has {', '.join(_KINDS)}; or set "
                    "optimizer on the estimator")  # fmt: skip


def _check(optimizer: keras.optimizers.Optimizer) -> None:
    name = type(optimizer).__name__
    for key, off in _OFF.items():
        if (told := getattr(optimizer, key, off)) != off:
            why = f"; the estimator's accumulate={told} does the same" if key == "gradient_accumulation_steps" else ""
            raise UserError(f"the Keras optimizer {name} has {key}={told!r}, which Stoker has not{why}")
    if optimizer.built and int(optimizer.iterations) > 0:
        warnings.warn(f"the Keras optimizer {name} has made {int(optimizer.iterations)} steps: this fit begins with "
                      "its settings and without what it has gathered", stacklevel=2)  # fmt: skip


def _settings(known: dict[str, str], optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, setting in known.items():
        value = _number_of(optimizer, key)
        if setting in ("betas", "epsilons"):
            found.setdefault(setting, []).append(value)
        else:
            found[setting] = value
    return found


def _number_of(optimizer: keras.optimizers.Optimizer, key: str) -> float:
    """Or a bool, where it is one."""
    value = getattr(optimizer, key)
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        name = type(optimizer).__name__
        raise UserError(f"the Keras optimizer {name} has {key}={value!r}, expected a number") from None


def _rate_of(optimizer: keras.optimizers.Optimizer) -> tuple[float, dict[str, Any]]:
    told = optimizer._learning_rate
    if isinstance(told, keras.optimizers.schedules.LearningRateSchedule):
        rate, schedule = schedules.read(told)
        return float(rate), {"schedule": complete(as_schedule(schedule), "steps", 1)}
    if callable(told):
        raise UserError("the Keras optimizer's learning rate is a function, which would be called in each step: give "
                        "a number or one of keras.optimizers.schedules; or set lrSchedule")  # fmt: skip
    # A variable of float32 that was a decimal number.
    return float(f"{float(optimizer.learning_rate):.8g}"), {}


def excludes(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether weight decay spares some variables."""
    told = [getattr(optimizer, f"_exclude_from_weight_decay{of}", None) for of in ("", "_pattern")]
    return bool(optimizer.weight_decay) and any(told)


def _without_decay(optimizer: keras.optimizers.Optimizer, trained: Sequence[tuple[str, Any]]) -> dict[str, int]:
    """What exclude_from_weight_decay names."""
    return {name: 1 for name, variable in trained if not optimizer._use_weight_decay(variable)}


def _average_of(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    if not optimizer.use_ema or not optimizer.ema_momentum:
        return {}
    return {"average": {"name": "ema", "decay": float(optimizer.ema_momentum), "start": 1, "every": 1}}


def _clip_of(name: str, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    told = next((key for key in _CLIPS if getattr(optimizer, key)), None)
    if told is None:
        return {}
    if name in ("keras_lamb", "keras_adafactor"):
        kind = type(optimizer).__name__
        raise UserError(
            f"the Keras optimizer {kind} has {told}={getattr(optimizer, told)!r}, which Stoker has not beside {kind}'s "
            "own norms: leave it out, or set clipNorm"
        )
    return {"clip": {"norm": float(getattr(optimizer, told)), "by_parameter": told == "clipnorm"}}
