"""Parameters, frozen ones too, that programs read only through one transpose are stored that way round, and the
transpose goes: so that `x @ w` is a linear layer over its own weights, and a convolution finds its kernel as it wants
it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stoker.frontend.interpret import loss_slots, slots_in

Layout = tuple[int, ...]
_WITHOUT_AXES = {"aten.square.default", "aten.abs.default", "aten.pow.Tensor_Scalar", "aten.mul.Scalar"}


def hoist(programs: Sequence[dict], weights: dict[str, np.ndarray]) -> None:
    """Changes programs, and the weights that go with them, in place. The first is the training program.

    An entry's `layout` tells the way back: its tensor in that order of dimensions is the user's.
    """
    uses = [_Uses(program) for program in programs]
    for name in _weights_of(programs[0]):
        found = {layout for one in uses for layout in one.layouts(name)}
        if len(found) == 1 and (layout := found.pop()) is not None:
            weights[name] = np.ascontiguousarray(weights[name].transpose(layout))
            for one in uses:
                one.hoist(name, layout)
    for one in uses:
        one.write()


def _weights_of(program: dict) -> list[str]:
    """The user's."""
    names = [entry["name"] for kind in ("parameters", "constants") for entry in program[kind]]
    return [name for name in names if not name.startswith("$")]


class _Uses:
    """Who reads which slot of a program."""

    def __init__(self, program: dict):
        self.program = program
        self.entries = {entry["name"]: entry for kind in ("parameters", "constants") for entry in program[kind]}
        self.ends = {output["slot"] for output in program["outputs"]} | loss_slots(program)
        self.readers: dict[int, list[dict]] = {}
        self.renamed: dict[int, int] = {}
        for node in program["nodes"]:
            for slot in {*slots_in(node["args"]), *slots_in(list(node["kwargs"].values()))}:
                self.readers.setdefault(slot, []).append(node)

    def layouts(self, name: str) -> Iterator[Layout | None]:
        """Each order of dimensions in which it is read; None for one that must stay."""
        entry = self.entries.get(name, {"slot": -1, "shape": []})
        for node in self.readers.get(entry["slot"], []):
            if not self._is_blind(node):
                layout = _permutation(node, len(entry["shape"]))
                yield None if self.ends.intersection(node["out"]) else layout
        if entry["slot"] in self.ends:
            yield None

    def _is_blind(self, node: dict) -> bool:
        """Whether it computes one number of all values, as regularisers do: their order is nothing to it."""
        if node["op"] == "aten.sum.default":
            return True
        (out,) = node["out"] if len(node["out"]) == 1 else (None,)
        return (node["op"] in _WITHOUT_AXES and out not in self.ends
                and all(self._is_blind(reader) for reader in self.readers.get(out, [])))  # fmt: skip

    def hoist(self, name: str, layout: Layout) -> None:
        if (entry := self.entries.get(name)) is None:
            return
        for node in self.readers.get(entry["slot"], []):
            if not self._is_blind(node):
                self.renamed[node["out"][0]] = entry["slot"]
        entry["shape"] = [entry["shape"][dim] for dim in layout]
        entry["layout"] = [layout.index(dim) for dim in range(len(layout))]

    def write(self) -> None:
        """Slots of transposes that went are not used any more."""
        left = [node for node in self.program["nodes"] if not self.renamed.keys() & set(node["out"])]
        for node in left:
            node["args"], node["kwargs"] = self._reading(node["args"]), self._reading(node["kwargs"])
        self.program["nodes"] = left

    def _reading(self, value):
        if isinstance(value, list):
            return [self._reading(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "slot" in value:
            return {"slot": self.renamed.get(value["slot"], value["slot"])}
        return {key: self._reading(item) for key, item in value.items()}


def _permutation(node: dict, dims: int) -> Layout | None:
    """The order of dimensions that a node gives to its only tensor; None where it does anything else."""
    order = list(range(dims))
    if node["op"] == "aten.t.default" and dims == 2:
        return (1, 0)
    if node["op"] == "aten.transpose.int":
        one, other = node["args"][1:]
        order[one], order[other] = order[other], order[one]
        return tuple(order)
    if node["op"] == "aten.permute.default":
        return tuple(dim % dims for dim in node["args"][1])
    return None
