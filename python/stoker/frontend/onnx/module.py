"""An ONNX graph as a trainable nn.Module."""

from __future__ import annotations

import contextlib
import inspect
import keyword
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from stoker.errors import CompileError, UserError
from stoker.frontend.foreign import Foreign
from stoker.frontend.freezing import covers
from stoker.frontend.onnx.nodes import Node
from stoker.frontend.onnx.parse import Value
from stoker.frontend.onnx.values import DTYPES, LARGEST_KNOWN, Both, as_tensor

_DEEPEST = 32  # parts of a name that are modules
_INPUTS = {"bool": "uint8", "float16": "float32", "int8": "int32", "int16": "int32"}  # as Stoker has them
_KINDS = {"Softmax": "probabilities", "Sigmoid": "probabilities", "LogSoftmax": "log_probabilities"}


class OnnxModule(Foreign):
    """The nodes of a graph, in its order; made by build.module_of.

    forward takes the graph's inputs in their order or by name (signs that no name of Python has are "_") and gives its
    output, or a dict of several by name. Parameters and buffers have the names that they have in the file.
    """

    def __init__(self, title: str, inputs: Sequence[Value], outputs: Sequence[str], notes: Iterable[str]):
        super().__init__()
        self._title, self._values, self._outputs, self._notes = title, list(inputs), list(outputs), list(notes)
        self._known: dict[str, np.ndarray] = {}  # constants that are known as values too
        self._paths: dict[str, str] = {}  # of tensors: the name in the file -> the name here
        self._nodes: list[str] = []  # paths, in order
        self._arguments = _arguments(self._values)

    # --- what it is made of -------------------------------------------------------------------------------------------

    def add_node(self, node: Node) -> None:
        name = next(filter(None, node.outputs), node.told)
        owner, leaf, path = _place(self, name)
        owner.add_module(leaf, node)
        self._nodes.append(path)

    def add_weight(self, name: str, values: np.ndarray) -> None:
        owner, leaf, path = _place(self, name)
        owner.register_parameter(leaf, nn.Parameter(torch.from_numpy(values)))
        self._paths[name] = path

    def add_constant(self, name: str, values: np.ndarray, kept: bool = False) -> None:
        """`kept`: in state_dict, as statistics are."""
        owner, leaf, path = _place(self, name)
        owner.register_buffer(leaf, torch.from_numpy(values), persistent=kept)
        self._paths[name] = path
        if not kept and values.size <= LARGEST_KNOWN:
            self._known[name] = values

    @property
    def file_name(self) -> str:
        return self._title

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """Tensors that it gives, by their names in the file."""
        return tuple(self._outputs)

    def give(self, names: Sequence[str]) -> None:
        """Others, from now on."""
        self._outputs = list(names)

    def graph_nodes(self) -> list[Node]:
        return [self.get_submodule(path) for path in self._nodes]

    def graph_tensor(self, name: str) -> torch.Tensor | None:
        """The parameter or buffer of a name of the file."""
        path = self._paths.get(name)
        if path is None:
            return None
        owner, _, leaf = path.rpartition(".")
        held = self.get_submodule(owner)
        return held._parameters[leaf] if leaf in held._parameters else held._buffers[leaf]

    def path_here(self, name: str) -> str | None:
        return self._paths.get(name)

    # --- what it computes ---------------------------------------------------------------------------------------------

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        values = self._given(tensors, named)
        for path in self._needed():
            node = self.get_submodule(path)
            found = self._run(node, [values[name] if name else None for name in node.inputs])
            found = found if isinstance(found, tuple) else (found,)
            _check_whole_bytes(node, [values[name] for name in node.inputs if name], found)
            if any(node.outputs[len(found) :]):
                raise node.error(f"it has {len(node.outputs)} outputs; ONNX has {len(found)}")
            values.update((name, value) for name, value in zip(node.outputs, found) if name)
        outputs = {name: as_tensor(values[name]) for name in self._outputs}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _run(self, node: Node, given: list[Any]) -> Any:
        while given and given[-1] is None:
            given.pop()
        try:
            return node(*given)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self._title}: {node.told}: {error}") from error

    def _given(self, tensors: Sequence[torch.Tensor], named: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        arguments = [parameter.name for parameter in self._arguments]
        given = dict(zip(arguments, tensors)) | named
        if len(tensors) > len(arguments) or given.keys() != set(arguments):
            raise TypeError(f"{self._title} takes {', '.join(arguments) or 'nothing'}, each once, and was given "
                            f"{len(tensors)} tensors and {', '.join(named) or 'no names'}")  # fmt: skip
        values: dict[str, Any] = {}
        for name, value in zip(arguments, self._values):
            dtype = DTYPES[np.dtype(value.dtype)]
            if value.dtype in ("int8", "int16") and given[name].dtype != dtype:
                raise CompileError(
                    f"{self._title}: its input {value.name!r} is of {value.dtype}, which columns do not "
                    "have, and larger numbers would be cut: declare it int32 in the file, with a Cast"
                )
            values[value.name] = given[name] if given[name].dtype == dtype else given[name].to(dtype)
        for name in self._paths:
            tensor = self.graph_tensor(name)
            values[name] = Both(self._known[name], tensor) if name in self._known else tensor
        return values

    def _needed(self) -> list[str]:
        """Nodes that the outputs are made of."""
        wanted, kept = set(self._outputs), []
        for path in reversed(self._nodes):
            node = self.get_submodule(path)
            if not wanted.isdisjoint(node.outputs):
                wanted.update(node.inputs)
                kept.append(path)
        return kept[::-1]

    # --- what the front end asks --------------------------------------------------------------------------------------

    def arguments(self) -> list[inspect.Parameter]:
        return self._arguments

    def input_names(self) -> list[str]:
        """Of the file."""
        return [value.name for value in self._values]

    def argument_of(self, name: str) -> str | None:
        """The argument that an input of the file, or an argument, is."""
        for parameter, value in zip(self._arguments, self._values):
            if name in (value.name, parameter.name):
                return parameter.name
        return None

    def told_type(self, name: str) -> str | None:
        value = self._input(name)
        return None if value is None else _INPUTS.get(value.dtype, value.dtype)

    def told_shape(self, name: str) -> tuple[int, ...] | None:
        value = self._input(name)
        if value is None or not value.shape or None in value.shape[1:]:
            return None
        return tuple(value.shape[1:])

    def _input(self, name: str) -> Value | None:
        """A lone input may go by any name."""
        if len(self._values) == 1:
            return self._values[0]
        by_name = dict(zip([parameter.name for parameter in self._arguments], self._values))
        return by_name.get(name)

    def output_kind(self) -> str:
        for node in reversed(self.graph_nodes()):
            if self._outputs[0] in node.outputs:
                return _KINDS.get(node.op, "logits")
        return "logits"

    def freeze(self, names: Container[str], patterns: Sequence[str]) -> None:
        for path, node in zip(self._nodes, self.graph_nodes()):
            if node.op != "BatchNormalization":
                continue
            own = [self._paths[name] for name in node.inputs[1:3] if name in self._paths]
            if all(name in names for name in own) if own else covers(patterns, path):
                node.eval()

    def channels_last(self) -> bool:
        return False

    def named_layers(self) -> dict[str, nn.Module]:
        return dict(zip(self._nodes, self.graph_nodes()))

    def parts(self) -> dict[int, tuple[str, str]]:
        return {id(node): (path, node.op) for path, node in self.named_layers().items()}

    def tracing(self) -> Any:
        return contextlib.nullcontext()

    def statistics(self) -> dict[str, str]:
        return {}  # batch norms are torch's own, which are known

    def notes(self) -> list[str]:
        return list(self._notes)

    def added_loss(self) -> None:
        return None


def _check_whole_bytes(node: Node, given: Iterable[Any], found: Iterable[Any]) -> None:
    """The engine computes no float16."""
    if torch.compiler.is_exporting():
        for value in (*given, *found):
            if as_tensor(value).dtype == torch.float16:
                raise node.error("it is of float16, which the engine does not compute: convert the file to float32 "
                                 "(export it so, or cast its weights and inputs)")  # fmt: skip


def _arguments(values: Sequence[Value]) -> list[inspect.Parameter]:
    names: dict[str, None] = {}
    for value in values:
        name = re.sub(r"\W", "_", value.name, flags=re.ASCII) or "_"
        name = f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) or name == "self" else name
        while name in names:
            name += "_"
        names[name] = None
    return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]


def _place(root: nn.Module, name: str) -> tuple[nn.Module, str, str]:
    """The module that holds a dotted name, made where it is missing, the last part, and the whole path. Names that
    something else has already, of nn.Module's own too, get a "_"."""
    *path, leaf = [part or "_" for part in name.split(".")]
    if len(path) > _DEEPEST:
        path, leaf = [], name.replace(".", "_")
    owner, taken = root, []
    for part in path:
        name = _container(owner, part)
        owner = owner._modules[name]
        taken.append(name)
    leaf = _free(owner, leaf)
    return owner, leaf, ".".join([*taken, leaf])


def _container(owner: nn.Module, name: str) -> str:
    while name not in owner._modules:
        if not hasattr(owner, name):
            owner.add_module(name, nn.Module())
        else:
            name += "_"
    return name


def _free(owner: nn.Module, name: str) -> str:
    while hasattr(owner, name):
        name += "_"
    return name
