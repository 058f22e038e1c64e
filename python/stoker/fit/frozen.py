"""The frozen parts of a fit's programs, apart from the rest: what they give for a row is computed once and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.program import is_mixed
from stoker.spark.columns import Source

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Frozen:
    """What becomes of a training spec."""

    spec: dict[str, Any]  # parts of it that are others now
    values: int = 0  # of a row, that the frozen parts give
    why_not: str = ""  # why nothing of them, or not all, is computed once; "": it is, or nothing is frozen

    def told(self, history: Mapping[str, Any], elsewhere: Mapping[int, str]) -> dict[str, Any]:
        """What the fit's history says of them, from what the engine does. `elsewhere`: by rank, of workers that do not
        keep what they give, why."""
        found = dict(history.get("frozen") or {"kept": False})
        why = found.pop("why", "") or self.why_not
        if found["kept"] and elsewhere:
            why = f"not in {len(elsewhere)} of {history['workers']} workers: {next(iter(elsewhere.values()))}"
        if not self.spec and not why:
            return {}
        more = {"values": self.values} if self.values else {}
        return {"frozen": {**found, **more, **({"why": why} if why else {})}}


def apart(spec: dict[str, Any], sources: Sequence[Source], weights: Weights, keep: bool) -> Frozen:
    """Of the engine's TrainSpec, whose program and evaluation are whole. `keep`: whether what the frozen parts give is
    kept from one epoch to the next; the bits are the same."""
    from stoker.frontend import frozen

    whole = spec["program"]
    found = frozen.split(whole, weights)
    if isinstance(found, str):
        return Frozen({}, why_not=found)
    if is_mixed(whole):
        return Frozen({}, why_not="with precision='bf16' they run in each step")
    numbers = found.inputs(whole)
    if drawn := next((source for source in (sources[number] for number in numbers) if _is_drawn(source)), None):
        return Frozen({}, why_not=f"{drawn.param} is cropped or flipped by chance, so rows differ in each epoch")
    evaluation = spec.get("evaluation")
    beside = frozen.alike(found, whole, evaluation["program"], weights) if evaluation else None
    kept = sorted({*found.kept, *(beside.kept if beside else ())})
    changed = {"program": frozen.keeping(found, whole, kept).head,
               "frozen": {"program": found.trunk, "inputs": numbers, "kept": kept, "cache": keep,
                          "shapes": [output["shape"] for output in found.trunk["outputs"]],
                          "evaluates": beside is not None}}  # fmt: skip
    if evaluation and beside:
        head = frozen.keeping(beside, evaluation["program"], kept).head
        changed["evaluation"] = {**evaluation, "program": head}
    return Frozen(changed, found.values, found.left if keep else "cacheFrozen=False")


def _is_drawn(source: Source) -> bool:
    return any(_draws(field) for field in source.fields)


def _draws(field: Mapping[str, Any]) -> bool:
    image = field.get("image") or {}
    crop: Iterable[int] | None = image.get("crop")
    return bool(image.get("flip")) or (crop is not None and list(crop) != list(image.get("size", crop)))
