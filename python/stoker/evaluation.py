"""What the user says about evaluations, in the engine's words (engine/train/spec.h): metrics and when to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]
SAVED = "own:"  # before the name of a function that was not saved

_SCORED, _GROUPED = 24, 32  # bytes of the engine's Scored and Grouped
_OF_SEVERAL = ("roc_auc_ovr", "roc_auc_ovr_weighted", "average_precision_macro", "average_precision_weighted")
_AVERAGED = [f"{what}_{how}" for what in ("precision", "recall", "f1") for how in ("micro", "macro", "weighted")]
_BY_CLASS = tuple(f"{what}_per_class" for what in ("precision", "recall", "f1"))
_TABLES = ("confusion_matrix", *_BY_CLASS)  # not one number
OF_CLASSES = ("accuracy", "balanced_accuracy", "top_5_accuracy", "log_loss", "brier_score", "matthews_corrcoef",
              "precision", "recall", "f1", *_AVERAGED, "roc_auc", "average_precision", *_OF_SEVERAL,
              *_TABLES)  # fmt: skip
OF_VALUES = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "mean_absolute_percentage_error",
             "r2", "mean_pinball_loss", "mean_poisson_deviance")  # fmt: skip
OF_GROUPS = ("ndcg_score", "ndcg_score_10", "hit_rate_10")
_RANKED = re.compile(r"ndcg_score|(ndcg_score|hit_rate)_[1-9]\d*")
_GROUP = {"name": "group", "role": "group", "dtype": "int64", "shape": []}
_TOP = re.compile(r"top_[1-9]\d*_accuracy")
_PINBALL = re.compile(r"mean_pinball_loss_(0?\.\d+)")
_OF_TWO = {name: f"{name}_macro, {name}_micro or {name}_weighted" for name in ("precision", "recall", "f1")} | {
    "roc_auc": "roc_auc_ovr or roc_auc_ovr_weighted",
    "average_precision": "average_precision_macro or average_precision_weighted",
}
_SMALL_IS_BETTER = ("loss", "brier_score", "mean_", "root_")
_STOPPING = {"monitor": "val_loss", "patience": 3, "minDelta": 0.0, "mode": "auto", "stoppingThreshold": None}
_MODES = ("auto", "min", "max")


class OwnMetric(str):
    """A user's metric: the name of its function, and the function, where it is known."""

    compute: Callable[..., Any] | None = None


def _own(value: Any) -> OwnMetric:
    """Of a function, or as it was saved."""
    name = value.removeprefix(SAVED) if isinstance(value, str) else getattr(value, "__name__", "")
    if not name.isidentifier() or _is_known(name) or name == "loss":
        raise UserError(f"evalMetrics: a metric of your own has the name of its function, which must not be {name!r}: "
                        "define it with def, under another name")  # fmt: skip
    own = OwnMetric(name)
    own.compute = value if callable(value) else None
    return own


def functions_of(metrics: Sequence[str] | None) -> dict[str, Callable[..., Any]]:
    """A user's own ones by name. UserError where a function was not saved."""
    found = {}
    for metric in metrics or ():
        if isinstance(metric, OwnMetric):
            if metric.compute is None:
                raise UserError(f"evalMetrics: the function {metric!r} is compiled into the estimator that was loaded; "
                                "to compile another model, set evalMetrics with the function")  # fmt: skip
            found[str(metric)] = metric.compute
    return found


def as_saved(metrics: Sequence[str]) -> list[str]:
    return [f"{SAVED}{metric}" if isinstance(metric, OwnMetric) else metric for metric in metrics]


def as_metrics(value: Any) -> list[str]:
    """Names that are known, and a user's functions. UserError names the nearest."""
    told = [value] if isinstance(value, str) or callable(value) else list(value)
    told = [_own(one) if callable(one) or (isinstance(one, str) and one.startswith(SAVED)) else one for one in told]
    for name in told:
        if isinstance(name, OwnMetric):
            continue
        if not isinstance(name, str) or not _is_known(name):
            near = (
                did_you_mean(str(name), (*OF_CLASSES, *OF_VALUES, *OF_GROUPS))
                or f"; there is {', '.join(OF_CLASSES)} for "
                f"classes (top_k_accuracy with any number as k), {', '.join(OF_VALUES)} for numbers "
                f"(mean_pinball_loss_0.9 for the quantile 0.9), and with groupCol {', '.join(OF_GROUPS)} (any number "
                "for 10)"
            )
            raise UserError(f"evalMetrics: there is no metric {name!r}{near}")
    own = [(one, one.compute) for one in told if isinstance(one, OwnMetric)]
    if len({name for name, _ in own}) < len(set(own)):
        raise UserError(f"evalMetrics: two functions have one name ({', '.join(name for name, _ in own)}): rename one")
    return list(dict.fromkeys(told))


def _is_of_classes(name: str) -> bool:
    return name in OF_CLASSES or _TOP.fullmatch(name) is not None


def _is_of_values(name: str) -> bool:
    return name in OF_VALUES or _PINBALL.fullmatch(name) is not None


def is_of_groups(name: str) -> bool:
    """Whether it is of the order of rows within their groups."""
    return not isinstance(name, OwnMetric) and _RANKED.fullmatch(name) is not None


def _is_known(name: str) -> bool:
    return _is_of_classes(name) or _is_of_values(name) or _RANKED.fullmatch(name) is not None


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
    goal = found["stoppingThreshold"]
    if goal is not None and not is_finite(goal):
        raise UserError(f"earlyStopping: stoppingThreshold is {goal!r}, expected a number")
    patience = found["patience"]
    if patience is None and goal is None:
        raise UserError("earlyStopping: patience is None, so nothing would end the fit: give stoppingThreshold, or "
                        "leave patience out")  # fmt: skip
    if patience is not None and not (is_finite(patience) and patience >= 1 and patience == int(patience)):
        raise UserError(f"earlyStopping: patience is {patience!r}, expected a whole number of epochs, at least 1")
    if not is_finite(found["minDelta"]) or found["minDelta"] < 0:
        raise UserError(f"earlyStopping: minDelta is {found['minDelta']!r}, expected a number, not negative")
    if found["mode"] not in _MODES:
        raise UserError(f"earlyStopping: mode is {found['mode']!r}, expected one of {', '.join(map(repr, _MODES))}")
    return {**found, "patience": None if patience is None else int(patience), "minDelta": float(found["minDelta"])}


def check_fit(names: Sequence[str], outputs: str, width: int, labels: int = 1) -> None:
    """Whether the metrics are of what the model gives: something of each class, or values, `width` for each of the
    labels of a row."""
    what, known, fits = ("numbers", OF_VALUES, _is_of_values) if outputs == "values" else \
                        ("classes", OF_CLASSES, _is_of_classes)  # fmt: skip
    for name in names:
        if is_of_groups(name):
            _check_ranks(name, outputs, width, labels)
        elif not fits(name):
            raise UserError(f"evalMetrics: {name!r} does not fit this model, whose outputs are {what}: there is "
                            f"{', '.join(known)}")  # fmt: skip
        if name in _OF_TWO and width > 2:
            raise UserError(f"evalMetrics: {name!r} is for two classes, and there are {width}: take {_OF_TWO[name]}")
        if name in _OF_SEVERAL and width <= 2:
            of_two = "roc_auc" if name.startswith("roc_auc") else "average_precision"
            raise UserError(f"evalMetrics: {name!r} is for several classes, and there are two: take {of_two}")


def _check_ranks(name: str, outputs: str, width: int, labels: int) -> None:
    if labels > 1 or width > (1 if outputs == "values" else 2):
        raise UserError(f"evalMetrics: {name!r} ranks rows by one number, and this model gives {width * labels}: it is "
                        "for models of one output, or of two classes")  # fmt: skip


def bytes_of_row(metrics: Mapping[str, Any] | None) -> int:
    """What a row takes where the engine's metrics (its MetricsSpec) are of all rows in their order."""
    told = metrics or {"names": []}
    ranked = any(name.startswith(("roc_auc", "average_precision")) for name in told["names"])
    grouped = any(is_of_groups(name) for name in told["names"])
    classes = 1 if told.get("width", 1) <= 2 else told["width"]
    return ranked * classes * told.get("labels", 1) * _SCORED + grouped * _GROUPED


def check_groups(metrics: Sequence[str] | None, group_col: str | None, evaluated: bool) -> None:
    """Whether there are groups where a metric asks for them, and the reverse."""
    asking = [name for name in metrics or () if is_of_groups(name)]
    if asking and not group_col:
        raise UserError(f"evalMetrics: {asking[0]!r} ranks the rows of a group: set groupCol to the column that says "
                        "which rows are one group, such as those of a query")  # fmt: skip
    if group_col and not evaluated:
        raise UserError("groupCol says which rows metrics such as ndcg_score rank together, and nothing is evaluated: "
                        "set evalMetrics, or leave groupCol out")  # fmt: skip


def _check_grouped(names: Sequence[str], program: Settings) -> None:
    for name in names:
        if is_of_groups(name) and not is_grouped(program):
            raise UserError(f"evalMetrics: {name!r} ranks the rows of a group, and this model was fit without "
                            "groupCol")  # fmt: skip


def with_groups(program: Settings) -> Settings:
    """The program with one input more, the group of each row, which the metric of an evaluation gets."""
    slot = program["slots"]
    more = {"inputs": [*program["inputs"], {**_GROUP, "slot": slot}], "slots": slot + 1}
    if program["kind"] == "eval" and program["metric"] is not None:
        more["metric"] = {**program["metric"], "group": slot}
    return {**program, **more}


def is_grouped(program: Settings) -> bool:
    return any(entry["role"] == "group" for entry in program["inputs"])


def own_names(program: Settings) -> list[str]:
    return [entry["name"] for entry in program.get("sums", [])]


def of_program(program: Settings, names: Sequence[str]) -> Settings:
    """The program and its metrics, as the engine reads them."""
    measured = program.get("measured")
    own = own_names(program)
    for name in names:
        if isinstance(name, OwnMetric) and name not in own:
            raise UserError(f"evalMetrics: {name!r} is not compiled into this model, which has "
                            f"{', '.join(own) or 'no metrics of your own'}")  # fmt: skip
    if own:
        program = {**program, "sums": [entry for entry in program["sums"] if entry["name"] in names]}
        names = [name for name in names if name not in own]
    if names and measured is None:
        raise UserError("evalMetrics: metrics compare one label with one output, of as many values or of its classes; "
                        "this model's are not: leave evalMetrics out")  # fmt: skip
    if measured is None:
        return {"program": program}
    _check_grouped(names, program)
    check_fit(names, measured["outputs"], measured["width"], measured.get("labels", 1))
    return {"program": program, "metrics": {"names": list(names), **measured}}


def monitor_of(stopping: Mapping[str, Any] | None, metrics: Sequence[str], param: str = "earlyStopping") -> str:
    """The score that is watched. UserError where no evaluation has it."""
    name = "val_loss" if stopping is None else stopping["monitor"]
    known = ["val_loss", *(f"val_{metric}" for metric in metrics if metric not in _TABLES)]
    if name not in known:
        raise UserError(f"{param}: monitor is {name!r}, and the evaluations have {', '.join(known)}"
                        f"{did_you_mean(str(name), known) or '; evalMetrics adds more'}")  # fmt: skip
    return name


def rules(stopping: Mapping[str, Any] | None, metrics: Sequence[str], restore: bool) -> Settings:
    """The engine's rules."""
    name = monitor_of(stopping, metrics)
    larger = _direction(name, "auto" if stopping is None else stopping["mode"], metrics, "earlyStopping")
    found: Settings = {"monitor": name, "larger": larger, "restore_best": restore}
    if stopping is None:
        return found
    goal = stopping.get("stoppingThreshold")
    return {**found, "patience": stopping["patience"] or -1, "min_delta": stopping["minDelta"],
            **({} if goal is None else {"goal": float(goal)})}  # fmt: skip


def plateau(schedule: Mapping[str, Any], metrics: Sequence[str]) -> Settings:
    """The engine's rules of a rate that follows a score."""
    monitor = monitor_of(schedule, metrics, "lrSchedule")
    return {"monitor": monitor, "larger": _direction(monitor, schedule["mode"], metrics, "lrSchedule"),
            "relative": schedule["threshold_mode"] == "rel",
            **{key: schedule[key] for key in ("patience", "threshold", "cooldown")}}  # fmt: skip


def _direction(monitor: str, mode: str, metrics: Sequence[str], param: str) -> bool:
    """Whether larger is better."""
    is_own = any(isinstance(metric, OwnMetric) and monitor == f"val_{metric}" for metric in metrics)
    return _larger_of_own(monitor, mode, param) if is_own else _larger(monitor, mode, param)


def _larger_of_own(monitor: str, mode: str, param: str) -> bool:
    if mode == "auto":
        raise UserError(f"{param}: monitor {monitor!r} is a metric of your own: set mode to 'min' or 'max', "
                        "whichever is better")  # fmt: skip
    return mode == "max"


def _larger(monitor: str, mode: str, param: str) -> bool:
    name = monitor.removeprefix("val_")
    larger = not (name.endswith("loss") or name.startswith(_SMALL_IS_BETTER))
    if mode not in ("auto", "max" if larger else "min"):
        raise UserError(f"{param}: mode {mode!r} contradicts monitor {monitor!r}, of which "
                        f"{'more' if larger else 'less'} is better: leave mode out")  # fmt: skip
    return larger
