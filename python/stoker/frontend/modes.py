"""Whether a model does the same in training and in evaluation, so that one trace serves both."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def same_in_both_modes(model: nn.Module) -> bool:
    """True only where it is certain: torch's own layers without dropout, batch statistics and hooks."""
    return all(_is_plain(module) for module in model.modules())


def _is_plain(module: nn.Module) -> bool:
    if not type(module).__module__.startswith("torch.nn.modules.") or any(getattr(module, name) for name in _HOOKS):
        return False
    if isinstance(module, (_NormBase, nn.RReLU)):
        return False
    if isinstance(module, _DropoutNd):
        return module.p == 0
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout == 0
    return True
