"""Checks on random data that a batch equals itself cut in unequal parts: numerators, denominators, gradients add up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from stoker.errors import CompileError
from stoker.frontend.chance import WithoutChance, is_random, without_dropout, without_mixing
from stoker.frontend.interpret import Interpreter

_CUTS = ([9], [2, 7], [4, 3, 2])
_CUTS_OF_LARGE_ROWS = ([5], [2, 3])
_LARGE_ROW = 20_000  # values
_SKETCH = 1 << 20  # values of a gradient
_CLASS_LOSSES = {f"aten.{name}.default" for name in ("cross_entropy_loss", "nll_loss_nd", "nll_loss", "nll_loss2d")}
_BY_FREQUENCY = {"aten.embedding.default", "aten.embedding_bag.default"}  # argument 3: scale_grad_by_freq
_MEAN, _IGNORED = 1, -100
_RANGES = {"scale": (0.5, 0.4), "shift": (0.0, 0.1)}  # lowest, width: a probability stays one
_TOLERANCE, _GRADIENT_TOLERANCE, _NUMBER_TOLERANCE = 1e-3, 1e-2, 5e-5
PER_MICRO_BATCH = (
    "the loss of a batch is not the sum over its rows: it is taken per micro-batch, so another number of shards gives "
    "another result"
)
UNDECIDED = (
    "whether the loss of a batch is the sum over its rows cannot be checked; where it is not, another number of shards "
    "gives another result"
)
_IGNORES = (
    "the loss divides by the labels that are not -100 in a micro-batch, so where some are -100 another number of "
    "shards gives another result; nn.CrossEntropyLoss given as loss does not"
)


@dataclass
class Sums:
    """Of a batch, or of its parts together."""

    numerator: float = 0.0
    denominator: float = 0.0
    gradients: list[torch.Tensor] | None = None  # as sketches

    def add(self, numerator: float, denominator: float, gradients: list[torch.Tensor]) -> None:
        self.numerator += numerator
        self.denominator += denominator
        before = self.gradients
        self.gradients = gradients if before is None else [a + b for a, b in zip(before, gradients, strict=True)]


def notes(train: dict, weights: dict, mixed: bool = False) -> list[str]:
    """What to say about the loss; nothing where it adds up. `mixed`: of its rows before they are mixed."""
    if any(_divides_by_labels(node) or _scales_by_frequency(node) for node in train["nodes"]):
        return [PER_MICRO_BATCH]
    program = without_dropout(without_mixing(train) if mixed else train)
    adds_up = None if is_random(program) else _adds_up(program, weights)
    if not adds_up:
        return [UNDECIDED if adds_up is None else PER_MICRO_BATCH]
    return [_IGNORES] if any(_may_ignore(node, train) for node in train["nodes"]) else []


def _argument(node: dict, position: int, name: str, default):
    return node["args"][position] if len(node["args"]) > position else node["kwargs"].get(name, default)


def _takes_mean(node: dict) -> bool:
    return node["op"] in _CLASS_LOSSES and _argument(node, 3, "reduction", _MEAN) == _MEAN


def _divides_by_labels(node: dict) -> bool:
    """A mean over classes that weigh, or count, differently."""
    weighs = _takes_mean(node) and _argument(node, 2, "weight", None) is not None
    return weighs or (_takes_mean(node) and _argument(node, 4, "ignore_index", _IGNORED) != _IGNORED)


def _may_ignore(node: dict, program: dict) -> bool:
    """A classifier's label of one number a row is never -100: it is checked to be a class."""
    labels = [entry for entry in program["inputs"] if entry["role"] == "label" and entry["dtype"] == "int64"]
    return _takes_mean(node) and any(entry["shape"] or program["metric"] is None for entry in labels)


def _scales_by_frequency(node: dict) -> bool:
    return node["op"] in _BY_FREQUENCY and _argument(node, 3, "scale_grad_by_freq", False) is True


def _adds_up(program: dict, weights: dict) -> bool | None:
    """None where no random rows are found that the model takes."""
    large = sum(math.prod(entry["shape"]) for entry in program["inputs"]) > _LARGE_ROW
    cuts = _CUTS_OF_LARGE_ROWS if large else _CUTS
    for kind in (_with_rows_told_apart(program), program):
        found = _compare(kind, weights, cuts)
        if found is not None:
            return found
    return None


def _compare(program: dict, weights: dict, cuts: tuple) -> bool | None:
    """None where no random rows are found that the model takes."""
    interpreter = WithoutChance(program)
    kept = fixed(program, weights)
    for rows in random_batches(program, sum(cuts[0])):
        try:
            whole, *parts = (_sums(interpreter, program, weights, {**kept, **rows}, cut) for cut in cuts)
        except (RuntimeError, IndexError, ValueError) as error:  # the random rows are not what the model expects
            _refuse_spoilt(error)
            continue
        if math.isfinite(whole.numerator):
            return all(_near(whole, part) for part in parts)
    return None


def _with_rows_told_apart(program: dict) -> dict:
    """Each row's outputs are moved by numbers of its own, within the convex sets that they may be in: a fresh model may
    answer all rows alike (a head of zeros), which would hide what a loss does with rows that differ."""
    inputs, nodes = [], []
    moved = {output["slot"]: [1] * len(output["shape"]) for output in program["outputs"]}
    for node in program["nodes"]:
        nodes.append(node)
        for slot in moved.keys() & set(node["out"]):
            free = program["slots"] + len(inputs)
            inputs += [_one_for_each_row(free, "scale", moved[slot]), _one_for_each_row(free + 1, "shift", moved[slot])]
            nodes += [_node("mul", slot, free), _node("add", slot, free + 1)]
            del moved[slot]
    slots = program["slots"] + len(inputs)
    return dict(program, inputs=[*program["inputs"], *inputs], nodes=nodes, slots=slots)


def _one_for_each_row(slot: int, role: str, shape: list[int]) -> dict:
    return {"slot": slot, "role": role, "dtype": "float32", "shape": shape}


def _node(name: str, slot: int, by: int) -> dict:
    return {"op": f"aten.{name}.Tensor", "args": [{"slot": slot}, {"slot": by}], "kwargs": {}, "out": [slot]}


def _refuse_spoilt(error: Exception) -> None:
    if "modified by an inplace operation" in str(error):
        raise CompileError(
            "the model changes a tensor in place that its gradient needs, so PyTorch cannot train it: " + str(error)
        ) from None


def _near(whole: Sums, parts: Sums) -> bool:
    """Also where a gradient or denominator is no number, which says nothing."""
    if not (_near_number(whole.numerator, parts.numerator) and _near_number(whole.denominator, parts.denominator)):
        return False
    total = math.sqrt(sum(float(gradient.square().sum()) for gradient in whole.gradients))
    return not math.isfinite(total) or all(
        float((a - b).norm()) <= max(_GRADIENT_TOLERANCE * float(a.norm()), _TOLERANCE * total)
        for a, b in zip(whole.gradients, parts.gradients, strict=True)
    )


def _near_number(a: float, b: float) -> bool:
    return not math.isfinite(a) or abs(a - b) <= _NUMBER_TOLERANCE * max(abs(a), abs(b), 1e-6)


def _classes(program: dict) -> int:
    """So many values of whole numbers are all good as classes and as rows of tables, as far as the program tells."""
    tables = {entry["slot"]: entry["shape"][0] for entry in (*program["parameters"], *program["constants"])
              if entry["shape"]}  # fmt: skip
    looked_up = [node["args"][0].get("slot") for node in program["nodes"] if node["op"] in _BY_FREQUENCY]
    sizes = [output["shape"][0] for output in program["outputs"] if output["shape"] and output["shape"][0] > 1]
    return max(2, min([*sizes, *(tables[slot] for slot in looked_up if slot in tables)], default=2))


def random_batches(program: dict, rows: int) -> Iterator[dict[int, torch.Tensor]]:
    """Of several kinds: not every model takes every number."""
    for signed in (True, False):
        for largest in dict.fromkeys((_classes(program), 2)):
            generator = torch.Generator().manual_seed(0)
            yield {e["slot"]: _random(e, rows, largest, signed, generator) for e in program["inputs"]}


def _random(entry: dict, rows: int, largest: int, signed: bool, generator: torch.Generator) -> torch.Tensor:
    """Whole numbers: every value if there are so many places, and the first and the last in any case."""
    shape, dtype, role = (rows, *entry["shape"]), getattr(torch, entry["dtype"]), entry["role"]
    if dtype.is_floating_point:
        draw = torch.randn if signed and role == "feature" else torch.rand
        low, width = _RANGES.get(role, (0.0, 1.0))
        return low + width * draw(shape, generator=generator, dtype=dtype)
    count = math.prod(shape)
    values = torch.randint(0, largest, (count,), generator=generator)
    values[: min(count, largest)] = torch.arange(largest)[-min(count, largest) :]
    values[:1] = 0
    return values[torch.randperm(count, generator=generator)].reshape(shape).to(dtype)


def fixed(program: dict, weights: dict) -> dict[int, torch.Tensor]:
    """Parameters and constants, which no run changes."""
    kept = {e["slot"]: torch.from_numpy(weights[e["name"]]) for e in (*program["constants"], *program["parameters"])}
    for entry in program["parameters"]:
        kept[entry["slot"]].requires_grad_()
    return kept


def _sums(interpreter: Interpreter, program: dict, weights: dict, values: dict, parts: list[int]) -> Sums:
    sums, start = Sums(), 0
    for size in parts:
        part = dict(values)
        for entry in program["inputs"]:
            part[entry["slot"]] = values[entry["slot"]][start : start + size]
        sums.add(*_part(interpreter, program, weights, part, size))
        start += size
    return sums


def _part(interpreter: Interpreter, program: dict, weights: dict, values: dict, size: int) -> tuple:
    for entry in program["buffers"]:
        values[entry["slot"]] = torch.from_numpy(weights[entry["name"]].copy())
    parameters = [values[entry["slot"]] for entry in program["parameters"]]
    with torch.enable_grad():
        slots = interpreter.run(values)
        numerator = slots[program["loss"]["numerator"]]
        gradients = torch.autograd.grad(numerator, parameters, allow_unused=True, materialize_grads=True)
    return float(numerator.detach()), denominator_of(program, slots, size), [_sketch(each) for each in gradients]


def _sketch(gradient: torch.Tensor) -> torch.Tensor:
    """A large one's pieces summed with random weights: sketches add up where gradients do, and take no model's room."""
    pieces, rest = divmod(gradient.numel(), _SKETCH)
    if not pieces:
        return gradient
    weights = torch.randn(pieces + 1, generator=torch.Generator().manual_seed(0)).to(gradient.dtype)
    flat = gradient.flatten()
    sketch = weights[:pieces] @ flat[: pieces * _SKETCH].reshape(pieces, _SKETCH)
    sketch[:rest] += weights[pieces] * flat[pieces * _SKETCH :]
    return sketch


def denominator_of(program: dict, slots: list, rows: int) -> float:
    denominator = program["loss"]["denominator"]
    return float(slots[denominator["slot"]].detach()) if "slot" in denominator else denominator["rows"] * rows
