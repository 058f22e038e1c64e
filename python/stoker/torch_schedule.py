"""torch.optim.lr_scheduler instances read as settings of stoker.schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from stoker.errors import UserError

Settings = dict[str, Any]

_CALLS_PYTHON = "it calls a Python function, which cannot run on the workers; use a named schedule (docs/optimizers.md)"
_REFUSED = {
    "LambdaLR": _CALLS_PYTHON,
    "MultiplicativeLR": _CALLS_PYTHON,
    "CyclicLR": "it has no formula here; use CosineAnnealingWarmRestarts or OneCycleLR",
    "SWALR": "it goes with torch's own loop; use a named schedule (docs/optimizers.md)",
}
# Of a product: those that only multiply.
_FACTORS = {"constant", "linear", "step", "multi_step", "exponential"}


def read(scheduler: Any) -> Settings:
    """UserError says why one cannot be read."""
    import torch

    kind = type(scheduler).__name__
    if isinstance(scheduler, type):
        raise UserError(f"lrSchedule: got the class {scheduler.__name__}; give an instance, or a dict with a name")
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        raise UserError(f"lrSchedule: got a {kind}, expected a dict such as {{'name': 'cosine', 'warmup': 500}} or a "
                        f"torch.optim.lr_scheduler instance")  # fmt: skip
    exact = type(scheduler) is getattr(torch.optim.lr_scheduler, kind, None)
    if not exact or kind not in _READERS:
        why = _REFUSED.get(kind, "its formula is not known here; use a named schedule (docs/optimizers.md)")
        raise UserError(f"lrSchedule: torch's {kind} cannot be read: {why}")
    # Members of a SequentialLR stand at -1 until it is their turn.
    if getattr(scheduler, "last_epoch", 0) > 0:
        raise UserError(f"lrSchedule: the {kind} has been stepped already; give a new one")
    return _READERS[kind](scheduler)


def _step(s: Any) -> Settings:
    return {"name": "step", "step_size": s.step_size, "gamma": s.gamma}


def _multi_step(s: Any) -> Settings:
    return {"name": "multi_step", "milestones": sorted(Counter(s.milestones).elements()), "gamma": s.gamma}


def _exponential(s: Any) -> Settings:
    return {"name": "exponential", "gamma": s.gamma}


def _constant(s: Any) -> Settings:
    return {"name": "constant", "factor": s.factor, "total": s.total_iters}


def _linear(s: Any) -> Settings:
    return {"name": "linear", "start_factor": s.start_factor, "end_factor": s.end_factor, "total": s.total_iters}


def _polynomial(s: Any) -> Settings:
    return {"name": "polynomial", "power": s.power, "min_lr": 0.0, "total": s.total_iters}


def _cosine(s: Any) -> Settings:
    return {"name": "cosine", "min_lr": s.eta_min, "total": s.T_max, "returns": True}


def _cosine_restarts(s: Any) -> Settings:
    return {"name": "cosine_restarts", "period": s.T_0, "period_factor": s.T_mult, "min_lr": s.eta_min}


def _one_cycle(s: Any) -> Settings:
    groups = s.optimizer.param_groups
    first = groups[0]
    ends = [phase["end_step"] for phase in s._schedule_phases]
    told = {"name": "one_cycle", "total": s.total_steps, "pct_start": (ends[0] + 1) / s.total_steps,
            "anneal_strategy": s._anneal_func_type, "three_phase": len(ends) == 3,
            "div_factor": first["max_lr"] / first["initial_lr"],
            "final_div_factor": first["initial_lr"] / first["min_lr"],
            "max_lr": [group["max_lr"] for group in groups], "cycle_momentum": s.cycle_momentum}  # fmt: skip
    for key in ("base_momentum", "max_momentum"):
        values = {group.get(key, 0.0) for group in groups}
        if len(values) > 1:
            raise UserError(f"lrSchedule: {key} of the OneCycleLR differs between the groups; it must be the same")
        told[key] = values.pop()
    return told


def _sequence(s: Any) -> Settings:
    parts = [read(part) for part in s._schedulers]
    return {"name": "sequence", "schedules": parts, "milestones": list(s._milestones)}


def _plateau(s: Any) -> Settings:
    if len(set(s.min_lrs)) > 1:
        raise UserError("lrSchedule: min_lr of the ReduceLROnPlateau differs between the groups; it must be the same")
    return {"name": "plateau", "mode": "auto" if s.mode == "min" else s.mode, "factor": s.factor,
            "patience": s.patience, "threshold": s.threshold, "threshold_mode": s.threshold_mode,
            "cooldown": s.cooldown, "min_lr": s.min_lrs[0], "eps": s.eps}  # fmt: skip


def _product(s: Any) -> Settings:
    parts = [read(part) for part in s._schedulers]
    odd = next((part["name"] for part in parts if part["name"] not in _FACTORS), None)
    if odd is not None:
        raise UserError(f"lrSchedule: a ChainedScheduler can be read where its parts only multiply the rate, and "
                        f"{odd!r} does not; use SequentialLR")  # fmt: skip
    return {"name": "product", "schedules": parts}


_READERS: dict[str, Callable[[Any], Settings]] = {
    "StepLR": _step, "MultiStepLR": _multi_step, "ExponentialLR": _exponential, "ConstantLR": _constant,
    "LinearLR": _linear, "PolynomialLR": _polynomial, "CosineAnnealingLR": _cosine,
    "CosineAnnealingWarmRestarts": _cosine_restarts, "OneCycleLR": _one_cycle, "SequentialLR": _sequence,
    "ChainedScheduler": _product, "ReduceLROnPlateau": _plateau,
}  # fmt: skip
