"""The sides of `make bench-fit`. Each trains a task once and says what it took; accuracy is measured afterwards."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import DataFrame, SparkSession
from torch import nn

from stoker import StokerClassifier
from tasks import LEARNING_RATE, Task, accuracy

PEERS = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Run:
    seconds: float  # from the call to its return
    loop: float  # of them in the training loop
    accuracy: float
    phases: dict[str, float] = field(default_factory=dict)


def session(cores: int | str) -> SparkSession:
    builder = SparkSession.builder.master(f"local[{cores}]").appName("bench").config("spark.driver.memory", "3g")
    spark = builder.config("spark.ui.enabled", False).config("spark.ui.showConsoleProgress", False).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def read_rows(spark: SparkSession, task: Task) -> DataFrame:
    return spark.read.parquet(str(task.parquet("train")))


def estimator(task: Task, **settings: Any) -> StokerClassifier:
    """As all benches train a task."""
    return StokerClassifier(
        model=task.network(), **task.features(), labelCol="label", optimizer="adam", learningRate=LEARNING_RATE,
        batchSize=task.batch, verbose=0, **settings,
    )  # fmt: skip


def stoker(task: Task, rows: DataFrame, epochs: int, workers: int = 2, shards: int | None = None) -> Run:
    made = estimator(task, epochs=epochs, numWorkers=workers, numShards=shards or workers)
    start = time.perf_counter()
    model = made.fit(rows)
    seconds = time.perf_counter() - start
    loop = sum(epoch["seconds"] for epoch in model.history)
    return Run(seconds, loop, accuracy(task, model.torch()), dict(model.history.phases))


def torch_distributor(task: Task, rows: DataFrame, epochs: int, processes: int = 2) -> Run:
    """As a user has it: the rows go to Parquet, torchrun's processes start in Spark tasks, load and train."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{name}" for name in ("parquet", "weights", "times")}
        options = json.dumps({"task": task.name, "epochs": epochs, **files})
        start = time.perf_counter()
        rows.write.parquet(files["parquet"])
        distributor = TorchDistributor(num_processes=processes, local_mode=False, use_gpu=False)
        distributor.run(str(PEERS / "ddp.py"), options)
        seconds = time.perf_counter() - start
        times = json.loads(Path(files["times"]).read_text())
        return Run(seconds, times["loop"], accuracy(task, load(task, files["weights"])), times)


def plain(task: Task, epochs: int, threads: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{folder}/weights"
        options = json.dumps({"task": task.name, "epochs": epochs, "threads": threads, "weights": weights})
        command = [sys.executable, str(PEERS / "plain.py"), options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = json.loads(done.stdout)["seconds"]
        return Run(seconds, seconds, accuracy(task, load(task, weights)))


def load(task: Task, weights: str) -> nn.Module:
    network = task.network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network
