"""What a Spark task of a fit does: it joins the gang, hands its rows to the engine and lets the engine train.

What happens travels on the link to the coordinator, never as rows (those of a partition are not reliable). An
exception leaves the task only where Spark shall run it again: the machine failed, not the user's data or the model.
Only a task beyond the number of workers returns a row, to be noticed when it starts after the fit has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stoker.program import is_mixed
from stoker.spark.address import ANYWHERE, Peers
from stoker.spark.ingest import ahead, get_ready, ingest
from stoker.spark.limits import memory_need
from stoker.spark.placement import held_shards, stored_shards


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, by value."""

    host: str  # of the coordinator
    port: int
    secret: bytes = field(repr=False)
    workers: int
    shards: int
    spec: str  # engine/train/spec.h
    most: int = 0  # workers, late ones included; 0: none come late
    number: int = 0  # of the Spark job within the fit
    first: int = 0  # the place of the job's first task
    connect_timeout: float = 20
    allowed: memory_need.Allowed = memory_need.NOTHING_KNOWN  # by the executors' settings
    peers: Peers = ANYWHERE
    encrypt: bool = False


def partition_of(job: Job) -> int:
    return job.first + context().partitionId()


def make_task(job: Job) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def task(batches: Iterator[Any]) -> Iterator[Any]:
        run(job, batches)
        if partition_of(job) >= max(job.workers, job.most):
            yield extra_partition(partition_of(job))

    return task


def run(job: Job, batches: Iterator[Any]) -> None:
    from stoker import engine
    from stoker.errors import WorldError, kind_of

    core, spec = engine.core(), json.loads(job.spec)
    line = core.Line(job.host, job.port, job.secret, job.connect_timeout, job.encrypt)
    listeners = core.Listeners(job.peers.listen_at(line.address), job.peers.ports)
    link = core.WorkerLink(line, hello(job, spec, engine, listeners, job.peers.told(line.address)))
    try:
        verdict, reason = link.admission()
        if verdict == "refused":
            raise WorldError(reason)
        if verdict == "go":
            with link.at_work():
                work(job, spec, engine, link, listeners, batches)
            link.finished()
    except BaseException as error:
        tell(link, error)
        if kind_of(error) == "world" or link.lost() or not isinstance(error, Exception):
            raise
    finally:
        link.close()


def work(job: Job, spec: dict[str, Any], engine: Any, link: Any, listeners: Any, batches: Iterator[Any]) -> None:
    partition = partition_of(job)
    engine.core().need_descriptors(max(job.workers, job.most))
    get_ready(spec)  # before: a library that loads keeps all others from loading
    if (isa := link.isa()) >= 0:  # the others wait: the libraries load while the rows come
        threading.Thread(target=engine.load_torch, args=(isa,), daemon=True).start()
    held = held_shards(partition, job.workers, job.most, job.shards)
    validates = "evaluation" in spec
    held = stored_shards(held, job.shards, validates)
    check = memory_check(job, spec, engine.core(), partition, joins=isa >= 0)
    store = ingest(engine.core(), link, spec, held, partition, from_spark(batches, link), check)
    check(store, sum(count for shard, count, *_ in store.shard_rows() if shard >= job.shards))
    link.ingested(store.shard_rows(), job.shards if validates else 0)
    start = link.start()
    check(store, held_for(start.to_dict()))
    if partition < job.workers and (told := rows_told(store)):  # a late worker's rows are others' too
        link.metrics(json.dumps(told))
    with link.resting():  # for the file system
        torch = engine.load_torch(isa=start.isa)
    if told := slower(spec, torch, start.to_dict()):
        link.metrics(json.dumps(told))
    torch.train(link, listeners, store, start, job.spec, storage_of(spec))


def held_for(start: dict[str, Any]) -> int:
    """This worker's part of the rows held out, all of which a host has in order for metrics of pairs of rows."""
    host = next(member["host"] for member in start["members"] if member["rank"] == start["rank"])
    return -(-start["held"] // sum(member["host"] == host for member in start["members"]))


def rows_told(store: Any) -> dict[str, Any]:
    """The particulars of events.RowsTold."""
    told = {"skipped": store.skipped()} if store.skipped() else {}
    return {**told, "disk": {"rows": store.bytes(), "taken": store.disk_bytes()}} if store.disk_bytes() else told


def slower(spec: dict[str, Any], torch: Any, start: dict[str, Any]) -> dict[str, str]:
    """The particulars of events.Slower, of a fit in mixed precision; told once."""
    if torch.has_bf16() or (start["generation"], start["rank"]) != (1, 0) or not is_mixed(spec["program"]):
        return {}
    return {"slower": f"precision='bf16': workers run at level {torch.cpu_capability()} of CPUs that do not multiply "
                      "bfloat16; products are of float32 numbers rounded to bfloat16, so the fit is no "
                      "faster"}  # fmt: skip


def memory_check(job: Job, spec: dict[str, Any], core: Any, partition: int, joins: bool) -> Callable[..., None]:
    workers = job.workers if partition < job.workers else job.most
    need = memory_need.need_of(core, spec, partition, workers, job.shards)

    def check(store: Any, held: int = 0) -> None:
        limits = memory_need.limits(job.allowed)
        memory_need.check(need, limits, partition, store.rows(), store.bytes(), joins, held)

    return check


def storage_of(spec: dict[str, Any]) -> Any:
    """Where checkpoints are kept, if the engine cannot write there by itself."""
    asked = spec.get("checkpoint")
    if asked is None or asked["folder"]:
        return None
    from stoker.checkpoint.storage import open_storage

    return open_storage(asked["place"])


def from_spark(batches: Iterator[Any], link: Any) -> Iterator[Any]:
    """The batches; an end of the pipe that is no end of the rows is Spark's failure and not one of the rows."""
    from stoker.errors import WorldError

    try:
        yield from ahead(batches, link)
    except Exception as error:
        raise WorldError(f"the rows stopped coming from Spark: {type(error).__name__}: {error}") from error


def hello(job: Job, spec: dict[str, Any], engine: Any, listeners: Any, address: str) -> dict[str, Any]:
    task, about = context(), engine.describe()
    begin = spec.get("checkpoint", {}).get("resume")
    if begin is not None:  # at the level that the checkpoint was made at
        about["isa"] = min(about["isa"], begin["isa"])
    return {
        "partition": partition_of(job),
        "attempt": task.taskAttemptId(),
        "attempt_number": task.attemptNumber(),
        "job": job.number,
        "host": address,
        "pid": os.getpid(),
        "peer_port": listeners.port,
        "unix_name": listeners.unix_name,
        **about,
    }


def extra_partition(partition: int) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([partition], pa.int32())], names=["extra"])


def tell(link: Any, error: BaseException) -> None:
    from stoker.errors import kind_of

    kind = kind_of(error)
    if kind == "aborted":  # not a cause of its own
        return
    text = str(error) if kind in ("user", "world") else f"{type(error).__name__}: {error}"
    with contextlib.suppress(Exception):  # where the link is gone the coordinator knows already
        link.failed(kind, text)


def context() -> Any:
    from pyspark import TaskContext

    return TaskContext.get()
