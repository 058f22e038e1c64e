"""A Keras model on another backend than torch. There it only runs for a look at what it gives; it is compiled on torch,
in a child process (child.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from stoker.frontend import structure
from stoker.frontend.keras.bridge import KerasModel


class Elsewhere(KerasModel):
    """Its parameters and buffers tell names, types and shapes: the weights stay with Keras."""

    runs_here = False

    def _value_of(self, variable: keras.Variable) -> torch.Tensor:
        dtype = getattr(torch, str(variable.dtype))
        return nn.Parameter(torch.zeros((), dtype=dtype).expand(*variable.shape), bool(variable.trainable))

    def __deepcopy__(self, memo: dict) -> Elsewhere:
        made = memo[id(self)] = type(self)(self._models[0])
        made.training = self.training
        return made

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        """In evaluation mode."""
        arrays = {name: tensor.numpy() for name, tensor in self._named(tensors, named).items()}
        args, kwargs = self._inputs.given(arrays)
        model = self._models[0]
        if model._call_has_training_arg:
            kwargs["training"] = False
        return keras.tree.map_structure(_as_torch, model(*args, **kwargs))

    def example(self, inputs: Mapping[str, torch.Tensor]) -> list[np.ndarray] | None:
        """What it gives for these; None where it draws, or does not run on them."""
        try:
            first, second = (self._arrays(inputs) for _ in range(2))
        except Exception:  # whatever the layers raise: what compiles the model will say it better
            return None
        return first if all(map(np.array_equal, first, second)) else None

    def _arrays(self, inputs: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        return [tensor.detach().numpy() for _, tensor in structure.leaves(structure.call(self, dict(inputs)))]


def _as_torch(value: Any) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(keras.ops.convert_to_numpy(value)))
    return tensor.requires_grad_(tensor.is_floating_point())
