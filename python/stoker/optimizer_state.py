"""What a fit leaves to another that goes on with it: the state of its optimizer, as plain data (docs/models.md).

Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stoker import engine, strategy
from stoker.errors import UserError
from stoker.program import Compiled, load_weights, save_weights

PREFIX = "$optimizer."
FILE = "optimizer.safetensors"
_UPDATES = f"{PREFIX}updates"
_WEIGHTS = "weights"  # where those of the model are not the last ones
_WITHOUT = "or initialModel=model.without_optimizer() to begin with a new one"


@dataclass(frozen=True)
class OptimizerState:
    """Tensors by "$optimizer.<state>/<parameter>", in the layouts of the training program that they are of."""

    name: str  # of the optimizer
    epochs: int  # that were trained, of all fits
    tensors: dict[str, np.ndarray]

    @classmethod
    def of(cls, home: Mapping[str, np.ndarray], name: str, epochs: int) -> OptimizerState | None:
        """What a fit's result has of it."""
        tensors = {key: array for key, array in home.items() if key.startswith(PREFIX)}
        return cls(name, epochs, tensors) if tensors else None

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], info: Mapping[str, Any]) -> OptimizerState | None:
        if FILE not in files:
            return None
        return cls(info["name"], info["epochs"], load_weights(files[FILE]))

    def to_file(self) -> dict[str, bytes]:
        return {FILE: save_weights(self.tensors)}

    @property
    def info(self) -> dict[str, Any]:
        return {"name": self.name, "epochs": self.epochs}

    def begun(self) -> dict[str, int]:
        """The engine's BegunSpec."""
        return {"updates": int(self.tensors[_UPDATES]), "epochs": self.epochs}

    def names(self) -> dict[str, set[str]]:
        """The parameters that each of its states is of."""
        found: dict[str, set[str]] = {}
        for key in self.tensors.keys() - {_UPDATES}:
            state, _, parameter = key.removeprefix(PREFIX).partition("/")
            found.setdefault(state, set()).add(parameter)
        found.pop(_WEIGHTS, None)
        return found

    def laid_out(self, before: Compiled, after: Compiled) -> OptimizerState:
        """As another program stores its parameters."""

        def turned(key: str, array: np.ndarray) -> np.ndarray:
            parameter = key.partition("/")[2]
            return after.as_stored(parameter, before.as_given(parameter, array))

        return replace(self, tensors={key: turned(key, array) for key, array in self.tensors.items()})


def check(state: OptimizerState, options: Mapping[str, Any], groups: Sequence[int],
          parameters: Sequence[Mapping[str, Any]]) -> None:  # fmt: skip
    """UserError where an optimizer of these options over these parameters cannot go on with it."""
    if state.name != options["name"]:
        raise UserError(f"initialModel: it has the state of optimizer {state.name!r} (saveOptimizer=True), and this "
                        f"fit has {options['name']!r}: set optimizer={state.name!r}, {_WITHOUT}")  # fmt: skip
    specs = [(entry["name"], list(entry["shape"]), group) for entry, group in zip(parameters, groups)]
    wanted = set(engine.core().ArenaOptimizer(json.dumps(options), specs, "best").state_names())
    found = state.names()
    if wanted != found.keys():
        raise UserError(f"initialModel: the state of its optimizer is {_told(found.keys())}, and this fit's settings "
                        f"of {options['name']!r} want {_told(wanted)}: set optimizerParams and averageWeights as they "
                        f"were, {_WITHOUT}")  # fmt: skip
    trained = {entry["name"] for entry in parameters}
    if wrong := sorted({name for names in found.values() for name in names ^ trained}):
        raise UserError(f"initialModel: the state of its optimizer is of other parameters than this fit trains: "
                        f"{_told(wrong[:5])}: freeze what was frozen, {_WITHOUT}")  # fmt: skip


def check_strategy(spec: Mapping[str, Any]) -> None:
    if strategy.is_local(spec):
        raise UserError(f"initialModel: it has the state of its optimizer (saveOptimizer=True), and with strategy "
                        f"{spec['name']!r} shards have optimizers of their own: set initialModel="
                        "model.without_optimizer()")  # fmt: skip


def _told(names: Any) -> str:
    return ", ".join(map(repr, sorted(names))) or "nothing"
