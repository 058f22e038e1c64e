"""Runs a program in Python, operator by operator: for checks, and for models that were loaded from disk."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch

_SYMBOLIC: dict[str, Callable] = {
    "size": lambda tensor, dim: tensor.shape[dim],
    "numel": lambda tensor: tensor.numel(),
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "neg": operator.neg,
    "truediv": operator.truediv,
    "max": max,
    "min": min,
    "int": int,
    "float": float,
}


class Interpreter:
    """A program with its operators looked up. Stateless between runs; safe to share between threads."""

    def __init__(self, program: dict, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.steps = [self._step(node) for node in program["nodes"]]
        self.slots = program["slots"]
        kept = {output["slot"] for output in program["outputs"]} | loss_slots(program)
        self.dead = _last_uses(program["nodes"], kept)

    def run(self, values: dict[int, object]) -> list:
        """Slots after the run; `values` has those of inputs and weights. What is no output is freed at its last use."""
        slots: list = [None] * self.slots
        for slot, value in values.items():
            slots[slot] = value
        for number in range(len(self.steps)):
            self.step(number, slots)
        return slots

    def step(self, number: int, slots: list) -> None:
        """Runs one node."""
        function, args, kwargs, out = self.steps[number]
        result = function(*[read(slots) for read in args], **{name: read(slots) for name, read in kwargs.items()})
        _store(slots, out, result)
        for slot in self.dead[number]:
            slots[slot] = None

    def _step(self, node: dict) -> tuple:
        args = [self._reader(value) for value in node["args"]]
        kwargs = {name: self._reader(value) for name, value in node["kwargs"].items()}
        function = find_operator(node["op"])
        return _under_autocast(function) if "autocast" in node else function, args, kwargs, node["out"]

    def _reader(self, value) -> Callable:
        if isinstance(value, list):
            readers = [self._reader(item) for item in value]
            return lambda slots: [read(slots) for read in readers]
        if isinstance(value, dict):
            if "slot" in value:
                slot = value["slot"]
                return lambda slots: slots[slot]
            value = self._literal(*next(iter(value.items())))
        return lambda slots: value

    def _literal(self, kind: str, text: str):
        if kind == "device":
            return self.device
        return float(text) if kind == "float" else getattr(torch, text)


def _under_autocast(function: Callable) -> Callable:
    def call(*args, **kwargs):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            return function(*args, **kwargs)

    return call


def find_operator(name: str) -> Callable:
    family, _, rest = name.partition(".")
    if family == "sym" and rest in _SYMBOLIC:
        return _SYMBOLIC[rest]
    base, _, overload = rest.partition(".")
    packet = getattr(torch.ops.aten, base, None) if family == "aten" else None
    if packet is None or overload not in packet.overloads():
        raise ValueError(f"this torch ({torch.__version__}) has no operator {name}")
    return getattr(packet, overload)


def slots_in(value) -> list[int]:
    if isinstance(value, list):
        return [slot for item in value for slot in slots_in(item)]
    return [value["slot"]] if isinstance(value, dict) and "slot" in value else []


def _store(slots: list, out: list, result) -> None:
    if len(out) == 1 and not isinstance(result, (tuple, list)):
        result = (result,)
    for slot, value in zip(out, result if out else (), strict=True):
        if slot is not None:
            slots[slot] = value


def loss_slots(program: dict) -> set[int]:
    """What a program is run for beside its outputs."""
    if program["kind"] == "infer":
        return set()
    loss, metric = program["loss"], program["metric"] or {}
    compared = [metric.get(part) for part in ("output", "label", "weight")]
    sums = [entry[part] for entry in program.get("sums", []) for part in ("numerator", "denominator")]
    found = [loss["numerator"], loss["denominator"].get("slot"), *compared, *sums]
    return {slot for slot in found if slot is not None}


def _last_uses(nodes: list[dict], kept: set[int]) -> list[list[int]]:
    """For each node the slots that nobody reads after it."""
    dead, seen = [], set(kept)
    for node in reversed(nodes):
        used = {slot for slot in node["out"] if slot is not None}
        used |= set(slots_in(node["args"])) | set(slots_in(list(node["kwargs"].values())))
        dead.append(sorted(used - seen))
        seen |= used
    return dead[::-1]
