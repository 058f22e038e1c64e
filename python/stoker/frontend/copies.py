"""Copies of the user's modules: what is compiled, tried or changed is never the user's own."""

from __future__ import annotations

import copy

import torch
from torch import nn

from stoker.frontend.hugging import without_caches


def copied(*modules: nn.Module) -> tuple[nn.Module, ...]:
    """Copied together: what they share, their copies share too. On the CPU."""
    memo: dict = {}
    for module in modules:
        memo |= _without_history(module)
    return tuple(copy.deepcopy(module, memo).cpu() for module in modules)


def to_run(*modules: nn.Module) -> tuple[nn.Module, ...]:
    """copied(), to be called: without what a program cannot return."""
    return tuple(without_caches(module) for module in copied(*modules))


def _without_history(module: nn.Module) -> dict[int, torch.Tensor]:
    """For deepcopy, which copies no computed tensor: forward makes these anew (weight norm, pruning, caches)."""
    attributes = [value for part in module.modules() for value in part.__dict__.values()]
    return {id(t): t.detach().clone() for t in attributes if isinstance(t, torch.Tensor) and not t.is_leaf}
