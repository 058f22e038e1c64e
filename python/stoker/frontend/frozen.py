"""Splits a training program in two: what its frozen parts make of a row before anything that is trained, random or of
the batch comes in, which is the same in each epoch, and the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from stoker.frontend.chance import draws
from stoker.frontend.coupling import place_of_coupling
from stoker.frontend.interpret import loss_slots
from stoker.frontend.modes import maker_of
from stoker.frontend.nodes import Recorder, changed_by, name_of, read_by, written_by

Weights = Mapping[str, np.ndarray]
_CONTRACTIONS = {"linear", "addmm", "mm", "bmm", "matmul", "baddbmm", "einsum", "convolution", "conv1d", "conv2d",
                 "conv3d", "conv_transpose2d", "lstm", "gru", "rnn_tanh", "rnn_relu"}  # fmt: skip
_FIXED, _ROWS, _REST = range(3)  # of constants and sizes alone; of features too; of anything else
_COUNTS = (2, 3)  # rows of the runs that tell shapes


@dataclass(frozen=True)
class Split:
    """The trunk is an inference program. The head is of the kind of the whole: its inputs are those of the whole that
    are `kept`, by number, and what the trunk gives."""

    trunk: dict
    head: dict
    kept: tuple[int, ...]
    left: str = ""  # why there are frozen weights in the head too, where chance or a batch's statistics are the cause

    @property
    def values(self) -> int:
        """Of one row, that the trunk gives."""
        return sum(math.prod(entry["shape"]) for entry in self.trunk["outputs"])

    def inputs(self, whole: dict) -> list[int]:
        """Those of the whole that the trunk reads."""
        slots = [entry["slot"] for entry in whole["inputs"]]
        return [slots.index(entry["slot"]) for entry in self.trunk["inputs"]]


def split(whole: dict, weights: Weights) -> Split | str:
    """Where the frozen parts come before all that changes; else why they do not, or "" where nothing is frozen."""
    found = _Parts(whole, weights)
    if not found.is_frozen:
        return found.reason()
    if found.writes_across():
        return "what the frozen parts give is written into by others"
    cut = found.cut()
    if not cut:
        return "what the frozen parts give is no number for each row"
    made = found.at(cut)
    if isinstance(made, Split) and (place := place_of_coupling(made.trunk, dict(weights))) is not None:
        return f"what the frozen parts give for a row depends on the rows beside it, first at {place}"
    return made


def alike(one: Split, whole: dict, another: dict, weights: Weights) -> Split | None:
    """The split of another program of the same model, of which `one` is that of the `whole`; None where it is not at
    the same place."""
    other = split(another, weights)
    if not isinstance(other, Split):
        return None
    return other if _told(other.trunk, another, weights) == _told(one.trunk, whole, weights) else None


def keeping(one: Split, whole: dict, kept: Iterable[int]) -> Split:
    """The same with more inputs of the whole among those of the head."""
    kept = tuple(sorted({*one.kept, *kept}))
    entries = [whole["inputs"][number] for number in kept] + one.head["inputs"][len(one.kept) :]
    return replace(one, head={**one.head, "inputs": entries}, kept=kept)


def _told(trunk: dict, of: dict, weights: Weights) -> list:
    """Of a trunk what does not hang on the numbers of slots, and the names of literals."""
    nodes, made = maker_of({**trunk, "kind": of["kind"]}, weights)
    return [nodes, [made[output["slot"]] for output in trunk["outputs"]]]


class _Parts:
    """A program's nodes by what they depend on."""

    def __init__(self, whole: dict, weights: Weights):
        self.whole, self.weights, self.nodes = whole, weights, whole["nodes"]
        self.kinds = {entry["slot"]: _ROWS if entry["role"] == "feature" else _REST for entry in whole["inputs"]}
        self.kinds |= {entry["slot"]: _FIXED for entry in whole["constants"]}
        self.kinds |= {entry["slot"]: _REST for kind in ("parameters", "buffers") for entry in whole[kind]}
        self.kind_of = [self._kind(node) for node in self.nodes]
        self.reads = [set(read_by(node)) for node in self.nodes]
        self.weighty = self._weighty()
        self.light = self._light()
        self.trained = {entry["slot"] for entry in whole["parameters"]}
        self.is_frozen = any(self._contracts(number) for number in self._numbers(_ROWS))

    def _kind(self, node: dict) -> int:
        kind = max((self.kinds[slot] for slot in read_by(node)), default=_FIXED)
        if draws(node):
            kind = _REST
        elif node["op"].startswith("sym.") and (kind == _ROWS or self._is_size_of_input(node)):
            kind = _FIXED
        self.kinds.update({slot: kind for slot in node["out"] if slot is not None})
        return kind

    def _is_size_of_input(self, node: dict) -> bool:
        """How many rows there are, by whatever input."""
        inputs = {entry["slot"] for entry in self.whole["inputs"]}
        return node["op"] == "sym.size" and node["args"][0].get("slot") in inputs and node["args"][1] == 0

    def _numbers(self, kind: int) -> Iterator[int]:
        return (number for number, own in enumerate(self.kind_of) if own == kind)

    def _weighty(self) -> set[int]:
        """Slots of weights of the model, and of what is made of them alone."""
        found = {entry["slot"] for entry in self.whole["constants"] if not entry["name"].startswith("$")}
        for number in self._numbers(_FIXED):
            if self.reads[number] & found:
                found |= set(written_by(self.nodes[number]))
        return found

    def _light(self) -> list[int]:
        """Nodes that make of features what hangs on no weight: they may run again in the rest."""
        made = self._features()
        found, heavy = [], []
        for number in self._numbers(_ROWS):
            read = {slot for slot in self.reads[number] if self.kinds[slot] != _FIXED}
            is_light = read <= made and not self.reads[number] & self.weighty
            (found if is_light else heavy).append(number)
            made |= set(written_by(self.nodes[number])) if is_light else set()
        written = {slot for number in heavy for slot in changed_by(self.nodes[number])}
        return [] if written & made else found

    def _features(self) -> set[int]:
        return {entry["slot"] for entry in self.whole["inputs"] if entry["role"] == "feature"}

    def _heavy(self) -> list[int]:
        return sorted({*self._numbers(_ROWS)} - {*self.light})

    def _contracts(self, number: int) -> bool:
        """Whether it is one of the operators that cost, with frozen weights alone."""
        weights = self.reads[number] & self.weighty
        return bool(weights) and not self.reads[number] & self.trained and name_of(self.nodes[number]) in _CONTRACTIONS

    def reason(self) -> str:
        """Why frozen weights are all behind something that changes."""
        if not any(self._contracts(number) for number in self._numbers(_REST)):
            return ""
        return self.blocked() or "parts that are trained come before them"

    def blocked(self) -> str:
        """The first node after which rows are not the same in each epoch, where that is no trained weight."""
        buffers = {entry["slot"] for entry in self.whole["buffers"]}
        for number in self._numbers(_REST):
            node = self.nodes[number]
            if not any(self.kinds[slot] == _ROWS for slot in self.reads[number]):
                continue
            if draws(node):
                return f"what comes before them draws random numbers, first at {node['where'] or node['op']}"
            if self.reads[number] & buffers:
                return f"statistics of each batch come before them, first at {node['where'] or node['op']}"
            return ""
        return ""

    def left(self) -> str:
        """Why frozen weights are behind something that changes, where others are not."""
        return self.blocked() if any(self._contracts(number) for number in self._numbers(_REST)) else ""

    def writes_across(self) -> bool:
        """Whether a node writes into what nodes of another kind have read, or will."""
        first = next((n for n in self._numbers(_REST) if any(self.kinds[s] == _ROWS for s in self.reads[n])), 0)
        for number, node in enumerate(self.nodes):
            for slot in changed_by(node):
                if self.kinds[slot] != self.kind_of[number] and self.kinds[slot] != _REST:
                    return True
                if self.kind_of[number] == _ROWS and number > first:
                    return True
        return False

    def cut(self) -> list[int]:
        """The slots that the trunk gives: the narrowest one that all rows go through behind the last frozen weight,
        with the features that are read beside it, else all that the rest reads."""
        made = self._made(self._heavy())
        wanted = {slot for number in self._numbers(_REST) for slot in self.reads[number]} | loss_slots(self.whole)
        frontier = sorted(wanted & made)
        widths = self._widths()
        last = max(number for number in self._numbers(_ROWS) if self.reads[number] & self.weighty)
        behind = [slot for number in self._heavy() if number >= last for slot in written_by(self.nodes[number])]
        single = [slot for slot in behind if slot in widths and self._all_go_through(slot, frontier)
                  and not self._written_beside(slot)]  # fmt: skip
        if single and frontier:
            return [min(reversed(single), key=lambda slot: widths[slot] + self._width_beside(slot))]
        return frontier if all(slot in widths for slot in frontier) else []

    def _made(self, numbers: Iterable[int]) -> set[int]:
        return {slot for number in numbers for slot in written_by(self.nodes[number])}

    def _all_go_through(self, slot: int, wanted: list[int]) -> bool:
        return set(wanted) <= {slot} | self._made(self._behind([slot]))

    def _width_beside(self, slot: int) -> int:
        """Values of a row in the features that are read where the trunk gives this slot."""
        numbers = self._with_light([*self._numbers(_REST), *self._behind([slot])])
        read = {slot for number in numbers for slot in self.reads[number]}
        return sum(math.prod(entry["shape"]) for entry in self.whole["inputs"]
                   if entry["role"] == "feature" and entry["slot"] in read)  # fmt: skip

    def _with_light(self, numbers: list[int], until: int | None = None) -> list[int]:
        """These nodes and the light ones that they need, with all that write, as one may write through a view."""
        wanted = {slot for number in numbers for slot in self.reads[number]} | loss_slots(self.whole)
        needed: list[int] = []
        for number in reversed(self.light):
            if (until is None or number <= until) and (
                wanted & set(written_by(self.nodes[number])) or changed_by(self.nodes[number])
            ):
                needed.append(number)
                wanted |= self.reads[number]
        return sorted({*numbers, *needed})

    def _written_beside(self, slot: int) -> bool:
        """Whether what is made before it is written into after it by others than those that come of it."""
        last, behind = self._last([slot]), self._behind([slot])
        return any(number > last and number not in behind for number in self._writers())

    def _writers(self) -> list[int]:
        return [number for number in self._heavy() if changed_by(self.nodes[number])]

    def _last(self, cut: list[int]) -> int:
        return max(number for number, node in enumerate(self.nodes) if set(cut) & set(written_by(node)))

    def _behind(self, cut: list[int]) -> list[int]:
        """What is made of these slots, of fixed ones and of what is light."""
        found, last = [], self._last(cut)
        made = {*cut, *self._features(), *self._made(self.light)}
        for number in self._heavy():
            read = {slot for slot in self.reads[number] if self.kinds[slot] != _FIXED}
            if number > last and read <= made and not self.reads[number] & self.weighty:
                made |= set(written_by(self.nodes[number]))
                found.append(number)
        return found

    def _widths(self) -> dict[int, int]:
        """Values of a row, of each slot that has a float for each row."""
        few, more = (self.shapes(rows) for rows in _COUNTS)
        return {slot: math.prod(shape[1:]) for slot, (shape, dtype) in few.items()
                if self.kinds[slot] == _ROWS and dtype is torch.float32 and shape[:1] == (_COUNTS[0],)
                and more[slot][0] == (_COUNTS[1], *shape[1:]) and math.prod(shape) > 0}  # fmt: skip

    def shapes(self, rows: int) -> dict[int, tuple[tuple[int, ...], torch.dtype]]:
        """Of the tensors of so many rows, all zeros, that frozen parts make."""
        nodes = [node for node, kind in zip(self.nodes, self.kind_of) if kind != _REST]
        program = {**self.whole, "kind": "infer", "nodes": nodes, "outputs": []}
        values = {entry["slot"]: torch.from_numpy(np.array(self.weights[entry["name"]]))
                  for entry in self.whole["constants"]}  # fmt: skip
        for entry in self.whole["inputs"]:
            values[entry["slot"]] = torch.zeros((rows, *entry["shape"]), dtype=getattr(torch, entry["dtype"]))
        recorder = Recorder(program)
        with torch.no_grad():
            recorder.run(values)
        return recorder.found

    def at(self, cut: list[int]) -> Split | str:
        moved = self._behind(cut)
        last = self._last(cut)
        if len(cut) > 1 or self._written_beside(cut[0]):
            last = max([last, *self._writers()])
        first = self._with_light([number for number in self._heavy() if number <= last], last)
        moved = [number for number in moved if number > last]
        rest = self._with_light([*self._numbers(_REST), *moved])
        trunk = self._program(first, cut)
        if isinstance(trunk, str):
            return trunk
        entries = [{**output, "name": f"${output['name']}", "role": "feature", "dtype": "float32"}
                   for output in trunk["outputs"]]  # fmt: skip
        return self._head(trunk, rest, entries)

    def _program(self, numbers: list[int], cut: list[int]) -> dict | str:
        """Of these nodes and of what they need of fixed ones."""
        read = {slot for number in numbers for slot in self.reads[number]}
        inputs = [entry for entry in self.whole["inputs"] if entry["slot"] in read]
        here = {entry["slot"] for entry in inputs}
        here |= {slot for number in numbers for slot in written_by(self.nodes[number])}
        nodes = self._with_fixed(numbers, here, inputs[0]["slot"])
        if isinstance(nodes, str):
            return nodes
        shapes = self.shapes(_COUNTS[0])
        widest = max(math.prod(shapes[slot][0]) // _COUNTS[0] for slot in here if slot in shapes)
        outputs = [{"name": f"frozen.{place}", "slot": slot, "shape": list(shapes[slot][0][1:])}
                   for place, slot in enumerate(cut)]  # fmt: skip
        kept = {name: self.whole[name] for name in ("format", "version", "torch", "slots")}
        return {**kept, "kind": "infer", "inputs": inputs, "parameters": [], "buffers": [],
                "constants": self._constants(nodes), "nodes": nodes, "outputs": outputs, "widest": widest}  # fmt: skip

    def _head(self, trunk: dict, numbers: list[int], entries: list[dict]) -> Split | str:
        read = {slot for number in numbers for slot in self.reads[number]} | loss_slots(self.whole)
        kept = tuple(number for number, entry in enumerate(self.whole["inputs"]) if entry["slot"] in read)
        inputs = [self.whole["inputs"][number] for number in kept] + entries
        here = {entry["slot"] for entry in inputs}
        here |= {slot for number in numbers for slot in written_by(self.nodes[number])}
        here |= {entry["slot"] for kind in ("parameters", "buffers") for entry in self.whole[kind]}
        nodes = self._with_fixed(numbers, here, entries[0]["slot"])
        if isinstance(nodes, str):
            return nodes
        outputs = [output for output in self.whole["outputs"] if output["slot"] in here]
        head = {**self.whole, "inputs": inputs, "constants": self._constants(nodes), "nodes": nodes, "outputs": outputs}
        return Split(trunk, head, kept, self.left())

    def _constants(self, nodes: list[dict]) -> list[dict]:
        read = {slot for node in nodes for slot in read_by(node)}
        return [entry for entry in self.whole["constants"] if entry["slot"] in read]

    def _with_fixed(self, numbers: list[int], here: set[int], rows: int) -> list[dict] | str:
        """The nodes in their order, with the fixed ones that they need, and all that write, maybe through a view into
        what they need; sizes of what is not `here` are those of the slot `rows`, or known."""
        wanted = {slot for number in numbers for slot in self.reads[number]} | loss_slots(self.whole)
        taken = {number: self.nodes[number] for number in numbers}
        for number in reversed(list(self._numbers(_FIXED))):
            node = self.nodes[number]
            if not wanted & set(written_by(node)) and not changed_by(node):
                continue
            if (sized := self._sized(node, here, rows)) is None:
                return f"a size of what the frozen parts give is not known, at {node['where'] or node['op']}"
            taken[number] = sized
            wanted |= set(read_by(sized))
        return [taken[number] for number in sorted(taken)]

    def _sized(self, node: dict, here: set[int], rows: int) -> dict | None:
        """A fixed node in another program."""
        away = [slot for slot in read_by(node) if self.kinds[slot] != _FIXED and slot not in here]
        if not away:
            return node
        if node["op"] != "sym.size":
            return None
        dim = node["args"][1]
        if self._is_size_of_input(node):
            return dict(node, args=[{"slot": rows}, 0])
        few, more = (self.shapes(count)[away[0]][0][dim] for count in _COUNTS)
        if few == more:
            return dict(node, op="sym.add", args=[few, 0])
        return dict(node, args=[{"slot": rows}, 0]) if (few, more) == _COUNTS else None
