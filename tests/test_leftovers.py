"""What a fit leaves in its workers' processes, which Spark uses again: nothing. Read from /proc."""

from __future__ import annotations

import multiprocessing
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest

from local_gang import context_of, deal, job_of
from stoker import program
from stoker.engine import core
from stoker.spark import task as spark_task
from test_exact import make_fit

WORKERS = 2


def of_process() -> dict:
    """Threads, descriptors by what they are, and mappings of shared segments."""
    names = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(fd.readlink()).split(":")[0])
        except FileNotFoundError:  # the listing's own
            continue
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {"threads": len(list(Path("/proc/self/task").iterdir())), "descriptors": Counter(names),
            "segments": sum("memfd:" in line for line in maps)}  # fmt: skip


def live(jobs, rank, rows, told):
    spark_task.context = lambda: context_of(rank)
    seen = []
    for job in jobs:
        spark_task.run(job, iter(rows))
        seen.append(of_process())
    told.put(seen)


def wait_for(holds, coordinator, seconds=60):
    until = time.monotonic() + seconds
    events = []
    while not holds(events):
        assert time.monotonic() < until, events
        events += [kind for kind, _ in coordinator.poll(0.05)]


def finish(coordinator):
    wait_for(lambda _: coordinator.done(), coordinator)
    assert coordinator.failure() is None


def abort(coordinator):
    wait_for(lambda events: "metrics" in events, coordinator)
    coordinator.abort("the test's wish")


@pytest.mark.parametrize(("end", "force_tcp"), [(finish, False), (finish, True), (abort, False), (abort, True)])
def test_nothing_of_ours_stays_in_a_worker(end, force_tcp):
    fits = [make_fit("mlp", shards=3), make_fit("mlp", shards=3, epochs=2 if end is finish else 1_000_000)]
    weights = program.weights_to_train(fits[0].compiled)
    coordinators, jobs = [], []
    for fit in fits:
        secret = secrets.token_bytes(32)
        coordinators.append(core().Coordinator({"bind_host": "127.0.0.1", "secret": secret, "workers": WORKERS,
                                                "shards": 3, **weights, "force_tcp": force_tcp}))  # fmt: skip
        jobs.append(job_of(fit, coordinators[-1].port, secret, WORKERS))
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    processes = [spawn.Process(target=live, args=(jobs, rank, deal(fits[0], rank, WORKERS, 0), told), daemon=True)
                 for rank in range(WORKERS)]  # fmt: skip
    try:
        for process in processes:
            process.start()
        finish(coordinators[0])
        end(coordinators[1])
        for before, after in (told.get(timeout=30) for _ in processes):
            assert before == after
            assert after["segments"] == 0
            assert not {"socket", "anon_inode"} & set(after["descriptors"])
    finally:
        for coordinator in coordinators:
            coordinator.close()
        for process in processes:
            process.kill()
