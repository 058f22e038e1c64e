"""The driver's side of a fit: a coordinator, a plain Spark job whose tasks are the gang, and a watch over both.

Threads: the caller's, which watches; one for the Spark job; the coordinator's own I/O thread (C++). The coordinator is
closed on every way out.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from stoker import errors
from stoker.callback import Control
from stoker.checkpoint.course import Course
from stoker.events import (
    Admitted,
    CheckpointPart,
    Observer,
    Queued,
    Reading,
    Rescue,
    RescueJob,
    Restart,
    Shrink,
    Slots,
    Waiting,
    parse,
)
from stoker.spark import address, arithmetic, session
from stoker.spark.job import SparkJob
from stoker.spark.limits import memory_need, slots
from stoker.spark.placement import late_shards
from stoker.spark.supervise import GRACE, Move, Rules, Situation, may_grow, next_move
from stoker.spark.task import Job, make_task

SAY_EVERY = 30.0  # seconds between words of how many workers have come
POLL = 0.1  # seconds; also how soon Ctrl-C is heard
RESCUE_AFTER = 15.0  # seconds that Spark gets to start a lost worker again
LAST_CHECKPOINT = 300.0  # seconds that the last checkpoint may take once the model is there


@dataclass(frozen=True)
class Gang:
    """What the coordinator and the tasks must know."""

    workers: int
    shards: int
    spec: dict[str, Any]  # engine/train/spec.h
    weights: dict[str, bytes]  # see program.weights_to_train; empty once the coordinator has them
    start_timeout: float = 600
    heartbeat_timeout: float = 10
    torch_version: str = ""  # others are refused
    rules: Rules = field(default_factory=Rules)
    exact_partitions: bool = False  # the rows come as they lie, so their partitions must be as many as the workers
    options: dict[str, Any] = field(default_factory=dict)  # more of engine/gang/coordinator.h
    checkpoints: Course | None = None  # none are made
    control: Control = field(default_factory=Control)  # what callbacks want


@dataclass(frozen=True)
class Result:
    weights: bytes  # safetensors
    history: dict[str, Any]  # the workers' part of it


@dataclass(frozen=True)
class Rows:
    """Where the tasks' rows come from."""

    session: SparkSession
    whole: Callable[[int], DataFrame]  # for so many workers: one partition each
    part: Callable[[int, int], DataFrame] | None = None  # of so many workers, one worker's rows, in one partition
    late: Callable[[int, int], DataFrame] | None = None  # so many workers become so many: a partition for each late one


def run_gang(rows: Rows, gang: Gang, observe: Observer) -> Result:
    """Trains on `rows`. Raises what ended the fit if it did not come to a result."""
    conf = session.conf_of(rows.session)
    capacity = slots.max_slots(conf)
    fewest = gang.rules.min_workers or gang.workers
    slots.check_enough(fewest, capacity)
    gang = replace(gang, workers=min(gang.workers, capacity or gang.workers))
    ways = Ways(address.of_driver(rows.session, conf), address.of_peers(conf), address.encrypts(conf))
    more = {"allow_other_bits": arithmetic.may_differ(conf), "lowest_isa": _lowest_level(gang), **gang.options}
    gang = replace(gang, options=more)
    queue = slots.queue_of(conf)
    if capacity is not None and (taken := queue.in_the_way(gang.workers, capacity)):
        observe(Queued(gang.workers, capacity, taken))
    with queue.lease(gang.workers, capacity):
        observe(Slots(gang.workers, capacity))
        return _run(rows, gang, ways, capacity, queue.shared, memory_need.allowed(conf), observe)


def _lowest_level(gang: Gang) -> int:
    """Of instruction sets: that of the checkpoint that the fit goes on from."""
    return gang.checkpoints.begin.manifest["isa"] if gang.checkpoints and gang.checkpoints.begin else 0


@dataclass(frozen=True)
class Ways:
    """How driver and workers speak to each other."""

    driver: address.Address
    peers: address.Peers
    encrypt: bool


def _run(rows: Rows, gang: Gang, ways: Ways, capacity: int | None,
         shared: Callable[[], bool], allowed: memory_need.Allowed, observe: Observer) -> Result:  # fmt: skip
    secret = secrets.token_bytes(32)
    coordinator = _listen(_coordinator_options(gang, ways, secret, capacity, allowed))
    gang.weights.clear()
    gang.control.reach(coordinator.wish)
    try:
        task = Job(ways.driver.told, coordinator.port, secret, gang.workers, gang.shards, json.dumps(gang.spec),
                   gang.workers, allowed=allowed, peers=ways.peers, encrypt=ways.encrypt)  # fmt: skip
        supervisor = Supervisor(coordinator, rows, gang, task, shared, observe, capacity)
        try:
            supervisor.run()
            weights, history = coordinator.take_result()
            supervisor.check_partitions()
        except BaseException as error:
            coordinator.abort(_reason(error))
            raise
        finally:
            supervisor.end()
        return Result(weights, json.loads(history))
    finally:
        coordinator.close()


def _listen(options: dict[str, Any]) -> Any:
    from stoker.engine import core

    try:
        return core().Coordinator(options)
    except Exception as error:
        if errors.kind_of(error) != "world":
            raise
        raise errors.UserError(
            f"the driver cannot listen for its workers: {error}; the settings are {address.DRIVER_BIND} and "
            f"{address.DRIVER_PORT} (a range of ports, if several fits run at once)"
        ) from error


def _coordinator_options(gang: Gang, ways: Ways, secret: bytes, capacity: int | None,
                         allowed: memory_need.Allowed) -> dict[str, Any]:  # fmt: skip
    return {
        "bind_host": ways.driver.bind,
        "ports": ways.driver.ports,
        "secret": secret,
        "encrypt": ways.encrypt,
        "workers": gang.workers,
        "most_workers": gang.workers,
        "shards": gang.shards,
        "start_timeout": gang.start_timeout,
        "heartbeat": min(1.0, gang.heartbeat_timeout / 10),
        "heartbeat_timeout": gang.heartbeat_timeout,
        "worker_timeout": gang.rules.worker_timeout if gang.rules.go_on else 0,  # else the driver's to judge
        "allow_lost_rows": gang.rules.go_on,
        "rescue_after": RESCUE_AFTER,
        "slots": capacity or 0,
        "memory_setting": allowed.setting,
        **gang.weights,
        "torch_version": gang.torch_version,
        **gang.options,
    }


class Supervisor:
    """Follows one fit until its result is there, and keeps Spark jobs running for it. Raises when the fit failed or
    cannot come to a result. Used by one thread."""

    def __init__(self, coordinator: Any, rows: Rows, gang: Gang, task: Job, shared: Callable[[], bool],
                 observe: Observer, slots: int | None = None) -> None:  # fmt: skip
        self._shared = shared  # do other fits want slots of the session?
        self._slots, self._said_at = slots, time.monotonic()
        self._coordinator, self._rows, self._gang, self._task, self._observe = coordinator, rows, gang, task, observe
        self._situation = Situation(workers=task.workers)
        self._admitted = 0
        self._jobs = [self._start()]
        self._growth: SparkJob | None = None  # whose tasks are late workers

    def run(self) -> None:
        while not self._coordinator.done():
            self._drain(POLL)
            self._coordinator.keep_spares(self._task.workers >= self._task.most and not self._shared())
            self._look_at_jobs()
            self._grow()
            self._say_who_has_come()
            move = next_move(time.monotonic(), self._situation, self._gang.rules)
            if not self._coordinator.done():
                self._carry_out(move)
        self._drain(0)
        if (failure := self._coordinator.failure()) is not None:
            kind, text = failure
            raise errors.from_engine(kind, text + self._hint())
        self._await_checkpoints()

    def _await_checkpoints(self) -> None:
        """The last one may still be on its way to the disk while there are tasks that write it."""
        course, until = self._gang.checkpoints, time.monotonic() + LAST_CHECKPOINT
        while course is not None and not course.settled() and not all(job.ended() for job in self._jobs):
            self._drain(POLL)
            if time.monotonic() >= until:
                course.give_up(f"it was not there {LAST_CHECKPOINT:g} s after the model was")
        self._drain(0)

    def check_partitions(self) -> None:
        """Where the partitions are the shards there may be more of them than slots: they come after the fit has
        ended."""
        if self._gang.exact_partitions:
            self._jobs[0].join(None)
        if any(job.rows for job in self._jobs):
            raise errors.UserError(
                f"the DataFrame has more partitions than numWorkers ({self._gang.workers}); repartition it, or use "
                "assign='hash'"
            )

    def end(self) -> None:
        until = time.monotonic() + GRACE
        for job in self._jobs:
            job.end(max(until - time.monotonic(), 0.02))
        if self._growth is not None:  # its tasks have returned as those of the others have, or never began
            self._growth.end(0.1)

    def _start(self) -> SparkJob:
        if not self._gang.exact_partitions:
            self._observe(Reading())
        rows, task = self._rows.whole(self._task.workers), make_task(self._task)
        return SparkJob(self._rows.session, lambda: rows.mapInArrow(task, "extra int").collect())

    def _rescue(self, partition: int) -> None:
        if self._rows.part is None:
            return
        self._observe(RescueJob(partition, self._situation.lost.get(partition, "")))
        rows = self._rows.part(self._task.workers, partition)
        task = make_task(replace(self._task, first=partition))
        self._jobs.append(SparkJob(self._rows.session, lambda: rows.mapInArrow(task, "extra int").collect()))

    def _grow(self) -> None:
        """A gang of fewer workers than wished takes in others as soon as Spark finds slots for them."""
        job, few, most, now = self._growth, self._task.workers, self._task.most, time.monotonic()
        newest = None if job is None else (job.ended(), job.error)
        if self._rows.late is None or not late_shards(few, most, self._task.shards):
            return
        if not may_grow(now, self._situation, most, newest):
            return
        self._situation.grew_at = now
        rows, task = self._rows.late(few, most), make_task(replace(self._task, first=few))
        self._growth = SparkJob(self._rows.session, lambda: rows.mapInArrow(task, "extra int").collect())

    def _say_who_has_come(self) -> None:
        """While workers are awaited."""
        s, now = self._situation, time.monotonic()
        if s.started or len(s.living) >= s.workers:
            self._said_at = now
        elif now - self._said_at >= SAY_EVERY:
            self._said_at = now
            self._observe(Waiting(len(s.living), s.workers, self._slots))

    def _look_at_jobs(self) -> None:
        main = self._jobs[0]  # a rescue that fails leaves its place empty, nothing else
        over = main.ended() and (main.error is not None or all(job.ended() for job in self._jobs))
        if over and self._situation.ended_at is None:
            self._situation.ended_at, self._situation.error = time.monotonic(), main.error

    def _carry_out(self, move: Move) -> None:
        if move.kind == "give up":
            raise self._why(move.reason)
        if move.kind == "restart":
            self._situation.restarted(move.reason)
            # where the partitions are the shards there is one number of workers only
            workers = self._task.workers if self._gang.exact_partitions else move.workers
            self._observe(Restart(move.reason, workers))
            self._begin_again(workers, move.delay)
        if move.kind == "shrink":
            self._observe(Shrink(move.reason, move.workers))
            self._begin_again(move.workers, move.delay)

    def _begin_again(self, workers: int, delay: float) -> None:
        # first of all: who has the state sends it home, before Spark ends it
        number = self._coordinator.restart(workers, "the Spark job is started again")
        for job in [*self._jobs, *filter(None, [self._growth])]:
            job.cancel()
        time.sleep(delay)
        self.end()
        self._drain(0)
        self._situation.begin_again(workers)
        self._task = replace(self._task, workers=workers, number=number, spec=self._spec_of_restart())
        self._jobs, self._growth = [self._start()], None

    def _spec_of_restart(self) -> str:
        """Begins with the newest checkpoint by now, if no committed state is left."""
        if self._gang.checkpoints is None:
            return self._task.spec
        return json.dumps({**self._gang.spec, "checkpoint": self._gang.checkpoints.spec_of_restart()})

    def _hint(self) -> str:
        if not self._gang.exact_partitions or self._admitted >= self._gang.workers:
            return ""
        return f". With assign='partition' the DataFrame must have numWorkers ({self._gang.workers}) partitions"

    def _why(self, reason: str) -> errors.StokerError:
        situation = self._situation
        if not self._admitted and situation.error is None:  # Spark runs no task for a DataFrame known to be empty
            return errors.UserError("the DataFrame has no rows")
        before = [f"{i + 1}. {cause}" for i, cause in enumerate(situation.causes)]
        if before:
            reason += f". The fit had been started again {len(before)} times (maxRestarts) after: {'; '.join(before)}"
        error = errors.WorldError(reason + self._hint())
        error.__cause__ = situation.error
        return error

    def _drain(self, timeout: float) -> None:
        for name, text in self._coordinator.poll(timeout):
            event = parse(name, text)
            self._situation.after(event, time.monotonic())
            self._admitted += isinstance(event, Admitted)
            if isinstance(event, Rescue):
                for partition in event.partitions:
                    self._rescue(partition)
            if isinstance(event, CheckpointPart) and self._gang.checkpoints is not None:
                self._gang.checkpoints.event(event)
            self._observe(event)


def _reason(error: BaseException) -> str:
    return "interrupted on the driver" if isinstance(error, KeyboardInterrupt) else f"the fit failed: {error}"
