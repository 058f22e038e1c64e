"""How far strategies come and what they send: MNIST at 14 x 14, a perceptron of 13,258 weights, 32 rows of a shard
in a step.

Run: make bench-strategies, or with BENCH="ten-epochs" for one case. "Other" is what the same strategy reached in plain
numpy with other orders of rows (three epochs; seeds differ by 0.3 points), or plain all-reduce at its best rate in the
same run; "straggler" compares rows a second with those of all-reduce, fit by fit in turn. Bytes are those that two
workers send that are made to talk like two hosts.
"""

import argparse
import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import DataFrame, SparkSession
from torch import nn

import report
import sides
from stoker import (
    AEASGD,
    AGN,
    EAMSGD,
    DiLoCo,
    DistanceADAG,
    Downpour,
    DynSGD,
    Hogwild,
    LocalSGD,
    PowerSGD,
    StokerClassifier,
    Threshold,
    TopK,
)
from stoker.events import Admitted, Event, Started
from stoker.fit import run as fitting
from stoker.history import History
from tasks import TASKS

WORKERS, ROWS = 2, 32  # of a shard and step
POINTS = 1.0  # from what the prototype reached
SIDE = 14
SYNC = "allreduce"
# name, shards, strategy, optimizer, rate, accuracy of the prototype in percent
REACHED = (
    ("allreduce, SGD 0.1", 2, SYNC, "sgd", 0.1, 93.99),
    ("allreduce, SGD 0.1", 4, SYNC, "sgd", 0.1, 92.39),
    ("allreduce, SGD 0.1", 8, SYNC, "sgd", 0.1, 90.83),
    ("allreduce, SGD 0.4", 4, SYNC, "sgd", 0.4, 95.51),
    ("allreduce, Adam", 4, SYNC, "adam", 1e-3, 94.22),
    ("LocalSGD(20), SGD 0.1", 4, LocalSGD(20), "sgd", 0.1, 92.35),
    ("LocalSGD(20), SGD 0.4", 4, LocalSGD(20), "sgd", 0.4, 95.54),
    ("LocalSGD(100), SGD 0.1", 4, LocalSGD(100), "sgd", 0.1, 92.32),
    ("LocalSGD(20), Adam", 4, LocalSGD(20), "adam", 1e-3, 92.88),
    ("DiLoCo(20), SGD 0.1", 4, DiLoCo(20), "sgd", 0.1, 95.64),
    ("DiLoCo(50), SGD 0.1", 4, DiLoCo(50), "sgd", 0.1, 94.63),
    ("DiLoCo(20), Adam", 4, DiLoCo(20), "adam", 1e-3, 95.32),
    ("DiLoCo(100), Adam", 4, DiLoCo(100), "adam", 1e-3, 93.57),
    ("DiLoCo(20, reset), Adam", 4, DiLoCo(20, innerState="reset"), "adam", 1e-3, 94.85),
    ("DiLoCo(20, int8), SGD 0.1", 4, DiLoCo(20, compress="int8"), "sgd", 0.1, 95.61),
    ("DiLoCo(20, int8, reset), Adam", 4, DiLoCo(20, innerState="reset", compress="int8"), "adam", 1e-3, 94.85),
    ("DiLoCo(20, int4, reset), Adam", 4, DiLoCo(20, innerState="reset", compress="int4"), "adam", 1e-3, 94.85),
)
# Shards that push in turns: name, strategy, optimizer, rate, the prototype's accuracy with 2, 4 and 8 shards
PUSHED = (
    ("Downpour(1), SGD 0.1", Downpour(1), "sgd", 0.1, (95.50, 95.58, 95.36)),
    ("Downpour(5), SGD 0.1", Downpour(5), "sgd", 0.1, (95.34, 95.73, None)),
    ("Downpour(5), Adam", Downpour(5), "adam", 1e-3, (95.75, 95.56, 93.63)),
    ("AGN(5), SGD 0.1", AGN(5), "sgd", 0.1, (91.95, 91.80, 91.56)),
    ("AGN(12), SGD 0.1", AGN(12), "sgd", 0.1, (90.06, 90.03, 89.79)),
    ("AGN(5), SGD 1", AGN(5), "sgd", 1.0, (None, None, 96.48)),
    ("DynSGD(5), SGD 0.1", DynSGD(5), "sgd", 0.1, (94.01, 92.32, 90.69)),
    ("DynSGD(5), SGD 1", DynSGD(5), "sgd", 1.0, (None, None, 96.09)),
    ("DistanceADAG(12), SGD 0.1", DistanceADAG(12), "sgd", 0.1, (90.06, 89.96, 89.54)),
    ("AEASGD(4), SGD 0.1", AEASGD(4), "sgd", 0.1, (92.92, 91.93, 90.50)),
    ("Hogwild, SGD 0.1", Hogwild(), "sgd", 0.1, (95.50, 95.58, 95.35)),
    ("Hogwild, Adam", Hogwild(), "adam", 1e-3, (95.87, 95.95, 96.11)),
    ("EAMSGD(32), SGD 0.01", EAMSGD(32), "sgd", 0.01, (92.93, 91.58, 90.10)),
)
EVERY, EPOCH = 100, 469  # steps of a commit and of an epoch
# Gradients in fewer numbers: strategy, optimizer, rate, the prototype's accuracy with 4 shards and how many times fewer
# bytes it sent
FEWER = (
    (PowerSGD(1, EVERY), "sgd", 0.1, 92.28, 32),
    (PowerSGD(2, EVERY), "sgd", 0.1, 92.41, 18),
    (PowerSGD(4, EVERY), "sgd", 0.1, 92.38, 9),
    (PowerSGD(1, EVERY), "adam", 1e-3, 92.46, 32),
    (PowerSGD(2, EVERY), "adam", 1e-3, 93.25, 18),
    (PowerSGD(4, EVERY), "adam", 1e-3, 93.72, 9),
    (TopK(0.01, EVERY), "sgd", 0.1, 92.33, 25),  # the prototype counts a parameter server's
    (TopK(0.001, EVERY), "sgd", 0.1, 91.97, 250),
    (TopK(0.01, EVERY), "adam", 1e-3, 92.99, 25),
    (Threshold(every=EVERY), "sgd", 0.1, 91.7, 60),
    (Threshold(every=EVERY), "adam", 1e-3, 92.45, 60),
)
ARRIVING = (Downpour(5, order="arrival"), DynSGD(5, order="arrival"), AEASGD(4, order="arrival"))
SLOW, EVEN = 1.7, 0.9  # times all-reduce's rows a second
PAIRS = 5
FALLS = 85.0  # Downpour(5) with 8 shards at 0.1 lies beyond its edge
# strategy, points that it may lie below all-reduce after ten epochs, how many times fewer bytes
TEN_EPOCHS = (
    (DiLoCo(20), 0.5, 6),
    (DiLoCo(20, innerState="reset"), 0.5, 18),
    (DiLoCo(100), 1.0, 28),
    (DiLoCo(100, innerState="reset"), 1.0, 85),
    (DiLoCo(100, innerState="reset", compress="int8"), 1.0, 160),
    (DiLoCo(100, innerState="reset", compress="int4"), 1.0, 300),
)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 10))


def pooled(split: str) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = TASKS["mnist"].arrays(split)
    return pixels.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)).reshape(-1, SIDE * SIDE).astype(np.float32), labels


def rows_of(spark: SparkSession, folder: str) -> DataFrame:
    pixels, labels = pooled("train")
    offsets = pa.array(np.arange(len(pixels) + 1, dtype=np.int32) * SIDE * SIDE)
    lists = pa.ListArray.from_arrays(offsets, pa.array(pixels.reshape(-1)))
    path = str(Path(folder) / "train.parquet")
    pq.write_table(pa.table({"features": lists, "label": labels}), path)
    return spark.read.parquet(path)


def fit(
    rows: DataFrame, shards: int, strategy: Any, optimizer: str, rate: float, epochs: int, hosts: bool = False
) -> tuple[float, History]:
    """Accuracy on the test rows in percent, and the history."""
    torch.manual_seed(1)
    estimator = StokerClassifier(
        model=network(), optimizer=optimizer, learningRate=rate, batchSize=ROWS * shards, epochs=epochs, verbose=0,
        numWorkers=WORKERS, numShards=shards, strategy=strategy,
    )  # fmt: skip
    estimator._gang_options = {"force_tcp": hosts}
    model = estimator.fit(rows)
    pixels, labels = (torch.from_numpy(values) for values in pooled("test"))
    with torch.no_grad():
        found = model.torch()(pixels).argmax(1)
    return 100 * float((found == labels).float().mean()), model.history


def reached(rows: DataFrame) -> None:
    for name, shards, strategy, optimizer, rate, other in REACHED:
        ours, _ = fit(rows, shards, strategy, optimizer, rate, 3)
        bar = (other - POINTS) / other
        report.row("strategies", f"{name}, K={shards}", ours, other, "numpy", "% right", ours / other, bar,
                   ours / other >= bar)  # fmt: skip


def pushed(rows: DataFrame) -> None:
    for name, strategy, optimizer, rate, accuracies in PUSHED:
        for shards, other in zip((2, 4, 8), accuracies):
            if other is None:
                continue
            ours, _ = fit(rows, shards, strategy, optimizer, rate, 3)
            bar = (other - POINTS) / other
            report.row("strategies", f"{name}, K={shards}", ours, other, "numpy", "% right", ours / other, bar,
                       ours / other >= bar)  # fmt: skip
    ours, _ = fit(rows, 8, Downpour(5), "sgd", 0.1, 3)
    report.row("strategies", "Downpour(5), SGD 0.1, K=8: beyond its edge", ours, FALLS, "at most", "% right",
               ours / FALLS, 1.0, ours < FALLS)  # fmt: skip


def fewer_numbers(rows: DataFrame) -> None:
    """Bytes beside the prototype's: what two shards of each host keep goes once in EVERY steps, and at an epoch's end;
    messages are so small here that heads of frames are up to a fifth."""
    kept = 2 * -(-EPOCH // EVERY) / EPOCH
    _, plain = fit(rows, 4, SYNC, "sgd", 0.1, 3, True)
    for strategy, optimizer, rate, other, fewer in FEWER:
        ours, history = fit(rows, 4, strategy, optimizer, rate, 3, True)
        name, bar = f"{strategy}, {optimizer} {rate:g}, K=4", (other - POINTS) / other
        report.row("strategies", name, ours, other, "numpy", "% right", ours / other, bar, ours / other >= bar)
        ratio, least = sent(plain) / sent(history), 0.75 / (1 / fewer + kept)
        report.row("strategies", f"{name}: bytes", sent(history), sent(plain), "allreduce", "bytes", ratio, least,
                   ratio >= least)  # fmt: skip


def sent(history: History) -> float:
    return sum(epoch["bytes_sent"] for epoch in history)


def ten_epochs(rows: DataFrame) -> None:
    sync = [fit(rows, 4, SYNC, optimizer, rate, 10, True) for optimizer, rate in (("sgd", 0.4), ("adam", 1e-3))]
    best, bytes_sent = max(ours for ours, _ in sync), sent(sync[0][1])
    for strategy, points, fewer in TEN_EPOCHS:
        ours, history = fit(rows, 4, strategy, "adam", 1e-3, 10, True)
        code = f", {strategy.compress}" if strategy.compress else ""
        name = f"DiLoCo({strategy.every}, {strategy.innerState}{code}), Adam, K=4, ten epochs"
        bar = (best - points) / best
        report.row(
            "strategies", name, ours, best, "allreduce at its best", "% right", ours / best, bar, ours / best >= bar
        )
        ratio = bytes_sent / sent(history)
        report.row(
            "strategies",
            f"{name}: bytes",
            sent(history),
            bytes_sent,
            "allreduce",
            "bytes",
            ratio,
            fewer,
            ratio >= fewer,
        )


class Brake:
    """Stands in for the progress of a fit: one of its workers runs for a quarter of the time."""

    TURN = 0.004  # seconds, as a scheduler has them that shares a core

    def __init__(self, rank: int | None) -> None:
        self.rank, self.pid, self.over = rank, 0, threading.Event()
        self.thread = threading.Thread(target=self.press, daemon=True)

    def event(self, event: Event) -> None:
        if isinstance(event, Admitted) and event.rank == self.rank:
            self.pid = event.pid
        if isinstance(event, Started) and self.rank is not None:
            self.thread.start()

    def press(self) -> None:
        while not self.over.wait(self.TURN / 4):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGSTOP)
                time.sleep(3 * self.TURN / 4)
                os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()


def rows_per_second(rows: DataFrame, strategy: Any, braked: int | None) -> float:
    with mock.patch.object(fitting, "make_progress", lambda *_: Brake(braked)):
        _, history = fit(rows, WORKERS, strategy, "sgd", 0.1, 3)
    return sum(epoch["rows"] for epoch in history) / sum(epoch["seconds"] for epoch in history)


def straggler(rows: DataFrame) -> None:
    for name, braked, bar in (("one worker 4x slower", 1, SLOW), ("all workers even", None, EVEN)):
        pairs = [tuple(rows_per_second(rows, one, braked) for one in (*ARRIVING, SYNC)) for _ in range(PAIRS)]
        other = median(pair[-1] for pair in pairs)
        for i, strategy in enumerate(ARRIVING):
            ours, ratio = median(pair[i] for pair in pairs), median(pair[i] / pair[-1] for pair in pairs)
            told = f"{type(strategy).__name__}({strategy.window}) by arrival, {name}"
            report.row("strategies", told, ours, other, "allreduce", "rows/s", ratio, bar, ratio >= bar)


CASES = {"straggler": straggler, "reached": reached, "pushed": pushed, "fewer-numbers": fewer_numbers,
         "ten-epochs": ten_epochs}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"some of: {', '.join(CASES)} (default: all)")
    cases = parser.parse_args().case or list(CASES)
    spark = sides.session(WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(spark, folder)
        for case in cases:
            CASES[case](rows)
    report.finish()


if __name__ == "__main__":
    main()
