"""Finds models whose answer for a row depends on the rows beside it: runs the inference program on random rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from stoker.frontend.chance import draws
from stoker.frontend.interpret import Interpreter

_SIZES = (5, 6, 11, 13)  # of batches; the first that no tensor of the model has
_KEPT = (3, 0)  # the rows that are compared: not in the middle, no neighbours, nor so when the batch is turned round
_COMPANIES = ((1, 0), (8, 0), (1, 4))  # scales and shifts of the rows beside them: a threshold moves
_LOOKUPS = {"aten.embedding.default", "aten.embedding_bag.default", "aten.embedding_bag.padding_idx"}
# Companions change no bit of a row, but another place or another number of rows does: kernels go other ways.
_BESIDE_OTHERS, _ELSEWHERE = 1e-6, 1e-3

Rows = dict[int, torch.Tensor]


def place_of_coupling(infer: dict, weights: dict) -> str | None:
    """The first operator, in its place in the model, whose result for a row depends on its companions, their number or
    the row's place among them. None where no row's answer does, or where no random rows are found that the model takes.
    """
    check = _Check(infer, weights)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for rows, companies in _batches(infer, check.size):
            answers = check.answers(rows)
            if answers and all(bool(answer[_KEPT[0]].isfinite().any()) for answer in answers):
                return check.place(rows, answers, companies)
    return None


class _Check:
    def __init__(self, infer: dict, weights: dict) -> None:
        self.infer = infer
        self.interpreter = Interpreter(infer)
        self.size = _uncommon_size(infer)
        self.is_random = any(map(draws, infer["nodes"]))
        self.fixed = {e["slot"]: torch.from_numpy(weights[e["name"]]) for e in infer["constants"]}
        self.fixed.update({e["slot"]: _lively(torch.from_numpy(weights[e["name"]])) for e in infer["parameters"]})
        self.written = {e["slot"]: torch.from_numpy(weights[e["name"]]) for e in infer["buffers"]}

    def place(self, rows: Rows, answers: list[torch.Tensor], companies: list[Rows]) -> str | None:
        for others in companies:
            changed = self.answers(others)
            for row in _KEPT:
                if _differ(answers, changed, row, row, _BESIDE_OTHERS):
                    return self._first_mixing(rows, others, row)
        if self.is_random:
            return None  # other places draw other numbers
        row = _KEPT[0]
        for before in (0, 1):
            few = {slot: values[row - before : row + 1] for slot, values in rows.items()}
            if _differ(answers, self.answers(few), row, before, _ELSEWHERE):
                return self._first_placing(rows, few, row, before)
        return None

    def answers(self, rows: Rows) -> list[torch.Tensor]:
        """Nothing where these are no rows that the model takes, or too few."""
        try:
            *_, slots = self._steps(rows)
        except (RuntimeError, IndexError, ValueError, TypeError):
            return []
        return [slots[entry["slot"]] for entry in self.infer["outputs"]]

    def _steps(self, rows: Rows) -> Iterator[list]:
        """The slots before and after each node; the same random numbers each time."""
        slots: list = [None] * self.infer["slots"]
        written = {slot: values.clone() for slot, values in self.written.items()}
        for slot, value in {**self.fixed, **written, **rows}.items():
            slots[slot] = value
        yield slots
        for number in range(len(self.infer["nodes"])):
            if self.is_random:
                torch.manual_seed(number)
            self.interpreter.step(number, slots)
            yield slots

    def _first_mixing(self, rows: Rows, others: Rows, row: int) -> str:
        def mixes(one: torch.Tensor, other: torch.Tensor) -> bool:
            """A tensor of rows has at least those elements in common that are of the row in both batches."""
            if one.shape != other.shape:
                return True
            if one.dim() and one.shape[0] == self.size:
                return not _near(one[row], other[row], _BESIDE_OTHERS)
            return int(_same(one, other).sum()) < one.numel() / self.size

        return self._first(rows, others, mixes)

    def _first_placing(self, rows: Rows, part: Rows, row: int, place: int) -> str:
        count = len(next(iter(part.values())))

        def depends(one: torch.Tensor, other: torch.Tensor) -> bool:
            if not one.is_floating_point() or not one.dim() or one.shape[0] != self.size or other.shape[0] != count:
                return False
            return not _near(one[row], other[place], _ELSEWHERE)

        return self._first(rows, part, depends)

    def _first(self, rows: Rows, others: Rows, is_it) -> str:
        """Both run side by side, until an operator's results say that it is this one."""
        both = zip(self._steps(rows), self._steps(others), strict=True)
        next(both)
        for node, (one, other) in zip(self.infer["nodes"], both, strict=True):
            found = [(one[slot], other[slot]) for slot in node["out"] if slot is not None]
            if any(isinstance(a, torch.Tensor) and is_it(a, b) for a, b in found):
                break
        return f"{node['where']} ({node['op']})" if node["where"] else node["op"]


def _differ(answers: list, others: list, row: int, place: int, tolerance: float) -> bool:
    return any(not _near(one[row], other[place], tolerance) for one, other in zip(answers, others, strict=False))


def _same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one == other) | (one.isnan() & other.isnan())


def _near(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    """Whole numbers must be equal; no number is near no number."""
    if one.shape != other.shape:
        return False
    same = _same(one, other)
    if same.all() or not one.is_floating_point():
        return bool(same.all())
    apart, size = (one - other)[~same].abs(), one[one.isfinite()].abs()
    bound = tolerance * max(float(size.max()) if size.numel() else 0.0, 1.0 if tolerance == _ELSEWHERE else 0.0)
    return bool((apart <= bound).all())


def _uncommon_size(infer: dict) -> int:
    entries = [entry for kind in ("inputs", "parameters", "buffers", "constants", "outputs") for entry in infer[kind]]
    common = {size for entry in entries for size in entry["shape"]}
    return next((size for size in _SIZES if size not in common), _SIZES[-1])


def _lively(values: torch.Tensor) -> torch.Tensor:
    """A gate that begins at 0 would hide what lies behind it: parameters that are all alike become random."""
    if not values.numel() or (values != values.flatten()[0]).any():
        return values
    return values + torch.rand(values.shape, generator=torch.Generator().manual_seed(1))


def _batches(infer: dict, size: int) -> Iterator[tuple[Rows, list[Rows]]]:
    """Random rows, and the compared ones among others. Of several kinds: not every model takes every number."""
    for positive in (False, True):
        for limit in dict.fromkeys((_rows_of_tables(infer), 2)):
            generator = torch.Generator().manual_seed(limit)
            rows, *others = ({e["slot"]: _random(e, size, limit, positive, generator) for e in infer["inputs"]}
                             for _ in range(1 + len(_COMPANIES)))  # fmt: skip
            for company, (scale, shift) in zip(others, _COMPANIES, strict=True):
                for slot, values in company.items():
                    company[slot] = values * scale + shift if values.is_floating_point() else values
                    for row in _KEPT:
                        company[slot][row] = rows[slot][row]
            yield rows, others


def _rows_of_tables(infer: dict) -> int:
    """Whole numbers below it are good for every table that is looked up."""
    shapes = {e["slot"]: e["shape"] for kind in ("parameters", "buffers", "constants") for e in infer[kind]}
    tables = [node["args"][0].get("slot") for node in infer["nodes"] if node["op"] in _LOOKUPS]
    return min((shapes[slot][0] for slot in tables if slot in shapes), default=100)


def _random(entry: dict, rows: int, limit: int, positive: bool, generator: torch.Generator) -> torch.Tensor:
    shape, dtype = (rows, *entry["shape"]), getattr(torch, entry["dtype"])
    if dtype.is_floating_point:
        draw = torch.rand if positive else torch.randn
        return draw(shape, generator=generator, dtype=dtype)
    return torch.randint(0, limit, shape, generator=generator).to(dtype)
