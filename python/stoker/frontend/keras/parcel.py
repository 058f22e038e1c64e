"""A Keras model on its way to a process with another backend: its .keras form, what of the user's own that names, and
what is no part of it."""

from __future__ import annotations

import copyreg
import io
import json
import pickle
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from pyspark import cloudpickle

from stoker.errors import CompileError
from stoker.frontend import errors, structure
from stoker.frontend.keras.bridge import KerasModel
from stoker.frontend.keras.elsewhere import Elsewhere
from stoker.frontend.keras.own import fitting, own_of
from stoker.program import TensorSpec

_CONFIG = "config.json"  # in a .keras form
_ROWS = 4  # of the example
_APART = 1e-3  # of the largest number: what backends may differ by
_SETTINGS = ("floatx", "epsilon", "image_data_format")  # of keras.config


@dataclass(frozen=True)
class Part:
    """What the .keras form does not tell of a layer, or tells otherwise."""

    path: str | None
    trainable: bool
    function: bytes | None  # of a Lambda


@dataclass(frozen=True)
class Parcel:
    way: str  # how the errors begin
    settings: dict[str, Any]
    own: dict[str, bytes]  # classes and functions of the user's, by the name that the .keras form has for them
    parts: list[Part]
    variables: list[str]  # their paths
    example: tuple[dict[str, np.ndarray], list[np.ndarray]] | None  # inputs, and what the model gives for them


def packed(module: Elsewhere, inputs: Iterable[TensorSpec], path: Path) -> Parcel:
    """The .keras form is written to `path`."""
    (model,) = module._models
    way = (f"the Keras model {model.name!r} is on the {keras.config.backend()} backend, and is compiled on torch in "
           "another process: ")  # fmt: skip
    try:
        keras.saving.save_model(model, path)
    except Exception as error:  # whatever the user's get_config raises
        raise CompileError(f"{way}its .keras form cannot be written ({_first(error)})") from error
    settings = {name: getattr(keras.config, name)() for name in _SETTINGS}
    return Parcel(way, {**settings, "dtype_policy": keras.config.dtype_policy().name},
                  {name: carried(one, name, way) for name, one in _own(model, path).items()},
                  [_part(layer, way) for layer in model._flatten_layers()],
                  [variable.path for variable in model.variables],
                  _example(module, list(inputs)))  # fmt: skip


def opened(parcel: Parcel, path: Path) -> KerasModel:
    """The model, on this process' backend, under the names that it has there."""
    keras.config.disable_traceback_filtering()
    for name, value in parcel.settings.items():
        getattr(keras.config, f"set_{name}")(value)
    own = {name: arrived(data, name, parcel.way) for name, data in parcel.own.items()}
    try:
        with keras.saving.custom_object_scope(own):
            model = keras.saving.load_model(path, compile=False, safe_mode=False)
    except Exception as error:
        raise CompileError(f"{parcel.way}its .keras form cannot be loaded there ({_first(error)})") from error
    _put_back(model, parcel)
    module = KerasModel(model)
    if parcel.example is not None:
        _check(module, parcel.way, *parcel.example)
    return module


def carried(one: Any, name: str, way: str) -> bytes:
    """As bytes, something of the user's that errors call `name`."""
    try:
        return _dumped(one)
    except Exception as error:
        raise CompileError(f"{way}{name} cannot be carried there ({_first(error)})") from error


def arrived(data: bytes, name: str, way: str) -> Any:
    """The way back."""
    try:
        return pickle.loads(data)
    except Exception as error:
        raise CompileError(f"{way}{name} cannot be had there ({_first(error)}): define it in the notebook, or in a "
                           "module that other processes can import") from error  # fmt: skip


def _dumped(value: Any) -> bytes:
    """By cloudpickle: classes and functions of notebooks go by value."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


class _Pickler(cloudpickle.CloudPickler):
    def reducer_override(self, obj: Any) -> Any:
        """Losses go with all that they hold: Keras would ask get_config, which a user's may lack."""
        if isinstance(obj, keras.losses.Loss):
            return copyreg.__newobj__, (type(obj),), dict(vars(obj))
        return super().reducer_override(obj)


def _first(error: BaseException) -> str:
    """What went wrong first, and in which layer."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    frames = [frame for one in chain for frame in errors.frames_of_traceback(one.__traceback__)]
    owners = [frame.f_locals.get("self") for frame, _ in frames if frame.f_code.co_name == "call"]
    layers = [owner for owner in owners if isinstance(owner, keras.Layer)]
    at = f" at {layers[-1].name} ({type(layers[-1]).__name__})" if layers else ""
    lines = (str(chain[-1]).strip() or "without words").splitlines()
    return f"{type(chain[-1]).__name__}{at}: {lines[0][:300]}{errors.cure_of_frames(frames)}"


def _own(model: keras.Layer, path: Path) -> dict[str, Any]:
    """What of the user's own the .keras form names. Its configuration becomes one that their constructors take."""
    with zipfile.ZipFile(path) as file:
        told = file.read(_CONFIG).decode()
    own = {name: one for name, one in own_of(model).items() if f'"{name}"' in told}
    if (config := fitting(json.loads(told), own)) != json.loads(told):
        _replace(path, _CONFIG, json.dumps(config))
    return own


def _replace(path: Path, name: str, text: str) -> None:
    """A file of an archive."""
    made = path.with_suffix(".new")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, text if entry.filename == name else old.read(entry))
    made.replace(path)


def _part(layer: keras.Layer, way: str) -> Part:
    own = isinstance(layer, keras.layers.Lambda)
    function = carried(layer.function, f"the function of {layer.name!r}", way) if own else None
    return Part(layer.path, bool(layer.trainable), function)


def _put_back(model: keras.Layer, parcel: Parcel) -> None:
    layers, variables = model._flatten_layers(), model.variables
    if (len(layers), len(variables)) != (len(parcel.parts), len(parcel.variables)):
        raise CompileError(f"{parcel.way}its .keras form has {len(layers)} layers and {len(variables)} weights there, "
                           f"and here {len(parcel.parts)} and {len(parcel.variables)}")  # fmt: skip
    for layer, part in zip(layers, parcel.parts):
        layer.trainable = part.trainable
        layer._path = part.path
        if part.function is not None:
            layer.function = arrived(part.function, f"the function of {layer.name!r}", parcel.way)
    for variable, path in zip(variables, parcel.variables):
        variable._path = path


def _example(module: Elsewhere, inputs: list[TensorSpec]) -> tuple[dict[str, np.ndarray], list[np.ndarray]] | None:
    random = np.random.default_rng(0)
    rows = {spec.name: _drawn(random, spec) for spec in inputs}
    given = module.example({name: torch.from_numpy(array) for name, array in rows.items()})
    return None if given is None else (rows, given)


def _drawn(random: np.random.Generator, spec: TensorSpec) -> np.ndarray:
    shape = (_ROWS, *spec.shape)
    floats = spec.dtype.startswith("float")
    return random.standard_normal(shape).astype(spec.dtype) if floats else np.zeros(shape, spec.dtype)


def _check(module: KerasModel, way: str, rows: dict[str, np.ndarray], expected: list[np.ndarray]) -> None:
    """It gives what it gave there; where it does not run, what compiles it will say why."""
    module.eval()
    try:
        with torch.no_grad():
            outputs = structure.call(module, {name: torch.from_numpy(array) for name, array in rows.items()})
            given = [tensor.numpy() for _, tensor in structure.leaves(outputs)]
    except Exception:
        return
    finally:
        module.train()
    if not all(map(_alike, given, expected)):
        raise CompileError(f"{way}it gives other numbers there; what a layer holds beside its weights and "
                           "get_config() is lost on the way, or one of its operations is another on torch")  # fmt: skip


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    largest = np.abs(other).max(initial=0.0, where=np.isfinite(other))
    return np.allclose(one, other, rtol=0.0, atol=_APART * largest + 1e-6, equal_nan=True)
