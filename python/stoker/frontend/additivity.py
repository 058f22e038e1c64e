"""Checks on random data that a batch equals itself cut in unequal parts: numerators and denominators add up."""

from __future__ import annotations

import torch

from stoker.frontend.interpret import Interpreter

_ROWS, _CUT = 5, 2
_IDLE_DROPOUTS = {f"aten.{name}.default" for name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")}
_RECURRENT = {f"aten.{name}.input": position for name, position in
              (("lstm", 5), ("gru", 5), ("rnn_tanh", 5), ("rnn_relu", 5))}  # fmt: skip
_TOLERANCE = 1e-3


def notes(train: dict, weights: dict) -> list[str]:
    """What to say about the loss; nothing where it adds up, or where chance decides."""
    program = without_dropout(train)
    if _is_random(program):
        return []
    interpreter = Interpreter(program)
    rows = _random_rows(program)
    try:
        whole, parts = _sums(interpreter, program, weights, rows, [_ROWS]), None
        parts = _sums(interpreter, program, weights, rows, [_CUT, _ROWS - _CUT])
    except (RuntimeError, IndexError, ValueError):  # the random rows are not what the model expects
        return []
    if all(abs(a - b) <= _TOLERANCE * max(abs(a), abs(b), 1e-6) or a != a for a, b in zip(whole, parts, strict=True)):
        return []
    return ["the loss of a batch is not the sum over its rows: it is taken per micro-batch, so another number of shards "
            "gives another result"]  # fmt: skip


def without_dropout(program: dict) -> dict:
    return dict(program, nodes=[_without_dropout(node) for node in program["nodes"]])


def _without_dropout(node: dict) -> dict:
    args = list(node["args"])
    if node["op"] in _IDLE_DROPOUTS:
        args[2] = False
    elif node["op"] in _RECURRENT:
        args[_RECURRENT[node["op"]]] = 0.0
    elif node["op"] == "aten.scaled_dot_product_attention.default" and len(args) > 4:
        args[4] = 0.0
    else:
        return node
    return dict(node, args=args)


def _is_random(program: dict) -> bool:
    from stoker.frontend.interpret import find_operator

    tags = [getattr(find_operator(node["op"]), "tags", ()) for node in program["nodes"]]
    quiet = _IDLE_DROPOUTS | set(_RECURRENT) | {"aten.scaled_dot_product_attention.default"}
    names = [node["op"] for node in program["nodes"]]
    return any(torch.Tag.nondeterministic_seeded in tag and name not in quiet for tag, name in zip(tags, names, strict=True))


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
