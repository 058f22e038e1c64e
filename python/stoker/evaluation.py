"""What the user says about evaluations, in the engine's words (engine/train/spec.h): metrics and when to stop."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]

_AVERAGED = [f"{what}_{how}" for what in ("precision", "recall", "f1") for how in ("micro", "macro", "weighted")]
OF_CLASSES = ("accuracy", "balanced_accuracy", "top_5_accuracy", "log_loss", "brier_score", "matthews_corrcoef",
              "precision", "recall", "f1", *_AVERAGED, "confusion_matrix")  # fmt: skip
OF_VALUES = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "mean_absolute_percentage_error",
             "r2")  # fmt: skip
_TOP = re.compile(r"top_[1-9]\d*_accuracy")
_OF_TWO = ("precision", "recall", "f1")
_SMALL_IS_BETTER = ("loss", "brier_score", "mean_", "root_")
_STOPPING = {"monitor": "val_loss", "patience": 3, "minDelta": 0.0, "mode": "auto"}
_MODES = ("auto", "min", "max")


def as_metrics(value: Any) -> list[str]:
    """Names that are known. UserError names the nearest."""
    told = [value] if isinstance(value, str) else list(value)
    for name in told:
        if not isinstance(name, str) or not (name in (*OF_CLASSES, *OF_VALUES) or _TOP.fullmatch(name)):
            near = (
                did_you_mean(str(name), (*OF_CLASSES, *OF_VALUES))
                or f"; there is {', '.join(OF_CLASSES)} for "
                f"classes (top_k_accuracy with any number as k), and {', '.join(OF_VALUES)} for numbers"
            )
            raise UserError(f"evalMetrics: there is no metric {name!r}{near}")
    return list(dict.fromkeys(told))


def as_stopping(value: Any) -> Settings:
    """A dict with its defaults. UserError says what is wrong."""
    told = plain(value)
    if not isinstance(told, Mapping):
        raise UserError(f"earlyStopping: got {value!r}, expected a dict such as {{'monitor': 'val_loss', "
                        "'patience': 3}")  # fmt: skip
    for key in told:
        if key not in _STOPPING:
            near = did_you_mean(str(key), _STOPPING) or f"; it has {', '.join(_STOPPING)}"
            raise UserError(f"earlyStopping: there is no setting {key!r}{near}")
    found = {**_STOPPING, **told}
    if not is_finite(found["patience"]) or found["patience"] < 1 or found["patience"] != int(found["patience"]):
        raise UserError(f"earlyStopping: patience is {found['patience']!r}, expected a whole number of epochs, at "
                        "least 1")  # fmt: skip
    if not is_finite(found["minDelta"]) or found["minDelta"] < 0:
        raise UserError(f"earlyStopping: minDelta is {found['minDelta']!r}, expected a number, not negative")
    if found["mode"] not in _MODES:
        raise UserError(f"earlyStopping: mode is {found['mode']!r}, expected one of {', '.join(map(repr, _MODES))}")
    return {**found, "patience": int(found["patience"]), "minDelta": float(found["minDelta"])}


def check_fit(names: Sequence[str], outputs: str, width: int) -> None:
    """Whether the metrics are of what the model gives: something of each class, or values."""
    known = OF_VALUES if outputs == "values" else OF_CLASSES
    for name in names:
        if name not in known and not (outputs != "values" and _TOP.fullmatch(name)):
            what = "numbers" if outputs == "values" else "classes"
            raise UserError(f"evalMetrics: {name!r} does not fit this model, whose outputs are {what}: there is "
                            f"{', '.join(known)}")  # fmt: skip
        if name in _OF_TWO and width > 2:
            raise UserError(f"evalMetrics: {name!r} is for two classes, and there are {width}: take {name}_macro, "
                            f"{name}_micro or {name}_weighted")  # fmt: skip


def of_program(program: Settings, names: Sequence[str]) -> Settings:
    """The program and its metrics, as the engine reads them."""
    measured = program.get("measured")
    if names and measured is None:
        raise UserError("evalMetrics: metrics compare one label with one output, of as many values or of its classes; "
                        "this model's are not: leave evalMetrics out")  # fmt: skip
    if measured is None:
        return {"program": program}
    check_fit(names, measured["outputs"], measured["width"])
    return {"program": program, "metrics": {"names": list(names), **measured}}


def monitor_of(stopping: Mapping[str, Any] | None, metrics: Sequence[str]) -> str:
    """The score that is watched. UserError where no evaluation has it."""
    name = "val_loss" if stopping is None else stopping["monitor"]
    known = ["val_loss", *(f"val_{metric}" for metric in metrics if metric != "confusion_matrix")]
    if name not in known:
        raise UserError(f"earlyStopping: monitor is {name!r}, and the evaluations have {', '.join(known)}"
                        f"{did_you_mean(str(name), known) or '; evalMetrics adds more'}")  # fmt: skip
    return name


def rules(stopping: Mapping[str, Any] | None, metrics: Sequence[str], restore: bool) -> Settings:
    """The engine's rules."""
    name = monitor_of(stopping, metrics)
    found: Settings = {"monitor": name, "larger": _larger(name, "auto" if stopping is None else stopping["mode"]),
                       "restore_best": restore}  # fmt: skip
    if stopping is None:
        return found
    return {**found, "patience": stopping["patience"], "min_delta": stopping["minDelta"]}


def _larger(monitor: str, mode: str) -> bool:
    name = monitor.removeprefix("val_")
    larger = not (name.endswith("loss") or name.startswith(_SMALL_IS_BETTER))
    if mode not in ("auto", "max" if larger else "min"):
        raise UserError(f"earlyStopping: mode {mode!r} contradicts monitor {monitor!r}, of which "
                        f"{'more' if larger else 'less'} is better: leave mode out")  # fmt: skip
    return larger
