"""From an ONNX file to a module: roles of constants, what can be computed beforehand, notes for the user."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stoker.errors import CompileError, did_you_mean
from stoker.frontend.onnx.module import OnnxModule
from stoker.frontend.onnx.nodes import Node, kind_of
from stoker.frontend.onnx.parse import Graph, Told, read
from stoker.frontend.onnx.registry import OPERATORS
from stoker.frontend.onnx.roles import apart, statistics_read, training, unsure, weights_of
from stoker.frontend.onnx.tensors import shown
from stoker.frontend.onnx.values import ROOM, Both

_SHOWN = 5
_RANDOM = ("Dropout",)
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def from_onnx(source: Any) -> OnnxModule:
    """The model of an ONNX file, to be trained on, or to be run: an nn.Module that every estimator takes.

    Args:
        source: the path of an .onnx file (weights in files beside it are read too, from its folder only), or its bytes.

    Returns:
        A module that computes what the file says. Its forward takes the file's inputs, in their order or by name;
        several outputs are a dict. Parameters and buffers have the file's names; each node is a submodule by the name
        of its first output. Dropout and batch norms, where the file has them, train as torch's do.

    Raises:
        UserError: where the file is damaged, or of an operator, opset or type that Stoker does not know, by name.

    Warns:
        of what exporters take out of a model that is not trained any more: batch norms, dropout, the number of rows.

    Example:
        >>> from tempfile import mkdtemp
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> import stoker
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> rows = spark.range(40).selectExpr("array(id / 40, 1 - id / 40) as features", "int(id >= 20) as label")
        >>> model = stoker.StokerClassifier(model=nn.Linear(2, 2), verbose=0).fit(rows)
        >>> path = f"{mkdtemp()}/net.onnx"
        >>> model.onnx(path)
        >>> net = stoker.from_onnx(path)
        >>> sorted(name for name, _ in net.named_parameters())
        ['bias', 'weight']
        >>> more = stoker.StokerClassifier(model=net, epochs=2, verbose=0).fit(rows)
    """
    made = module_of(source)
    for note in made.notes():
        warnings.warn(note, stacklevel=2)
    return made


def module_of(source: Any, wanted: Sequence[str] | None = None, scored: bool = False) -> OnnxModule:
    """`source`: the path of an ONNX file, or its bytes. `wanted`: tensors that it gives in the place of the graph's
    outputs, inner ones too. `scored`: it is run as it is, and not trained."""
    graph = read(source, wanted)
    nodes = graph.nodes
    _check_known(graph, nodes)
    weights = weights_of(nodes, graph.constants)
    constants = {name: values for name, values in graph.constants.items() if name not in weights}
    left = _folded(graph, nodes, constants)
    if scored and (strange := training(left, constants)):
        raise CompileError(f"{graph.title}: {strange[0]} is in training mode, and what a row gives would hang on the "
                           "rows beside it or on chance: export the model in evaluation mode")  # fmt: skip
    left = apart(left, _statistics(graph, left, constants), constants)
    statistics = statistics_read(left) & constants.keys()
    made = OnnxModule(graph.title, graph.inputs, graph.outputs, _notes(graph, left, weights))
    read_by = {name for node in left for name in node.inputs} | set(graph.outputs)
    for node in left:  # first: weights go into the nodes that they are named for
        made.add_node(kind_of(node.op)(node, graph.opset))
    for name, values in {**graph.constants, **constants}.items():
        if name in read_by and name in weights:
            made.add_weight(name, values)
        elif name in read_by:
            made.add_constant(name, values, kept=name in statistics)
    return made


def _statistics(graph: Graph, left: list[Told], constants: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Values of what batch norms read, where they are weights, or made of them, too."""
    every = {**graph.constants, **constants}
    if any(name not in every for name in statistics_read(left)):
        _folded(graph, left, every)
    return every


def _check_known(graph: Graph, nodes: Iterable[Told]) -> None:
    strange = [node for node in nodes if node.op not in OPERATORS]
    if not strange:
        _check_attributes(graph, nodes)
        return
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    told = ", ".join(map(str, strange[:_SHOWN])) + more
    near = did_you_mean(strange[0].op, OPERATORS)
    raise CompileError(f"{graph.title} has operators that Stoker does not know: {told}{near}. docs/onnx.md lists those "
                       "that it knows: export the model anew without them, or cut the graph "
                       "(onnx.utils.extract_model)")  # fmt: skip


def _check_attributes(graph: Graph, nodes: Iterable[Told]) -> None:
    for node in nodes:
        for name in sorted(node.attributes.keys() - OPERATORS[node.op].reads):
            raise CompileError(f"{graph.title}: {node} has the attribute {name!r}, which Stoker does not know: export "
                               "the model anew with an older opset_version, or without what it stands for")  # fmt: skip


def _folded(graph: Graph, nodes: list[Told], constants: dict[str, np.ndarray]) -> list[Told]:
    """Nodes that hang on weights or inputs; what others give is put into `constants`."""
    left, room = [], 4 * ROOM + sum(values.size for values in constants.values())
    for told in nodes:
        inputs = [name for name in told.inputs if name]
        found = None
        if told.op not in _RANDOM and all(name in constants for name in inputs):
            found = _computed(told, graph, constants, room)
        if found is None:
            left.append(told)
            continue
        room -= sum(values.size for values in found.values())
        constants.update(found)
    return left


def _computed(told: Told, graph: Graph, constants: Mapping[str, np.ndarray],
              room: int) -> dict[str, np.ndarray] | None:  # fmt: skip
    """None where it does not go: then whoever runs it is told why. CompileError where it would be too much."""
    node = kind_of(told.op)(told, graph.opset).eval()
    given = [constants[name] if name else None for name in told.inputs]
    try:
        with torch.no_grad():
            sketch = _run(node, given, "meta")
            large = max(map(_size, sketch))
            found = _run(node, given, "cpu") if large <= room else ()
    except Exception:
        return None
    if large > room:
        raise CompileError(f"{graph.title}: {told} makes {large} values of constants alone; more than {room} are not "
                           "taken")  # fmt: skip
    return {name: _array(value) for name, value in zip(told.outputs, found) if name}


def _run(node: Node, given: list[Any], device: str) -> tuple[Any, ...]:
    values = [None if one is None else Both(one, torch.from_numpy(one).to(device)) for one in given]
    with torch.device(device):
        found = node(*values)
    return found if isinstance(found, tuple) else (found,)


def _size(value: Any) -> int:
    return math.prod(value.shape)


def _array(value: Any) -> np.ndarray:
    return np.array(value if isinstance(value, np.ndarray) else value.numpy())


def _notes(graph: Graph, nodes: list[Told], weights: set[str]) -> list[str]:
    """What a file for inference has lost."""
    kinds, notes = Counter(node.op for node in nodes), []
    convolutions = sum(kinds[op] for op in _CONVOLUTIONS)
    if convolutions and not kinds["BatchNormalization"]:
        notes.append(f"it has {convolutions} convolutions and no batch norm: if there were any, the exporter has "
                     "folded them into the convolutions, which are trained without")  # fmt: skip
    if not kinds["Dropout"] and weights:
        notes.append("it has no dropout: exporters leave it out, so the model trains without")
    if strange := training(nodes, graph.constants):
        notes.append(f"{strange[0]} is in training mode always, as the file says; here it is while the model trains")
    reads = Counter(name for node in nodes for name in set(node.inputs) if name in weights)
    if tied := [name for name in graph.constants if reads[name] > 1]:
        more = f" and {len(tied) - 1} more" if len(tied) > 1 else ""
        notes.append(f"its weight {shown(tied[0])}{more} is read by several nodes and trained as one: some exporters "
                     "write weights that are equal once")  # fmt: skip
    if loose := unsure(nodes, weights):
        more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
        notes.append(f"its constant {shown(loose[0])}{more} is added or multiplied, though not to a product, and is "
                     "trained as a weight: if it is a mask or a grid, freeze it")  # fmt: skip
    fixed = [value.name for value in graph.inputs if value.shape and value.shape[0] is not None]
    if fixed:
        notes.append(f"its input {fixed[0]!r} is declared for one number of rows: if the model does not take others, "
                     "export it with a dynamic batch axis")  # fmt: skip
    return [f"{graph.title}: {note}" for note in notes]
