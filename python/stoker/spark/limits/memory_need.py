"""Whether a worker's memory will do: what training needs of it against what limits it.

What is needed is counted low (what surely comes, without activations and libraries), what is left is read from the
system; so a complaint is never a false one. Who is killed all the same is recognised by the coordinator, which sees
the same rows twice (engine/gang/membership.h).
"""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stoker import evaluation
from stoker.errors import UserError
from stoker.spark.limits.cgroups import around, numbers_of
from stoker.spark.limits.sizes import MIB, parse_size
from stoker.spark.session import Conf

OVERHEAD = "spark.executor.memoryOverhead"
PYSPARK = "spark.executor.pyspark.memory"
_FLOAT, _DOUBLE = 4, 8
_LEAST_OVERHEAD = 384 << 20
_FACTOR = {"k8s": 0.4, "yarn": 0.1}  # of executor memory, where neither overhead nor factor are set (Python on k8s)


@dataclass(frozen=True)
class Need:
    """Bytes of one worker beside its rows."""

    # Weights and optimizer state, each twice: the step's start and what it makes; where they are wanted, the best
    # weights. Once on a host.
    state: int = 0
    sums: int = 0  # partial sums of gradients and replicas, or the initial weights before them; what is decided
    constants: int = 0  # of the program, such as frozen layers. Once on a host
    held_row: int = 0  # for each row that is held out, where a metric is of all of them in their order. Once on a host


@dataclass(frozen=True)
class Allowed:
    """What the driver knows of its executors' limits."""

    container: int | None = None  # bytes for all that is not the JVM's, where a cluster manager enforces them
    setting: str = OVERHEAD  # what to raise when a process or a container is too small


NOTHING_KNOWN = Allowed()


@dataclass(frozen=True)
class Limit:
    what: str
    setting: str
    bytes: int
    used: int
    own: bool = False  # of this process alone, so memory that it shares counts for it too

    def left(self) -> int:
        return max(self.bytes - self.used, 0)


def need_of(core: Any, spec: dict[str, Any], rank: int, workers: int, shards: int) -> Need:
    """Of a worker of a fit (engine/train/spec.h)."""
    parameters = spec["program"]["parameters"]
    vector = _FLOAT * sum(math.prod(parameter["shape"]) for parameter in parameters)
    optimizer = core.ArenaOptimizer(json.dumps(spec["optimizer"]),
                                    [("any", parameter["shape"], 0) for parameter in parameters], "portable",
                                    [parameter.get("layout", []) for parameter in parameters])  # fmt: skip
    numbers = _DOUBLE * (2 * optimizer.numbers() + optimizer.sums())
    decided = _DOUBLE * (optimizer.numbers() + optimizer.scratch())  # each worker decides for itself
    partials = core.slots_needed(rank, workers, shards)
    apart = spec["frozen"]["program"]["constants"] if "frozen" in spec else []
    frozen = [*spec["program"].get("constants", []), *apart]
    constants = sum(np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"]) for entry in frozen)
    of_state = len(optimizer.state_names())
    own = 0  # vectors of replicas that take steps alone, and their gradient; or of shards whose batches add up
    of_replicas = 0  # vectors that replicas commit
    told = told_own = 0  # bytes of what shards tell in place of gradients: once on a host, and of each worker
    if spec["optimizer"]["name"] == "lbfgs":
        own = 1 + shards // workers
    if local := spec.get("strategy", {}).get("push"):
        momentum, gradients = local.get("momentum", 0) > 0, local["rule"] == "gradient"
        keeps = spec["strategy"]["inner_state"] == "keep"
        of_replicas = shards * (2 if gradients else 1 + momentum + of_state * keeps)
        pulled = "order" in spec["strategy"] and local["rule"] not in ("elastic", "gradient")
        own = 1 + momentum + (shards // workers) * (of_state * (not keeps) + pulled)
        of_state, partials = of_state * gradients, 0
    elif {"rank", "share", "threshold"} & (local := spec.get("strategy", {})).keys():
        told, told_own = _messages(local, [parameter["shape"] for parameter in parameters], shards, partials)
        of_replicas, own, partials = shards, 1 + ("share" in local), 0
        of_state += "rank" in local
    elif local := spec.get("strategy"):
        carried = of_state if local["inner_state"] == "average" else 0
        keeps = local["inner_state"] == "keep"
        of_replicas = shards * of_state * keeps
        own = 1 + (shards // workers) * (1 + of_state * (not keeps)) + partials * carried
        if local.get("compress"):  # what others have sent, decoded, and the codes of its own
            own += shards - shards // workers + 1
        of_state = carried + _states_of(local["outer"])
    own += spec.get("accumulate", 1) > 1  # a part's gradient
    own += shards // workers if spec.get("whole_batch") else 0  # gradients of shards that run beside each other
    vectors = 2 * (1 + of_state + of_replicas) + spec.get("evaluation", {}).get("restore_best", False)
    held_row = evaluation.bytes_of_row(spec.get("evaluation", {}).get("metrics"))
    working = partials + (workers > 1 and partials > 0) + own
    return Need(vectors * vector + numbers + told, working * vector + decided + told_own, constants, held_row)


def _messages(local: dict[str, Any], shapes: list[list[int]], shards: int, slots: int) -> tuple[int, int]:
    """Bytes of what PowerSGD, TopK and Threshold tell: once on a host, and of a worker that has partial sums of it."""
    if "share" in local:
        entries = max(round(local["share"] * sum(map(math.prod, shapes))), 1)
        return shards * entries * (_FLOAT + 4), 0  # a number and its place
    if "threshold" in local:
        return shards * sum(map(math.prod, shapes)) // 4, 0  # two bits of each number, at most
    factors = _FLOAT * sum(_told_floats(shape, local["rank"]) for shape in shapes)
    return factors, slots * factors


def _told_floats(shape: list[int], rank: int) -> int:
    """Of PowerSGD's factors of a parameter, or of the parameter where they are no smaller (engine/sync/low_rank.cc)."""
    size = math.prod(shape)
    if len(shape) < 2 or size == 0:
        return size
    rows, columns = shape[0], size // shape[0]
    return min(min(rank, rows, columns) * (rows + columns), size)


def _states_of(outer: dict[str, Any]) -> int:
    """Vectors that the outer step of local training keeps."""
    return len(outer["state"]) if outer["name"] == "own" else int(outer["groups"][0]["momentum"] > 0)


def allowed(conf: Conf) -> Allowed:
    """By the session's settings."""
    master = conf("spark.master") or ""
    manager = next((name for name in _FACTOR if master.startswith(name)), None)
    if manager is None:
        return Allowed(setting="the memory of the container or machine that the executors run in")
    executor = _set(conf, "spark.executor.memory", "1g")
    factor = float(conf(OVERHEAD + "Factor") or _FACTOR[manager])
    overhead = _set(conf, OVERHEAD) if conf(OVERHEAD) else max(int(executor * factor), _LEAST_OVERHEAD)
    return Allowed(overhead + _set(conf, PYSPARK))


def _set(conf: Conf, setting: str, default: str = "0") -> int:
    """Bytes of a setting; mebibytes without a unit, as Spark reads them."""
    return parse_size(conf(setting) or default, setting, MIB, least=0)


def limits(allowed: Allowed, root: Path = Path("/")) -> list[Limit]:
    """Those that this process runs under."""
    status = numbers_of(root / "proc/self/status", 1024)
    found = list(_groups(allowed.setting, root))
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        found.append(Limit("the process's address space (RLIMIT_AS)", PYSPARK, most, status.get("VmSize", 0), True))
    if allowed.container is not None:
        what = "what executors have beside the JVM's heap"
        found.append(Limit(what, allowed.setting, allowed.container, status.get("RssAnon", 0)))
    return found


def _groups(setting: str, root: Path) -> Iterator[Limit]:
    """The limited cgroups around this process. Pages of files that were read can be had back."""
    for group in around("memory", root):
        names = ("memory.max", "memory.current", "") if group.unified else \
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")  # fmt: skip
        most, used = group.number(names[0]), group.number(names[1])
        if most is not None and used is not None and most < 1 << 60:
            stat = numbers_of(group.folder / "memory.stat")
            cached = sum(stat.get(f"{names[2]}{kind}_file", 0) for kind in ("active", "inactive"))
            yield Limit(f"the container's memory ({names[0]})", setting, most, used - cached)


def check(need: Need, found: list[Limit], worker: int, rows: int = 0, row_bytes: int = 0, joins: bool = False,
          held: int = 0) -> None:  # fmt: skip
    """Whether what training needs still fits beside what there is by now, the rows so far among it, of which `held` are
    held out. Where the worker joins a gang that has formed before, its host has the state already."""
    for limit in found:
        there = joins and not limit.own
        state, constants, order = (0, 0, 0) if there else (need.state, need.constants, need.held_row * held)
        if limit.left() < (needed := state + constants + order + need.sums):
            frozen = f", {_mb(constants)} for frozen weights and constants" if constants else ""
            frozen += f", {_mb(order)} for the order of {held} rows that are held out (roc_auc and its like)" * bool(
                order
            )
            raise UserError(
                f"worker {worker} has too little memory: training needs {_mb(needed)} ({_mb(state)} for weights and "
                f"optimizer state, twice{frozen}, and {_mb(need.sums)} for sums of gradients) beside {rows} rows "
                f"so far ({_mb(row_bytes)}), and {_mb(limit.left())} are left of {_mb(limit.bytes)}, the limit of "
                f"{limit.what}; raise {limit.setting}, or use more executors or a smaller model"
            )


def _mb(count: int) -> str:
    return f"{count / MIB:,.0f} MB"
