"""Writes a simplified graph as a program (docs/formats/program.md)."""

from __future__ import annotations

import math
import operator
from pathlib import Path

import torch
from torch import fx

from stoker.errors import CompileError
from stoker.frontend import operators, passes, private
from stoker.frontend.errors import cure_of_call, line_in_stack, module_of_node, place_of, place_of_node

aten = torch.ops.aten
SYMBOLIC = {
    aten.sym_size.int: "sym.size",
    aten.sym_numel.default: "sym.numel",
    operator.add: "sym.add",
    operator.sub: "sym.sub",
    operator.mul: "sym.mul",
    operator.floordiv: "sym.floordiv",
    operator.mod: "sym.mod",
    operator.neg: "sym.neg",
    operator.truediv: "sym.truediv",
    torch.sym_max: "sym.max",
    torch.sym_min: "sym.min",
    torch.sym_int: "sym.int",
    torch.sym_float: "sym.float",
}
_READS_VALUES = {aten.item.default, aten._local_scalar_dense.default}


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def live_nodes(graph: fx.Graph, wanted: list[fx.Node], keeps_state: bool = True) -> set[fx.Node]:
    """What `wanted` needs, and writes to memory that it shares; or that a buffer shares, if the program keeps them."""
    groups = _memory_groups(graph)
    live: set[fx.Node] = set()
    touched: set[fx.Node] = {groups[node] for node in graph.nodes if keeps_state and node.op == "placeholder"}
    todo = list(wanted)
    nodes = list(graph.nodes)
    while todo:
        while todo:
            node = todo.pop()
            if node not in live:
                live.add(node)
                touched.add(groups[node])
                todo += node.all_input_nodes
        todo = [node for node in nodes if node not in live and _writes_to(node, groups, touched)]
    return live


def _writes_to(node: fx.Node, groups: dict, touched: set) -> bool:
    return node.op == "call_function" and any(groups[arg] in touched for arg in passes.changed_arguments(node))


def _memory_groups(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """Each node's representative among those that may share memory; arguments come before their users."""
    groups: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        shared = passes.viewed_arguments(node) + passes.changed_arguments(node) if node.op == "call_function" else []
        roots = {groups[arg] for arg in shared}
        groups[node] = next(iter(roots)) if len(roots) == 1 else node
        if len(roots) > 1:
            for member, root in list(groups.items()):
                groups[member] = node if root in roots else root
    return groups


class Emitter:
    """Gives slots to the nodes that are live and writes them."""

    def __init__(self, graph: fx.Graph, wanted: list[fx.Node], keeps_state: bool = True):
        self.graph = graph
        self.wanted = set(wanted)
        self.live = live_nodes(graph, wanted, keeps_state)
        self.slot_of: dict[fx.Node, int] = {}
        self.slots = 0

    def slot(self, node: fx.Node) -> int:
        """The slot of a node, a new one where it has none yet."""
        if node not in self.slot_of:
            self.slot_of[node] = self.slots
            self.slots += 1
        return self.slot_of[node]

    def new_slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def nodes(self) -> list[dict]:
        written = []
        for node in self.graph.nodes:
            if node in self.live and node.op == "call_function":
                written += self._node(node)
        return written

    def _node(self, node: fx.Node) -> list[dict]:
        if node.target is operator.getitem and isinstance(node.args[0].meta.get("val"), (tuple, list)):
            return []  # its place is in the `out` of what it reads
        if node.target is torch.sym_sum:
            return self._sum(node)
        op = operator_name(node)
        args, kwargs = self._arguments(node)
        mixed = {"autocast": "bfloat16"} if node.meta.get("autocast") and not op.startswith("sym.") else {}
        return [{"op": op, "args": args, "kwargs": kwargs, "out": self._out(node), "where": where(node), **mixed}]

    def _sum(self, node: fx.Node) -> list[dict]:
        """sym_sum([a, b, c]) as a chain of sums of two."""
        terms = [self.value(term) for term in node.args[0]]
        written, total = [], terms[0]
        for index, term in enumerate(terms[1:]):
            out = self.slot(node) if index == len(terms) - 2 else self.new_slot()
            written.append({"op": "sym.add", "args": [total, term], "kwargs": {}, "out": [out], "where": where(node)})
            total = {"slot": out}
        return written

    def _arguments(self, node: fx.Node) -> tuple[list, dict]:
        args = [self.value(arg) for arg in node.args]
        return args, {name: self.value(value) for name, value in node.kwargs.items()}

    def _out(self, node: fx.Node) -> list[int | None]:
        value = node.meta.get("val")
        if not isinstance(value, (tuple, list)):
            used = node in self.wanted or any(user in self.live for user in node.users)
            return [self.slot(node) if used and value is not None else None]
        slots: list[int | None] = [None] * len(value)
        for user in node.users:
            if user in self.live:
                index = user.args[1]
                slots[index] = self.slot(user) if slots[index] is None else self._same(user, slots[index])
        return slots

    def _same(self, node: fx.Node, slot: int) -> int:
        self.slot_of[node] = slot
        return slot

    def value(self, value):
        if isinstance(value, fx.Node):
            return {"slot": self.slot(value)}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return literal(value)


_LITERALS = {
    torch.dtype: lambda value: {"dtype": dtype_name(value)},
    torch.device: lambda value: {"device": "cpu"},
    torch.layout: lambda value: {"layout": dtype_name(value)},
    torch.memory_format: lambda value: {"memory_format": dtype_name(value)},
}


def literal(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kind, write in _LITERALS.items():
        if isinstance(value, kind):
            return write(value)
    raise CompileError(f"an operator of the model takes a {type(value).__name__}, which a program cannot hold")


def operator_name(node: fx.Node) -> str:
    target = node.target
    if target in SYMBOLIC:
        return SYMBOLIC[target]
    if target in _READS_VALUES:
        raise CompileError(f"the model reads a tensor's value into Python (item, float, int) at {place_of_node(node)}")
    if (own := private.aten_name(target)) is not None:
        return _aten_name(node, *own)
    name = getattr(target, "__name__", target)
    raise CompileError(f"the operator {name} at {place_of_node(node)} is not one of PyTorch's own (aten) and cannot be "
                       f"compiled{cure_of_call(name)}")  # fmt: skip


def _aten_name(node: fx.Node, name: str, overload: str) -> str:
    if not operators.may_name(name, overload):
        raise CompileError(
            f"the operator aten.{name} at {place_of_node(node)} is none of those that a program may hold "
            "(stoker/operators.txt lists them); write it with others"
        )
    return f"aten.{name}.{overload}"


def where(node: fx.Node) -> str:
    """Module path, class and user's line; the file by its name alone, since a program is saved and sent."""
    line = line_in_stack(node.meta.get("stack_trace"))
    return place_of(*module_of_node(node), (Path(line[0]).name, line[1]) if line else None)
