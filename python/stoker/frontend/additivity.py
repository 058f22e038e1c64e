"""Checks on random data that a batch equals itself cut in unequal parts: numerators and denominators add up."""

from __future__ import annotations

import math

import torch

from stoker.frontend.interpret import Interpreter, find_operator

_ROWS, _CUT = 5, 2
# operator -> position and value of the argument that turns its dropout off
_DROPOUTS = {
    **{f"aten.{name}.default": (2, False) for name in ("dropout", "alpha_dropout", "feature_dropout")},
    "aten.feature_alpha_dropout.default": (2, False),
    **{f"aten.{name}.input": (5, 0.0) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    "aten.scaled_dot_product_attention.default": (4, 0.0),
}
_TOLERANCE = 1e-3


def notes(train: dict, weights: dict) -> list[str]:
    """What to say about the loss; nothing where it adds up, or where chance decides."""
    program = without_dropout(train)
    if _is_random(program):
        return []
    interpreter = Interpreter(program)
    rows = _random_rows(program)
    try:
        whole = _sums(interpreter, program, weights, rows, [_ROWS])
        parts = _sums(interpreter, program, weights, rows, [_CUT, _ROWS - _CUT])
    except (RuntimeError, IndexError, ValueError):  # the random rows are not what the model expects
        return []
    if all(_near(a, b) for a, b in zip(whole, parts, strict=True)):
        return []
    return [
        "the loss of a batch is not the sum over its rows: it is taken per micro-batch, so another number of shards "
        "gives another result"
    ]


def _near(a: float, b: float) -> bool:
    """Also where the random rows give no number, which says nothing."""
    return not math.isfinite(a) or abs(a - b) <= _TOLERANCE * max(abs(a), abs(b), 1e-6)


def without_dropout(program: dict) -> dict:
    return dict(program, nodes=[_without_dropout(node) for node in program["nodes"]])


def _without_dropout(node: dict) -> dict:
    position, off = _DROPOUTS.get(node["op"], (0, None))
    if off is None or len(node["args"]) <= position:
        return node
    args = list(node["args"])
    args[position] = off
    return dict(node, args=args)


def _is_random(program: dict) -> bool:
    others = [find_operator(node["op"]) for node in program["nodes"] if node["op"] not in _DROPOUTS]
    return any(torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ()) for operator in others)


def _random_rows(program: dict) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {entry["slot"]: _random(entry, generator) for entry in program["inputs"]}


def _random(entry: dict, generator: torch.Generator) -> torch.Tensor:
    shape, dtype = (_ROWS, *entry["shape"]), getattr(torch, entry["dtype"])
    if dtype.is_floating_point:
        return torch.rand(shape, generator=generator, dtype=dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)  # good as a class and as an index


def _sums(interpreter: Interpreter, program: dict, weights: dict, rows: dict, parts: list[int]) -> tuple[float, float]:
    numerator = denominator = 0.0
    start = 0
    for size in parts:
        values = {slot: tensor[start : start + size] for slot, tensor in rows.items()}
        for entry in (*program["parameters"], *program["constants"]):
            values[entry["slot"]] = torch.from_numpy(weights[entry["name"]])
        for entry in program["buffers"]:
            values[entry["slot"]] = torch.from_numpy(weights[entry["name"]].copy())
        with torch.no_grad():
            slots = interpreter.run(values)
        numerator += float(slots[program["loss"]["numerator"]])
        denominator += denominator_of(program, slots, size)
        start += size
    return numerator, denominator


def denominator_of(program: dict, slots: list, rows: int) -> float:
    denominator = program["loss"]["denominator"]
    return float(slots[denominator["slot"]]) if "slot" in denominator else denominator["rows"] * rows
