"""From Parquet files to the engine's column store, read by the workers themselves or sent by Spark's pipe, against
draining mapInArrow over the same columns into nothing; one thread from JPEG files to pixels, against Pillow, and from
texts to numbers, against the `tokenizers` package (bench/texts.py); and whole fits whose rows take five times the
memory that they may have (bench/spill.py).

Run: make bench-ingest, or with BENCH="--quick floats-30-parquet" for some cases with one run of each side, whose
figures say little about the bars. Runs are interleaved in a warm session of two tasks; medians count.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow
from pyspark.sql import DataFrame

import report
import sides
import spill
import texts
from stoker.engine import core
from stoker.fit.run import no_rows
from stoker.inputs import Array, Hashed, Image, Numeric, fields
from stoker.spark import columns, scan
from stoker.spark.columns import Source
from stoker.spark.placement import Placement, owned_shards
from stoker.spark.table import Table
from tasks import mnist_data

ROWS = 2_000_000
GROUP = 100_000
WORKERS = 2
MIXED = ("int8", "int16", "int32", "int64", "int32", "bool", "string", "string")
PIXELS = (3, 224, 224)  # 150 kB
WIDTH = 784


@dataclass(frozen=True)
class Case:
    dtypes: tuple[str, ...]  # of the columns
    bar: float
    rows: int = ROWS
    group: int = GROUP
    piped: bool = False  # by Spark's pipe, of which the other side then drains just the same columns

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"c{i}" for i in range(len(self.dtypes)))

    def sources(self, df: DataFrame) -> list[Source]:
        """Plain numbers, or with strings among them declared ones."""
        if set(self.dtypes) == {"float32"}:
            return [Source("features", self.names, "featuresCols", "float32", (len(self.names),))]
        if self.dtypes == ("array",):
            return [Source("features", ("c0",), "featuresCol", "float32", (WIDTH,))]
        if self.dtypes == ("pixels",):
            return [fields.source("features", Array("c0", PIXELS, stored="uint8", unit=1 / 255), Table.of(df))]
        items = [Hashed(name, 1000) if dtype == "string" else Numeric(name, lossy=True)
                 for name, dtype in zip(self.names, self.dtypes)]  # fmt: skip
        return [fields.source("features", items, Table.of(df))]


CASES = {
    "floats-30-parquet": Case(("float32",) * 30, 3),
    "mixed-40-parquet": Case(MIXED * 5, 3),
    "floats-30": Case(("float32",) * 30, 0.9, piped=True),
    "mixed-40": Case(MIXED * 5, 0.9, piped=True),
    "array-784": Case(("array",), 0.9, rows=100_000, group=10_000, piped=True),
    "images": Case(("pixels",), 0.9, rows=2000, group=500, piped=True),
}


def group(case: Case, draw: np.random.Generator) -> pa.Table:
    """Rows as data often are: some columns of many values, some of few."""
    return pa.table({name: values(dtype, case.group, 1000 ** (1 + i % 3), draw)
                     for i, (name, dtype) in enumerate(zip(case.names, case.dtypes))})  # fmt: skip


def values(dtype: str, rows: int, spread: int, draw: np.random.Generator) -> Any:
    if dtype == "pixels":
        return pa.array((draw.bytes(int(np.prod(PIXELS))) for _ in range(rows)), pa.binary())
    if dtype == "array":
        offsets = np.arange(rows + 1, dtype=np.int32) * WIDTH
        return pa.ListArray.from_arrays(offsets, draw.standard_normal(rows * WIDTH, dtype=np.float32))
    if dtype == "float32":
        return draw.standard_normal(rows, dtype=np.float32)
    if dtype == "string":
        return pa.array(f"value {number}" for number in draw.integers(0, min(spread, 10**6), rows))
    most = 1 if dtype == "bool" else np.iinfo(dtype).max
    return draw.integers(0, min(spread, most), rows, endpoint=True).astype(dtype)


def files(name: str) -> Path:
    path = mnist_data.CACHE / f"ingest-{name.removesuffix('-parquet')}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        draw = np.random.default_rng(11)
        unfinished = path.with_suffix(".part")
        case = CASES[name]
        with pq.ParquetWriter(unfinished, group(case, draw).schema) as writer:
            for _ in range(case.rows // case.group):
                writer.write_table(group(case, draw))
        unfinished.rename(path)
    return path


def drain(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield counted(sum(batch.num_rows for batch in batches))


def fill(spec: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What a task of a fit does with its rows."""
    from pyspark import TaskContext

    from stoker.engine import core
    from stoker.spark.ingest import ingest
    from stoker.spark.task import from_spark

    partition = TaskContext.get().partitionId()
    silent = SimpleNamespace(ingesting=lambda rows: None, resting=nullcontext)
    owned = owned_shards(partition, WORKERS, WORKERS)
    rows = from_spark(batches, silent)
    yield counted(ingest(core(), silent, json.loads(spec), owned, partition, rows).rows())


def counted(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([rows], pa.int64())], ["rows"])


def seconds(job: Callable[[], DataFrame], wanted: int) -> float:
    start = time.perf_counter()
    rows = sum(row["rows"] for row in job().collect())
    taken = time.perf_counter() - start
    assert rows == wanted, rows
    return taken


def piped(df: DataFrame, case: Case) -> dict[str, Callable[[], DataFrame]]:
    sources = case.sources(df)
    spec = {"columns": [source.spec() for source in sources], "on_bad_row": "error"}
    sent = df.select(*(value.alias(name) for name, value in columns.travelling(Table.of(df), sources).items()))
    return {"ours": lambda: sent.mapInArrow(partial(fill, json.dumps(spec)), "rows bigint"),
            "other": lambda: sent.mapInArrow(drain, "rows bigint")}  # fmt: skip


def scanned(df: DataFrame, case: Case) -> dict[str, Callable[[], DataFrame]]:
    sources = case.sources(df)
    found, told = scan.look(Table.of(df), sources, Placement(WORKERS, WORKERS), True)
    assert found is not None, told
    spec = {
        "columns": [source.spec() for source in sources],
        "threads": 1,
        "on_bad_row": "error",
        "scan": found.spec(),
    }
    tasks = no_rows(df.sparkSession, WORKERS).whole(WORKERS)
    return {"ours": lambda: tasks.mapInArrow(partial(fill, json.dumps(spec)), "rows bigint"),
            "other": lambda: df.mapInArrow(drain, "rows bigint")}  # fmt: skip


def measure(name: str, repeats: int) -> None:
    case = CASES[name]
    df = sides.session(WORKERS).read.parquet(str(files(name)))
    jobs = piped(df, case) if case.piped else scanned(df, case)
    taken = {side: [] for side in jobs}
    for run in range(repeats + 1):
        for side, job in jobs.items():
            once = seconds(job, case.rows)
            if run > 0:  # the first of each warms up
                taken[side].append(once)
    rate = {side: case.rows / median(found) for side, found in taken.items()}
    ratio = rate["ours"] / rate["other"]
    report.row("ingest", name, rate["ours"], rate["other"], "drain", "rows/s", ratio, case.bar, ratio >= case.bar)


JPEG_BAR = 2
SIZE = (224, 224)


def photographs() -> list[bytes]:
    """Parts of a photograph, 640 x 480, as cameras and Pillow by default write them."""
    from matplotlib import cbook

    with Pillow.open(cbook.get_sample_data("grace_hopper.jpg")) as photograph:
        parts = [photograph.resize((640, 480), Pillow.Resampling.BICUBIC, box=(x, y, x + 448, y + 336))
                 for x in (0, 21, 42, 64) for y in (0, 85, 170, 264)]  # fmt: skip
    files = [io.BytesIO() for _ in parts]
    for part, file in zip(parts, files):
        part.save(file, "JPEG", quality=90)
    return [file.getvalue() for file in files]


def by_pillow(files: list[bytes], draft: bool) -> None:
    for data in files:
        with Pillow.open(io.BytesIO(data)) as picture:
            if draft:
                picture.draft("RGB", SIZE)
            np.asarray(picture.convert("RGB").resize(SIZE, Pillow.Resampling.BILINEAR))


def by_engine(spec: str, batch: pa.RecordBatch) -> None:
    core().ColumnStore(spec, [0], 0).append(batch)


def measure_jpeg(repeats: int) -> None:
    files = photographs()
    source = fields.source("x", Image("file", SIZE), None)
    batch = pa.RecordBatch.from_arrays([pa.array(files, pa.binary())], [source.sent[0].name])
    jobs = {
        "ours": partial(by_engine, json.dumps([source.spec()]), batch),
        "Pillow": partial(by_pillow, files, False),
        "Pillow with draft": partial(by_pillow, files, True),
    }
    taken = {side: [] for side in jobs}
    for _ in range(5 * repeats):
        for side, job in jobs.items():
            start = time.perf_counter()
            job()
            taken[side].append(time.perf_counter() - start)
    rate = {side: len(files) / median(found) for side, found in taken.items()}
    for side, case in (("Pillow", "jpeg"), ("Pillow with draft", "jpeg-draft")):
        ratio, bar = rate["ours"] / rate[side], JPEG_BAR if case == "jpeg" else 1
        report.row("ingest", case, rate["ours"], rate[side], side, "images/s", ratio, bar, ratio >= bar)


ALL: dict[str, Callable[[int], None]] = {
    **{name: partial(measure, name) for name in CASES},
    "jpeg": measure_jpeg,
    **{name: partial(texts.measure, name) for name in texts.CASES},
    **{name: lambda repeats, name=name: spill.measure(name, min(repeats, 2)) for name in spill.CASES},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(ALL)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one run of each side")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side (default: 5)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(ALL):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    repeats = 1 if options.quick else options.repeats
    for name in options.cases or ALL:
        ALL[name](repeats)
    report.finish()


if __name__ == "__main__":
    main()
