"""An ONNX file as plain data. What it says is not trusted: sizes are looked at before memory is taken, and no file is
read that does not lie in the model's folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import CompileError, UserError

OLDEST, NEWEST = 7, 28  # opsets
_LARGEST = 2 << 30  # bytes: more no protobuf has
_LONGEST = 200  # letters of a name that is shown
_OWN = ("", "ai.onnx")
_FLOW = ("If", "Loop", "Scan")
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
           10: "float16", 11: "float64"}  # fmt: skip
_FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
_NAMES = {4: "UINT16", 8: "STRING", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BFLOAT16"}


@dataclass(frozen=True)
class Told:
    """A node of the file."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"{shown(self.name or next(filter(None, self.outputs), ''))} ({self.op})"


@dataclass(frozen=True)
class Value:
    """An input of the graph: its dtype as numpy has it, and its sizes, None where they are open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass
class Graph:
    title: str
    opset: int
    nodes: list[Told] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def dtype_of(code: int, what: str) -> str:
    """As numpy has it. CompileError for what no tensor here can hold."""
    if code not in _DTYPES:
        raise CompileError(f"{what} is of type {_NAMES.get(code, f'number {code}')}; Stoker takes float32, "
                           "float64, float16, int8 to int64, uint8 and booleans: text is made numbers before the "
                           "model, and other types are cast in the file")  # fmt: skip
    return _DTYPES[code]


def shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else name[:_LONGEST] + "...")


def read(source: Any) -> Graph:
    """The graph of a file, or of the bytes of one."""
    data, title, folder = _bytes_of(source)
    model = _parsed(data, title)
    graph = Graph(title, _opset(model, title))
    _check_plain(model.graph, title)
    for tensor in model.graph.initializer:
        graph.constants[tensor.name] = _array(tensor, f"{title}: the weight {shown(tensor.name)}", folder)
    known = set(graph.constants)
    for entry in model.graph.input:
        if entry.name not in graph.constants:
            graph.inputs.append(_value(entry, title))
            known.add(entry.name)
    for node in model.graph.node:
        _add(graph, node, known, folder)
    graph.outputs = [entry.name for entry in model.graph.output]
    _check_outputs(graph, known)
    return graph


def _bytes_of(source: Any) -> tuple[bytes, str, Path | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the ONNX model", None
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(f"an ONNX model is a {type(source).__name__}; give the path of a file, or its bytes")
    path = Path(source)
    if not path.is_file():
        raise UserError(f"there is no ONNX file {str(path)!r}")
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path.name} has {path.stat().st_size} bytes, more than an ONNX file can have (2 GiB); larger "
                        "weights belong into files beside it")  # fmt: skip
    return path.read_bytes(), path.name, path.parent


def _parsed(data: bytes, title: str) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise UserError(f"ONNX models are read by the package onnx, which is not here ({error}): pip install "
                        "'stoker[onnx]'") from error  # fmt: skip
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise UserError(f"{title} is no ONNX model, or is cut short ({error})") from error
    if not model.HasField("graph") or not model.graph.output:
        raise UserError(f"{title} is no ONNX model: it has no graph that gives anything")
    return model


def _opset(model: Any, title: str) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in _OWN]
    if not versions or not OLDEST <= versions[0] <= NEWEST:
        told = versions[0] if versions else "none"
        raise CompileError(f"{title} is of opset {told}, and Stoker knows {OLDEST} to {NEWEST}: export the model anew "
                           "with another opset_version, or convert it by onnx.version_converter")  # fmt: skip
    return versions[0]


def _check_plain(graph: Any, title: str) -> None:
    if graph.sparse_initializer:
        raise CompileError(f"{title} has sparse weights ({shown(graph.sparse_initializer[0].values.name)}): write them "
                           "as dense ones")  # fmt: skip


def _value(entry: Any, title: str) -> Value:
    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type"):
        raise CompileError(f"{title}: the input {shown(entry.name)} is no tensor; sequences, maps and optional values "
                           "are not taken")  # fmt: skip
    sizes = None
    if kind.HasField("shape"):
        sizes = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
                      for dim in kind.shape.dim)  # fmt: skip
    return Value(entry.name, dtype_of(kind.elem_type, f"{title}: the input {shown(entry.name)}"), sizes)


def _add(graph: Graph, node: Any, known: set[str], folder: Path | None) -> None:
    """Appends a node, or what it gives where that is constant."""
    name = shown(node.name or next(filter(None, node.output), ""))
    if node.op_type in _FLOW and node.domain in _OWN:
        raise CompileError(f"{graph.title}: {name} is {node.op_type}, and a program has no branches and loops: export "
                           "the model anew with the decision made, the loop unrolled, or as an LSTM or GRU; "
                           "tools such as onnx-simplifier fold those that are decided by constants")  # fmt: skip
    if node.domain not in _OWN:
        raise CompileError(f"{graph.title}: {name} is {node.op_type} of the domain {shown(node.domain)}, and Stoker "
                           "knows the operators of ONNX itself: export the model anew without those of a runtime, or, "
                           "if it is a function of the file, inline it (onnx.inliner)")  # fmt: skip
    for read_here in node.input:
        if read_here and read_here not in known:
            raise CompileError(f"{graph.title}: {name} ({node.op_type}) reads {shown(read_here)}, which nothing before "
                               "it gives: the graph has a circle, or its nodes are out of order")  # fmt: skip
    attributes = {one.name: _attribute(one, f"{graph.title}: {name} ({node.op_type})", folder)
                  for one in node.attribute}  # fmt: skip
    told = Told(node.op_type, node.name, tuple(node.input), tuple(node.output), attributes)
    for made in filter(None, told.outputs):
        if made in known:
            raise CompileError(f"{graph.title}: {shown(made)} is made twice, by {told} the second time")
        known.add(made)
    if told.op == "Constant":
        graph.constants[told.outputs[0]] = _constant(told, graph.title)
    else:
        graph.nodes.append(told)


def _constant(told: Told, title: str) -> np.ndarray:
    kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
             "value_ints": np.int64}  # fmt: skip
    for name, dtype in kinds.items():
        if name in told.attributes:
            return np.asarray(told.attributes[name], dtype)
    raise CompileError(f"{title}: {told} holds {', '.join(told.attributes) or 'nothing'}; Stoker takes tensors and "
                       "numbers")  # fmt: skip


def _attribute(entry: Any, where: str, folder: Path | None) -> Any:
    kinds = entry.AttributeType
    if entry.type == kinds.TENSOR:
        return _array(entry.t, f"{where}: its {shown(entry.name)}", folder)
    if entry.type == kinds.STRING:
        return entry.s.decode("utf-8", "replace")
    if entry.type == kinds.STRINGS:
        return [one.decode("utf-8", "replace") for one in entry.strings]
    plain = {kinds.FLOAT: "f", kinds.INT: "i"}
    if entry.type in plain:
        return getattr(entry, plain[entry.type])
    lists = {kinds.FLOATS: "floats", kinds.INTS: "ints"}
    if entry.type in lists:
        return list(getattr(entry, lists[entry.type]))
    raise CompileError(f"{where}: its {shown(entry.name)} is neither a number, a text nor a tensor")


def _check_outputs(graph: Graph, known: set[str]) -> None:
    for name in graph.outputs:
        if name not in known:
            raise CompileError(f"{graph.title}: nothing gives its output {shown(name)}")


def _array(tensor: Any, what: str, folder: Path | None) -> np.ndarray:
    dtype = np.dtype(dtype_of(tensor.data_type, what))
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise UserError(f"{what} has the shape {list(shape)}")
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
    if dtype == np.float16:
        return np.array(values, np.uint16).view(np.float16)
    return np.array(values).astype(dtype)


def _outside(tensor: Any, what: str, folder: Path | None, size: int) -> bytes:
    """The bytes of a weight in another file, which lies in the model's folder."""
    told = {entry.key: entry.value for entry in tensor.external_data}
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


def needed(graph: Graph) -> Iterator[Told]:
    """Nodes that the outputs are made of, in their order."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return reversed(kept)
