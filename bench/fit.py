"""Whole fits and training loops, against what a user of Spark would use otherwise, and against fewer workers or shards.

Run: make bench-fit, or with BENCH="--quick mnist tabular" for some cases with one run of each side and short loops,
whose figures say little about the bars. Both sides have the same global batch, optimizer and epochs, and must reach
the same accuracy within 0.5 points. Runs are interleaved in a warm session; medians count.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from pyspark.sql import SparkSession

import memory
import report
import sides
from sides import Run
from tasks import TASKS, large_network

SAME_ACCURACY = 0.005
NO_BAR = 0.0
MEGABYTE = 1e6
WARM_FITS = 4  # of one epoch, unmeasured, before whole fits: until then the JVM still compiles Spark's side of the pipe
# TorchDistributor's tasks leave Spark without its Python workers, and its own processes are new each time. So before
# each of our whole fits stands one of one epoch, unmeasured: a session that is warm.


@dataclass
class Bench:
    repeats: int
    loop_epochs: int
    spark: SparkSession | None = None
    cores: int = 0

    def warm(self, cores: int) -> SparkSession:
        """The session with so many cores, its Python workers started and one fit run."""
        if self.cores != cores:
            if self.spark is not None:
                self.spark.stop()
            self.spark, self.cores = sides.session(cores), cores
            task = TASKS["tabular"]
            sides.stoker(task, sides.read_rows(self.spark, task), epochs=1, workers=cores)
        return self.spark

    def interleaved(self, **run: Callable[[], Run]) -> dict[str, list[Run]]:
        done = {name: [] for name in run}
        for _ in range(self.repeats):
            for name, once in run.items():
                done[name].append(once())
        return done


def tell_phases(case: str, runs: list[Run]) -> None:
    for run in runs:
        print(f"{case}: " + ", ".join(f"{name} {seconds:.3f}" for name, seconds in run.phases.items()))


def middle(runs: list[Run], what: str) -> float:
    return median(getattr(run, what) for run in runs)


def compare(case: str, ours: list[Run], other: list[Run], other_name: str, bar: float, what: str) -> None:
    """One row: how many times better `ours` is in `what`, and whether that holds with the same accuracy."""
    mine, theirs = middle(ours, what), middle(other, what)
    accuracies = middle(ours, "accuracy"), middle(other, "accuracy")
    same = abs(accuracies[0] - accuracies[1]) <= SAME_ACCURACY
    told = "the same" if same else "NOT the same"
    print(f"{case}: accuracy {told}: {accuracies[0]:.4f}, {other_name} {accuracies[1]:.4f}")
    unit = {"seconds": "s", "loop": "s of loop"}[what]
    report.row("fit", case, mine, theirs, other_name, unit, theirs / mine, bar, theirs / mine >= bar and same)


def whole_fit(bench: Bench, name: str, distributor_bar: float, plain_limit: float) -> None:
    task = TASKS[name]
    rows = sides.read_rows(bench.warm(2), task)
    for _ in range(WARM_FITS):
        sides.stoker(task, rows, epochs=1)

    def ours() -> Run:
        sides.stoker(task, rows, epochs=1)
        return sides.stoker(task, rows, task.epochs)

    runs = bench.interleaved(
        ours=ours,
        distributor=lambda: sides.torch_distributor(task, rows, task.epochs),
        plain=lambda: sides.plain(task, task.epochs, threads=1),
        plain2=lambda: sides.plain(task, task.epochs, threads=2),
    )
    tell_phases(name, runs["ours"])
    compare(name, runs["ours"], runs["distributor"], "TorchDistributor", distributor_bar, "seconds")
    compare(name, runs["ours"], runs["plain"], "PyTorch, 1 thread", 1 / plain_limit, "seconds")
    compare(name, runs["ours"], runs["plain2"], "PyTorch, 2 threads", NO_BAR, "seconds")


def mnist_loop(bench: Bench) -> None:
    task = TASKS["mnist"]
    rows = sides.read_rows(bench.warm(2), task)
    runs = bench.interleaved(
        ours=lambda: sides.stoker(task, rows, bench.loop_epochs),
        distributor=lambda: sides.torch_distributor(task, rows, bench.loop_epochs),
    )
    compare("mnist-loop", runs["ours"], runs["distributor"], "TorchDistributor", 2.5, "loop")


@dataclass(frozen=True)
class Shape:
    """So many workers over so many shards."""

    workers: int
    shards: int

    def __str__(self) -> str:
        return f"{self.workers} worker{'s' if self.workers > 1 else ''}, S={self.shards}"


def shapes(bench: Bench, case: str, cores: int, ours: Shape, other: Shape, bar: float, task: str = "mnist",
           epochs: int | None = None) -> None:  # fmt: skip
    """The loop of a task in two shapes of the gang."""
    trained = TASKS[task]
    rows = sides.read_rows(bench.warm(cores), trained)

    def run(shape: Shape) -> Run:
        return sides.stoker(trained, rows, epochs or bench.loop_epochs, shape.workers, shape.shards)

    runs = bench.interleaved(ours=lambda: run(ours), other=lambda: run(other))
    compare(case, runs["ours"], runs["other"], f"Stoker, {other}", bar, "loop")


def shards_default(bench: Bench) -> None:
    """What 8 shards, with which up to 8 workers give the same bits, cost against a shard for each worker."""
    for task, epochs in (("mnist", 10), ("mnist-cnn", 2), ("mnist-transformer", 1)):
        for workers in (1, 2):
            shapes(bench, f"shards-default, {task}", workers, Shape(workers, 8), Shape(workers, workers), 1 / 1.10,
                   task, epochs)  # fmt: skip


def rest(bench: Bench) -> None:
    """What a fit takes beside reading rows and training, and whether its phases tell all of it."""
    task = TASKS["mnist"]
    rows = sides.read_rows(bench.warm(2), task)
    runs = bench.interleaved(ours=lambda: sides.stoker(task, rows, task.epochs))["ours"]
    tell_phases("rest", runs)
    beside = median(run.seconds - run.phases["ingest"] - run.phases["train"] for run in runs)
    report.row("fit", "rest", beside, 1.0, "allowed", "s", 1.0 / beside, 1.0, beside <= 1.0)
    gap = max(abs(sum(run.phases.values()) / run.seconds - 1) for run in runs)
    report.row("fit", "phases", gap, 0.02, "allowed", "of the wall time", 0.02 / max(gap, 1e-9), 1.0, gap <= 0.02)


def memory_peak(bench: Bench) -> None:
    """2 workers of one host, S=2, 25 million parameters, 10,000 rows."""
    workers = shards = 2
    task = replace(TASKS["mnist"], network=large_network, batch=512, parquet=lambda _: TASKS["mnist"].parquet("test"))
    parameters = sum(p.numel() for p in large_network().parameters()) * 4
    rows = sides.read_rows(bench.warm(2), task)
    row_bytes = sum(array.nbytes for array in task.arrays("train")) / workers
    copies = 6 / workers + 2 + math.ceil(math.log2(shards))
    allowed = memory.libtorch_bytes() + row_bytes + copies * parameters + 150 * MEGABYTE
    with memory.PeakWatch() as watch:
        sides.stoker(task, rows, epochs=1, workers=workers, shards=shards)
    ours, other = watch.peak / MEGABYTE, allowed / MEGABYTE
    report.row("fit", "memory", ours, other, "allowed", "MB", other / ours, 1.0, ours <= other)


CASES: dict[str, Callable[[Bench], None]] = {
    "mnist": lambda bench: whole_fit(bench, "mnist", 8, 1.1),
    "tabular": lambda bench: whole_fit(bench, "tabular", 12, 1.3),
    "mnist-loop": mnist_loop,
    "mnist-2-workers": lambda bench: shapes(bench, "mnist-2-workers", 2, Shape(2, 2), Shape(1, 1), 1.7),
    "mnist-s12-w2": lambda bench: shapes(bench, "mnist-s12-w2", 2, Shape(2, 12), Shape(2, 2), 1 / 1.6),
    "shards-default": shards_default,
    "rest": rest,
    "memory": memory_peak,
    "mnist-s12-w4": lambda bench: shapes(bench, "mnist-s12-w4", 4, Shape(4, 12), Shape(2, 12), 1 / 1.3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one run of each side, loops of 3 epochs")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (default: 3)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    bench = Bench(1 if options.quick else options.repeats, loop_epochs=3 if options.quick else 30)
    for name, run in CASES.items():
        if not options.cases or name in options.cases:
            run(bench)
    report.finish()


if __name__ == "__main__":
    main()
