"""Another last layer for a model that came from ONNX."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend.onnx.module import OnnxModule
from stoker.frontend.onnx.nodes import Node

_AFTER = {"Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout"}  # what a head may be followed by


def replaced(model: OnnxModule, classes: int) -> OnnxModule:
    """A copy whose last product has `classes` outputs and fresh weights, as nn.Linear has them."""
    made = copy.deepcopy(model)
    node, bias = _last(made)
    turned = node.op == "Gemm" and node.attribute("transB", 0)
    weight = made.graph_tensor(node.inputs[1])
    inside = weight.shape[1 if turned else 0]
    fresh = nn.Linear(inside, classes)
    _put(made, node.inputs[1], fresh.weight.detach() if turned else fresh.weight.detach().t().contiguous())
    if bias is not None:
        _put(made, bias, fresh.bias.detach())
    return made


def _put(model: OnnxModule, name: str, values: torch.Tensor) -> None:
    owner, _, leaf = model.path_here(name).rpartition(".")
    model.get_submodule(owner)._parameters[leaf] = nn.Parameter(values)


def _last(model: OnnxModule) -> tuple[Node, str | None]:
    """The product that the output is made of, and the name of its bias."""
    if len(model.graph_outputs) != 1:
        raise _refused(model, f"it has {len(model.graph_outputs)} outputs")
    maker = {name: node for node in model.graph_nodes() for name in node.outputs if name}
    name, bias = model.graph_outputs[0], None
    while (node := maker.get(name)) is not None and node.op in _AFTER:
        name = node.inputs[0]
    if node is not None and node.op == "Add":
        named = [one for one in node.inputs if _is_weight(model, one)]
        others = [one for one in node.inputs if one not in named]
        if len(named) == len(others) == 1 and _is_flat(model.graph_tensor(named[0])):
            bias, node = named[0], maker.get(others[0])
    if node is None or node.op not in ("Gemm", "MatMul") or not _is_weight(model, node.inputs[1]):
        raise _refused(model, f"it ends in {'its input' if node is None else node.told}")
    if node.op == "Gemm" and len(node.inputs) > 2 and node.inputs[2]:
        bias = node.inputs[2]
    _check_alone(model, [node.inputs[1], bias])
    return node, bias


def _check_alone(model: OnnxModule, names: list[str | None]) -> None:
    for name in filter(None, names):
        if sum(node.inputs.count(name) for node in model.graph_nodes()) > 1 or not _is_weight(model, name):
            raise _refused(model, f"the weight {name!r} of its last layer is read elsewhere too")


def _is_flat(bias: torch.Tensor) -> bool:
    return bias.dim() > 0 and math.prod(bias.shape) == bias.shape[-1]


def _is_weight(model: OnnxModule, name: str) -> bool:
    return isinstance(model.graph_tensor(name), nn.Parameter)


def _refused(model: OnnxModule, why: str) -> CompileError:
    return CompileError(f"replace_head: {model.file_name} has no dense layer at its end ({why}): replace it by hand")
