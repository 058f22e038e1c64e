"""What a program's nodes read, give and write into, and the shapes of what they give."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from stoker.frontend.interpret import Interpreter, find_operator, slots_in


class Recorder(Interpreter):
    """Keeps the shape and dtype of each tensor."""

    def __init__(self, program: dict):
        super().__init__(program)
        self.found: dict[int, tuple[tuple[int, ...], torch.dtype]] = {}
        self.written = [written_by(node) for node in program["nodes"]]

    def run(self, values: dict[int, object]) -> list:
        self._note(values)
        return super().run(values)

    def step(self, number: int, slots: list) -> None:
        dead, self.dead[number] = self.dead[number], []
        super().step(number, slots)
        self._note({slot: slots[slot] for slot in self.written[number]})
        for slot in dead:
            slots[slot] = None

    def _note(self, values: Mapping[int, object]) -> None:
        self.found |= {slot: (tuple(value.shape), value.dtype) for slot, value in values.items()
                       if isinstance(value, torch.Tensor)}  # fmt: skip


def read_by(node: dict) -> list[int]:
    """Slots of its arguments."""
    return slots_in([node["args"], list(node["kwargs"].values())])


def written_by(node: dict) -> list[int]:
    """Slots of what it gives."""
    return [slot for slot in node["out"] if slot is not None]


def name_of(node: dict) -> str:
    """The operator's, without its overload."""
    return node["op"].split(".")[1]


def changed_by(node: dict) -> list[int]:
    """Slots of the arguments that an operator writes into."""
    schema = getattr(find_operator(node["op"]), "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    told = dict(zip([argument.name for argument in schema.arguments], node["args"])) | node["kwargs"]
    written = [one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
    return [slot for name in written if name in told for slot in slots_in(told[name])]
