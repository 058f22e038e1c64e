"""Every private thing of torch that the front end leans on, each with a test (tests/test_private.py): a new minor
version of torch is work in this file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.nn.modules import module as _everywhere
from torch.nn.modules.batchnorm import _NormBase as Norm
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

__all__ = ["Dropout", "FakeTensor", "Norm", "is_functorch_wrapped_tensor", "tree_map_only", "unset_fake_temporarily"]

set_grad_enabled = torch._C._set_grad_enabled  # what torch.no_grad and its kin call


def aten_name(target: Any) -> tuple[str, str] | None:
    """(name, overload) of an operator of torch's own; None of what is none."""
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return None
    return target._schema.name.partition("::")[2], target._overloadname


class Operators(TorchDispatchMode):
    """Within it `look` is told of each operator before it runs."""

    def __init__(self, look: Callable[[Any], None]) -> None:
        super().__init__()
        self.look = look

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.look(func)
        return func(*args, **(kwargs or {}))


def hidden_buffers(module: nn.Module) -> set[str]:
    """Names of its own buffers that state_dict leaves out."""
    return set(module._non_persistent_buffers_set)


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs before or after its forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


HOOKS_OF_MODULES = {"_backward_hooks": "backward hook", "_backward_pre_hooks": "backward pre-hook"}
HOOKS_OF_TENSORS = {"_backward_hooks": "gradient hook", "_post_accumulate_grad_hooks": "post-accumulate-gradient hook"}


def hooks_everywhere() -> bool:
    """Whether there are gradient hooks for all modules."""
    return bool(_everywhere._global_backward_hooks or _everywhere._global_backward_pre_hooks)


@contextlib.contextmanager
def fake_kernel(operators: Sequence[Any], kernel: Callable) -> Iterator[None]:
    """Within it the operators run `kernel` on fake tensors. One thread at a time."""
    before = [dict(operator.py_kernels) for operator in operators]
    for operator in operators:
        operator.py_kernels.update(dict.fromkeys(operator.py_kernels, kernel))
        operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for operator, kernels in zip(operators, before, strict=True):
            operator.py_kernels.update(kernels)
            operator._dispatch_cache.clear()


@contextlib.contextmanager
def function_applied(instead: Callable) -> Iterator[None]:
    """Within it the apply of each torch.autograd.Function of a user's is `instead(cls, *args)`."""
    function: Any = torch.autograd.Function
    original = function.__dict__["apply"]

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__ == "torch._library.autograd":  # of a custom operator
            return original.__func__(cls, *args, **kwargs)
        return instead(cls, *args, **kwargs)

    function.apply = classmethod(apply)
    try:
        yield
    finally:
        function.apply = original


def watch_guards(size: torch.SymInt, make: Callable[[list], list]) -> Any:
    """Puts another list in the place of that to which what is asked about sizes is added; gives who knows of shapes."""
    shapes = size.node.shape_env
    shapes.guards = make(shapes.guards)
    return shapes


def forget(shapes: Any) -> None:
    """Lets go of what one trace knew of shapes. Sizes of its tensors lead back to it through C++, where Python's
    garbage collector sees no circle; and caches of its methods, which have no bound, hold the instance.
    """
    shapes.fake_tensor_cache.clear()
    shapes.tracked_fakes = None
    for method in vars(type(shapes)).values():
        if clear := getattr(method, "cache_clear", None):
            clear()  # whoever else traces finds the results again, a little later


def dirichlet(concentration: torch.Tensor) -> torch.Tensor:
    """Shares that add up to 1, drawn by torch's generator, as one operator."""
    return torch._sample_dirichlet(concentration)
