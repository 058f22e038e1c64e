"""Whether a model does the same in training and in evaluation, so that one trace serves both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from stoker.frontend.private import Dropout, Norm, has_hooks


def same_in_both_modes(model: nn.Module) -> bool:
    """True only where it is certain: torch's own layers without dropout, batch statistics and hooks."""
    return all(_is_plain(module) for module in model.modules())


def _is_plain(module: nn.Module) -> bool:
    if not type(module).__module__.startswith("torch.nn.modules.") or has_hooks(module):
        return False
    if isinstance(module, (Norm, nn.RReLU)):
        return False
    if isinstance(module, Dropout):
        return module.p == 0
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout == 0
    return True


def same_programs(train: dict, infer: dict, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether a training program begins with just what the inference program does. False where it is not certain."""
    wanted, there = maker_of(infer, weights)[0], maker_of(train, weights)[0]
    return there[: len(wanted)] == wanted


def maker_of(program: dict, weights: Mapping[str, np.ndarray]) -> tuple[list, dict[int, object]]:
    """The nodes, with what they read by name or by the node that made it, instead of slots; and that of each slot."""
    made: dict[int, object] = {}
    for entry in (*program["inputs"], *program["parameters"], *program["buffers"], *program["constants"]):
        literal = entry["name"].startswith(f"${program['kind']}.")
        made[entry["slot"]] = weights[entry["name"]].tobytes() if literal else entry["name"]
    for index, node in enumerate(program["nodes"]):
        made.update({slot: (index, place) for place, slot in enumerate(node["out"]) if slot is not None})
    return [(node["op"], _with_makers([node["args"], node["kwargs"]], made)) for node in program["nodes"]], made


def _with_makers(value: object, made: dict[int, object]) -> object:
    if isinstance(value, list):
        return [_with_makers(item, made) for item in value]
    if isinstance(value, dict):
        return {key: made[item] if key == "slot" else _with_makers(item, made) for key, item in value.items()}
    return value
