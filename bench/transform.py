"""Inference over 1,000,000 rows of 30 numbers by a small perceptron, against an iterator pandas UDF that loads the same
torch module once a task and runs it in inference mode, at the best of several batch sizes.

Run: make bench-transform, or with BENCH="--quick mlp" for some cases with one run of each side, whose figures say
little about the bars. Both sides read the same Parquet file, keep every column and write to Spark's "noop" sink, in a
warm session of two tasks with one thread each; runs are interleaved, medians count. Both must predict the same numbers.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import report
import sides
from stoker import StokerRegressionModel
from stoker.frontend.torch import compile as compile_program
from stoker.program import TensorSpec
from tasks import mnist_data, tabular_network

ROWS = 1_000_000
WIDTH = 30
GROUP = 100_000
WORKERS = 2
BAR = 4
BATCHES = (1_000, 10_000, 100_000)  # of the other side
BATCH_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"
NAMES = [f"f{i}" for i in range(WIDTH)]
COLUMNS = {"mlp": NAMES, "mlp-array": ["features"]}


def table(case: str, draw: np.random.Generator) -> pa.Table:
    rows = draw.standard_normal((GROUP, WIDTH), dtype=np.float32)
    if case == "mlp":
        return pa.table({name: rows[:, i] for i, name in enumerate(NAMES)})
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), WIDTH)
    return pa.table({"features": lists.cast(pa.list_(pa.float32()))})


def files(case: str) -> Path:
    path = mnist_data.CACHE / f"transform-{case}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        draw = np.random.default_rng(13)
        unfinished = path.with_suffix(".part")
        with pq.ParquetWriter(unfinished, table(case, np.random.default_rng(0)).schema) as writer:
            for _ in range(ROWS // GROUP):
                writer.write_table(table(case, draw))
        unfinished.rename(path)
    return path


def our_model(network: torch.nn.Module, columns: list[str]) -> StokerRegressionModel:
    features, label = TensorSpec("features", "float32", (WIDTH,)), TensorSpec("label", "float32", (1,))
    model = StokerRegressionModel(compile_program(network, torch.nn.MSELoss(), [features], [label]))
    return model.setParams(**({"featuresCol": columns[0]} if len(columns) == 1 else {"featuresCols": columns}))


def pandas_side(module: str, columns: list[str]) -> Callable[[DataFrame], DataFrame]:
    """As the guides have it: columns come as Series and are stacked; an array column is a Series of arrays."""
    packed = len(columns) == 1

    def predict(batches):  # type: ignore[no-untyped-def]
        import numpy
        import pandas
        import torch

        torch.set_num_threads(1)
        network = torch.load(module, weights_only=False).eval()
        with torch.inference_mode():
            for batch in batches:
                rows = numpy.stack(batch.to_numpy()) if packed else numpy.column_stack(batch)
                yield pandas.Series(network(torch.from_numpy(rows)).numpy().reshape(-1))

    given = pd.Series if packed else tuple[pd.Series, ...]
    predict.__annotations__ = {"batches": Iterator[given], "return": Iterator[pd.Series]}
    udf = F.pandas_udf(predict, "float")
    return lambda df: df.withColumn("prediction", udf(*columns))


def seconds(df: DataFrame) -> float:
    start = time.perf_counter()
    df.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - start


def check_same(df: DataFrame, ours: Any, other: Any) -> None:
    """Over all rows, to 1e-5."""
    both = ours(df).withColumnRenamed("prediction", "ours")
    far = other(both).where("abs(ours - prediction) > 1e-5 or isnan(ours) or prediction is null").count()
    assert far == 0, f"{far} predictions differ"


def measure(case: str, repeats: int) -> None:
    columns = COLUMNS[case]
    torch.manual_seed(3)
    network = tabular_network().eval()
    spark = sides.session(WORKERS)
    df = spark.read.parquet(str(files(case)))
    usual = spark.conf.get(BATCH_SETTING)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(network, f"{folder}/module.pt")
        ours, other = our_model(network, columns).transform, pandas_side(f"{folder}/module.pt", columns)
        check_same(df, ours, other)
        jobs = [("ours", usual, ours), *((f"pandas {rows}", str(rows), other) for rows in BATCHES)]
        taken: dict[str, list[float]] = {name: [] for name, _, _ in jobs}
        for run in range(repeats + 1):
            for name, batch, job in jobs:
                spark.conf.set(BATCH_SETTING, batch)
                once = seconds(job(df))
                if run > 0:  # the first of each warms up
                    taken[name].append(once)
        spark.conf.set(BATCH_SETTING, usual)
    tell(case, {name: ROWS / median(found) for name, found in taken.items()})


def tell(case: str, rates: dict[str, float]) -> None:
    print(case, "rows/s:", ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()))
    best = max((name for name in rates if name != "ours"), key=rates.__getitem__)
    ratio = rates["ours"] / rates[best]
    report.row("transform", case, rates["ours"], rates[best], "pandas_udf", "rows/s", ratio, BAR, ratio >= BAR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(COLUMNS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one run of each side")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each side (default: 7)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(COLUMNS):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    for case in options.cases or COLUMNS:
        measure(case, 1 if options.quick else options.repeats)
    report.finish()


if __name__ == "__main__":
    main()
