"""Hooks on a module or its parameters: those of forward are traced, those of gradients refused."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as _global

from stoker.errors import CompileError

_OF_MODULES = {"_backward_hooks": "backward hook", "_backward_pre_hooks": "backward pre-hook"}
_OF_TENSORS = {"_backward_hooks": "gradient hook", "_post_accumulate_grad_hooks": "post-accumulate-gradient hook"}
_ADVICE = "would not run on the workers: remove it, and write what it does into forward or the loss"


def refuse_gradient_hooks(kind: str, root: nn.Module) -> None:
    """`root`: the user's own module, since copies of parameters have lost their hooks. kind: 'model' or 'loss'."""
    for path, part in root.named_modules():
        for attribute, what in _OF_MODULES.items():
            if getattr(part, attribute, None):
                raise CompileError(f"the {kind}'s {path or type(root).__name__} has a {what}, which {_ADVICE}")
    for path, tensor in root.named_parameters():
        for attribute, what in _OF_TENSORS.items():
            if getattr(tensor, attribute, None):
                raise CompileError(f"the {kind}'s parameter {path!r} has a {what}, which {_ADVICE}")
    if _global._global_backward_hooks or _global._global_backward_pre_hooks:
        raise CompileError(f"torch has a backward hook for all modules, which {_ADVICE}")
