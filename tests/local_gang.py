"""A gang of processes without Spark: the real coordinator and task, rows dealt by hand. For tests of exactness."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from stoker import program
from stoker.engine import core
from stoker.events import Observer, parse
from stoker.program import Compiled
from stoker.spark import task as spark_task
from stoker.spark.placement import held_shards
from stoker.spark.shards import SHARD

NEVER = 1e6  # seconds: a slow machine forms no generation more; tests of lent rows say otherwise


@dataclass
class LocalFit:
    compiled: Compiled
    columns: list[dict[str, Any]]  # the engine's ColumnSpecs, in the order of the program's inputs
    values: dict[str, np.ndarray]  # by column name, rows first
    optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "adam", "groups": [{"lr": 1e-2}]})
    shards: int = 1
    more: dict[str, Any] = field(default_factory=dict)  # fields of the TrainSpec
    shard_of: np.ndarray | None = None  # of each row; else they are dealt in turn
    held: np.ndarray | None = None  # whether a row is held out for validation
    evaluation: dict[str, Any] = field(default_factory=dict)  # more fields of the TrainSpec's evaluation

    def spec(self) -> str:
        spec = {"program": self.compiled.train, "optimizer": self.optimizer, "columns": self.columns,
                "on_bad_row": "error", "batch_size": 32, "epochs": 2, "seed": 7, "shuffle": True,
                "shards": self.shards, "threads": 1, "lend_after": NEVER, **self.more}  # fmt: skip
        if self.compiled.evaluation is not None:
            spec["evaluation"] = {"program": self.compiled.evaluation, **self.evaluation}
        return json.dumps(spec)


def run(fit: LocalFit, workers: int, environments: list[dict[str, str]] | None = None, order_seed: int = 0,
        timeout: float = 120, observe: Observer = lambda event: None,
        settled: Callable[[], bool] = lambda: True,
        **options: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """Trains with `workers` processes; (weights and buffers, history). `environments`: variables of each process.
    `observe` is called with each event until `settled`; when it raises, the processes are killed as they stand."""
    secret = secrets.token_bytes(32)
    asked = {"workers": workers, "shards": fit.shards, "start_timeout": 60, **program.weights_to_train(fit.compiled),
             **options}  # fmt: skip
    coordinator = core().Coordinator({"bind_host": "127.0.0.1", "secret": secret, **asked})
    job = job_of(fit, coordinator.port, secret, workers)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["local_gang"])
    processes = []
    try:
        for rank in range(workers):
            rows = deal(fit, rank, workers, order_seed)
            environment = environments[rank] if environments else {}
            processes.append(context.Process(target=work, args=(job, rank, rows, environment), daemon=True))
            processes[-1].start()
        return wait(coordinator, timeout, observe, settled)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        coordinator.close()
        for process in processes:
            process.join(10)
            process.kill()


def job_of(fit: LocalFit, port: int, secret: bytes, workers: int, most: int = 0) -> spark_task.Job:
    return spark_task.Job("127.0.0.1", port, secret, workers, fit.shards, fit.spec(), most)


def wait(coordinator: Any, timeout: float, observe: Observer,
         settled: Callable[[], bool]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        done = coordinator.done()
        for told in coordinator.poll(0.1):
            observe(parse(*told))
        if (failure := coordinator.failure()) is not None:
            raise RuntimeError(f"{failure[0]}: {failure[1]}")
        if done and settled():
            raw, history = coordinator.take_result()
            return program.load_weights(raw), json.loads(history)
    raise TimeoutError(f"no result within {timeout} s")


def deal(fit: LocalFit, rank: int, workers: int, order_seed: int, most: int = 0) -> list[pa.RecordBatch]:
    """The rows that a worker, or a late one, holds: in an order that differs with `order_seed`, in odd batches."""
    count = len(next(iter(fit.values.values())))
    shard = np.arange(count) % fit.shards if fit.shard_of is None else fit.shard_of
    mine = held_shards(rank, workers, most, fit.shards)
    rows = np.random.default_rng((order_seed, rank)).permutation(np.flatnonzero(np.isin(shard, mine)))
    stored = shard if fit.held is None else shard + fit.shards * fit.held
    marked = len(mine) > 1 or fit.held is not None
    return [batch(fit, part, stored, marked) for part in np.array_split(rows, max(1, len(rows) // 37))]


def batch(fit: LocalFit, rows: np.ndarray, shard: np.ndarray, marked: bool) -> pa.RecordBatch:
    columns = {name: arrow(values[rows]) for name, values in fit.values.items()}
    if marked:
        columns[SHARD] = pa.array(shard[rows].astype(np.int32))
    return pa.RecordBatch.from_pydict(columns)


def arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    flat = values.reshape(len(values), -1)
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)))


def work(job: spark_task.Job, rank: int, rows: list[pa.RecordBatch], environment: dict[str, str]) -> None:
    os.environ.update(environment)  # before the task loads the engine
    spark_task.context = lambda: context_of(rank)
    spark_task.run(job, iter(rows))


def context_of(rank: int) -> SimpleNamespace:
    """What a task asks of Spark's TaskContext."""
    return SimpleNamespace(partitionId=lambda: rank, taskAttemptId=lambda: rank + 1, attemptNumber=lambda: 0)
