"""Mixed precision, as torch.autocast("cpu", torch.bfloat16) has it: a model is traced under it, and the operators that
were called under it say so in the program, where the engine runs them so (docs/formats/program.md)."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from stoker.program import is_mixed

MIXED = "bf16"
VERSION = 2  # of programs that have such nodes


def around(precision: str) -> contextlib.AbstractContextManager:
    """Around the model's forward. Casts are not cached, as they are not in the engine."""
    if precision != MIXED:
        return contextlib.nullcontext()
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def as_float(tensor: torch.Tensor) -> torch.Tensor:
    """What the loss is computed with."""
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def marked(program: dict[str, Any]) -> dict[str, Any]:
    """With the version that its nodes want."""
    return dict(program, version=VERSION) if is_mixed(program) else program


def in_float(program: dict[str, Any]) -> dict[str, Any]:
    """The program in float32: for checks whose tolerances are those of float32."""
    nodes = [{key: value for key, value in node.items() if key != "autocast"} for node in program["nodes"]]
    return dict(program, nodes=nodes)
