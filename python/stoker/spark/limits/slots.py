"""How many tasks a session can run at once, and the queue of the fits that share them."""

from __future__ import annotations

import math
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from stoker.errors import UserError
from stoker.spark.limits.cgroups import Group, around
from stoker.spark.session import Conf


def max_slots(conf: Conf) -> int | None:
    """Tasks that the session can ever run at the same time; None if that cannot be told."""
    cores = _max_cores(conf("spark.master") or "", conf)
    per_task = int(conf("spark.task.cpus") or 1)
    if cores is None:
        return None
    executors, each = cores
    return executors * (each // per_task)


def _max_cores(master: str, conf: Conf) -> tuple[int, int] | None:
    """(executors, cores of each)."""
    if master == "local":
        return 1, 1
    if match := re.fullmatch(r"local\[(\d+|\*)(?:\s*,\s*\d+)?\]", master):
        return 1, machine_cores() if match[1] == "*" else int(match[1])
    if match := re.fullmatch(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]", master):
        return int(match[1]), int(match[2])
    if master.startswith("spark://"):
        return _of_standalone(conf)
    executors, each = _max_executors(conf), conf("spark.executor.cores")
    if each is None and master.startswith(("yarn", "k8s")):
        each = "1"
    return (executors, int(each)) if executors is not None and each is not None else None


def _of_standalone(conf: Conf) -> tuple[int, int] | None:
    """A standalone master starts executors until spark.cores.max is reached, whatever spark.executor.instances says;
    without spark.executor.cores an executor has all cores that a machine gives."""
    total, each = conf("spark.cores.max"), conf("spark.executor.cores")
    if each is None:
        return None if total is None else (1, int(total))
    by_cores = None if total is None else int(total) // int(each)
    limits = [limit for limit in (by_cores, _max_allocated(conf)) if limit is not None]
    return (min(limits), int(each)) if limits else None


def _max_executors(conf: Conf) -> int | None:
    if _allocates(conf):
        return _max_allocated(conf)
    count = conf("spark.executor.instances")
    return None if count is None else int(count)


def _allocates(conf: Conf) -> bool:
    return (conf("spark.dynamicAllocation.enabled") or "false").lower() == "true"


def _max_allocated(conf: Conf) -> int | None:
    most = conf("spark.dynamicAllocation.maxExecutors") if _allocates(conf) else None
    return None if most is None or int(most) >= 2**31 - 1 else int(most)


def machine_cores() -> int:
    """Cores that this process may use, a container's quota considered, as the JVM counts them."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _quota() or usable)


def _quota() -> int | None:
    """Whole cores that the cgroups around this process leave it."""
    quotas = [_words(group) for group in around("cpu")]
    cores = [int(words[0]) / int(words[1]) for words in quotas if len(words) == 2 and words[0].isdigit()]
    return max(1, math.ceil(min(cores))) if cores else None


def _words(group: Group) -> list[str]:
    """Microseconds of its quota, and of the period that this is for."""
    if group.unified:
        return group.words("cpu.max")
    return group.words("cpu.cfs_quota_us") + group.words("cpu.cfs_period_us")


def check_enough(workers: int, slots: int | None) -> None:
    if slots is not None and workers > slots:
        raise UserError(
            f"numWorkers={workers} needs {workers} tasks at the same time, but this Spark session can run {slots} at "
            f"most (spark.master, spark.cores.max, spark.executor.*, spark.task.cpus). Use numWorkers={slots} or less, "
            f"or a session with more slots"
        )


class SlotQueue:
    """First come, first served: a fit waits until the slots that it needs are free and nobody waits before it.
    Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self._fits = 0
        self._waiting: deque[object] = deque()

    @contextmanager
    def lease(self, wanted: int, capacity: int | None) -> Iterator[None]:
        """Holds `wanted` of `capacity` slots; without a known capacity nothing is awaited."""
        self._count(1)
        try:
            if capacity is not None:
                self._acquire(wanted, capacity)
            try:
                yield
            finally:
                if capacity is not None:
                    self._release(wanted)
        finally:
            self._count(-1)

    def in_the_way(self, wanted: int, capacity: int) -> int:
        """Slots that others hold, if a lease would have to be waited for now."""
        with self._changed:
            return self._taken if self._waiting or self._taken + wanted > capacity else 0

    def shared(self) -> bool:
        """Whether more than one fit holds slots here or waits for them."""
        with self._changed:
            return self._fits > 1

    def _count(self, more: int) -> None:
        with self._changed:
            self._fits += more

    def _acquire(self, wanted: int, capacity: int) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or self._taken + wanted > capacity:
                    self._changed.wait(0.2)  # short, so that Ctrl-C is heard
                self._taken += wanted
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _release(self, count: int) -> None:
        with self._changed:
            self._taken -= count
            self._changed.notify_all()


class _Queues:
    """One queue per Spark application: sessions of one application share its slots."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_application: dict[str, SlotQueue] = {}

    def of(self, conf: Conf) -> SlotQueue:
        with self._lock:
            return self._by_application.setdefault(conf("spark.app.id") or "", SlotQueue())


queue_of = _Queues().of
