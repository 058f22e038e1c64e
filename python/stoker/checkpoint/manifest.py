"""The manifest: what makes parts a checkpoint, and which fit it is of. Pure functions."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stoker import engine
from stoker.errors import WorldError

MAGIC = "stoker-checkpoint"
VERSION = 3
NAME = "manifest"
_HEAD = re.compile(rb"stoker-checkpoint (\d+) ([0-9a-f]{32}) (\d+)\n")
_FOLDER = re.compile(r"step-\d{12}")

# What must be the same for the same bits, in the user's words.
_WORDS = {
    "program": "the model or its loss",
    "evaluation.program": "whether rows are held out for validation, or what is computed of them,",
    "evaluation.metrics": "evalMetrics",
    "evaluation.every": "validationInterval",
    "evaluation.restore_best": "restoreBest",
    "evaluation.monitor": "earlyStopping's monitor",
    "evaluation.min_delta": "earlyStopping's minDelta",
    "evaluation.plateau.larger": "lrSchedule's mode",
    "evaluation.plateau.relative": "whether lrSchedule's threshold is relative",
    **{f"evaluation.plateau.{key}": f"lrSchedule's {key}" for key in ("monitor", "patience", "threshold", "cooldown")},
    "constants": "a frozen weight or constant of the model",
    "groups": "which parameters are in which group of the optimizer",
    "shards": "numShards",
    "batch_size": "batchSize",
    "whole_batch": "batchNorm",
    "reduce_dtype": "reduceDtype",
    "clip_norm": "clipNorm",
    "strategy.every": "the strategy's every",
    "strategy.window": "the strategy's window",
    "strategy.rank": "the strategy's rank",
    "strategy.share": "the strategy's share",
    "strategy.threshold.initial": "the strategy's initialThreshold",
    "strategy.threshold.least": "the strategy's minTargetSparsity",
    "strategy.threshold.most": "the strategy's maxTargetSparsity",
    "strategy.threshold.decay": "the strategy's decayRate",
    "strategy.threshold.clip": "the strategy's residualClip",
    "strategy.inner_state": "the strategy's innerState",
    "strategy.order": "the strategy's order",
    "strategy.bound": "the strategy's bound",
    "strategy.compress": "the strategy's compress",
    "strategy.outer.groups[0].lr": "the strategy's outerLearningRate",
    "strategy.outer.groups[0].momentum": "the strategy's outerMomentum",
    "strategy.outer.groups[0].nesterov": "whether the strategy has an outerMomentum",
    "strategy.outer.name": "the strategy",
    "strategy.outer.program": "what the strategy's outer does",
    "strategy.outer.state": "the strategy's state",
    "strategy.push.rule": "the strategy",
    **{f"strategy.push.{key}": f"the strategy's {key}" for key in ("beta", "gamma", "momentum")},
    "clip_value": "clipValue",
    "optimizer.rate_scale": "scaleRate",
    "optimizer.schedule.epochs": "epochs, the length of an lrSchedule without total,",
    "begun": "what initialModel's optimizer has behind it",
    "begun.updates": "the steps that initialModel's optimizer has behind it",
    "begun.epochs": "the epochs that initialModel's optimizer has behind it",
    "torch": "the version of torch",
}
# What it means where it is not told.
_LEFT_OUT = {"accumulate": 1, "whole_batch": False, "reduce_dtype": "fp32", "evaluation.every": "the epoch",
             "strategy.order": "turns"}  # fmt: skip
_UNSPEAKABLE = ("program", "evaluation.program", "constants", "groups", "whole_batch", "strategy.outer.program",
                "strategy.order")  # fmt: skip


def folder_name(step: int) -> str:
    return f"step-{step:012d}"


def is_folder_name(name: str) -> bool:
    return bool(_FOLDER.fullmatch(name))


def encode(manifest: Mapping[str, Any]) -> bytes:
    body = json.dumps(manifest, sort_keys=True, allow_nan=False).encode()
    return f"{MAGIC} {VERSION} {engine.core().hash128(body)} {len(body)}\n".encode() + body


def decode(data: bytes) -> dict[str, Any]:
    """WorldError says what is wrong with a torn or foreign one."""
    head = _HEAD.match(data)
    if not head:
        raise WorldError("its manifest is not one of Stoker's, or is cut short")
    if int(head[1]) != VERSION:
        raise WorldError(f"it has version {int(head[1])} of the format; this Stoker reads {VERSION}")
    body = data[head.end() :]
    if len(body) != int(head[3]):
        raise WorldError(f"its manifest has {len(body)} bytes and should have {int(head[3])}")
    if engine.core().hash128(body).encode() != head[2]:
        raise WorldError("its manifest's checksum is wrong")
    return json.loads(body)


def identity(spec: Mapping[str, Any], weights: Mapping[str, np.ndarray], torch_version: str) -> dict[str, Any]:
    """What decides a fit's bits, beside its rows and its initial weights. `spec` is the engine's TrainSpec."""
    constants = {entry["name"]: weights[entry["name"]] for entry in spec["program"]["constants"]}
    same = ("optimizer", "shards", "batch_size", "accumulate", "seed", "shuffle", "threads", "clip_norm", "clip_value",
            "whole_batch", "reduce_dtype", "begun")  # fmt: skip
    evaluation = {"evaluation": _evaluation(spec["evaluation"])} if "evaluation" in spec else {}
    return {
        **evaluation,
        "program": program_digest(spec["program"]),
        "constants": weights_digest(constants),
        "groups": _digest(spec.get("groups", [])),
        "torch": torch_version,
        **{name: spec[name] for name in same if name in spec},
        **({"strategy": _strategy(spec["strategy"])} if "strategy" in spec else {}),
    }


def _strategy(told: Mapping[str, Any]) -> dict[str, Any]:
    outer = told.get("outer", {})
    if "program" not in outer:
        return dict(told)
    program = _digest([program_digest(outer["program"]), outer["constants"]])
    return {**told, "outer": {"name": outer["name"], "state": outer["state"], "program": program}}


def _evaluation(told: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which epoch is the best, and what is kept of each. When the fit ends may change."""
    metrics = told.get("metrics", {}).get("names", [])
    same = {
        name: told[name]
        for name in ("monitor", "larger", "min_delta", "restore_best", "plateau", "every")
        if name in told
    }
    return {"program": program_digest(told["program"]), "metrics": metrics, **same}


def program_digest(program: Mapping[str, Any]) -> str:
    """Of what is computed: not of the source lines that nodes name."""
    same = copy.deepcopy(dict(program))
    same.pop("notes", None)
    for node in same["nodes"]:
        node.pop("where", None)
    return _digest(same)


def weights_digest(weights: Mapping[str, np.ndarray]) -> str:
    told = [[name, str(a.dtype), list(a.shape), engine.core().hash128(a.tobytes())] for name, a in weights.items()]
    return _digest(sorted(told))


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one phrase each."""
    new, old = _LEFT_OUT | dict(_flat(now)), _LEFT_OUT | dict(_flat(before))
    found = []
    for name in sorted(new.keys() | old.keys()):
        if new.get(name) != old.get(name):
            word = _WORDS.get(name, name)
            another = f"{word} is another one"
            found.append(another if name in _UNSPEAKABLE else f"{word} is {new.get(name)} and was {old.get(name)}")
    return found


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{i}]")
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _digest(value: Any) -> str:
    return engine.core().hash128(json.dumps(value, sort_keys=True).encode())
