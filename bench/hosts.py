"""Two hosts, which are network namespaces of this machine, over a link whose rate a token bucket bounds: sums of one
vector against gloo's, and steps of a second with all-reduce, with gradients in bfloat16, and with DiLoCo.

Run: make bench-hosts, as root; BENCH="sums" for one case. Sums: blocks of both sides take turns in the same two
processes, the median of rank 0's single calls counts, and both must give the same bits.
"""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import report
from collective import compare, meet
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from stoker.strategy import DiLoCo, as_strategy, spec_of
from tasks import TASKS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faulty_gang import NAMESPACE, FaultyGang, inside
from local_gang import LocalFit
from test_two_hosts import two_hosts

RANKS, BLOCKS, CALLS = 2, 5, 5
SIZES = {"25 MiB": 25 << 20, "5 M parameters": 5_000_000 // 16 * 64}
RATES = {"10 Gbit/s": 10_000, "1 Gbit/s": 1_000, "as it is": 0}  # Mbit/s
SUMS = {("25 MiB", "10 Gbit/s"): 1.0, ("25 MiB", "1 Gbit/s"): 1.0, ("5 M parameters", "as it is"): 0.0}
ROWS, EPOCHS, EVERY, FASTER, HALF = 12_800, 8, 20, 3.0, 1.5


@dataclass(frozen=True)
class Place:
    """Where a rank is."""

    namespace: str
    address: str
    device: str


def places(hosts: list[tuple[str, str]]) -> list[Place]:
    names = (f"stk{os.getpid() % 100000}{side}" for side in "ab")
    return [Place(*host, name) for host, name in zip(hosts, names, strict=True)]


@contextlib.contextmanager
def limited(hosts: list[Place], megabits: int) -> Iterator[None]:
    """What each host sends is held to the rate, a millisecond's worth at a time."""
    if not megabits:
        yield
        return
    bucket = ["rate", f"{megabits}mbit", "burst", f"{megabits * 125}", "latency", "20ms"]
    for host in hosts:
        subprocess.run(["tc", "-n", host.namespace, "qdisc", "add", "dev", host.device, "root", "tbf", *bucket],
                       check=True)  # fmt: skip
    yield
    for host in hosts:
        subprocess.run(["tc", "-n", host.namespace, "qdisc", "del", "dev", host.device, "root"], check=True)


def work(rank: int, place: Place, pipe, secret: bytes, store: str, floats: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = place.device
    torch.set_num_threads(1)
    with inside(place.namespace):
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
        group, _listeners = meet(rank, pipe, secret, place.address)
        pipe.send(compare(group, floats, BLOCKS, CALLS))
        dist.barrier()
        dist.destroy_process_group()


def summed(hosts: list[Place], floats: int) -> dict[str, float]:
    context, secret = multiprocessing.get_context("spawn"), os.urandom(32)
    pipes, workers = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rank, place in enumerate(hosts):
            mine, theirs = context.Pipe()
            told = (rank, place, theirs, secret, f"{folder}/store", floats)
            workers.append(context.Process(target=work, args=told, daemon=True))
            workers[-1].start()
            theirs.close()
            pipes.append(mine)
        members = [pipe.recv() for pipe in pipes]
        for pipe in pipes:
            pipe.send(members)
        results = [pipe.recv() for pipe in pipes]
        for worker in workers:
            worker.join()
    return results[0]


def sums(hosts: list[Place]) -> None:
    for (size, rate), bar in SUMS.items():
        with limited(hosts, RATES[rate]):
            seconds = summed(hosts, SIZES[size] // 4)
        ratio = seconds["gloo"] / seconds["ours"]
        report.row("hosts", f"sum of {size}, {rate}", seconds["ours"] * 1e3, seconds["gloo"] * 1e3, "gloo", "ms",
                   ratio, bar, ratio >= bar)  # fmt: skip


def perceptron(strategy: object = "allreduce", **more: object) -> LocalFit:
    """Of MNIST: 32 rows of each shard in a step, a shard on each host."""
    task = TASKS["mnist"]
    pixels, labels = task.arrays("train")
    torch.manual_seed(1)
    compiled = compile_module(task.network(), nn.CrossEntropyLoss(), [TensorSpec("pixels", "float32", (784,))],
                              [TensorSpec("label", "int64", ())], metric="argmax")  # fmt: skip
    columns = [
        {"name": "pixels", "shown": "pixels", "dtype": "float32", "shape": [784], "integral": False},
        {"name": "label", "shown": "label", "dtype": "int64", "shape": [], "integral": True, "classes": 10},
    ]
    values = {"pixels": pixels[:ROWS].astype(np.float32), "label": labels[:ROWS].astype(np.int64)}
    optimizer = {"name": "sgd", "groups": [{"lr": 0.1}]}
    told = {"batch_size": 64, "epochs": EPOCHS, **spec_of(as_strategy(strategy)), **more}
    return LocalFit(compiled, columns, values, optimizer, shards=RANKS, more=told)


def steps_per_second(hosts: list[Place], fit: LocalFit) -> float:
    """In the middle of its epochs."""

    def place(worker: int, attempt: int) -> dict[str, str]:
        return {NAMESPACE: hosts[worker % RANKS].namespace}

    gang = FaultyGang(fit, RANKS, environment=place, namespace=hosts[0].namespace,
                      host=hosts[0].address)  # fmt: skip
    epochs = gang.run().history["epochs"]
    return ROWS / 64 / median(epoch["seconds"] for epoch in epochs)


def against(hosts: list[Place], what: str, fit: LocalFit, plain: str, bar: float) -> None:
    """Steps of a second of a fit, and of one by all-reduce in float32."""
    with limited(hosts, RATES["1 Gbit/s"]):
        pairs = [[steps_per_second(hosts, each) for each in (fit, perceptron())] for _ in range(3)]
    ours, other = (median(side) for side in zip(*pairs, strict=True))
    report.row("hosts", f"{what}, MNIST MLP, 1 Gbit/s", ours, other, plain, "steps/s", ours / other, bar,
               ours / other >= bar)  # fmt: skip


def local(hosts: list[Place]) -> None:
    against(hosts, f"DiLoCo({EVERY})", perceptron(DiLoCo(EVERY)), "allreduce", FASTER)


def bf16(hosts: list[Place]) -> None:
    against(hosts, "reduceDtype='bf16'", perceptron(reduce_dtype="bf16"), "fp32", HALF)


CASES = {"sums": sums, "local": local, "bf16": bf16}


def main() -> None:
    cases = report.asked(__doc__, CASES)
    if os.geteuid() != 0:
        raise SystemExit("network namespaces need root")
    with two_hosts() as hosts:
        for case in cases:
            CASES[case](places(hosts))
    report.finish()


if __name__ == "__main__":
    main()
