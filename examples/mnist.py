"""Trains a small network on the 60,000 digits of MNIST inside Spark, shows what came out, saves and reloads it.

Run:    make demo     (or python examples/mnist.py where Stoker, Spark and a JDK 17 or 21 are installed)
Holds:  after 3 epochs the accuracy on the 10,000 test digits is at least 0.96 at batch 256 and 0.97 at batch 128, and
        the model that was saved and loaded again predicts the same.
"""

import tempfile
import time
from pathlib import Path

import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from torch import nn

import mnist_data
from stoker import StokerClassificationModel, StokerClassifier

BARS = {256: 0.96, 128: 0.97}  # batch size: least test accuracy


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def train(rows: DataFrame, batch: int) -> StokerClassificationModel:
    estimator = StokerClassifier(
        model=network(), featuresCol="features", labelCol="label", optimizer="adam", learningRate=1e-3,
        batchSize=batch, epochs=3, numWorkers=2, seed=1,
    )  # fmt: skip
    start = time.perf_counter()
    model = estimator.fit(rows)
    print(f"\nbatch {batch}: fit took {time.perf_counter() - start:.2f} s")
    print(model.history)
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in model.history.phases.items())
    print(f"seconds by phase: {phases}")
    return model


def check_accuracy(model: StokerClassificationModel, test: DataFrame, batch: int) -> None:
    right = F.avg((F.col("prediction") == F.col("label")).cast("double"))
    accuracy = model.transform(test).agg(right).first()[0]
    print(f"test accuracy {accuracy:.4f} (at least {BARS[batch]} expected)")
    if accuracy < BARS[batch]:
        raise SystemExit(f"batch {batch}: accuracy {accuracy:.4f} is below {BARS[batch]}")


def check_reload(model: StokerClassificationModel, test: DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "mnist-model")
        model.write().overwrite().save(path)
        loaded = StokerClassificationModel.load(path)
        columns = ("prediction", "probability")
        same = model.transform(test).select(*columns).collect() == loaded.transform(test).select(*columns).collect()
    if not same:
        raise SystemExit("the reloaded model predicts something else")
    print("saved, reloaded: the same predictions")


def main() -> None:
    start = time.perf_counter()
    torch.manual_seed(1)  # the initial weights; with the fit's own seed everything repeats
    builder = SparkSession.builder.master("local[2]").appName("mnist").config("spark.ui.enabled", False)
    spark = builder.config("spark.ui.showConsoleProgress", False).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    rows, test = mnist_data.dataframes(spark)
    for batch in BARS:
        model = train(rows, batch)
        check_accuracy(model, test, batch)
    print("\ntransform keeps every column and adds three:")
    model.transform(test).select("label", "prediction", "probability").show(5, truncate=60)
    check_reload(model, test)
    spark.stop()
    print(f"run: took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
