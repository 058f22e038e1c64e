"""Tensors of an ONNX file as arrays: types, sizes, and weights that lie in other files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import CompileError, UserError

_DEEPEST, _WIDEST = 32, 1 << 48  # dimensions, and values along one
_LONGEST = 200  # letters of a name that is shown
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
           10: "float16", 11: "float64"}  # fmt: skip
_FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
_NAMES = {4: "UINT16", 8: "STRING", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BFLOAT16"}


def dtype_of(code: int, what: str) -> str:
    """As numpy has it. CompileError for what no tensor here can hold."""
    if code not in _DTYPES:
        raise CompileError(f"{what} is of type {_NAMES.get(code, f'number {code}')}; Stoker takes float32, "
                           "float64, float16, int8 to int64, uint8 and booleans: text is made numbers before the "
                           "model, and other types are cast in the file")  # fmt: skip
    return _DTYPES[code]


def shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else name[:_LONGEST] + "...")


def text_of(name: Any) -> str:
    """Of a name: what is no UTF-8 comes as bytes."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def array_of(tensor: Any, what: str, folder: Path | None) -> np.ndarray:
    dtype = np.dtype(dtype_of(tensor.data_type, what))
    shape = tuple(tensor.dims)
    if len(shape) > _DEEPEST or any(not 0 <= size <= _WIDEST for size in shape):
        raise UserError(f"{what} has the shape {list(shape[:_DEEPEST])}, which no tensor has")
    count = math.prod(shape)
    if tensor.data_location == tensor.EXTERNAL:
        data = _outside(tensor, what, folder, count * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        return _of_fields(tensor, what, dtype, count).reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise UserError(f"{what} of shape {list(shape)} needs {count * dtype.itemsize} bytes, and has {len(data)}: the "
                        "file is damaged")  # fmt: skip
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape).copy()


def _of_fields(tensor: Any, what: str, dtype: np.dtype, count: int) -> np.ndarray:
    values = getattr(tensor, _FIELDS.get(dtype.name, "int32_data"))
    if len(values) != count:
        raise UserError(f"{what} of shape {list(tensor.dims)} needs {count} numbers, and has {len(values)}: the file "
                        "is damaged")  # fmt: skip
    stored = np.dtype(np.uint16) if dtype == np.float16 else dtype
    given = np.array(values)
    found = given.astype(stored)
    if stored.kind != "f" and (found != given).any():
        raise UserError(f"{what} has numbers that {dtype.name} does not hold: the file is damaged")
    return found.view(dtype)


def _outside(tensor: Any, what: str, folder: Path | None, size: int) -> bytes:
    """The bytes of a weight in another file, which lies in the model's folder."""
    told = {text_of(entry.key): text_of(entry.value) for entry in tensor.external_data}
    location = told.get("location", "")
    if folder is None:
        raise UserError(f"{what} lies in another file ({shown(location)}), and of the model there are only bytes: give "
                        "the path of its file")  # fmt: skip
    path = _inside(folder, location, what)
    try:
        offset, length = int(told.get("offset", 0)), int(told.get("length", size))
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length != size or offset + size > path.stat().st_size:
        raise UserError(f"{what}: {shown(location)} does not hold the {size} bytes of it that it should: one of the "
                        "files is damaged, or of another model")  # fmt: skip
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _inside(folder: Path, location: str, what: str) -> Path:
    root = folder.resolve()
    try:
        path = (root / location).resolve()
        inside = bool(location) and path.is_relative_to(root) and not Path(location).is_absolute()
        if inside and path.is_file():
            return path
    except (ValueError, OSError):  # names that no file can have
        inside = False
    why = "is not there" if inside else "lies outside of the model's folder, which is not read"
    raise UserError(f"{what}: the file {shown(location)} with its values {why}")
