"""A user's own metrics: functions of (outputs, labels, weight) that give two sums over rows, as an evaluation program
computes them beside the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from stoker.errors import CompileError
from stoker.frontend import additivity
from stoker.frontend.interpret import Interpreter

Own = Mapping[str, Callable]
_TOLERANCE = 1e-4


def sums_of(name: str, function: Callable, outputs, labels, weight) -> tuple[torch.Tensor, torch.Tensor]:
    """Numerator and denominator, one number each."""
    found = function(outputs, labels, weight)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise CompileError(f"evalMetrics: {name} returns {_told(found)}: it must return (numerator, denominator), two "
                           "sums over rows, of which the metric is the ratio")  # fmt: skip
    return _number(name, "numerator", found[0]), _number(name, "denominator", found[1])


def _told(found) -> str:
    if isinstance(found, (tuple, list)):
        return f"{len(found)} values"
    return "one tensor" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"


def _number(name: str, part: str, value) -> torch.Tensor:
    if isinstance(value, (int, float, torch.SymInt)) and not isinstance(value, bool):
        return torch.full((), value, dtype=torch.float32)
    if not isinstance(value, torch.Tensor):
        raise CompileError(f"evalMetrics: the {part} of {name} is a {type(value).__name__}, not a tensor or a number")
    if value.numel() != 1:
        raise CompileError(f"evalMetrics: the {part} of {name} has shape {list(value.shape)}: it must be one number, "
                           "the sum over rows")  # fmt: skip
    return value.reshape(()).to(torch.float32)


def check(program: dict, weights: dict) -> None:
    """On random rows: what a batch comes to is what its parts do together."""
    if not program.get("sums"):
        return
    interpreter, fixed = Interpreter(program), additivity.fixed(program, weights)
    for rows in additivity.random_batches(program, 9):
        try:
            whole = _sums(interpreter, program, weights, {**fixed, **rows}, [9])
            parts = _sums(interpreter, program, weights, {**fixed, **rows}, [2, 7])
        except (RuntimeError, IndexError, ValueError):  # the random rows are not what the model expects
            continue
        _refuse_what_does_not_add_up(program, whole, parts)
        return


def _refuse_what_does_not_add_up(program: dict, whole: torch.Tensor, parts: torch.Tensor) -> None:
    near = torch.isclose(whole, parts, rtol=_TOLERANCE, atol=_TOLERANCE) | ~torch.isfinite(whole)
    for entry, added in zip(program["sums"], near.all(1).tolist(), strict=True):
        if not added:
            raise CompileError(f"evalMetrics: what {entry['name']} returns does not add up over rows, as a mean does "
                               "not: return the sum over rows and by what it is to be divided")  # fmt: skip


def _sums(interpreter: Interpreter, program: dict, weights: dict, values: dict, parts: list[int]) -> torch.Tensor:
    total, start = torch.zeros(len(program["sums"]), 2, dtype=torch.float64), 0
    for size in parts:
        part = dict(values)
        for entry in program["inputs"]:
            part[entry["slot"]] = values[entry["slot"]][start : start + size]
        for entry in program["buffers"]:
            part[entry["slot"]] = torch.from_numpy(weights[entry["name"]].copy())
        with torch.no_grad():
            slots = interpreter.run(part)
        total += torch.tensor([[float(slots[entry["numerator"]]), float(slots[entry["denominator"]])]
                               for entry in program["sums"]], dtype=torch.float64)  # fmt: skip
        start += size
    return total
