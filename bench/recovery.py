"""What it costs to be ready for deaths, and to come back from them.

Run: make bench-recovery, or with BENCH="checkpoint-stall" for one case and --quick for few runs, whose figures say
little about the bars. Both sides run in turn in one session; medians count.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

import goodput
import kills
import links
import report
import sides
import transaction
import weights
from stoker.history import History
from tasks import TASKS, Task, large_network

FAILURES = 200  # of one task, more than any case kills
EVERY = 5  # steps from one checkpoint to the next
SOON = 1.2  # times a copy
KILLS_PER_REPEAT, PAIRS_PER_REPEAT = 4, 8


@dataclass
class Bench:
    repeats: int
    minutes: float
    megabytes: int
    spark: SparkSession | None = None

    def session(self) -> SparkSession:
        self.spark = self.spark or sides.session(2)
        return self.spark

    def forgiving_session(self, workers: int) -> SparkSession:
        """Spark starts a failed task again only where its master allows that."""
        cores = f"{workers},{FAILURES}"
        if self.spark is not None and self.spark.sparkContext.master != f"local[{cores}]":
            self.spark.stop()
            self.spark = None
        self.spark = self.spark or sides.session(cores)
        return self.spark


def fit(task: Task, rows: DataFrame, epochs: int, **settings: Any) -> History:
    return sides.estimator(task, epochs=epochs, numWorkers=2, **settings).fit(rows).history


def checkpointed(task: Task, rows: DataFrame, epochs: int) -> History:
    with tempfile.TemporaryDirectory() as folder:
        return fit(task, rows, epochs, checkpointDir=folder, checkpointInterval=EVERY, checkpointUnit="steps",
                   checkpointKeep=1)  # fmt: skip


def copy_seconds(size: int) -> float:
    """Of one memcpy by one thread, from memory to memory that were both used before."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    start = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - start


def checkpoint_stall(bench: Bench) -> None:
    """25 million parameters with Adam, two workers of one host: how long training stands still for a checkpoint."""
    task = replace(TASKS["mnist"], network=large_network, batch=512, parquet=lambda _: TASKS["mnist"].parquet("test"))
    rows = sides.read_rows(bench.session(), task)
    stalls, copies, epochs = [], [], {"with": [], "without": []}
    for _ in range(bench.repeats):
        for name, run in (("with", checkpointed), ("without", fit)):
            history = run(task, rows, epochs=2)
            epochs[name] += [epoch["seconds"] for epoch in history]
            made = [record for record in history.info.get("checkpoints", []) if "error" not in record]
            stalls += [record["stall"] for record in made]
            copies += [copy_seconds(record["bytes"]) for record in made]
    tell_epochs(len(stalls), epochs)
    stall, copy = median(stalls), median(copies)
    report.row("recovery", "checkpoint-stall", stall, copy, "memcpy", "s", copy / stall, 1 / SOON, stall <= SOON * copy)


def tell_epochs(made: int, epochs: dict[str, list[float]]) -> None:
    told = ", ".join(f"{median(seconds):.2f} s {name}" for name, seconds in epochs.items())
    print(f"checkpoint-stall: {made} checkpoints; an epoch of 20 steps took {told} checkpoints written beside it")


def kill(bench: Bench) -> None:
    kills.kill(bench.forgiving_session(2), bench.repeats * KILLS_PER_REPEAT)


def goodput_under(bench: Bench, every: int) -> None:
    """Kills a worker each `every` seconds."""
    goodput.goodput(bench.forgiving_session(goodput.WORKERS), bench.minutes, every)


LONG = {"goodput-60", "goodput-15"}  # half an hour each
CASES: dict[str, Callable[[Bench], None]] = {
    "checkpoint-stall": checkpoint_stall,
    "kill": kill,
    "kill-holder": lambda bench: kills.kill_holder(bench.forgiving_session(2)),
    "goodput-60": lambda bench: goodput_under(bench, 60),
    "goodput-15": lambda bench: goodput_under(bench, 15),
    "links": lambda _: links.links(),
    "weights": lambda bench: weights.weights(bench.megabytes),
    "cost": lambda bench: transaction.cost(bench.repeats * PAIRS_PER_REPEAT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(CASES)} "
                        "(default: all but goodput, of which each takes half an hour)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one run of each side")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side (default: 5)")
    parser.add_argument("--minutes", type=float, default=5, help="of each run of goodput (default: 5)")
    parser.add_argument("--megabytes", type=int, default=1024, help="of weights (default: 1024)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    bench = Bench(1 if options.quick else options.repeats, 0.5 if options.quick else options.minutes,
                  256 if options.quick else options.megabytes)  # fmt: skip
    asked = options.cases or set(CASES) - LONG
    for name, run in CASES.items():
        if name in asked:
            run(bench)
    report.finish()


if __name__ == "__main__":
    main()
