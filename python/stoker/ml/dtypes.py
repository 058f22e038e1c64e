"""Names of dtypes, by any spelling that is usual: 'int64', 'long', torch.int64, np.int64, np.dtype('int64'), int."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stoker.errors import UserError

KNOWN = ("float32", "float64", "int32", "int64", "uint8")
_SPELLINGS = {
    "float": "float32", "double": "float64", "int": "int32", "integer": "int32", "long": "int64", "bigint": "int64",
    "half": "float16", "boolean": "bool",
}  # fmt: skip
_OF_PYTHON = {int: "int64", float: "float32", bool: "bool"}  # as torch.tensor() makes of them
_CURES = {
    "bool": "give 'uint8', and call .bool() in the model",
    "float16": "give 'float32': Stoker trains in float32",
    "bfloat16": "give 'float32': Stoker trains in float32",
}


def types_by_name(param: str) -> Any:
    """Converts a param's dict of dtypes by input or label name."""

    def convert(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise UserError(f"{param} takes dtypes by name, such as {{'words': 'int64'}}, not {value!r}")
        return {str(name): dtype_of(f"{param}['{name}']", told) for name, told in value.items()}

    return convert


def dtype_of(where: str, told: Any) -> str:
    name = _name(told)
    name = _SPELLINGS.get(name, name)
    if name in KNOWN:
        return name
    cure = _CURES.get(name) or f"it may be {', '.join(KNOWN)}"
    raise UserError(f"{where}: {told!r} is no dtype of inputs and labels: {cure}")


def _name(told: Any) -> str:
    if isinstance(told, type) and told in _OF_PYTHON:
        return _OF_PYTHON[told]
    if isinstance(told, np.dtype) or (isinstance(told, type) and issubclass(told, np.generic)):
        return np.dtype(told).name
    return str(told).lower().rpartition(".")[2]  # also of torch.int64
