"""Compares a case with eager PyTorch: whole, cut in three shards, evaluated; equal, refused, or what differs.

What may differ: TOLERANCE of a tensor's largest value, some hundred roundings of float32 (sums of a few hundred terms,
three steps); so many times the error that eager float32 itself has against float64; some roundings of the largest
gradient, for gradients that are zero but for rounding (a bias before a norm, rows that are all alike). What differs by
more is computed again from inputs and weights that differ by 1e-6: where eager moves as far, the case is
ill-conditioned and says nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from conformance.harness import EngineRunner, as_given, infer_with_engine
from fuzz_models.eager import RATE, Eager, case_of, default_dtype
from stoker.errors import CompileError, UserError
from stoker.frontend.additivity import without_dropout
from stoker.program import Compiled

TOLERANCE = 2e-5
OWN_ERROR = 16
FLOOR = 1e-6
STEPS = 3
CUTS = (0, 2, 7, 11)
Numbers = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """kind: equal, refused, different, crashed, ill (conditioned), invalid (eager itself fails), slow."""

    kind: str
    reason: str = ""

    @property
    def is_fault(self) -> bool:
        return self.kind in ("different", "crashed", "slow")

    def like(self, other: Verdict) -> bool:
        """Of one kind, and found at the same place: in a gradient, in shards, in evaluation."""
        places = [normal(verdict.reason).partition(" of ")[0].partition(":")[0] for verdict in (self, other)]
        return self.kind == other.kind and places[0] == places[1]


class Different(Exception):
    pass


class Ill(Exception):
    pass


def judge(source: str) -> Verdict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "Using a target size")  # torch would broadcast, where Stoker reshapes
        torch.set_num_threads(1)
        return _judge(source)


def _judge(source: str) -> Verdict:
    try:
        right = Right(source)
    except Exception as error:
        return Verdict("invalid", _first_line(error))
    if not right.is_finite:
        return Verdict("invalid", "not finite")
    try:
        return Verdict("equal", Comparison(right).run())
    except (TimeoutError, SystemError):
        raise
    except Exception as error:
        return Verdict(*_what(error))


def _what(error: Exception) -> tuple[str, str]:
    if isinstance(error, Different):
        return "different", str(error)
    if isinstance(error, Ill):
        return "ill", str(error)
    if isinstance(error, (CompileError, UserError)) or getattr(error, "kind", "") == "user":
        return "refused", _first_line(error)
    return "crashed", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


def normal(text: str) -> str:
    """A reason without names, numbers and places, to count by."""
    text = re.sub(r" at \S+ \([\w.]+\)(, \S+:\d+)?| at \S+:\d+", " at PLACE", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^]]*\]|\([^()]*\)", "_", text)
    return re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "N", text)[:110]


class Right:
    """The numbers of eager PyTorch, in float32 and float64; also from disturbed inputs, where that is asked."""

    def __init__(self, source: str):
        self.source = source
        self.near = measure(source, torch.float32)
        self.exact = self._exactly(0) or self.near
        self.is_finite = all(np.isfinite(values).all() for values in self.near.values())
        scale = [np.abs(values).max(initial=0) for name, values in self.exact.items() if "gradient" in name]
        self.floor = FLOOR * max(scale, default=0.0)

    def _exactly(self, noise: int) -> Numbers | None:
        try:
            with default_dtype(torch.float64):
                return measure(self.source, torch.float64, noise)
        except Exception:
            return None

    def allowed(self, name: str) -> float:
        near, exact = self.near[name], self.exact[name]
        own = np.abs(near - exact).max(initial=0)
        return TOLERANCE * np.abs(near).max(initial=0) + OWN_ERROR * own + self.floor

    def moves_by(self, name: str) -> float:
        exactly = [(self._exactly(noise), self.exact) for noise in (1, 2, 3)]
        nearly = [(measure(self.source, torch.float32, noise), self.near) for noise in (1, 2, 3)]  # rounds elsewhere
        return max(np.abs(some[name] - same[name]).max(initial=0) for some, same in exactly + nearly if some)


def measure(source: str, dtype: torch.dtype, noise: int = 0) -> Numbers:
    found: Numbers = {}
    for part, rows in shards():
        eager = Eager(source, dtype, noise)
        found |= _step(eager.step(rows), f"{part}, ") | _state(eager, f"{part}, ")
    eager = Eager(source, dtype, noise)
    for number in range(STEPS):
        found |= _step(eager.step(), f"step {number}, ")
        eager.update()
    found |= _state(eager, "after steps, ")
    found |= _evaluated(eager, "whole", slice(None))
    for part, rows in lone():
        with contextlib.suppress(ValueError, RuntimeError, IndexError):  # some models take no single row
            found |= _evaluated(eager, part, rows)
    return found


def _evaluated(eager: Eager, part: str, rows: slice) -> Numbers:
    return {f"eval {part}, {name}": _numpy(tensor) for name, tensor in eager.evaluate(rows).items()}


def shards() -> list[tuple[str, slice]]:
    return [(f"shard {n}", slice(*pair)) for n, pair in enumerate(itertools.pairwise(CUTS))]


def lone() -> list[tuple[str, slice]]:
    """Rows alone, and some."""
    return [(f"rows {a}:{b}", slice(a, b)) for a, b in ((0, 1), (4, 5), (2, 5))]


def _step(result: tuple[float, dict], prefix: str) -> Numbers:
    loss, gradients = result
    return {f"{prefix}loss": np.float64(loss)} | {f"{prefix}gradient of {n}": _numpy(g) for n, g in gradients.items()}


def _state(eager: Eager, prefix: str) -> Numbers:
    return {f"{prefix}value of {name}": _numpy(tensor) for name, tensor in eager.state().items()}


def _numpy(tensor) -> np.ndarray:
    return np.asarray(tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else tensor, np.float64)


class Comparison:
    """The compiled program against the right numbers."""

    def __init__(self, right: Right):
        self.right, self.case = right, case_of(right.source)
        before = {name: tensor.clone() for name, tensor in self.case.model.state_dict().items()}
        self.compiled: Compiled = self.case.compile()
        self.program = without_dropout(self.compiled.train)
        self.rows = [tensor.numpy() for tensor in self.case.rows()]
        self.engine = EngineRunner(self.program)
        if any(not torch.equal(before[name], tensor) for name, tensor in self.case.model.state_dict().items()):
            raise Different("compiling changed the module itself")

    def run(self) -> str:
        weights = self._steps()
        self._shards()
        self._evaluate(dataclasses.replace(self.compiled, weights=weights))
        return "; ".join(note.split(":")[0][:40] for note in self.compiled.notes)

    @property
    def noted(self) -> bool:
        return any("another number of shards" in note for note in self.compiled.notes)

    def _steps(self) -> dict:
        weights = {name: np.array(value) for name, value in self.compiled.weights.items()}
        for number in range(STEPS):
            result = self._run(weights, slice(None))
            divisor = result["denominator"] or 1.0
            self._same(f"step {number}, loss", result["numerator"] / divisor)
            self._gradients(f"step {number}, ", result["gradients"], divisor)
            weights = updated(weights, result, divisor, self.program)
        self._state("after steps, ", weights)
        return weights

    def _run(self, weights: dict, rows: slice) -> dict:
        return self.engine.run(weights, [values[rows] for values in self.rows])

    def _gradients(self, prefix: str, ours: dict, divisor: float) -> None:
        """Ours against eager's; who has one that the other has not holds a zero."""
        ours = as_given(self.program, ours)
        right = {
            name.partition("gradient of ")[2] for name in self.right.near if name.startswith(f"{prefix}gradient of ")
        }
        for name in sorted(right | ours.keys()):
            mine = ours[name] / divisor if name in ours else None
            self._same(f"{prefix}gradient of {name}", mine)

    def _state(self, prefix: str, weights: dict) -> None:
        held = as_given(self.program, weights)
        for entry in self.program["parameters"]:
            held |= dict.fromkeys(entry["aliases"], held[entry["name"]])
        for name in [name for name in self.right.near if name.startswith(f"{prefix}value of ")]:
            short = name.partition("value of ")[2]
            if short in held or not short.startswith("$"):
                self._same(name, held[short])

    def _shards(self) -> None:
        results = [(part, self._run(self.compiled.weights, rows)) for part, rows in shards()]
        if self.noted:
            for part, result in results:
                self._one_shard(part, result)
            return
        divisor = sum(result["denominator"] for _, result in results) or 1.0
        total = {name: sum(result["gradients"][name] for _, result in results) for name in results[0][1]["gradients"]}
        with _saying("in three shards, without a note: "):
            self._same("step 0, loss", sum(result["numerator"] for _, result in results) / divisor)
            self._gradients("step 0, ", total, divisor)

    def _one_shard(self, part: str, result: dict) -> None:
        divisor = result["denominator"] or 1.0
        self._same(f"{part}, loss", result["numerator"] / divisor)
        self._gradients(f"{part}, ", result["gradients"], divisor)
        counted = {e["name"] for e in self.program["buffers"] if e["rule"] == "count"}
        for name, value in result["buffers"].items():
            if name not in counted:
                self._same(f"{part}, value of {name}", value)

    def _evaluate(self, compiled: Compiled) -> None:
        for part, rows in [("whole", slice(None)), *lone()]:
            if not any(name.startswith(f"eval {part}, ") for name in self.right.near):
                continue
            outputs = infer_with_engine(compiled, [tensor.numpy()[rows] for tensor in self.case.inputs.values()])
            for name, value in outputs.items():
                self._same(f"eval {part}, {name}", value)

    def _same(self, name: str, ours) -> None:
        right = self.right.near.get(name)
        right = np.zeros_like(ours) if right is None else right
        ours = np.zeros_like(right) if ours is None else np.asarray(ours, np.float64)
        if name.startswith("eval rows") and ours.size == right.size:
            ours = ours.reshape(right.shape)  # squeeze() of a single row
        if ours.shape != right.shape:
            raise Different(f"{name}: shape {ours.shape} instead of {right.shape}")
        if ours.size == 0:
            return
        gap = np.abs(ours - right).max()
        known = name in self.right.near
        if gap <= (self.right.allowed(name) if known else self.right.floor):
            return
        if known and gap <= 4 * self.right.moves_by(name):
            raise Ill(f"{name} moves as far for inputs that differ by 1e-6")
        worst = np.unravel_index(np.nanargmax(np.abs(ours - right)), ours.shape) if ours.shape else ()
        raise Different(f"{name}: {ours[worst]:.6g} instead of {right[worst]:.6g}")


def updated(weights: dict, result: dict, divisor: float, program: dict) -> dict:
    """Weights and buffers after a step of SGD."""
    after = dict(weights)
    for name, gradient in result["gradients"].items():
        after[name] = (weights[name] - np.float32(RATE) * (gradient / np.float32(divisor))).astype(np.float32)
    after |= result["buffers"]
    counted = [entry["name"] for entry in program["buffers"] if entry["rule"] == "count"]
    return after | {name: weights[name] + 1 for name in counted}


@contextlib.contextmanager
def _saying(text: str) -> Iterator[None]:
    try:
        yield
    except Different as error:
        raise Different(text + str(error)) from None
