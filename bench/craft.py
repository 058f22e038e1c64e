"""The craft of training: what large batches cost in accuracy, how long minima take.

Run: make bench-craft, or with BENCH="large-batch" for one case.

large-batch: MNIST, a perceptron, so many epochs of steps of 256 rows by Adam ("other"), and of 8192 rows by LAMB with a
warm-up; plain Adam at 8192 beside it. The bar is half a point of accuracy.

mlp-lbfgs: a perceptron by L-BFGS, from the same weights, over MLlib's sample data and over 200,000 rows of 30 numbers.
The bar is the same loss or a lower one in a tenth of the time of MLlib's MultilayerPerceptronClassifier.

validation: a tenth of MNIST's rows is evaluated after each epoch by one worker with one thread, against eager PyTorch's
forward and loss over as many rows, measured before and after. The bar is 1.15 times that.

bf16: one step (forward, backward, update, commit) of a perceptron 1024-4096-4096-10 over 512 rows, one thread, with
precision='bf16' and in float32 ("other"), by SGD; by Adam, whose update is the memory's work, beside it. The bar is 2.5
times. Then MNIST, accuracy after so many epochs of each: at most 0.3 points less.
"""

import argparse
import json
import statistics
import time
from typing import Any

import torch
from pyspark.sql import DataFrame
from torch import nn

import multilayer
import report
import sides
from step import mlp
from stoker import StokerClassifier
from stoker.engine import load_torch
from stoker.frontend.torch import compile as compile_program
from stoker.program import TensorSpec
from tasks import TASKS, Task, accuracy

WORKERS, EPOCHS, POINTS = 2, 20, 0.5
TIMES, ROUNDING, PAIRS = 10.0, 1e-3, 3  # of L-BFGS
HELD, COST = 0.1, 1.15  # of validation
FASTER, MIXED_POINTS = 2.5, 0.3  # of bf16
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
        pairs = [multilayer.by_mllib(rows, layers) + multilayer.by_stoker(rows, layers) for _ in range(PAIRS)]
        theirs, their_loss, ours, our_loss = map(statistics.median, zip(*pairs, strict=True))
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


class MixedStep:
    """Of one precision. Called, gives the median seconds of a few steps."""

    def __init__(self, precision: str, optimizer: str) -> None:
        features, label = TensorSpec("features", "float32", (1024,)), TensorSpec("label", "int64", ())
        torch.manual_seed(1)
        network = mlp(1024, 4096, 4096, 10)
        compiled = compile_program(network, nn.CrossEntropyLoss(), [features], [label], precision=precision)
        self.weights = compiled.to_files()["weights.safetensors"]
        self.rows = [torch.randn(512, 1024).numpy(), torch.randint(0, 10, (512,)).numpy()]
        self.spec = json.dumps({
            "program": compiled.train, "optimizer": {"name": optimizer, "groups": [{"lr": 1e-3}]},
            "columns": [{"name": s.name, "dtype": s.dtype, "shape": s.shape} for s in (features, label)],
            "batch_size": 512, "epochs": 1, "seed": 1, "shuffle": False, "shards": 1, "threads": 1,
        })  # fmt: skip

    def __call__(self) -> float:
        return load_torch().bench_steps(self.spec, self.weights, self.rows, 5)


def bf16() -> None:
    for optimizer, bar in (("sgd", FASTER if load_torch().has_bf16() else 0.0), ("adam", 0.0)):
        sides_ = [MixedStep(precision, optimizer) for precision in ("bf16", "fp32")]
        mixed, plain = map(statistics.median, zip(*([side() for side in sides_] for _ in range(5)), strict=True))
        report.row("craft", f"bf16, a step by {optimizer}", mixed, plain, "fp32", "s", plain / mixed, bar,
                   plain / mixed >= bar)  # fmt: skip
    rows = sides.read_rows(sides.session(WORKERS), TASKS["mnist"]).cache()
    mixed, plain = (trained(rows, BATCH, "adam", 1e-3, precision=precision) for precision in ("bf16", "fp32"))
    bar = (plain - MIXED_POINTS) / plain
    report.row("craft", "bf16, MNIST", mixed, plain, "fp32", "% right", mixed / plain, bar, mixed / plain >= bar)


CASES = {"large-batch": large_batch, "mlp-lbfgs": mlp_lbfgs, "validation": validation, "bf16": bf16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"some of: {', '.join(CASES)} (default: all)")
    for case in parser.parse_args().case or CASES:
        CASES[case]()
    report.finish()


if __name__ == "__main__":
    main()
