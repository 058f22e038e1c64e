"""What it takes to bring a frozen table to eight workers on two hosts, which are network namespaces of this machine:
bytes that leave the driver, and memory that the workers of a host have more than with a table of next to nothing."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

import report
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faulty_gang import NAMESPACE, FaultyGang
from local_gang import LocalFit
from test_two_hosts import two_hosts

WORKERS, HOSTS, WIDTH, ROWS = 8, 2, 64, 64
MOST_SENT, MOST_HELD = 2.1, 1.05  # times the table; of the memory one twentieth is for what measuring is worth
SAMPLE = 0.2  # seconds


class Lookup(nn.Module):
    def __init__(self, table_rows: int) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.ones(table_rows, WIDTH), freeze=True)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, word: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(word))


def fit_of(table_bytes: int) -> LocalFit:
    table_rows = max(table_bytes // (4 * WIDTH), 4)
    compiled = compile_module(Lookup(table_rows), nn.CrossEntropyLoss(), [TensorSpec("word", "int64", ())],
                              [TensorSpec("label", "int64", ())], metric="argmax")  # fmt: skip
    column = {"dtype": "int64", "shape": [], "integral": True}
    columns = [{**column, "name": "word", "shown": "word", "classes": table_rows},
               {**column, "name": "label", "shown": "label", "classes": 2}]  # fmt: skip
    values = {"word": np.arange(ROWS) % table_rows, "label": np.arange(ROWS) % 2}
    return LocalFit(compiled, columns, values, shards=WORKERS, more={"batch_size": ROWS, "epochs": 20})


@dataclass
class Watch:
    """The most memory that the workers of each host have had together, each page counted once."""

    most: list[int] = field(default_factory=lambda: [0] * HOSTS)
    last: float = 0

    def __call__(self, gang: FaultyGang) -> None:
        if time.monotonic() - self.last < SAMPLE:
            return
        for host in range(HOSTS):
            held = sum(proportional(attempts[-1].pid) for attempts in gang.attempts[host::HOSTS])
            self.most[host] = max(self.most[host], held)
        self.last = time.monotonic()


def proportional(pid: int) -> int:
    """Bytes of the process, pages that several share by parts (Pss). None once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def sent(namespace: str) -> int:
    """Bytes that have left by any interface of the namespace."""
    told = subprocess.run(["ip", "-n", namespace, "-s", "-j", "link"], check=True, capture_output=True).stdout
    return sum(link["stats64"]["tx"]["bytes"] for link in json.loads(told))


def run(hosts: list[tuple[str, str]], table_bytes: int) -> tuple[int, list[int], float]:
    fit, watch = fit_of(table_bytes), Watch()
    before, begun = sent(hosts[0][0]), time.monotonic()

    def place(worker: int, attempt: int) -> dict[str, str]:
        return {NAMESPACE: hosts[worker % HOSTS][0]}

    FaultyGang(fit, WORKERS, on_tick=watch, environment=place, namespace=hosts[0][0], host=hosts[0][1]).run()
    return sent(hosts[0][0]) - before, watch.most, time.monotonic() - begun


def weights(megabytes: int) -> None:
    if os.geteuid() != 0:
        print("weights: left out, network namespaces need root")
        return
    size = megabytes << 20
    with two_hosts() as hosts:
        sent_before, held_before, _ = run(hosts, 0)
        sent_now, held_now, seconds = run(hosts, size)
    over = (sent_now - sent_before) / size
    held = max(now - before for now, before in zip(held_now, held_before, strict=True)) / size
    print(f"weights: {megabytes} MB to {WORKERS} workers on {HOSTS} hosts, {seconds:.1f} s with the fit")
    report.row("recovery", "weights, sent", over, HOSTS, "once a host", "copies", HOSTS / over, HOSTS / MOST_SENT,
               over <= MOST_SENT)  # fmt: skip
    report.row("recovery", "weights, memory of a host", held, 1, "once", "copies", 1 / held, 1 / MOST_HELD,
               held <= MOST_HELD)  # fmt: skip
