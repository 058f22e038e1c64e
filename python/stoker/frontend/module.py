"""A saved model as an nn.Module again: the inference program, run in Python."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from stoker.errors import UserError
from stoker.frontend.interpret import Interpreter
from stoker.frontend.modes import same_programs


class ProgramModule(nn.Module):
    """Runs an inference program. Parameters and buffers have the user's names: its state_dict fits the user's module.

    It always computes what the model does in evaluation mode. Where its training program does the same, it may be
    trained like the user's module; else its parameters want no gradient, and train() is refused. forward takes the
    inputs in the program's order or by name and returns what the user's module does: a tensor, a tuple or a dict.
    """

    def __init__(self, infer: dict, weights: Mapping[str, np.ndarray], train: dict | None = None):
        super().__init__()
        self._program = infer
        self._trains = train is not None and same_programs(train, infer, weights)
        self._interpreters: dict[torch.device, Interpreter] = {}
        self._named: dict[int, dict] = {}  # entries of the program by slot
        trainable = {entry["name"] for entry in infer["parameters"]}
        for name, array in weights.items():
            self._register(name, torch.from_numpy(np.array(array)), name in trainable)
        for entry in infer["parameters"]:
            for alias in entry["aliases"]:
                owner, leaf = self._owner(alias)
                setattr(owner, leaf, self.get_parameter(entry["name"]))
        for entry in (*infer["parameters"], *infer["buffers"], *infer["constants"]):
            self._named[entry["slot"]] = entry
        self.train(self._trains)

    def train(self, mode: bool = True) -> ProgramModule:
        if mode:
            self.check_trains()
        return super().train(mode)

    def check_trains(self) -> None:
        """UserError where it would train another model than the user's."""
        if not self._trains:
            raise UserError("this module was made from a saved inference program, which runs in evaluation mode only: "
                            "dropout, batch statistics and the like are not in it. To train on, give an estimator "
                            "initialModel=model, which goes on with the model's training program, or fill a module of "
                            "your own, model.torch(into=net), and give that")  # fmt: skip

    def _register(self, name: str, tensor: torch.Tensor, trainable: bool) -> None:
        if name.startswith("$"):
            self.register_buffer(_hidden(name), tensor, persistent=False)
            return
        owner, leaf = self._owner(name)
        if trainable:
            owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=self._trains))
        else:
            owner.register_buffer(leaf, tensor)

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        """The submodule that holds a dotted name, made where it is missing."""
        *path, leaf = name.split(".")
        owner: nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
        return owner, leaf

    def _tensor(self, entry: dict) -> torch.Tensor:
        """As the program wants it."""
        name = entry["name"]
        if name.startswith("$"):
            return self._buffers[_hidden(name)]
        owner, leaf = self._owner(name)
        tensor = owner._parameters[leaf] if leaf in owner._parameters else owner._buffers[leaf]
        layout = entry.get("layout", [])
        return tensor.permute([layout.index(dim) for dim in range(len(layout))]) if layout else tensor

    def forward(self, *args: torch.Tensor, **named: torch.Tensor):
        names = [entry["name"] for entry in self._program["inputs"]]
        if len(args) > len(names) or (unknown := named.keys() - set(names[len(args) :])):
            what = f"{len(args)} tensors" if len(args) > len(names) else f"'{min(unknown)}'"
            raise TypeError(f"forward takes {', '.join(names)}, each once, and was given {what}")
        inputs = dict(zip(names, args), **named)
        values: dict[int, object] = {slot: self._tensor(entry) for slot, entry in self._named.items()}
        for entry in self._program["inputs"]:
            if entry["name"] not in inputs:
                raise TypeError(f"the input {entry['name']!r} is missing")
            values[entry["slot"]] = inputs[entry["name"]]
        slots = self._interpreter(next(iter(inputs.values())).device).run(values)
        return self._outputs(slots)

    def _interpreter(self, device: torch.device) -> Interpreter:
        if device not in self._interpreters:
            self._interpreters[device] = Interpreter(self._program, device)
        return self._interpreters[device]

    def _outputs(self, slots: list):
        outputs = {entry["name"]: slots[entry["slot"]] for entry in self._program["outputs"]}
        if list(outputs) == ["output"]:
            return outputs["output"]
        return tuple(outputs.values()) if all(name.isdigit() for name in outputs) else outputs

    def __getstate__(self):
        return dict(self.__dict__, _interpreters={})  # lambdas; made again when needed


def _hidden(name: str) -> str:
    """An attribute name without dots for an internal tensor."""
    return name.replace(".", "/")
