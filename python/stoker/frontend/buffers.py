"""Which buffers a training graph writes, and by which rule they are brought together over shards."""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import fx

from stoker.errors import CompileError
from stoker.frontend import passes
from stoker.frontend.errors import place_of_node

aten = torch.ops.aten
_NORMS = {aten.batch_norm.default, aten.instance_norm.default}
_ADD_ONE = {aten.add_.Tensor, aten.add_.Scalar}


def rules(gm: fx.GraphModule, names: dict[fx.Node, str], means: Container[str] = ()) -> dict[str, str]:
    """Buffer name -> 'mean' or 'count' for what the graph writes. `names`: the placeholders that are no inputs;
    `means`: buffers that are known to hold statistics, whatever writes them."""
    sources: dict[fx.Node, fx.Node] = {node: node for node in names}
    found: dict[str, str] = {}
    for node in gm.graph.nodes:
        if node.op != "call_function":
            continue
        for argument in passes.changed_arguments(node):
            if argument in sources:
                _note(found, names[sources[argument]], node, argument, means)
        for argument in passes.viewed_arguments(node):
            if argument in sources:
                sources[node] = sources[argument]
    return found


def _note(found: dict[str, str], name: str, node: fx.Node, argument: fx.Node, means: Container[str]) -> None:
    rule = "mean" if name in means and node.target is aten.copy_.default else _rule(node, argument)
    if rule is None or name in found:
        place, again = place_of_node(node), " once more" if name in found else ""
        at = f" at {place}" if place else ""
        raise CompileError(
            f"the model changes {name!r} in place{again} by {node.target}{at}: only batch-norm statistics and counters "
            "that grow by one, once in a step, can be kept exact over several workers"
        )
    found[name] = rule


def _rule(node: fx.Node, argument: fx.Node) -> str | None:
    if argument.op != "placeholder":
        return None
    value = argument.meta["val"]
    if node.target in _NORMS and value.dtype == torch.float32:
        return "mean"
    if node.target in _ADD_ONE and node.args[1] == 1 and not node.kwargs and value.dtype == torch.int64:
        return "count"
    return None


def forget_statistics(gm: fx.GraphModule) -> None:
    """Norms by the batch's own statistics no longer note them; their results are the same."""
    for node in gm.graph.nodes:
        if node.target in _NORMS and node.args[5]:
            node.args = (*node.args[:3], None, None, *node.args[5:])


def statistics(gm: fx.GraphModule) -> list[str]:
    """The modules that normalise by statistics of the batch."""
    norms = [node for node in gm.graph.nodes if node.target is aten.batch_norm.default]
    return [place_of_node(node) for node in norms if node.args[5]]
