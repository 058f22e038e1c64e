"""What a Keras model takes: the names, types and shapes of its inputs, and how they are handed to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import torch

from stoker.errors import CompileError

_OF_KERAS = ("self", "training", "mask")
_FLOATS = ("float16", "bfloat16", "float32")
_WHOLE = {"bool": "uint8", "int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
Named = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Inputs:
    parameters: list[inspect.Parameter]
    types: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    given: Callable[[Named], tuple[list, dict]]  # arguments of the model's call


def inputs_of(model: keras.Layer) -> Inputs:
    tensors = getattr(model, "inputs", None)
    return _declared(model, tensors) if tensors else _of_call(model)


def _declared(model: keras.Model, tensors: list) -> Inputs:
    """A functional or Sequential model's."""
    structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
    by_key = structure if isinstance(structure, Mapping) else {tensor.name: tensor for tensor in tensors}
    if len(by_key) != len(tensors):
        raise CompileError(
            f"the Keras model {model.name!r} has inputs in a nested structure or of one name: give each keras.Input a "
            "name of its own, in a list or a dict"
        )
    names = {id(tensor): name for name, tensor in by_key.items()}

    def given(named: Named) -> tuple[list, dict]:
        return [keras.tree.map_structure(lambda tensor: named[names[id(tensor)]], structure)], {}

    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in by_key.items()}
    return Inputs(
        [inspect.Parameter(_identifier(model, name), inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in by_key],
        {name: _row_type(tensor.dtype) for name, tensor in by_key.items()},
        {name: shape for name, shape in shapes.items() if None not in shape},
        given,
    )


def _identifier(model: keras.Model, name: str) -> str:
    if not name.isidentifier():
        raise CompileError(
            f"the Keras model {model.name!r} has an input {name!r}, whose name is none of Python's: rename it"
        )
    return name


def _of_call(model: keras.Layer) -> Inputs:
    """A subclassed model's: the arguments of its call, or the keys of the dict that its only one was built with."""
    taken = [p for p in inspect.signature(model.call).parameters.values() if p.name not in _OF_KERAS]
    types = {p.name: "int64" for p in taken[:1] if _looks_up(model)}
    built = model._build_shapes_dict or {}
    only = next(iter(built.values())) if len(built) == 1 and len(taken) == 1 else None
    if isinstance(only, Mapping):
        taken = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in only]
        return Inputs(taken, {}, {key: tuple(shape[1:]) for key, shape in only.items()}, lambda named: ([named], {}))
    if only and isinstance(only[0], (list, tuple)):
        raise CompileError(
            f"the Keras model {model.name!r} takes a list of tensors: let its call take them by arguments of their "
            "own, or in a dict"
        )
    shapes = {} if only is None else {taken[0].name: tuple(only[1:])}
    return Inputs(taken, types, shapes, lambda named: ([], named))


def _looks_up(model: keras.Layer) -> bool:
    """Whether its first layer with weights is an Embedding."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer._trainable_variables]
    return bool(layers) and isinstance(layers[0], keras.layers.Embedding)


def _row_type(dtype: str) -> str:
    return "float32" if dtype in _FLOATS else _WHOLE.get(dtype, dtype)
