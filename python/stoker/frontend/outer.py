"""A user's outer step of local training, compiled: an elementwise function of (center, delta, state) as a program of
inference over rows of one number each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend import errors, private
from stoker.frontend import torch as frontend
from stoker.frontend.interpret import Interpreter, find_operator
from stoker.program import TensorSpec, save_weights

Function = Callable[..., Any]
Numbers = list[torch.Tensor]

_STATE = "state."  # before the name of a state among the program's inputs
# Elementwise, too, though torch does not say so: copies, casts, and tensors as long as another.
_AS_LONG = {"alias", "clone", "contiguous", "detach", "detach_", "empty_like", "full_like", "lift_fresh",
            "lift_fresh_copy", "ones_like", "to", "_to_copy", "zeros_like", "copy", "copy_", "fill", "fill_", "zero_",
            "masked_fill", "masked_fill_", "type_as"}  # fmt: skip
_COUNT, _PARTS = 29, (1, 16, 12)  # numbers that are tried, and in which parts
_TOLERANCE = 1e-6


class Outer(nn.Module):
    def __init__(self, function: Function, state: Sequence[str]) -> None:
        super().__init__()
        self.function, self.names = function, state

    def forward(self, center: torch.Tensor, delta: torch.Tensor, **state: torch.Tensor) -> Numbers:
        found = self.function(center, delta, {name: state[_STATE + name] for name in self.names})
        made, after = _pair(found)
        return [made, *(after[name] for name in self.names)]


def compile_outer(function: Function, state: Sequence[str]) -> dict[str, Any]:
    """The program, and its constants as base64 text. CompileError says what the function may not do."""
    try:
        _check_call(function, state)
        specs = [TensorSpec(name) for name in ("center", "delta", *(_STATE + name for name in state))]
        infer, weights = frontend.compile_inference(Outer(function, state), specs)
        _check_operators(infer)
        _check_parts(function, state, infer, weights)
    except CompileError as error:
        said = str(error).replace("the model", "the function").replace("Outer, ", "").replace("what forward", "what it")
        raise CompileError(f"strategy: outer: {said}") from error
    return {"program": infer, "constants": base64.b64encode(save_weights(weights)).decode()}


def _pair(found: Any) -> tuple[Any, Mapping[str, Any]]:
    if not isinstance(found, (tuple, list)) or len(found) != 2 or not isinstance(found[1], Mapping):
        raise CompileError(f"the function returns {_told(found)}, expected (center, state): a tensor, and a dict of "
                           "tensors by the names of the state")  # fmt: skip
    return found[0], found[1]


def _told(found: Any) -> str:
    if isinstance(found, (tuple, list)):
        return f"({', '.join(type(part).__name__ for part in found)})"
    return f"a {type(found).__name__}"


def _random(state: Sequence[str]) -> Numbers:
    """Center and delta, and states, which may be sums of squares."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(_COUNT, generator=generator) for _ in range(2)] + \
           [torch.rand(_COUNT, generator=generator) for _ in state]  # fmt: skip


def _check_call(function: Function, state: Sequence[str]) -> None:
    """What one call on numbers shows."""
    center, delta, *states = numbers = _random(state)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), private.Operators(_check_called):
            made, after = _pair(function(center, delta, dict(zip(state, states))))
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"the function of (center, delta, state) cannot be called: {error}") from error
    for name, tensor in zip(("center", "delta", *(f"state[{name!r}]" for name in state)), numbers):
        if tensor._version:
            raise CompileError(f"the function writes into {name} in place: compute new tensors, others read it too")
    if set(after) != set(state):
        raise CompileError(f"the function returns the state {_listed(after)}, and the strategy has "
                           f"state={tuple(state)!r}: both name the same tensors")  # fmt: skip
    _check_tensor("the center", made)
    for name in state:
        _check_tensor(f"state[{name!r}]", after[name])


def _listed(names: Mapping[str, Any]) -> str:
    return f"{{{', '.join(map(repr, names))}}}"


def _check_tensor(what: str, value: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise CompileError(f"the function returns a {type(value).__name__} as {what}, expected a tensor")
    if tuple(value.shape) != (_COUNT,):
        raise CompileError(f"the function returns {what} of shape {list(value.shape)} for a center of [{_COUNT}]: it "
                           "goes by slices of the weights, element by element")  # fmt: skip
    if value.dtype != torch.float32:
        raise CompileError(f"the function returns {what} as {str(value.dtype).removeprefix('torch.')}, expected "
                           "float32: cast it with .float()")  # fmt: skip


def _check_called(operator: Any) -> None:
    _check_operator(operator, _place())


def _check_operator(operator: Any, place: str = "") -> None:
    name, _ = private.aten_name(operator) or (str(operator), "")
    if torch.Tag.nondeterministic_seeded in operator.tags:
        raise CompileError(f"{name}{place} draws random numbers, which a slice would draw anew")
    if name not in _AS_LONG and torch.Tag.pointwise not in operator.tags:
        raise CompileError(f"{name}{place} is not elementwise: the function sees slices of the weights, cut "
                           "anywhere, and may only combine numbers that lie in the same place")  # fmt: skip


def _place() -> str:
    """The user's innermost line that is running."""
    lines = [(Path(frame.f_code.co_filename).name, number) for frame, number in errors.frames_of_caller()
             if errors.is_user_file(frame.f_code.co_filename)]  # fmt: skip
    return f" ({lines[-1][0]}:{lines[-1][1]})" if lines else ""


def _check_operators(infer: dict) -> None:
    """Of the program, whose operators may be others, and what it may not write into."""
    given = [{"slot": entry["slot"]} for kind in ("inputs", "constants") for entry in infer[kind]]
    for node in infer["nodes"]:
        if node["op"].split(".")[1].endswith("_") and node["args"][0] in given:
            raise CompileError(f"{node['op']} writes in place into a tensor that the function did not make: what it "
                               "keeps from round to round is its state")  # fmt: skip
        if node["op"].startswith("sym."):
            raise CompileError("the function asks how many numbers it is given: slices of the weights are cut anywhere")
        _check_operator(find_operator(node["op"]))
    if "coupled" in infer:
        raise CompileError(f"an element depends on those beside it, first at {infer['coupled']}: the function sees "
                           "slices of the weights, cut anywhere")  # fmt: skip


def _check_parts(function: Function, state: Sequence[str], infer: dict, weights: dict) -> None:
    """What the program makes of parts is what the function makes of all."""
    numbers = _random(state)
    with torch.no_grad():
        made, after = _pair(function(*numbers[:2], dict(zip(state, numbers[2:]))))
        parts = [_run(infer, weights, part) for part in zip(*(tensor.split(_PARTS) for tensor in numbers))]
    for name, whole, *cut in zip(("the center", *state), (made, *(after[name] for name in state)), *parts):
        if not torch.allclose(whole, torch.cat(cut), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise CompileError(f"the function makes other numbers of slices than of the whole, first in {name}: what "
                               "it does must be a function of center, delta and state alone")  # fmt: skip


def _run(infer: dict, weights: dict, numbers: Sequence[torch.Tensor]) -> Numbers:
    values: dict[int, object] = {entry["slot"]: part for entry, part in zip(infer["inputs"], numbers)}
    values |= {entry["slot"]: torch.from_numpy(weights[entry["name"]].copy()) for entry in infer["constants"]}
    slots = Interpreter(infer).run(values)
    return [slots[output["slot"]] for output in infer["outputs"]]
