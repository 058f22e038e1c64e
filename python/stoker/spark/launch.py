"""The driver's side of a fit: a coordinator, a plain Spark job whose tasks are the gang, and a watch over both.

Threads: the caller's, which watches; one for the Spark job; the coordinator's own I/O thread (C++). The coordinator is
closed on every way out.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.util import inheritable_thread_target

from stoker import errors
from stoker.spark import slots
from stoker.spark.task import Job, make_task

POLL = 0.1  # seconds; also how soon Ctrl-C is heard
GRACE = 1.0  # seconds that a result or a cause may take longer than the Spark job that it belongs to
HOST_SETTING = "spark.stoker.driver.host"


@dataclass(frozen=True)
class Gang:
    """What the coordinator and the tasks must know."""

    workers: int
    shards: int
    spec: str
    weights: bytes
    start_timeout: float = 60
    heartbeat_timeout: float = 10
    torch_version: str = ""  # others are refused
    exact_partitions: bool = False  # the rows come as they lie, so their partitions must be as many as the workers
    options: dict[str, Any] = field(default_factory=dict)  # more of engine/gang/coordinator.h


@dataclass(frozen=True)
class Result:
    weights: bytes  # safetensors
    history: dict[str, Any]


@dataclass(frozen=True)
class Address:
    told: str  # to the tasks, a name or a number
    bind: str  # a number of this machine


Observer = Callable[[str, dict[str, Any]], None]
"""Called with each event's kind and particulars, in order."""


def run_gang(rows: DataFrame, gang: Gang, observe: Observer) -> Result:
    """Trains on `rows`, one partition a worker. Raises what ended the fit if it did not come to a result."""
    spark = rows.sparkSession
    conf = slots.conf_of(spark)
    capacity = slots.max_slots(conf)
    slots.check_enough(gang.workers, capacity)
    with slots.queue_of(conf).lease(gang.workers, capacity):
        observe("slots", {"slots": capacity})
        return _run(rows, gang, address_of_driver(spark, conf), capacity, observe)


def _run(rows: DataFrame, gang: Gang, address: Address, capacity: int | None, observe: Observer) -> Result:
    from stoker.engine import core

    secret = secrets.token_bytes(32)
    coordinator = core().Coordinator(_coordinator_options(gang, address.bind, secret, capacity))
    try:
        task = make_task(Job(address.told, coordinator.port, secret, gang.workers, gang.shards, gang.spec))
        job = SparkJob(rows.sparkSession, lambda: rows.mapInArrow(task, "extra int").collect())
        if not gang.exact_partitions:
            observe("reading", {})
        try:
            _Watch(coordinator, job, gang, observe).run()
            weights, history = coordinator.result()
            _check_partitions(job, gang)
        except BaseException as error:
            coordinator.abort(_reason(error))
            raise
        finally:
            job.end(GRACE)
        return Result(weights, json.loads(history))
    finally:
        coordinator.close()


def _check_partitions(job: SparkJob, gang: Gang) -> None:
    """Where the partitions are the shards there may be more of them than slots: they come after the fit has ended."""
    if gang.exact_partitions:
        job.join(None)
    if job.rows:
        raise errors.UserError(
            f"the DataFrame has more partitions than numWorkers ({gang.workers}); repartition it, or use assign='hash'"
        )


def _coordinator_options(gang: Gang, bind: str, secret: bytes, capacity: int | None) -> dict[str, Any]:
    return {
        "bind_host": bind,
        "secret": secret,
        "workers": gang.workers,
        "shards": gang.shards,
        "start_timeout": gang.start_timeout,
        "heartbeat_timeout": gang.heartbeat_timeout,
        "slots": capacity or 0,
        "initial": gang.weights,
        "torch_version": gang.torch_version,
        **gang.options,
    }


class _Watch:
    """Follows one fit until its result is there; raises when it failed or its job ended without a result."""

    def __init__(self, coordinator: Any, job: SparkJob, gang: Gang, observe: Observer) -> None:
        self._coordinator, self._job, self._gang, self._observe = coordinator, job, gang, observe
        self._admitted = 0
        self._left_at: float | None = None

    def run(self) -> None:
        while not self._coordinator.done():
            self._drain(POLL)
            if self._job.ended():
                self._left_at = self._left_at or time.monotonic()
                if time.monotonic() - self._left_at > GRACE and not self._coordinator.done():
                    raise self._why_no_result()
        self._drain(0)
        if (failure := self._coordinator.failure()) is not None:
            kind, text = failure
            raise errors.from_engine(kind, text + self._hint())

    def _hint(self) -> str:
        if not self._gang.exact_partitions or self._admitted >= self._gang.workers:
            return ""
        return f". With assign='partition' the DataFrame must have numWorkers ({self._gang.workers}) partitions"

    def _why_no_result(self) -> errors.StokerError:
        if self._job.error is not None:
            error = errors.WorldError(f"the Spark job of this fit ended: {_first_lines(self._job.error)}")
            error.__cause__ = self._job.error
            return error
        if not self._admitted:  # Spark runs no task for a DataFrame that it knows to be empty
            return errors.UserError("the DataFrame has no rows")
        return errors.WorldError("the Spark job of this fit ended, but no result came" + self._hint())

    def _drain(self, timeout: float) -> None:
        for kind, data in self._coordinator.poll(timeout):
            self._admitted += kind == "admitted"
            self._observe(kind, json.loads(data) if data else {})


def _reason(error: BaseException) -> str:
    return "interrupted on the driver" if isinstance(error, KeyboardInterrupt) else f"the fit failed: {error}"


class SparkJob:
    """A Spark job in a thread of its own, which begins at once. Used by the thread that made it."""

    def __init__(self, spark: SparkSession, run: Callable[[], Any]) -> None:
        self._spark = spark
        self._tag = f"stoker-{uuid.uuid4().hex}"
        self.error: BaseException | None = None
        self.rows: list[Any] = []
        target = inheritable_thread_target(spark)(lambda: self._run(run))
        self._thread = threading.Thread(target=target, name=self._tag, daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], Any]) -> None:
        self._spark.addTag(self._tag)
        try:
            self.rows = run()
        except BaseException as error:
            self.error = error
        finally:
            self._spark.removeTag(self._tag)

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout: float | None) -> None:
        self._thread.join(timeout)

    def end(self, patience: float) -> None:
        """Gives the tasks `patience` seconds to return, then cancels the job."""
        self.join(patience / 2)
        if not self.ended():
            self._spark.interruptTag(self._tag)
            self.join(patience / 2)


def _first_lines(error: BaseException, lines: int = 3) -> str:
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(said[:lines]) or type(error).__name__


def address_of_driver(spark: SparkSession, conf: slots.Conf) -> Address:
    """Where the tasks reach this process."""
    if slots.is_local(conf):
        return Address("127.0.0.1", "127.0.0.1")
    if told := conf(HOST_SETTING):
        return Address(told, socket.gethostbyname(told))
    if hasattr(spark, "client"):  # Spark Connect: this process is not Spark's driver
        own = _address_towards(spark.client.host)
        return Address(own, own)
    host = conf("spark.driver.host") or "127.0.0.1"
    return Address(host, conf("spark.driver.bindAddress") or socket.gethostbyname(host))


def _address_towards(host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]
