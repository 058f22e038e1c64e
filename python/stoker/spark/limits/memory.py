"""How much memory a worker's rows may take, and where those beyond it go."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from stoker.spark.limits import slots
from stoker.spark.limits.sizes import MIB, parse_size
from stoker.spark.session import Conf, is_local

SHARE = 0.5  # of what is free; the rest is for the model, Spark's batches and others
LIBRARIES = 1 << 30  # address space that a worker takes without any row
LEAST = 64 * MIB


def asked(wish: Any, workers: int, conf: Conf) -> dict[str, Any]:
    """The driver's part: what a worker cannot see by itself."""
    return {
        "memory": None if wish is None else parse_size(wish, "storeMemory"),
        "neighbours": min(workers, _tasks_of_executor(conf) or workers),
        "overhead": _overhead(conf),
        "encrypt": (conf("spark.io.encryption.enabled") or "false").lower() == "true",
    }


def _tasks_of_executor(conf: Conf) -> int | None:
    """That run at the same time in one container."""
    if is_local(conf):
        return slots.max_slots(conf)
    cores = conf("spark.executor.cores")
    return None if cores is None else max(1, int(cores) // int(conf("spark.task.cpus") or 1))


def _overhead(conf: Conf) -> int | None:
    """What a container has for Python processes, where it was set and they have no limit of their own."""
    if not (conf("spark.master") or "").startswith(("yarn", "k8s")) or conf("spark.executor.pyspark.memory"):
        return None
    told = conf("spark.executor.memoryOverhead")
    return None if told is None else parse_size(told, "spark.executor.memoryOverhead", MIB)


def store_options(core: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """The worker's part: what the engine's store is made with. Without a wish of the driver's rows stay in memory."""
    if not asked:
        return {}
    budget = asked["memory"]
    if budget is None:
        budget = share(core.available_memory(), asked["neighbours"], asked["overhead"], address_space_left())
    return {"memory": budget, "folders": folders(), "encrypt": asked["encrypt"]}


def share(free: int, neighbours: int, overhead: int | None, address_space: int | None) -> int:
    """Of a container with `free` bytes, a worker's, beside `neighbours` - 1 others. A pure function."""
    limits = [free // neighbours]
    if overhead is not None:
        limits.append(overhead // neighbours)
    if address_space is not None:
        limits.append(address_space)
    return max(LEAST, int(SHARE * min(limits)))


def address_space_left() -> int | None:
    """Of a process that spark.executor.pyspark.memory limits; None where nothing does."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, limit - max(taken, LIBRARIES))


def folders() -> list[str]:
    """Spark's folders for what is large and short-lived."""
    told = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if folder]
    return told or [tempfile.gettempdir()]
