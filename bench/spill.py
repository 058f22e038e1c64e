"""The spill cases of `make bench-ingest`: fits of three epochs whose rows, as stored, take five times the memory that
they may have, against the same fits with all rows in memory.

Rows/s are those of the epochs after the first, medians over interleaved runs. Memory is the largest resident set that
any worker had at any moment of further fits on disk, from the first row to the last step, the libraries' pages
included; they do not count for rows/s, because looking at a process takes time of the machine and of the process.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import DataFrame
from torch import nn

import report
import sides
from memory import PeakWatch, rss
from stoker import StokerClassifier
from tasks import LEARNING_RATE, mnist_data, mnist_network

WORKERS, TIMES, EPOCHS = 2, 5, 3
MEMORY_BESIDE = 300e6
BAR = 0.7
GROUP = 20_000  # rows


@dataclass(frozen=True)
class Case:
    width: int  # floats of a row
    budget: int  # bytes of a worker
    hidden: int
    batch: int

    @property
    def rows(self) -> int:
        return TIMES * WORKERS * self.budget // (4 * self.width + 8)

    def network(self) -> nn.Module:
        torch.manual_seed(3)  # the models are compared bit by bit
        if self.width == 784:
            return mnist_network()
        return nn.Sequential(nn.Linear(self.width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 10))


CASES = {
    "spill-784": Case(784, 128_000_000, 256, 256),
    "spill-30": Case(30, 64_000_000, 128, 512),
}


def files(name: str) -> Path:
    """One array column of whole numbers below 256 over 255, as pixels are, and a label."""
    case, path = CASES[name], mnist_data.CACHE / f"ingest-{name}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        draw = np.random.default_rng(5)
        unfinished = path.with_suffix(".part")
        with pq.ParquetWriter(unfinished, group(case, 1, draw).schema) as writer:
            for begin in range(0, case.rows, GROUP):
                writer.write_table(group(case, min(GROUP, case.rows - begin), draw))
        unfinished.rename(path)
    return path


def group(case: Case, rows: int, draw: np.random.Generator) -> pa.Table:
    values = draw.integers(0, 256, rows * case.width, dtype=np.uint8).astype(np.float32) / np.float32(255)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * case.width)
    label = (values.reshape(rows, case.width)[:, :10].argmax(1)).astype(np.int64)
    return pa.table({"features": pa.ListArray.from_arrays(offsets, pa.array(values)), "label": label})


def fit(case: Case, df: DataFrame, budget: int) -> tuple[list[float], dict]:
    """Rows/s of the epochs after the first."""
    estimator = StokerClassifier(
        model=case.network(), featuresCol="features", labelCol="label", optimizer="adam", learningRate=LEARNING_RATE,
        batchSize=case.batch, epochs=EPOCHS, numWorkers=WORKERS, storeMemory=budget, verbose=0,
    )  # fmt: skip
    history = estimator.fit(df).history
    return [epoch["rows_per_s"] for epoch in history[1:]], history.info


def measure(name: str, repeats: int) -> None:
    case = CASES[name]
    df = sides.session(WORKERS).read.parquet(str(files(name)))
    rates: dict[str, list[float]] = {"memory": [], "disk": []}
    peak, digests = 0, set()

    def on_disk() -> list[float]:
        found, info = fit(case, df, case.budget)
        assert info["disk"]["rows"] >= TIMES * WORKERS * case.budget * 0.99, info["disk"]
        digests.add(info["digest"])
        return found

    for _ in range(repeats):
        found, info = fit(case, df, 4 * TIMES * case.budget)
        assert not info["disk"], info["disk"]
        rates["memory"] += found
        digests.add(info["digest"])
        rates["disk"] += on_disk()
        with PeakWatch(rss) as watch:
            on_disk()
        peak = max(peak, watch.peak)
    assert len(digests) == 1, digests
    ours, other = median(rates["disk"]), median(rates["memory"])
    report.row("ingest", name, ours, other, "in memory", "rows/s", ours / other, BAR, ours >= BAR * other)
    allowed = case.budget + MEMORY_BESIDE
    report.row("ingest", f"{name} peak RSS", peak / 1e6, allowed / 1e6, "budget + 300", "MB", allowed / peak, 1,
               peak <= allowed)  # fmt: skip
