"""From Parquet files to the engine's column store, against draining the default mapInArrow over the same files into
nothing; and whole fits whose rows take five times the memory that they may have (bench/spill.py).

Run: make bench-ingest, or with BENCH="--quick floats-30-parquet" for some cases with one run of each side, whose
figures say little about the bars. Runs are interleaved in a warm session of two tasks; medians count.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

import report
import sides
import spill
from stoker.inputs import Hashed, Numeric
from stoker.ml import declared
from stoker.ml.fitting import no_rows
from stoker.spark import scan
from stoker.spark.columns import Placement, Source
from stoker.spark.task import owned_shards
from tasks import mnist_data

ROWS = 2_000_000
GROUP = 100_000
WORKERS = 2
MIXED = ("int8", "int16", "int32", "int64", "int32", "bool", "string", "string")


@dataclass(frozen=True)
class Case:
    dtypes: tuple[str, ...]  # of the columns
    bar: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"c{i}" for i in range(len(self.dtypes)))

    def sources(self, df: DataFrame) -> list[Source]:
        """Plain numbers, or with strings among them declared ones."""
        if "string" not in self.dtypes:
            return [Source("features", self.names, "featuresCols", "float32", (len(self.names),))]
        items = [Hashed(name, 1000) if dtype == "string" else Numeric(name, lossy=True)
                 for name, dtype in zip(self.names, self.dtypes)]  # fmt: skip
        return [declared.source("features", items, df)]


CASES = {
    "floats-30-parquet": Case(("float32",) * 30, 3),
    "mixed-40-parquet": Case(MIXED * 5, 3),
}


def group(case: Case, draw: np.random.Generator) -> pa.Table:
    """Rows as data often are: some columns of many values, some of few."""
    return pa.table({name: values(dtype, 1000 ** (1 + i % 3), draw)
                     for i, (name, dtype) in enumerate(zip(case.names, case.dtypes))})  # fmt: skip


def values(dtype: str, spread: int, draw: np.random.Generator) -> Any:
    if dtype == "float32":
        return draw.standard_normal(GROUP, dtype=np.float32)
    if dtype == "string":
        return pa.array(f"value {number}" for number in draw.integers(0, min(spread, 10**6), GROUP))
    most = 1 if dtype == "bool" else np.iinfo(dtype).max
    return draw.integers(0, min(spread, most), GROUP, endpoint=True).astype(dtype)


def files(name: str) -> Path:
    path = mnist_data.CACHE / f"ingest-{name}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        draw = np.random.default_rng(11)
        unfinished = path.with_suffix(".part")
        with pq.ParquetWriter(unfinished, group(CASES[name], draw).schema) as writer:
            for _ in range(ROWS // GROUP):
                writer.write_table(group(CASES[name], draw))
        unfinished.rename(path)
    return path


def drain(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield counted(sum(batch.num_rows for batch in batches))


def fill(spec: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What a task of a fit does with its rows."""
    from pyspark import TaskContext

    from stoker.engine import core
    from stoker.spark.ingest import ingest

    partition = TaskContext.get().partitionId()
    silent = SimpleNamespace(ingesting=lambda rows: None)
    owned = owned_shards(partition, WORKERS, WORKERS)
    yield counted(ingest(core(), silent, json.loads(spec), owned, partition, batches).rows())


def counted(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([rows], pa.int64())], ["rows"])


def seconds(job: Callable[[], DataFrame]) -> float:
    start = time.perf_counter()
    rows = sum(row["rows"] for row in job().collect())
    taken = time.perf_counter() - start
    assert rows == ROWS, rows
    return taken


def ours(df: DataFrame, case: Case) -> DataFrame:
    sources = case.sources(df)
    found, told = scan.look(df, sources, Placement(WORKERS, WORKERS), True)
    assert found is not None, told
    spec = {
        "columns": [source.spec() for source in sources],
        "threads": 1,
        "on_bad_row": "error",
        "scan": found.spec(),
    }
    return no_rows(df.sparkSession).whole(WORKERS).mapInArrow(partial(fill, json.dumps(spec)), "rows bigint")


def measure(name: str, repeats: int) -> None:
    case = CASES[name]
    df = sides.session(WORKERS).read.parquet(str(files(name)))
    jobs = {"ours": partial(ours, df, case), "other": lambda: df.mapInArrow(drain, "rows bigint")}
    taken = {side: [] for side in jobs}
    for run in range(repeats + 1):
        for side, job in jobs.items():
            once = seconds(job)
            if run > 0:  # the first of each warms up
                taken[side].append(once)
    rate = {side: ROWS / median(found) for side, found in taken.items()}
    ratio = rate["ours"] / rate["other"]
    report.row("ingest", name, rate["ours"], rate["other"], "drain", "rows/s", ratio, case.bar, ratio >= case.bar)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*CASES, *spill.CASES]
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one run of each side")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side (default: 5)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(known):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    for name in options.cases or known:
        if name in CASES:
            measure(name, 1 if options.quick else options.repeats)
        else:
            spill.measure(name, 1 if options.quick else 2)
    report.finish()


if __name__ == "__main__":
    main()
