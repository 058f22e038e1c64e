"""The craft of training: what large batches cost in accuracy, how long minima take.

Run: make bench-craft, or with BENCH="large-batch" for one case.

large-batch: MNIST, a perceptron, so many epochs of steps of 256 rows by Adam ("other"), and of 8192 rows by LAMB with a
warm-up; plain Adam at 8192 beside it. The bar is half a point of accuracy.

mlp-lbfgs: a perceptron by L-BFGS, from the same weights, over MLlib's sample data and over 200,000 rows of 30 numbers.
The bar is the same loss or a lower one in a tenth of the time of MLlib's MultilayerPerceptronClassifier.

validation: a tenth of MNIST's rows is evaluated after each epoch by one worker with one thread, against eager PyTorch's
forward and loss over as many rows, measured before and after. The bar is 1.15 times that.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from pyspark.sql import DataFrame
from torch import nn

import multilayer
import report
import sides
from stoker import StokerClassifier
from tasks import TASKS, Task, accuracy

WORKERS, EPOCHS, POINTS = 2, 20, 0.5
TIMES, ROUNDING = 10.0, 1e-3  # of L-BFGS
HELD, COST = 0.1, 1.15  # of validation
BATCH, LARGE = 256, 8192
LAMB = {"lrSchedule": {"name": "cosine", "warmup": 16}, "optimizerParams": {"weight_decay": 0.01}}


def trained(rows: DataFrame, batch: int, optimizer: str, rate: float, **more: Any) -> float:
    """Accuracy on the test rows in percent."""
    task = TASKS["mnist"]
    torch.manual_seed(1)
    estimator = StokerClassifier(
        model=task.network(), **task.features(), optimizer=optimizer, learningRate=rate, batchSize=batch,
        epochs=EPOCHS, numWorkers=WORKERS, verbose=0, **more,
    )  # fmt: skip
    return 100 * accuracy(task, estimator.fit(rows).torch())


def large_batch() -> None:
    rows = sides.read_rows(sides.session(WORKERS), TASKS["mnist"]).cache()
    small = trained(rows, BATCH, "adam", 1e-3)
    for name, reached, bar in (
        ("large-batch", trained(rows, LARGE, "lamb", 5e-2, **LAMB), (small - POINTS) / small),
        ("large-batch, plain Adam", trained(rows, LARGE, "adam", 1e-3), 0.0),
    ):
        report.row("craft", name, reached, small, f"batch {BATCH}", "% right", reached / small, bar,
                   reached / small >= bar)  # fmt: skip


def mlp_lbfgs() -> None:
    spark = sides.session(WORKERS)
    small, large = multilayer.sample(spark), multilayer.made(spark, 200_000, 30)
    for side in (multilayer.by_mllib, multilayer.by_stoker):
        side(small, [4, 5, 4, 3], 2)  # neither pays for what comes first in its process
    for name, rows, layers in (("sample", small, [4, 5, 4, 3]), ("200,000 x 30", large, [30, 20, 10, 3])):
        theirs, their_loss = multilayer.by_mllib(rows, layers)
        ours, our_loss = multilayer.by_stoker(rows, layers)
        holds = theirs / ours >= TIMES and our_loss <= their_loss * (1 + ROUNDING)
        report.row("craft", f"mlp-lbfgs, {name}", ours, theirs, "MLlib", "s", theirs / ours, TIMES, holds)
        report.row("craft", f"mlp-lbfgs, {name}, loss", our_loss, their_loss, "MLlib", "log loss",
                   their_loss / our_loss, 1.0, our_loss <= their_loss * (1 + ROUNDING))  # fmt: skip


def forward_seconds(task: Task, rows: int) -> float:
    """Eager PyTorch's, of so many rows in batches, without gradients: forward and loss."""
    network, loss = task.network().eval(), nn.CrossEntropyLoss()
    batches = [(torch.rand(BATCH, 784), torch.randint(0, 10, (BATCH,))) for _ in range(4)]
    with torch.inference_mode():
        begun = time.perf_counter()
        for step in range(rows // BATCH):
            x, y = batches[step % len(batches)]
            loss(network(x), y).item()
        return time.perf_counter() - begun


def validation() -> None:
    task, threads = TASKS["mnist"], torch.get_num_threads()
    torch.set_num_threads(1)
    rows = sides.read_rows(sides.session(WORKERS), task).cache()
    estimator = StokerClassifier(
        model=task.network(), **task.features(), validationFraction=HELD, evalMetrics=["accuracy"], batchSize=BATCH,
        epochs=5, numWorkers=1, threads=1, verbose=0,
    )  # fmt: skip
    held, eager, ours = round(HELD * rows.count()), [], []
    for _ in range(3):
        eager += [forward_seconds(task, held) for _ in range(5)]
        ours += [epoch["phases"]["evaluate"] for epoch in estimator.fit(rows).history]
    torch.set_num_threads(threads)
    spent, expected = statistics.median(ours), statistics.median(eager)
    report.row("craft", "validation", spent, expected, "forward", "s", expected / spent, 1 / COST,
               spent <= COST * expected)  # fmt: skip


CASES = {"large-batch": large_batch, "mlp-lbfgs": mlp_lbfgs, "validation": validation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"some of: {', '.join(CASES)} (default: all)")
    for case in parser.parse_args().case or CASES:
        CASES[case]()
    report.finish()


if __name__ == "__main__":
    main()
