"""Stands between the user's code and the trace: what torch.export would lose without a word is kept or refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from stoker.errors import CompileError
from stoker.frontend import errors, private
from stoker.frontend.private import FakeTensor, is_functorch_wrapped_tensor, tree_map_only

Tensor = torch.Tensor
_GRADIENTS = "takes gradients by {}, which a program cannot hold; only its loss is differentiated, once"
_HOOK = "registers a gradient hook ({}), which would not run on the workers: write it into forward or the loss"
_REFUSED: dict[Callable, str] = {
    Tensor.register_hook: _HOOK.format("Tensor.register_hook"),
    Tensor.register_post_accumulate_grad_hook: _HOOK.format("register_post_accumulate_grad_hook"),
    Tensor.grad_fn.__get__: "reads grad_fn, which the workers do not have",
    Tensor.grad.__get__: "reads a tensor's grad, which the workers do not have",
    Tensor.grad.__set__: "sets a tensor's grad, which the workers do not have",
    Tensor.data.__set__: "assigns to a tensor's data; use operators that export can follow (copy_, mul_, ...)",
    Tensor.backward: _GRADIENTS.format("backward()"),
    torch.autograd.backward: _GRADIENTS.format("torch.autograd.backward"),
    torch.autograd.grad: _GRADIENTS.format("torch.autograd.grad"),
}
_DROPOUTS = (nn.functional.dropout, torch.dropout)
inferring: list[bool] = []  # the modes of the inference_mode blocks around what is traced, innermost last
_SETS_REQUIRES_GRAD = (Tensor.requires_grad_, Tensor.requires_grad.__set__)


class Guard(TorchFunctionMode):
    """While it is active, tensors of the user's own module stand for those that are traced (`twins`, by id).

    Of one thread. A trainable tensor that is neither traced nor a twin would be frozen into the program: refused, with
    the name that `name_of` finds. `parameters` are the traced ones.
    """

    def __init__(self, twins: dict[int, Tensor], parameters: Iterable[Tensor], name_of: Callable[[Tensor], str], model):
        super().__init__()
        self.twins, self.name_of, self.model = twins, name_of, model
        self.parameters = {id(parameter) for parameter in parameters}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _REFUSED:
            raise self._error(_REFUSED[func])
        args, kwargs = tree_map_only(Tensor, self._traced, (tuple(args), kwargs or {}))
        if func is private.set_grad_enabled and inferring[-1:] == [True]:
            args = (False,)  # inference_mode lets nobody switch gradients on
        if func in _SETS_REQUIRES_GRAD:
            self._check_setting(*args, **kwargs)
        if func in _DROPOUTS and _is_idle(*args, **kwargs):
            return args[0] if args else kwargs["input"]
        return (Tensor.detach if func == Tensor.data.__get__ else func)(*args, **kwargs)

    def _traced(self, tensor: Tensor) -> Tensor:
        twin = self.twins.get(id(tensor))
        if twin is not None:
            return twin
        if tensor.requires_grad and not (isinstance(tensor, FakeTensor) or is_functorch_wrapped_tensor(tensor)):
            raise self._error(f"reads {self.name_of(tensor)}, which is trainable but none of its parameters")
        return tensor

    def _check_setting(self, tensor: Tensor, requires_grad: bool = True) -> None:
        if id(tensor) in self.parameters and tensor.requires_grad != requires_grad:
            raise self._error("changes requires_grad of a parameter in forward; freeze it before fit")

    def _error(self, text: str) -> CompileError:
        place = errors.place_of_frames(errors.frames_of_caller(), self.model)
        return CompileError(f"the model or loss {text}{f' (at {place})' if place else ''}")


def _is_idle(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, train: bool = True) -> bool:
    """PyTorch then gives the very tensor back, which a trace does not."""
    return p == 0 or not (training and train)


def trained_by(loss: Tensor) -> set[int]:
    """The ids of the leaf tensors that get a gradient from `loss`: autograd's own answer, while it is traced."""
    found, seen, todo = set(), set(), [loss.grad_fn]
    while todo:
        function = todo.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            found.add(id(function.variable))
        todo += [before for before, _ in function.next_functions]
    return found


@contextlib.contextmanager
def untouched(module: nn.Module, copy: nn.Module):
    """Both are as before, whatever forward and the loss set; a loss calls the user's own module in its copy's mode."""
    pairs = dict(zip(map(id, module.modules()), copy.modules(), strict=True))
    parts = [*module.modules(), *copy.modules()]
    before = [(part, dict(part.__dict__), dict(part._buffers)) for part in parts]
    handle = nn.modules.module.register_module_forward_pre_hook(lambda part, _: _check_mode(part, pairs.get(id(part))))
    try:
        yield
    finally:
        handle.remove()
        for part, attributes, buffers in before:
            _restore(part.__dict__, attributes)
            _restore(part._buffers, buffers)


def _check_mode(part: nn.Module, twin: nn.Module | None) -> None:
    if twin is not None and part.training != twin.training:
        raise CompileError(
            f"the loss calls the model's {type(part).__name__}, which is in evaluation mode: call model.train() before"
        )


def _restore(now: dict, before: dict) -> None:
    if now.keys() != before.keys() or any(now[key] is not before[key] for key in before):
        now.clear()
        now.update(before)
