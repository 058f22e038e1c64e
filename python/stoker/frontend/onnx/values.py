"""What flows between nodes: tensors, and *known* values: numpy arrays that no row's values decide, shapes above all.

A known value may hold sizes that are open while a model is traced (torch.SymInt); it is an array of objects then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LARGEST_KNOWN = 4096  # values of a constant that is known and not only a tensor
ROOM = 1 << 24  # values that may be computed beforehand, beside those in the file
DTYPES = {
    np.dtype(name): getattr(torch, name)
    for name in ("float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")
}


@dataclass(frozen=True)
class Both:
    """A constant, as an array and as a tensor."""

    known: np.ndarray
    tensor: torch.Tensor


def is_known(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Both))


def known(value: Any) -> Any:
    return value.known if isinstance(value, Both) else value


def as_tensor(value: Any) -> Any:
    if isinstance(value, Both):
        return value.tensor
    return of_array(value) if isinstance(value, np.ndarray) else value


def of_array(array: np.ndarray) -> torch.Tensor:
    if array.dtype != object:
        return torch.tensor(array.tolist(), dtype=DTYPES[array.dtype]).reshape(array.shape)
    dtype = torch.float32 if any(isinstance(one, (float, torch.SymFloat)) for one in array.flat) else torch.int64
    parts = [torch.scalar_tensor(one, dtype=dtype) for one in array.flat]
    return torch.stack(parts).reshape(array.shape) if parts else torch.zeros(array.shape, dtype=dtype)


def array_of(values: Any) -> np.ndarray:
    """Of sizes: whole numbers where all are known, else objects."""
    values = list(values)
    if all(isinstance(one, int) for one in values):
        return np.array(values, np.int64)
    made = np.empty(len(values), object)
    made[:] = values
    return made


def number(array: np.ndarray) -> Any:
    """The only value of an array, as Python has it."""
    value = array.reshape(-1)[0]
    return value.item() if isinstance(value, np.generic) else value


def numbers(array: Any) -> list[Any]:
    """All values of one."""
    return [one.item() if isinstance(one, np.generic) else one for one in array.reshape(-1)]
