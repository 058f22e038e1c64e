"""State that a model keeps in Python between calls of forward: the workers' program has none, so it is refused."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.copies import copied

_INTERNAL = {"_buffers", "_parameters", "_modules"}


@contextlib.contextmanager
def watched(model: nn.Module, loss, changed: list[str]):
    """Notes in `changed` which plain attributes forward sets. New buffers in the place of old ones, numbers that the
    loss counts on, and draws from generators that a program does not have are refused."""
    before, counted, drawn = _attributes(model), _numbers(loss), _generators()
    buffers = _buffers(model, loss)
    yield
    if _generators() != drawn:
        raise CompileError(
            "forward draws from Python's or numpy's random generator; the workers would repeat one draw for ever: "
            "draw by torch (torch.rand, dropout)"
        )
    for (kind, name), tensor in _buffers(model, loss).items():
        if buffers.get((kind, name), tensor) is not tensor:
            raise CompileError(
                f"the {kind} assigns to its buffer {name!r}: only batch-norm statistics and counters that grow by one, "
                "in place, can be kept exact over several workers"
            )
    for name, number in _numbers(loss).items():
        if counted.get(name, number) != number:
            raise CompileError(f"the loss changes {name!r}; the workers' program would always have its first value")
    after = _attributes(model)
    changed += [name for name, value in after.items() if before.get(name) != value]


def _buffers(model: nn.Module, loss) -> dict[tuple[str, str], torch.Tensor]:
    parts = {"model": model} | ({"loss": loss} if isinstance(loss, nn.Module) else {})
    return {(kind, name): tensor for kind, part in parts.items() for name, tensor in part.named_buffers()}


def _attributes(model: nn.Module) -> dict[str, object]:
    return {
        f"{path}.{name}" if path else name: _mark(value)
        for path, part in model.named_modules()
        for name, value in part.__dict__.items()
        if name not in _INTERNAL
    }


def _numbers(loss) -> dict[str, object]:
    """Plain numbers that a loss can count on: attributes, of a bound method's object too, and a function's closure."""
    parts = loss.named_modules() if isinstance(loss, nn.Module) else [("", getattr(loss, "__self__", loss))]
    found = {f"{path}.{name}" if path else name: value
             for path, part in parts for name, value in getattr(part, "__dict__", {}).items()}  # fmt: skip
    names = getattr(getattr(loss, "__code__", None), "co_freevars", ())
    cells = getattr(loss, "__closure__", None) or ()
    found |= {name: cell.cell_contents for name, cell in zip(names, cells, strict=False)}
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}


def _mark(value) -> object:
    """Equal as long as a value stays the same; of containers, their items."""
    if isinstance(value, (bool, int, float, str)):
        return type(value), value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else ()
    return id(value), tuple(map(id, items))


def _generators() -> tuple:
    name, keys, *place = np.random.get_state()
    return random.getstate(), name, keys.tobytes(), tuple(place)


def refuse_memory(module: nn.Module, names: list[str], examples: dict[str, torch.Tensor]) -> None:
    """Calls a copy twice: an attribute that forward sets does no harm if the second call gives what the first gave,
    outputs and gradients."""
    if not names:
        return
    (model,) = copied(module)
    rows = _rows_for(model, examples)
    first = _answers(model, rows)
    for name, buffer in module.named_buffers():  # what buffers remember is looked at elsewhere
        model.get_buffer(name).copy_(buffer)
    if not _same(first, _answers(model, rows)):
        listed = ", ".join(repr(name) for name in names[:5])
        raise CompileError(
            f"the model remembers something from one call of forward to the next, in {listed}; the workers' program "
            "has no such memory: give it as an input, or keep it out of outputs and gradients"
        )


def _rows_for(model: nn.Module, examples: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Random; whole numbers are all 1, which looks something up where 0 may be padding, if the model takes them."""
    with torch.random.fork_rng(devices=[]):
        rows = {name: torch.rand_like(x) if x.is_floating_point() else torch.ones_like(x)
                for name, x in examples.items()}  # fmt: skip
    (trial,) = copied(model)
    try:
        _answers(trial, rows)
    except (RuntimeError, IndexError, ValueError):
        return {name: x if x.is_floating_point() else examples[name] for name, x in rows.items()}
    return rows


def _answers(model: nn.Module, rows: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Outputs, and the gradients of a random sum of them where there are any."""
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {name: x.clone() for name, x in rows.items()}
        outputs = [tensor for _, tensor in structure.leaves(structure.call(model, given))]
        return [tensor.detach().clone() for tensor in outputs] + _gradients(model, outputs)


def _gradients(model: nn.Module, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    sums = [(tensor * torch.rand_like(tensor)).sum() for tensor in outputs
            if tensor.requires_grad and tensor.is_floating_point()]  # fmt: skip
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not sums:
        return []
    try:
        return list(torch.autograd.grad(sum(sums), parameters, allow_unused=True, materialize_grads=True))
    except RuntimeError:  # what cannot be trained is refused elsewhere
        return []


def _same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True)
    )
