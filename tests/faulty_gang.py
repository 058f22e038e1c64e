"""A gang of processes without Spark whose members die and are started again, as Spark would. For tests of recovery."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from local_gang import LocalFit, deal, job_of
from stoker import program
from stoker.engine import core
from stoker.events import Event, parse
from stoker.spark import task as spark_task
from stoker.spark.address import ANYWHERE, Peers
from stoker.spark.limits.memory_need import NOTHING_KNOWN, Allowed

E = TypeVar("E", bound=Event)


@dataclass
class Attempt:
    """One process that runs one attempt of a partition's task."""

    partition: int
    number: int
    process: Any
    stopped: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Outcome:
    weights: dict[str, np.ndarray]
    history: dict[str, Any]
    events: list[Event]
    pids: list[list[int]]  # of all attempts, by partition

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class FaultyGang:
    """Runs a fit; `on_event(gang, event)` and `on_tick(gang)` may kill and stop its members."""

    fit: LocalFit
    workers: int
    most: int = 0  # workers, late ones included; they are begun by start()
    on_event: Callable[[FaultyGang, Event], None] = lambda *_: None
    on_tick: Callable[[FaultyGang], None] = lambda _: None
    environment: Callable[[int, int], dict[str, str]] = lambda partition, number: {}
    options: dict[str, Any] = field(default_factory=dict)
    restart_delay: float = 0.0
    restarts: bool = True  # of those that died
    timeout: float = 120
    host: str = "127.0.0.1"  # of the coordinator
    allowed: Allowed = NOTHING_KNOWN  # memory
    peers: Peers = ANYWHERE
    namespace: str = ""  # where the coordinator is; a worker's is in its environment

    def run(self) -> Outcome:
        secret = secrets.token_bytes(32)
        asked = {"workers": self.workers, "most_workers": self.most, "shards": self.fit.shards, "start_timeout": 60,
                 **program.weights_to_train(self.fit.compiled), **self.options}  # fmt: skip
        with inside(self.namespace):
            self.coordinator = core().Coordinator({"bind_host": self.host, "secret": secret, **asked})
        job = job_of(self.fit, self.coordinator.port, secret, self.workers, self.most)
        encrypt = self.options.get("encrypt", False)
        self.job = replace(job, host=self.host, allowed=self.allowed, peers=self.peers, encrypt=encrypt)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["faulty_gang"])  # a newcomer is there at once, as Spark's workers are
        self.events: list[Event] = []
        self.attempts: list[list[Attempt]] = [[] for _ in range(max(self.workers, self.most))]
        self.next_attempt = 1
        try:
            for partition in range(self.workers):
                self.start(partition)
            weights, history = self.follow()
            pids = [[attempt.pid for attempt in attempts] for attempts in self.attempts]
            return Outcome(weights, history, self.events, pids)
        finally:
            self.end()

    def start(self, partition: int) -> None:
        number = len(self.attempts[partition])
        rows = deal(self.fit, partition, self.workers, order_seed=number, most=self.most)
        environment = self.environment(partition, number)
        ids = (partition, self.next_attempt, number)
        process = self.context.Process(target=work, args=(self.job, ids, rows, environment), daemon=True)
        process.start()
        self.next_attempt += 1
        self.attempts[partition].append(Attempt(partition, number, process))

    def follow(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        until = time.monotonic() + self.timeout
        while time.monotonic() < until:
            done = self.coordinator.done()  # before what is polled: what was told until then is polled too
            for told in self.coordinator.poll(0.01):
                self.events.append(parse(*told))
                self.on_event(self, self.events[-1])
            self.on_tick(self)
            if (failure := self.coordinator.failure()) is not None:
                raise RuntimeError(f"{failure[0]}: {failure[1]}")
            if done:
                raw, history = self.coordinator.take_result()
                return program.load_weights(raw), json.loads(history)
            if self.restarts:
                self.restart_dead()
        raise TimeoutError(f"no result within {self.timeout} s; events: {self.events[-20:]}")

    def restart_dead(self) -> None:
        for attempts in filter(None, self.attempts[: max(self.workers, self.most)]):
            newest = attempts[-1]
            if not newest.process.is_alive() and newest.process.exitcode != 0:
                time.sleep(self.restart_delay)
                self.start(newest.partition)

    def begin_again(self, workers: int) -> None:
        """Another job in place of this one, whose workers end whether they have sent all that they have or not."""
        number = self.coordinator.restart(workers, "the Spark job is started again")
        for attempt in [attempt for attempts in self.attempts for attempt in attempts]:
            attempt.process.kill()
        self.job, self.workers = replace(self.job, number=number, workers=workers), workers
        for partition in range(workers):
            self.start(partition)

    def newest(self, partition: int) -> Attempt:
        return self.attempts[partition][-1]

    def kill(self, partition: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # another fault has been there before
            os.kill(self.newest(partition).pid, signal.SIGKILL)

    def stop(self, partition: int) -> None:
        os.kill(self.newest(partition).pid, signal.SIGSTOP)

    def wake(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        self.coordinator.close()
        for attempts in self.attempts:
            for attempt in attempts:
                attempt.process.join(5)
                attempt.process.kill()


NAMESPACE = "STOKER_TEST_NAMESPACE"


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and those that it begins, are in a network namespace; "" changes nothing."""
    if not namespace:
        yield
        return
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{namespace}").open() as wanted:
        enter(wanted.fileno())
        try:
            yield
        finally:
            enter(before.fileno())


def enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def work(job: spark_task.Job, ids: tuple[int, int, int], rows: list[Any], environment: dict[str, str]) -> None:
    partition, attempt, number = ids
    os.environ.update(environment)  # the engine is loaded after it
    spark_task.context = lambda: SimpleNamespace(
        partitionId=lambda: partition, taskAttemptId=lambda: attempt, attemptNumber=lambda: number
    )
    with inside(environment.get(NAMESPACE, "")):
        spark_task.run(job, iter(rows))
