"""A graph to be scored: tensors that are wanted, of its inside too, and their softmax and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.frontend.onnx.build import module_of
from stoker.frontend.onnx.module import OnnxModule
from stoker.frontend.onnx.nodes import kind_of
from stoker.frontend.onnx.parse import Told

_PLAIN = 13  # from this opset on softmax is of one axis


def scoring(source: Any, wanted: Sequence[str] | None, softmax: Sequence[str], classes: Sequence[str]) -> OnnxModule:
    """Gives `wanted` (default: the graph's outputs), then the softmax of the values of a row of each of these tensors,
    then the place of the largest."""
    made = module_of(source, wanted, scored=True)
    outputs = list(made.graph_outputs)
    for name in dict.fromkeys([*softmax, *classes]):
        _add(made, "Flatten", name, f"{name}:row", {"axis": 1})
    for name in softmax:
        outputs.append(_add(made, "Softmax", f"{name}:row", f"{name}:softmax", {"axis": -1}))
    for name in classes:
        outputs.append(_add(made, "ArgMax", f"{name}:row", f"{name}:class", {"axis": -1, "keepdims": 0}))
    made.give(outputs)
    return made


def _add(made: OnnxModule, op: str, source: str, name: str, attributes: dict[str, Any]) -> str:
    made.add_node(kind_of(op)(Told(op, name, (source,), (name,), attributes), _PLAIN))
    return name


def fed(module: OnnxModule, told: Mapping[str, Any], param: str) -> dict[str, Any]:
    """What a parameter says of the inputs of a graph, by their names in the file -> by arguments."""
    found = {}
    for name, entry in told.items():
        argument = module.argument_of(name)
        if argument is None:
            known = module.input_names()
            raise UserError(f"{param}: {module.file_name} has no input {name!r}{did_you_mean(name, known)}; it has "
                            f"{', '.join(map(repr, known))}")  # fmt: skip
        found[argument] = entry
    return found
