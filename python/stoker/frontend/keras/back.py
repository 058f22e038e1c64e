"""The way back: a Keras model with the trained weights."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping

import keras
import numpy as np

from stoker.errors import UserError
from stoker.frontend.bridges import as_torch
from stoker.frontend.keras.bridge import names_of
from stoker.frontend.keras.own import fitting, own_of

_CURE = "give one to fill, model.keras(into=net), where net is built as the one that was fit"
_NUMBER = re.compile(r"_\d+$")


def config_of(model: keras.Layer) -> str:
    """Class and configuration, which is null for a class that has none, and the variables in Keras' order."""
    told = None
    with contextlib.suppress(Exception):  # whatever a user's get_config raises
        told = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
        told.pop("compile_config", None)
    return json.dumps({"model": told, "variables": _kept(model)})


def made(config: str, model: keras.Layer | None) -> keras.Layer:
    """A new model from its configuration; `model`, where this session knows it, brings its classes and functions."""
    told = json.loads(config)["model"]
    if told is None:
        raise UserError(f"the Keras model's class has no configuration (get_config) to make another from: {_CURE}")
    own = own_of(model) if model is not None else {}
    try:
        with keras.saving.custom_object_scope(own):
            return keras.saving.deserialize_keras_object(fitting(told, own), safe_mode=model is None)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"the Keras model cannot be made from its configuration ({first}): {_CURE}") from error


def filled(model: keras.Layer, state: Mapping[str, np.ndarray], config: str) -> keras.Layer:
    """`model` with the weights of a state. Variables belong together by their order; shapes agree, and names too but
    for the numbers that Keras gives to them."""
    trained, names = json.loads(config)["variables"], _kept(model)
    if len(names) != len(trained):
        raise UserError(f"the Keras model has {len(names)} weights, and {len(trained)} were trained: {_CURE}")
    variables = dict(zip(names_of(model), model.variables))
    for name, from_name in zip(names, trained):
        _check_alike(name, tuple(variables[name].shape), from_name, state[from_name].shape)
    for name, from_name in zip(names, trained):
        variables[name].assign(state[from_name])
    return model


def _check_alike(name: str, shape: tuple, trained: str, trained_shape: tuple) -> None:
    if shape != trained_shape or _own(name) != _own(trained):
        raise UserError(f"the Keras model's {name!r} with shape {list(shape)} is not the {trained!r} with shape "
                        f"{list(trained_shape)} that was trained: {_CURE}")  # fmt: skip


def _own(name: str) -> list[str]:
    """The layer's and the variable's name without numbers; what is before them is Keras' affair."""
    return [_NUMBER.sub("", part) for part in name.partition("~")[0].split("/")[-2:]]


def _kept(model: keras.Layer) -> list[str]:
    """The names of the variables that are trained or kept: all but those of random layers."""
    bridge = as_torch(model)
    return [name for name in names_of(model) if name in bridge._parameters or name in bridge._buffers]
