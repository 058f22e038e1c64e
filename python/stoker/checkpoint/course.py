"""The checkpoints of one fit, on the driver: from the one that it goes on from to those that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.checkpoint import manifest
from stoker.checkpoint.keeper import Keeper
from stoker.checkpoint.newest import Whole, search
from stoker.checkpoint.storage import check_writable, is_local, open_storage
from stoker.errors import UserError
from stoker.events import CheckpointPart
from stoker.program import is_mixed


@dataclass(frozen=True)
class Wish:
    """What the user asks for."""

    place: str
    interval: int = 1
    unit: str = "epochs"  # or "steps", "seconds"
    keep: int = 2


class Course:
    """Used by the thread that watches the fit. `warn` is told what the user should know."""

    def __init__(self, wish: Wish, spec: dict[str, Any], weights: dict[str, np.ndarray], torch_version: str,
                 warn: Callable[[str], None]) -> None:  # fmt: skip
        """`spec` is the engine's TrainSpec, `weights` the compiled model's. UserError where the place cannot be used
        or holds a checkpoint of another fit."""
        self._wish, self._warn = wish, warn
        self._storage = open_storage(wish.place)
        check_writable(self._storage)
        self._mixed = is_mixed(spec["program"])
        trained = {entry["name"]: weights[entry["name"]] for entry in spec["program"]["parameters"]}
        self._about = {
            "identity": manifest.identity(spec, weights, torch_version),
            "initial": manifest.weights_digest(trained),
            "epochs": spec["epochs"],
        }
        found = search(self._storage, warn)
        self.begin = found.newest
        if self.begin is not None:
            self._check(self.begin)
        self._first = "" if self.begin is None else self.begin.folder
        self._begun = {} if self.begin is None else {"resumed_from": self.begin.step}
        self._keeper = Keeper(self._storage, self._about, wish.keep, found, warn)
        if self.begin is not None:
            self._keeper.inexact += self.begin.manifest.get("inexact", [])

    def _check(self, begin: Whole) -> None:
        told = begin.manifest
        if differences := manifest.differences(self._about["identity"], told["identity"]):
            raise UserError(
                f"checkpointDir {self._storage.place} holds a checkpoint of another fit ({begin.folder}): "
                f"{'; '.join(differences)}. Set these back to go on with it, or give another checkpointDir"
            )
        if told["step"] > self._about["epochs"] * told["steps_of_epoch"]:
            raise UserError(
                f"the checkpoint {begin.folder} in {self._storage.place} has trained "
                f"{told['step'] / told['steps_of_epoch']:g} epochs, and epochs is {self._about['epochs']}; ask for as "
                "many at least, or give another checkpointDir"
            )
        if told["initial"] != self._about["initial"]:
            self._warn(
                f"the fit goes on from {begin.folder} in {self._storage.place}, though the model's weights are not "
                "those that it began with; they are not used"
            )

    def spec(self) -> dict[str, Any]:
        """ "checkpoint" of the TrainSpec: engine/train/checkpoint_spec.h."""
        asked = {
            "folder": self._storage.place if is_local(self._wish.place) else "",
            "place": self._storage.place,
            "every": self._wish.interval,
            "unit": self._wish.unit,
        }
        if self.begin is None:
            return asked
        resume = {**resume_spec(self.begin, self._mixed), "begins": self.begin.folder == self._first}
        return {**asked, "resume": resume}

    def spec_of_restart(self) -> dict[str, Any]:
        """The same for another job of this fit, where the newest checkpoint may be one of its own."""
        self.begin = search(self._storage, self._warn).newest
        return self.spec()

    def event(self, part: CheckpointPart) -> None:
        self._keeper.event(part)

    @property
    def inexact(self) -> list[str]:
        """Why the state is not that of an undisturbed fit, before this fit began and since. It may be added to."""
        return self._keeper.inexact

    def settled(self) -> bool:
        """Whether no part of a checkpoint is awaited."""
        return self._keeper.settled()

    def give_up(self, why: str) -> None:
        """No part is awaited any more."""
        self._keeper.give_up(why)

    def history(self) -> dict[str, Any]:
        """What the fit's history says of them."""
        return {**self._begun, "checkpoints": self._keeper.records}


def resume_spec(begin: Whole, mixed: bool) -> dict[str, Any]:
    told = begin.manifest
    same = {name: told[name] for name in ("commit", "steps_of_epoch", "sections", "shards", "isa")}
    if mixed and "bf16" in told:
        same["bf16"] = told["bf16"]
    return {"folder": begin.folder, "parts": [part["name"] for part in told["parts"]], **same}
