"""An ONNX file as plain data. What it says is not trusted: sizes are looked at before memory is taken, and no file is
read that does not lie in the model's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import CompileError, UserError, did_you_mean
from stoker.frontend.onnx.tensors import array_of, dtype_of, shown, text_of

OLDEST, NEWEST = 7, 28  # opsets
_LARGEST = 2 << 30  # bytes: more no protobuf has
_OWN = ("", "ai.onnx")
_FLOW = ("If", "Loop", "Scan")


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


def read(source: Any, wanted: Sequence[str] | None = None) -> Graph:
    """The graph of a file, or of the bytes of one, as far as its outputs, or the tensors that are wanted, need it."""
    data, title, folder = _bytes_of(source)
    model = _parsed(data, title)
    graph = Graph(title, _opset(model, title))
    _check_plain(model.graph, title)
    weights = {text_of(tensor.name): tensor for tensor in model.graph.initializer}
    known = set(weights)
    for entry in model.graph.input:
        if text_of(entry.name) not in weights:
            graph.inputs.append(_value(entry, title))
            known.add(graph.inputs[-1].name)
    for node in model.graph.node:
        _add(graph, node, known, folder)
    graph.outputs = [text_of(entry.name) for entry in model.graph.output]
    _check_outputs(graph, known)
    if wanted is not None:
        _check_there(graph, wanted)
        graph.outputs = list(wanted)
    graph.nodes = list(_needed(graph))
    read_by = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    graph.constants = {name: array_of(tensor, f"{title}: the weight {shown(name)}", folder)
                       for name, tensor in weights.items() if name in read_by} | graph.constants  # fmt: skip
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
    if len(set(versions)) > 1:
        raise CompileError(f"{title} is of two opsets of ONNX, {' and '.join(map(str, sorted(set(versions))))}: it is "
                           "damaged, export it anew")  # fmt: skip
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
    kind, name = entry.type.tensor_type, text_of(entry.name)
    if not entry.type.HasField("tensor_type"):
        raise CompileError(f"{title}: the input {shown(name)} is no tensor; sequences, maps and optional values "
                           "are not taken")  # fmt: skip
    sizes = None
    if kind.HasField("shape"):
        sizes = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
                      for dim in kind.shape.dim)  # fmt: skip
    return Value(name, dtype_of(kind.elem_type, f"{title}: the input {shown(name)}"), sizes)


def _add(graph: Graph, node: Any, known: set[str], folder: Path | None) -> None:
    """Appends a node, or what it gives where that is constant."""
    told = _node(node, graph.title, folder)
    name, op = shown(told.name or next(filter(None, told.outputs), "")), told.op
    if op in _FLOW and node.domain in _OWN:
        raise CompileError(f"{graph.title}: {name} is {op}, and a program has no branches and loops: export "
                           "the model anew with the decision made, the loop unrolled, or as an LSTM or GRU; "
                           "tools such as onnx-simplifier fold those that are decided by constants")  # fmt: skip
    if node.domain not in _OWN:
        raise CompileError(f"{graph.title}: {name} is {op} of the domain {shown(text_of(node.domain))}, and Stoker "
                           "knows the operators of ONNX itself: export the model anew without those of a runtime, or, "
                           "if it is a function of the file, inline it (onnx.inliner)")  # fmt: skip
    for read_here in told.inputs:
        if read_here and read_here not in known:
            raise CompileError(f"{graph.title}: {told} reads {shown(read_here)}, which nothing before "
                               "it gives: the graph has a circle, or its nodes are out of order")  # fmt: skip
    for made in filter(None, told.outputs):
        if made in known:
            raise CompileError(f"{graph.title}: {shown(made)} is made twice, by {told} the second time")
        known.add(made)
    if told.op == "Constant":
        graph.constants[told.outputs[0]] = _constant(told, graph.title)
    else:
        graph.nodes.append(told)


def _node(node: Any, title: str, folder: Path | None) -> Told:
    """Without the graphs that branches and loops hold."""
    inputs, outputs = [tuple(map(text_of, names)) for names in (node.input, node.output)]
    told = Told(text_of(node.op_type), text_of(node.name), inputs, outputs, {})
    if told.op not in _FLOW and node.domain in _OWN:
        where = f"{title}: {told}"
        names = [text_of(one.name) for one in node.attribute]
        if len(set(names)) < len(names):
            raise CompileError(f"{where} has an attribute twice: {', '.join(map(shown, names))}")
        told.attributes.update((text_of(one.name), _attribute(one, where, folder)) for one in node.attribute)
    return told


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
        return array_of(entry.t, f"{where}: its {shown(text_of(entry.name))}", folder)
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
    raise CompileError(f"{where}: its {shown(text_of(entry.name))} is neither a number, a text nor a tensor")


def _check_there(graph: Graph, names: Sequence[str]) -> None:
    made = {name for node in graph.nodes for name in node.outputs if name} | {value.name for value in graph.inputs}
    for name in names:
        if name not in made:
            raise UserError(f"{graph.title} has no tensor {shown(name)}{did_you_mean(name, made)}")


def _check_outputs(graph: Graph, known: set[str]) -> None:
    for name in graph.outputs:
        if name not in known:
            raise CompileError(f"{graph.title}: nothing gives its output {shown(name)}")


def _needed(graph: Graph) -> Iterator[Told]:
    """Nodes that the outputs are made of, in their order."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return reversed(kept)
