"""Kill to the next committed step, for `make bench-recovery`: ours, and what a user of TorchDistributor waits for."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import DataFrame, SparkSession

import report
import sides
from stoker.events import Admitted, Event, Metrics, Started
from stoker.fit import run as fitting
from tasks import TASKS, Task

SOON, SOON_95 = 2.0, 4.0  # seconds
BETTER = 3.0  # times
PEER_RUNS = 3
EPOCHS = 4
HOLDER_SOON, HOLDER_EPOCHS, SETTLED = 0.5, 60, 1.0  # seconds, epochs, seconds between growth and the kill


class Assassin:
    """Kills one worker a fit, and notes how long it takes until a step is committed again."""

    def __init__(self, rank: int, delay: float) -> None:
        self.rank, self.delay = rank, delay
        self.pids: dict[int, int] = {}
        self.killed = self.again = self.step = 0.0
        self.started = False

    def event(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Admitted):
            self.pids[event.rank] = event.pid
        if isinstance(event, Started):
            self.started = self.killed > 0
        if isinstance(event, Metrics) and not self.killed and event.epoch == 2:
            time.sleep(self.delay)
            os.kill(self.pids[self.rank], signal.SIGKILL)
            self.killed, self.step = time.monotonic(), event.step
        elif isinstance(event, Metrics) and self.started and not self.again:
            self.again = now

    def close(self) -> None:
        pass


def one_kill(task: Task, rows: DataFrame, dice: random.Random) -> tuple[float, int]:
    """Seconds, and the step that the worker had told of."""
    assassin = Assassin(dice.randrange(2), dice.uniform(0, 0.2))
    estimator = sides.estimator(task, epochs=EPOCHS, numWorkers=2)
    with mock.patch.object(fitting, "make_progress", lambda *_: assassin):
        history = estimator.fit(rows).history
    assert len(history.info["deaths"]) == 1
    return assassin.again - assassin.killed, int(assassin.step)


def peer_rerun(task: Task, rows: DataFrame, step: int) -> float:
    """Seconds from the death of one of TorchDistributor's processes until its user's second run is at that step."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{name}" for name in ("parquet", "weights", "times", "mark")}
        options = {"task": task.name, "epochs": EPOCHS, **files}

        def run(**more: int) -> float:
            distributor = TorchDistributor(num_processes=2, local_mode=False, use_gpu=False)
            distributor.run(str(sides.PEERS / "ddp.py"), json.dumps({**options, **more}))

        rows.write.parquet(files["parquet"])
        with contextlib.suppress(Exception):
            run(die_at=step)
        died = float(Path(files["mark"]).read_text())
        run(mark_at=step)
        return float(Path(files["mark"]).read_text()) - died


def kill(spark: SparkSession, kills: int) -> None:
    """MNIST, two workers in local[2,20], rows replayed from Parquet."""
    task, dice = TASKS["mnist"], random.Random(11)
    rows = sides.read_rows(spark, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = [one_kill(task, rows, dice) for _ in range(kills)]
    seconds = sorted(s for s, _ in ours)
    middle, late = median(seconds), seconds[min(round(0.95 * len(seconds)), len(seconds) - 1)]
    step = round(median(step for _, step in ours))
    peer = median(peer_rerun(task, rows, step) for _ in range(min(PEER_RUNS, kills)))
    print(f"kill: {len(seconds)} kills, median {middle:.2f} s, p95 {late:.2f} s, all {seconds[0]:.2f} to "
          f"{seconds[-1]:.2f} s; TorchDistributor is at step {step} again after {peer:.2f} s")  # fmt: skip
    report.row(
        "recovery", "kill", middle, peer, "TorchDistributor", "s", peer / middle, BETTER, peer >= BETTER * middle
    )
    report.row("recovery", "kill-median", middle, SOON, "bar", "s", SOON / middle, 1, middle <= SOON)
    report.row("recovery", "kill-p95", late, SOON_95, "bar", "s", SOON_95 / late, 1, late <= SOON_95)


class HolderAssassin:
    """A slot is taken until training has begun, so that the second worker comes late; it is killed each time it has
    come: the other one has kept the rows that it gave away, and goes on without it."""

    def __init__(self, spark: SparkSession, folder: str) -> None:
        self.mark, self.pids, self.waits = Path(folder) / "free", {}, []
        self._grown = self._killed = 0.0
        self._anew = False
        rows = spark.range(0, 1, 1, 1).mapInArrow(waits_for(str(self.mark)), "id long")
        self.job = threading.Thread(target=rows.collect, daemon=True)
        self.job.start()
        while not self.mark.with_suffix(".taken").exists():
            time.sleep(0.02)

    def event(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Admitted):
            self.pids[event.rank] = event.pid
        elif isinstance(event, Started):
            self.mark.touch()
            self._grown, self._anew = now if event.late else 0.0, True
        elif isinstance(event, Metrics) and self._killed and self._anew:
            self.waits.append(now - self._killed)
            self._killed = 0.0
        elif isinstance(event, Metrics) and self._grown and now > self._grown + SETTLED and not self._killed:
            self._killed, self._grown, self._anew = time.monotonic(), 0.0, False
            os.kill(self.pids[1], signal.SIGKILL)

    def close(self) -> None:
        self.mark.touch()
        self.job.join()


def waits_for(mark: str) -> Callable[[Any], Any]:
    def task(batches: Any) -> Any:
        Path(mark).with_suffix(".taken").touch()
        while not Path(mark).exists():
            time.sleep(0.02)
        yield from batches

    return task


def kill_holder(spark: SparkSession) -> None:
    """As `kill`, but that the survivor holds the rows of the dead."""
    task = TASKS["mnist"]
    with tempfile.TemporaryDirectory() as folder:
        assassin = HolderAssassin(spark, folder)
        estimator = sides.estimator(task, epochs=HOLDER_EPOCHS, numWorkers=2, minWorkers=1, numShards=2)
        with mock.patch.object(fitting, "make_progress", lambda *_: assassin), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(sides.read_rows(spark, task))
    waits = sorted(assassin.waits)
    print(f"kill-holder: {len(waits)} kills, all {waits[0]:.2f} to {waits[-1]:.2f} s")
    middle = median(waits)
    report.row("recovery", "kill-holder", middle, HOLDER_SOON, "bar", "s", HOLDER_SOON / middle, 1,
               middle <= HOLDER_SOON)  # fmt: skip
