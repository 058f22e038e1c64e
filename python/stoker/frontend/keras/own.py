"""What of a Keras model is neither Keras' nor Python's: classes and functions of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import keras

_ADDED = ("name", "trainable", "dtype")


def own_of(model: keras.Layer) -> dict[str, Any]:
    """By the names that the model's configuration has for them."""
    found = dict(keras.saving.get_custom_objects())
    for layer in model._flatten_layers():
        held = [_kind(value) for key, value in vars(layer).items() if not hasattr(type(layer), key)]
        for one in filter(None, (type(layer), *held)):
            if not _is_known(one):
                found[keras.saving.get_registered_name(one)] = one
    return found


def fitting(told: Any, own: Mapping[str, Any]) -> Any:
    """A configuration without what Keras adds to that of each class, where a class of the user's does not take it."""
    if isinstance(told, list):
        return [fitting(one, own) for one in told]
    if not isinstance(told, dict):
        return told
    made = {key: fitting(value, own) for key, value in told.items()}
    kind, config = own.get(told.get("registered_name") or ""), made.get("config")
    if isinstance(kind, type) and isinstance(config, dict):
        made["config"] = {key: value for key, value in config.items() if key not in _ADDED or _takes(kind, key)}
    return made


def _takes(kind: type, key: str) -> bool:
    if not kind.from_config.__module__.startswith("keras."):
        return True
    parameters = inspect.signature(kind.__init__).parameters
    return key in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _kind(value: Any) -> Any:
    """A class or function as it is; the class of what has a configuration; of anything else nothing."""
    if isinstance(value, (type, FunctionType)):
        return value
    return type(value) if hasattr(value, "get_config") else None


def _is_known(one: Any) -> bool:
    return str(one.__module__).partition(".")[0] in ("keras", "builtins")
