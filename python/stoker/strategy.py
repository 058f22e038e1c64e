"""How workers come to one model: the strategies of a fit, in the engine's words (engine/train/spec.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]


@dataclass(frozen=True)
class LocalSGD:
    """Parameter averaging: each shard takes `every` steps alone, then weights are averaged, each shard weighing by its
    rows. McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"; with one
    round an epoch that is Elephas' and SparkNet's averaging.

    Args:
        every: steps from one average to the next; rounds end with the epoch.
        innerState: "average": the optimizer's state is averaged too; "reset": each round begins with none.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4, strategy=stoker.LocalSGD(every=20))
    """

    every: int = 20
    innerState: str = "average"


@dataclass(frozen=True)
class DiLoCo:
    """Local steps with an outer optimizer: what shards moved by on average is the gradient of SGD with Nesterov's
    momentum. Douillard et al. 2023, "DiLoCo: Distributed Low-Communication Training of Language Models".

    Args:
        every: steps from one outer step to the next; rounds end with the epoch.
        outerLearningRate: of the outer SGD.
        outerMomentum: of the outer SGD, Nesterov's; from 0 to below 1.
        innerState: "average": the inner optimizer's state is averaged too; "reset": each round begins with none.
        compress: None, "int8" or "int4": what each shard moved by is rounded to whole numbers of 8 bits in blocks of
            1,024 weights, or of 4 bits in blocks of 256, with a scale a block; between hosts those numbers travel
            (Douillard et al. 2025, "Streaming DiLoCo with overlapping communication", section 2.3). Inner state that
            is averaged travels as it is: take innerState="reset" with it.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4, strategy=stoker.DiLoCo(every=100, compress="int8",
        ...                  innerState="reset"))
    """

    every: int = 20
    outerLearningRate: float = 0.7
    outerMomentum: float = 0.9
    innerState: str = "average"
    compress: str | None = None


_KINDS: dict[str, Any] = {"allreduce": None, "localSGD": LocalSGD, "diLoCo": DiLoCo}
_STATES = ("average", "reset")
_CODES = (None, "int8", "int4")


def as_strategy(value: Any) -> Settings:
    """A name, a LocalSGD, a DiLoCo or a dict of name and settings, as such a dict. UserError says what is wrong."""
    value = plain(value)
    for name, kind in _KINDS.items():
        if kind is not None and isinstance(value, kind):
            value = {"name": name, **asdict(value)}
    told = {"name": value} if isinstance(value, str) else value
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str):
        raise UserError(f"strategy: got {value!r}, expected {_choices()}")
    found = {known.lower(): known for known in _KINDS}.get(told["name"].lower())
    if found is None:
        near = did_you_mean(told["name"], _KINDS) or f"; expected {_choices()}"
        raise UserError(f"strategy: there is no {told['name']!r}{near}")
    return _checked(found, {key: item for key, item in told.items() if key != "name"})


def _choices() -> str:
    return "'allreduce', stoker.LocalSGD(every=...) or stoker.DiLoCo(every=...)"


def _checked(name: str, told: Settings) -> Settings:
    kind = _KINDS[name]
    known = {field.name: field.default for field in fields(kind)} if kind else {}
    for key in told:
        if key not in known:
            near = did_you_mean(str(key), known) or f"; it has {', '.join(known) or 'none'}"
            raise UserError(f"strategy: {name} has no setting {key!r}{near}")
    found = {**known, **told}
    if known:
        _check(found)
    return {"name": name, **found}


def _check(found: Settings) -> None:
    every = found["every"]
    if not is_finite(every) or every < 1 or every != int(every):
        raise UserError(f"strategy: every is {every!r}, expected a whole number of steps, at least 1")
    found["every"] = int(every)
    if found["innerState"] not in _STATES:
        raise UserError(f"strategy: innerState is {found['innerState']!r}, expected one of "
                        f"{', '.join(map(repr, _STATES))}")  # fmt: skip
    if found.get("compress") not in _CODES:
        raise UserError(f"strategy: compress is {found['compress']!r}, expected one of "
                        f"{', '.join(map(repr, _CODES))}")  # fmt: skip
    rate, momentum = found.get("outerLearningRate", 1.0), found.get("outerMomentum", 0.0)
    if not is_finite(rate) or rate <= 0:
        raise UserError(f"strategy: outerLearningRate is {rate!r}, expected a number above 0")
    if not is_finite(momentum) or not 0 <= momentum < 1:
        raise UserError(f"strategy: outerMomentum is {momentum!r}, expected a number from 0 to below 1")


def is_local(strategy: Mapping[str, Any]) -> bool:
    """Whether replicas take steps of their own."""
    return strategy["name"] != "allreduce"


def spec_of(strategy: Mapping[str, Any]) -> Settings:
    """The TrainSpec's "strategy", as a field of it; nothing where the gradients of each step are added up."""
    if not is_local(strategy):
        return {}
    momentum = float(strategy.get("outerMomentum", 0.0))
    outer = {"lr": float(strategy.get("outerLearningRate", 1.0)), "momentum": momentum, "nesterov": momentum > 0}
    code = {"compress": strategy["compress"]} if strategy.get("compress") else {}
    return {"strategy": {"every": strategy["every"], "inner_state": strategy["innerState"], **code,
                         "outer": {"name": "sgd", "groups": [outer]}}}  # fmt: skip
