"""Programs of what a model, or a layer inside of one, gives."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stoker import program
from stoker.fit.layout import spec_of
from stoker.spark.columns import Source

Sliced = tuple[dict[str, Any], dict[str, np.ndarray]]
_FILES = ("infer.json", "weights.safetensors")


def of_module(module: Any, layer: str | None, inputs: Sequence[Source]) -> Sliced:
    """The inference program, and the weights that it reads, of a torch module or what stands for one, or of a layer
    inside of it."""
    from stoker.frontend import torch as frontend

    return frontend.compile_inference(module, [spec_of(source) for source in inputs], layer)


def of_fitted(model: Any, layer: str) -> Sliced:
    """The same of a model of Stoker: by its module with the trained weights, or where only its program is known, by
    that."""
    from stoker.frontend import inner
    from stoker.frontend import torch as frontend

    infer = model._compiled.infer
    if model._keras_config() is None and model._module is None:
        return inner.cut(infer, model._compiled.weights, layer)
    module = model.torch() if model._keras_config() is None else model.keras()
    specs = [program.TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in infer["inputs"]]
    return frontend.compile_inference(module, specs, layer)


def size_of(output: Mapping[str, Any]) -> int:
    """Values of one row."""
    return math.prod(output["shape"])


def to_files(infer: dict[str, Any], weights: bytes) -> dict[str, bytes]:
    return dict(zip(_FILES, (json.dumps(infer, separators=(",", ":"), allow_nan=False).encode(), weights)))


def from_files(files: Mapping[str, bytes]) -> tuple[dict[str, Any], bytes]:
    """ValueError says what is wrong with them."""
    name, weights = _FILES
    if missing := [one for one in _FILES if one not in files]:
        raise ValueError(f"this is no saved program: {', '.join(missing)} is missing")
    return program.load_program(files[name], name, "infer"), files[weights]
