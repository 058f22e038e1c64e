"""Keras' metrics by the names of Stoker's evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import torch

_NAMES = {
    "accuracy": "accuracy", "acc": "accuracy", "binary_accuracy": "accuracy", "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy", "precision": "precision", "recall": "recall",
    "mse": "mean_squared_error", "mean_squared_error": "mean_squared_error",
    "mae": "mean_absolute_error", "mean_absolute_error": "mean_absolute_error",
    "root_mean_squared_error": "root_mean_squared_error", "r2_score": "r2",
}  # fmt: skip
_OF_ONE_HOT = ("accuracy", "acc", "categorical_accuracy")
_TOP = ("TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy")


def categorical_accuracy(outputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None):
    """Keras' accuracy where labels are one-hot: the share of rows whose largest output is at the label's place."""
    right = (outputs.argmax(-1) == labels.argmax(-1)).to(torch.float32)
    each = torch.ones_like(right) if weight is None else weight
    return (right * each).sum(), each.sum()


def of_compiled(model: keras.Model, one_hot: bool) -> list[str | Callable]:
    """Those that a model of one output was compiled with; of the others a warning says that they are not computed.
    `one_hot`: its labels are."""
    told = getattr(model._compile_metrics, "_user_metrics", None)
    if not told:
        return []
    flat = keras.tree.flatten(told)
    names = [(one, _name(one, one_hot)) for one in flat]
    if left := [_shown(one) for one, name in names if name is None]:
        warnings.warn(f"the Keras model {model.name!r} was compiled with metrics that Stoker has not: "
                      f"{', '.join(left)} (docs/validation.md)", stacklevel=2)  # fmt: skip
    return list(dict.fromkeys(name for _, name in names if name is not None))


def _name(metric: Any, one_hot: bool) -> str | Callable | None:
    kind = type(metric).__name__
    if not isinstance(metric, str) and not _is_keras(metric):
        return None
    if one_hot and (_shown(metric).lower() in _OF_ONE_HOT or kind == "CategoricalAccuracy"):
        return categorical_accuracy
    if kind in _TOP:
        return f"top_{metric.k}_accuracy"
    if isinstance(metric, keras.metrics.Metric) and _has_settings(metric):
        return None
    return _NAMES.get(_shown(metric).lower()) or _NAMES.get(keras.src.utils.naming.to_snake_case(kind))


def _is_keras(metric: Any) -> bool:
    """And not a function or class of the user's, whatever its name."""
    of = metric if hasattr(metric, "__name__") else type(metric)
    return of.__module__.startswith("keras.")


def _has_settings(metric: Any) -> bool:
    """Thresholds, one of several classes ..."""
    told, usual = metric.get_config(), type(metric)().get_config()
    return any(told[key] != usual[key] for key in usual if key not in ("name", "dtype"))


def _shown(metric: Any) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", None) or type(metric).__name__
