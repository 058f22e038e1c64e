"""Hooks on a module or its parameters: those of forward are traced, those of gradients refused."""

from __future__ import annotations

from torch import nn

from stoker.errors import CompileError
from stoker.frontend.private import HOOKS_OF_MODULES, HOOKS_OF_TENSORS, hooks_everywhere

_ADVICE = "would not run on the workers: remove it, and write what it does into forward or the loss"


def refuse_gradient_hooks(kind: str, root: nn.Module) -> None:
    """`root`: the user's own module, since copies of parameters have lost their hooks. kind: 'model' or 'loss'."""
    for path, part in root.named_modules():
        for attribute, what in HOOKS_OF_MODULES.items():
            if getattr(part, attribute, None):
                raise CompileError(f"the {kind}'s {path or type(root).__name__} has a {what}, which {_ADVICE}")
    for path, tensor in root.named_parameters():
        for attribute, what in HOOKS_OF_TENSORS.items():
            if getattr(tensor, attribute, None):
                raise CompileError(f"the {kind}'s parameter {path!r} has a {what}, which {_ADVICE}")
    if hooks_everywhere():
        raise CompileError(f"torch has a backward hook for all modules, which {_ADVICE}")
