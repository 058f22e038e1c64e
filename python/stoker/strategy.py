"""How workers come to one model: the strategies of a fit, in the engine's words (engine/train/spec.h)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from stoker import order
from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]
TURNS, ARRIVAL = "turns", "arrival"


@dataclass(frozen=True)
class LocalSGD:
    """Parameter averaging: each shard takes `every` steps alone, then weights are averaged, each shard weighing by its
    rows. McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"; with one
    round an epoch that is Elephas' and SparkNet's averaging.

    Args:
        every: steps from one average to the next; rounds end with the epoch.
        innerState: "average": the optimizer's state is averaged too; "reset": each round begins with none; "keep":
            each shard's is its own and goes on.

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
        innerState: "average": the inner optimizer's state is averaged too; "reset": each round begins with none;
            "keep": each shard's is its own and goes on.
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


@dataclass(frozen=True)
class Downpour:
    """Asynchronous SGD: each shard takes `window` steps from the weights that it pulled last, adds what it moved by to
    the common weights, and pulls. Dean et al. 2012, "Large Scale Distributed Deep Networks" (DOWNPOUR). All shards'
    movements are added up, so it wants a rate some numShards times smaller than one process.

    Args:
        window: steps from one push to the next.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.Downpour(window=5), learningRate=0.02)
    """

    window: int = 5
    innerState: str = "keep"
    order: Any = "turns"


@dataclass(frozen=True)
class AGN:
    """Downpour with each movement divided by the steps that it is of. Hermans et al. 2017, "Accumulated Gradient
    Normalization"; dist-keras calls it ADAG.

    Args:
        window: steps from one push to the next.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.AGN(window=12), learningRate=0.3)
    """

    window: int = 12
    innerState: str = "keep"
    order: Any = "turns"


@dataclass(frozen=True)
class DynSGD:
    """Downpour with each movement divided by 1 + its staleness: the pushes of others since the shard's last pull. Jiang
    et al. 2017, "Heterogeneity-aware Distributed Parameter Servers".

    Args:
        window: steps from one push to the next.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.DynSGD(window=5), learningRate=0.1)
    """

    window: int = 5
    innerState: str = "keep"
    order: Any = "turns"


@dataclass(frozen=True)
class DistanceADAG:
    """AGN with each weight's movement divided by 1 + d^2 / gamma, where d is how far the common weight has gone since
    the shard's last pull. Hermans 2017, "On Scalable Deep Learning and Parallelizing Gradient Descent".

    Args:
        window: steps from one push to the next.
        gamma: the square of the distance that halves a movement; above 0.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.DistanceADAG(window=12), learningRate=0.3)
    """

    window: int = 12
    gamma: float = 1e-4
    innerState: str = "keep"
    order: Any = "turns"


@dataclass(frozen=True)
class AEASGD:
    """Asynchronous elastic averaging: each shard keeps weights of its own; after `window` steps they and the common
    ones go the share beta / numShards of the way to each other. Zhang et al. 2015, "Deep learning with Elastic
    Averaging SGD".

    Args:
        window: steps from one elastic step to the next.
        beta: numShards times that share; the paper's is 0.9.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.AEASGD(window=4), learningRate=0.1)
    """

    window: int = 4
    beta: float = 0.9
    innerState: str = "keep"
    order: Any = "turns"


@dataclass(frozen=True)
class EAMSGD:
    """AEASGD whose shards have Nesterov's momentum: v becomes mu v - rate g(x + mu v), x becomes x + v. The optimizer
    is plain SGD. Zhang et al. 2015, "Deep learning with Elastic Averaging SGD".

    Args:
        window: steps from one elastic step to the next.
        beta: numShards times the share of the way to each other; the paper's is 0.9.
        momentum: mu, above 0 and below 1.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.EAMSGD(window=4), optimizer="sgd",
        ...                  learningRate=0.01)
    """

    window: int = 4
    beta: float = 0.9
    momentum: float = 0.9
    order: Any = "turns"


@dataclass(frozen=True)
class SSP:
    """Downpour whose shards keep together: none begins a window while it has made more than `bound` pushes more than
    the one that has made the fewest. Ho et al. 2013, "More Effective Distributed ML via a Stale Synchronous Parallel
    Parameter Server".

    Args:
        bound: pushes; with 0 shards go in step.
        window: steps from one push to the next, the paper's clock.
        innerState: "keep": each shard's optimizer state is its own and goes on; "reset": it begins anew after a push.
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.SSP(bound=4, window=5), learningRate=0.02)
    """

    bound: int = 8
    window: int = 1
    innerState: str = "keep"
    order: Any = "arrival"


@dataclass(frozen=True)
class Hogwild:
    """Each shard's gradient goes into the common weights alone, by the fit's optimizer, whose state is common too; the
    shard pulls right after it. Recht et al. 2011, "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic Gradient
    Descent", as a parameter server with an optimizer of its own has it (Dean et al. 2012), but without lost updates.

    Args:
        order: "turns", "arrival" or a recorded order: see docs/strategies.md.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, strategy=stoker.Hogwild(), optimizer="adam")
    """

    order: Any = "turns"


@dataclass(frozen=True)
class OwnStrategy:
    """Local steps with an outer step of your own: a function outer(center, delta, state) that gives (center, state).
    `center` is a slice of the common weights, `delta` what the shards moved by on average, each weighing by its rows,
    and `state` a dict of tensors by the names that you give, zeros at first: float32 tensors of one dimension and one
    length. The function is compiled, so it does the same in each round; it is elementwise, since slices are cut
    anywhere.

    Args:
        every: steps from one outer step to the next; rounds end with the epoch.
        outer: the function.
        state: names of what it keeps from one round to the next, for each weight a number.
        innerState: "average": the inner optimizer's state is averaged too; "reset": each round begins with none;
            "keep": each shard's is its own and goes on.
        compress: None, "int8" or "int4", of what each shard moved by: see DiLoCo.

    Example:
        >>> def heavy_ball(center, delta, state):
        ...     velocity = 0.9 * state["velocity"] + delta
        ...     return center + 0.7 * velocity, {"velocity": velocity}
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4,
        ...                  strategy=stoker.OwnStrategy(every=20, outer=heavy_ball, state=("velocity",)))
    """

    every: int = 20
    outer: Callable[..., Any] | Mapping[str, Any] | None = None  # or what it was compiled to
    state: Sequence[str] = ()
    innerState: str = "average"
    compress: str | None = None


@dataclass(frozen=True)
class PowerSGD:
    """All-reduce of thin factors: each gradient of a matrix is added up, and travels, as a product of two matrices of
    `rank` columns, and what that leaves out is part of the shard's next gradient. Vogels et al. 2019, "PowerSGD:
    Practical Low-Rank Gradient Compression for Distributed Optimization".

    Args:
        rank: of the factors; vectors, and matrices that factors do not make smaller, go as they are.
        every: steps from one commit to the next, each of them made together; what is left out goes between hosts then.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4, strategy=stoker.PowerSGD(rank=2))
    """

    rank: int = 2
    every: int = 100


@dataclass(frozen=True)
class TopK:
    """All-reduce of the largest numbers: each shard tells those of its gradient, and where they are, and what it leaves
    out is part of its next one. Lin et al. 2018, "Deep Gradient Compression: Reducing the Communication Bandwidth for
    Distributed Training"; Aji and Heafield 2017, "Sparse Communication for Distributed Gradient Descent".

    Args:
        share: of the weights, whose gradients a shard tells in a step; above 0, at most 1.
        every: steps from one commit to the next, each of them made together; what is left out goes between hosts then.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4, strategy=stoker.TopK(share=0.01))
    """

    share: float = 0.01
    every: int = 100


@dataclass(frozen=True)
class Threshold:
    """All-reduce of signs: each shard tells which numbers of its gradient reach a threshold, each as plus or minus the
    threshold, and what that leaves out is part of its next one. Strom 2015, "Scalable Distributed DNN Training Using
    Commodity GPU Cloud Computing". The threshold follows how much is told, as in DL4J's gradient sharing
    (AdaptiveThresholdAlgorithm).

    Args:
        initialThreshold: of the mean gradient over a shard's rows of a step; above 0.
        minTargetSparsity: where a shard tells a smaller share of its numbers, its threshold becomes decayRate times
            as large.
        maxTargetSparsity: where it tells a larger share, 1 / decayRate times. With 0 and 1 the threshold stays.
        decayRate: at least 0.5 and below 1; the default halves the threshold in 20 steps.
        residualClip: so many thresholds a shard keeps of a number that it has told, and drops the rest; at least 1.
            None: nothing is dropped.
        every: steps from one commit to the next, each of them made together; what is left out goes between hosts then.

    Example:
        >>> StokerClassifier(model=net, numWorkers=4, numShards=4, strategy=stoker.Threshold())
    """

    initialThreshold: float = 1e-3
    minTargetSparsity: float = 1e-4
    maxTargetSparsity: float = 1e-2
    decayRate: float = 0.5**0.05
    residualClip: float | None = 5.0
    every: int = 100


_KINDS: dict[str, Any] = {"allreduce": None, "localSGD": LocalSGD, "diLoCo": DiLoCo, "own": OwnStrategy,
                          "powerSGD": PowerSGD, "topK": TopK, "threshold": Threshold,
                          "downpour": Downpour, "agn": AGN, "dynSGD": DynSGD, "distanceADAG": DistanceADAG,
                          "aeasgd": AEASGD, "eamsgd": EAMSGD, "ssp": SSP, "hogwild": Hogwild}  # fmt: skip
_RULES = {"downpour": "downpour", "agn": "agn", "dynSGD": "dynsgd", "distanceADAG": "distance", "aeasgd": "elastic",
          "eamsgd": "elastic", "ssp": "downpour", "hogwild": "gradient"}  # of pushes, as the engine says # fmt: skip
_STATES, _STATES_OF_PUSHES = ("average", "reset", "keep"), ("keep", "reset")
_CODES = (None, "int8", "int4")
_FEWER = ("powerSGD", "topK", "threshold")


def as_strategy(value: Any) -> Settings:
    """A name, one of the classes above or a dict of name and settings, as such a dict. UserError says what is wrong."""
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
    names = [f"stoker.{kind.__name__}(...)" for kind in _KINDS.values() if kind]
    return f"'allreduce', {', '.join(names[:-1])} or {names[-1]}"


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
    for steps in ("window", "every"):
        _check_whole(found, steps, "steps", 1)
    _check_whole(found, "rank", "columns", 1)
    _check_whole(found, "bound", "pushes", 0)
    states = _STATES_OF_PUSHES if "window" in found else _STATES
    _one_of(found, "innerState", states)
    _one_of(found, "compress", _CODES)
    if "outer" in found:
        _check_outer(found)
    _above(found, "outerLearningRate", "a number above 0", lambda rate: rate > 0)
    _above(found, "outerMomentum", "a number from 0 to below 1", lambda momentum: 0 <= momentum < 1)
    _above(found, "share", "a number above 0 and at most 1", lambda share: 0 < share <= 1)
    _check_threshold(found)
    _above(found, "gamma", "a number above 0", lambda gamma: gamma > 0)
    _above(found, "beta", "a number above 0", lambda beta: beta > 0)
    _above(found, "momentum", "a number above 0 and below 1", lambda momentum: 0 < momentum < 1)
    _check_order(found)


def _check_threshold(found: Settings) -> None:
    if "initialThreshold" not in found:
        return
    _above(found, "initialThreshold", "a number above 0", lambda threshold: threshold > 0)
    _above(found, "minTargetSparsity", "a number from 0 to 1", lambda share: 0 <= share <= 1)
    _above(found, "maxTargetSparsity", "a number from minTargetSparsity to 1",
           lambda share: found["minTargetSparsity"] <= share <= 1)  # fmt: skip
    _above(found, "decayRate", "a number from 0.5 to below 1", lambda rate: 0.5 <= rate < 1)
    if found["residualClip"] is not None:
        _above(found, "residualClip", "a number of thresholds, at least 1, or None", lambda clip: clip >= 1)


def _check_outer(found: Settings) -> None:
    if not callable(found["outer"]) and not _is_compiled(found["outer"]):
        raise UserError(f"strategy: outer is {found['outer']!r}, expected a function of (center, delta, state)")
    names = [found["state"]] if isinstance(found["state"], str) else found["state"]
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) and one.isidentifier() for one in names):
        raise UserError(f"strategy: state is {found['state']!r}, expected names such as ('velocity',)")
    if len(set(names)) < len(names):
        raise UserError(f"strategy: state is {found['state']!r}, in which a name comes twice")
    found["state"] = list(names)


def _is_compiled(outer: Any) -> bool:
    """Whether it is what stoker.frontend.outer.compile_outer gives, as a saved estimator has it."""
    return isinstance(outer, Mapping) and outer.keys() == {"program", "constants"}


def _check_whole(found: Settings, name: str, of: str, least: int) -> None:
    if name not in found:
        return
    number = found[name]
    if not is_finite(number) or number < least or number != int(number):
        raise UserError(f"strategy: {name} is {number!r}, expected a whole number of {of}, at least {least}")
    found[name] = min(int(number), sys.maxsize)


def _check_order(found: Settings) -> None:
    told = found.get("order", TURNS)
    if isinstance(told, (list, tuple)):
        found["order"] = order.of_list(told)
    elif isinstance(told, str) and order.is_record(told):
        order.unpacked(told)
    elif told not in (TURNS, ARRIVAL):
        raise UserError(f"strategy: order is {told!r}, expected 'turns', 'arrival' or the list that the history.order "
                        "of another fit gave")  # fmt: skip


def _one_of(found: Settings, name: str, choices: tuple[Any, ...]) -> None:
    if name in found and found[name] not in choices:
        raise UserError(f"strategy: {name} is {found[name]!r}, expected one of {', '.join(map(repr, choices))}")


def _above(found: Settings, name: str, words: str, fits: Callable[[float], bool]) -> None:
    if name in found and not (is_finite(found[name]) and fits(found[name])):
        raise UserError(f"strategy: {name} is {found[name]!r}, expected {words}")


def is_local(strategy: Mapping[str, Any]) -> bool:
    """Whether replicas take steps of their own."""
    return strategy["name"] != "allreduce" and not tells_less(strategy)


def tells_less(strategy: Mapping[str, Any]) -> bool:
    """Whether gradients are added up in each step, but told in fewer numbers than they have."""
    return strategy["name"] in _FEWER


def has_replicas(strategy: Mapping[str, Any]) -> bool:
    """Whether each shard keeps something of its own."""
    return strategy["name"] != "allreduce"


def pushes(strategy: Mapping[str, Any]) -> bool:
    """Whether replicas push one after the other, in place of being averaged."""
    return strategy["name"] in _RULES


def spec_of(strategy: Mapping[str, Any]) -> Settings:
    """The TrainSpec's "strategy", as a field of it; nothing where the gradients of each step are added up."""
    if strategy["name"] == "allreduce":
        return {}
    if strategy["name"] == "threshold":
        return {"strategy": {"every": strategy["every"], "threshold": _threshold_of(strategy)}}
    if tells_less(strategy):
        return {"strategy": {key: value for key, value in strategy.items() if key != "name"}}
    if pushes(strategy):
        numbers = {name: float(strategy[name]) for name in ("beta", "gamma", "momentum") if name in strategy}
        return {"strategy": {"window": strategy.get("window", 1), "inner_state": strategy.get("innerState", "keep"),
                             "push": {"rule": _RULES[strategy["name"]], **numbers}, **_order_of(strategy)}}  # fmt: skip
    code = {"compress": strategy["compress"]} if strategy.get("compress") else {}
    return {"strategy": {"every": strategy["every"], "inner_state": strategy["innerState"], **code,
                         "outer": _outer_of(strategy)}}  # fmt: skip


def _threshold_of(strategy: Mapping[str, Any]) -> Settings:
    return {"initial": float(strategy["initialThreshold"]), "least": float(strategy["minTargetSparsity"]),
            "most": float(strategy["maxTargetSparsity"]), "decay": float(strategy["decayRate"]),
            "clip": float(strategy["residualClip"] or 0)}  # fmt: skip


def _outer_of(strategy: Mapping[str, Any]) -> Settings:
    if "outer" in strategy:
        return {"name": "own", "state": strategy["state"], **strategy["outer"]}
    momentum = float(strategy.get("outerMomentum", 0.0))
    group = {"lr": float(strategy.get("outerLearningRate", 1.0)), "momentum": momentum, "nesterov": momentum > 0}
    return {"name": "sgd", "groups": [group]}


def _order_of(strategy: Mapping[str, Any]) -> Settings:
    """Nothing where shards push in turns, which keeps within any bound."""
    told = strategy.get("order", TURNS)
    if told == TURNS:
        return {}
    bound = {"bound": strategy["bound"]} if "bound" in strategy else {}
    return {"order": bytes(order.unpacked(told)).hex() if order.is_record(told) else told, **bound}


def in_turns(strategy: Mapping[str, Any]) -> bool:
    """Whether pushes, if there are any, come in an order that is known beforehand and has no list."""
    return strategy.get("order", TURNS) == TURNS
