"""Sums of one vector per process over the two processes of one host: ours in shared memory against gloo.

Run: make bench-collective. Both sides reduce in place, in blocks that take turns in the same two processes; the median
of rank 0's single calls counts. Both must give the same bits.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from statistics import median

import numpy as np
import torch
import torch.distributed as dist

import report
from stoker import _core

CASES = {"4 KiB": (4 << 10, 20), "1 MiB": (1 << 20, 8), "25 MiB": (25 << 20, 4)}
RANKS = 2
BLOCKS = 10


def timed(call, times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def meet(rank: int, pipe, secret: bytes, host: str = "127.0.0.1") -> tuple[_core.Group, _core.Listeners]:
    listeners = _core.Listeners(host)
    pipe.send(
        {
            "rank": rank,
            "host": host,
            "port": listeners.port,
            "unix_name": listeners.unix_name,
            "pid": os.getpid(),
        }
    )
    roster = {"generation": 1, "rank": rank, "members": pipe.recv(), "secret": secret}
    return _core.form_group(roster, listeners), listeners


def compare(group: _core.Group, floats: int, blocks: int, calls: int) -> dict[str, float]:
    """Medians in seconds, of so many blocks of calls."""
    ours = _core.AllReduce(group, floats)
    theirs = torch.zeros(floats)
    start = np.random.default_rng(group.rank).standard_normal(floats).astype(np.float32)
    seconds = {"ours": [], "gloo": []}
    for _ in range(blocks):
        ours.buffer[:] = start
        theirs.copy_(torch.from_numpy(start))
        seconds["ours"] += timed(ours.run, calls)
        seconds["gloo"] += timed(lambda: dist.all_reduce(theirs), calls)
        assert np.array_equal(ours.buffer, theirs.numpy()), "ours and gloo differ"
    return {side: median(values) for side, values in seconds.items()}


def work(rank: int, pipe, secret: bytes, store: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    results = {}
    for case, (size, _) in CASES.items():
        group, _listeners = meet(rank, pipe, secret)
        results[case] = compare(group, size // 4, BLOCKS, 20 if size >= 4 << 20 else 100)
    dist.barrier()
    dist.destroy_process_group()
    pipe.send(results)


def run() -> dict[str, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes, workers, secret = [], [], os.urandom(32)
        for rank in range(RANKS):
            mine, theirs = context.Pipe()
            workers.append(context.Process(target=work, args=(rank, theirs, secret, f"{folder}/store"), daemon=True))
            workers[-1].start()
            theirs.close()
            pipes.append(mine)
        for _ in CASES:
            members = [pipe.recv() for pipe in pipes]
            for pipe in pipes:
                pipe.send(members)
        results = [pipe.recv() for pipe in pipes]
        for worker in workers:
            worker.join()
    return results[0]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for case, seconds in run().items():
        bar = CASES[case][1]
        ratio = seconds["gloo"] / seconds["ours"]
        report.row(
            "collective", case, seconds["ours"] * 1e6, seconds["gloo"] * 1e6, "gloo", "us", ratio, bar, ratio >= bar
        )
    report.finish()


if __name__ == "__main__":
    main()
