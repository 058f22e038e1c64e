"""Useful steps per second while workers are killed, as a share of those without, for `make bench-recovery`.

Three workers. Ours make the same number of steps in each fit, and the weights must be the same bits; torchft's
replicas, which go on without the dead one and need not make the same steps, work for the same time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from statistics import median
from unittest import mock

import torch
from pyspark.sql import DataFrame, SparkSession

import report
import sides
from stoker.events import Admitted, Event, Metrics
from stoker.fit import run as fitting
from tasks import ROOT, TASKS, Task

WORKERS = 3
BARS = {60: 0.95, 15: 0.88}  # seconds between kills -> share of the steps
MODELS = ("mnist", "mnist-cnn")
TRIAL_EPOCHS = 30
APART = 0.7  # seconds between two signs of training that count: each worker tells each second
TORCHFT = ROOT / "build" / "torchft"


class Reaper:
    """Kills a worker each `every` seconds after the first sign of training, until the fit closes it."""

    def __init__(self, every: float | None) -> None:
        self.every, self.kills = every, 0
        self.pids: dict[int, int] = {}
        self.signs: list[tuple[float, int]] = []  # (time, steps done)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._reap, daemon=True)

    def event(self, event: Event) -> None:
        if isinstance(event, Admitted):
            self.pids[event.rank] = event.pid
        if not isinstance(event, Metrics) or (self.signs and time.monotonic() < self.signs[-1][0] + APART):
            return
        self.signs.append((time.monotonic(), event.step))
        if self.every and len(self.signs) == 1:
            self._thread.start()

    def _reap(self) -> None:
        dice = random.Random(7)
        while not self._over.wait(self.every):
            with contextlib.suppress(ProcessLookupError):  # its successor has not come yet
                os.kill(self.pids[dice.choice(sorted(self.pids))], signal.SIGKILL)
                self.kills += 1

    def close(self) -> None:
        self._over.set()

    def steps_per_second(self) -> tuple[float, float]:
        """From the first sign to the last, and the median of those between two signs, some second apart."""
        pairs = zip(self.signs, self.signs[1:], strict=False)
        (begun, first), (ended, last) = self.signs[0], self.signs[-1]
        return (last - first) / (ended - begun), median((t - s) / (b - a) for (a, s), (b, t) in pairs)


@dataclass(frozen=True)
class Run:
    rate: float  # steps per second
    share_of_itself: float  # that, of the rate in its middle second: what a machine that others share does not touch
    digest: str
    kills: int


def ours(task: Task, rows: DataFrame, epochs: int, every: float | None) -> Run:
    reaper = Reaper(every)
    torch.manual_seed(1)
    estimator = sides.estimator(task, epochs=epochs, numWorkers=WORKERS, numShards=WORKERS, seed=1)
    with mock.patch.object(fitting, "make_progress", lambda *_: reaper), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = estimator.fit(rows).history.info
    rate, middle = reaper.steps_per_second()
    return Run(rate, rate / middle, info["digest"], reaper.kills)


def torchft(task: Task, seconds: float, every: float | None) -> float:
    """Batches per second."""
    options = {"task": task.name, "replicas": WORKERS, "seconds": seconds, "every": every}
    command = [sys.executable, str(sides.PEERS / "torchft_run.py"), json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(TORCHFT), "RUST_LOG": "error", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["batches"] / told["seconds"]


def install_torchft() -> None:
    """Beside the environment, not in it: it would bring a torch of its own."""
    if TORCHFT.exists():
        return
    wanted = str(sides.PEERS / "torchft.txt")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(TORCHFT), "-r", wanted]
    subprocess.run(command, check=True)


@dataclass(frozen=True)
class Quiet:
    """Without kills, which each interval is held against."""

    epochs: int
    ours: Run
    torchft: float


def quiet(task: Task, rows: DataFrame, minutes: float) -> Quiet:
    per_epoch = len(task.arrays("train")[0]) // task.batch
    epochs = max(4, round(60 * minutes * ours(task, rows, TRIAL_EPOCHS, None).rate / per_epoch))
    return Quiet(epochs, ours(task, rows, epochs, None), torchft(task, 60 * minutes, None))


@functools.cache
def quiet_once(spark: SparkSession, name: str, minutes: float) -> Quiet:
    return quiet(TASKS[name], sides.read_rows(spark, TASKS[name]), minutes)


def goodput(spark: SparkSession, minutes: float, every: int) -> None:
    install_torchft()
    for name in MODELS:
        task, still = TASKS[name], quiet_once(spark, name, minutes)
        struck = ours(task, sides.read_rows(spark, task), still.epochs, every)
        share, peer = struck.rate / still.ours.rate, torchft(task, 60 * minutes, every) / still.torchft
        same = struck.digest == still.ours.digest
        print(
            f"goodput-{every}, {name}: {struck.kills} kills in {still.epochs} epochs at {still.ours.rate:.0f} steps/s "
            f"without, {struck.share_of_itself:.3f} of the run's own middle second, the weights are "
            f"{'the same bits' if same else 'DIFFERENT'}; torchft makes {still.torchft / WORKERS:.0f} steps/s without"
        )
        report.row("recovery", f"goodput-{every}, {name}", share, peer, "torchft", "share", share / peer,
                   BARS[every] / peer, same and share >= BARS[every])  # fmt: skip
