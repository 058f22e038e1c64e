"""The coordinator's CPU by number of workers, for `make bench-recovery`: all are admitted and only answer its pings.

Run as a program it is one side of that, in a process of its own: `links.py coordinator 1000`.
"""

import os
import resource
import subprocess
import sys
import time

import report
from stoker import _core as core

SECRET, TORCH = b"s" * 32, "2.13.0"
LINKS = (125, 500, 1000)
MOST, SECONDS = 2.0, 5.0  # % of a core; of measuring


def links() -> None:
    for n in LINKS:
        share = share_of_core(n, SECONDS)
        report.row("recovery", f"links-{n}", share, MOST, "bar", "% core", MOST / share, 1, share <= MOST)


def share_of_core(n: int, seconds: float) -> float:
    """In percent."""
    command = [sys.executable, __file__, "coordinator", str(n), str(seconds)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def coordinate(n: int, seconds: float) -> float:
    coordinator = core.Coordinator(
        {"bind_host": "127.0.0.1", "secret": SECRET, "workers": n, "shards": n, "start_timeout": 0,
         "torch_version": TORCH}
    )  # fmt: skip
    command = [sys.executable, __file__, "workers", str(n), str(coordinator.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as workers:
        assert workers.stdout and workers.stdin
        workers.stdout.readline()
        coordinator.poll(0)
        cpu, wall = time.process_time(), time.monotonic()
        time.sleep(seconds)
        share = 100 * (time.process_time() - cpu) / (time.monotonic() - wall)
        coordinator.close()
        workers.stdin.close()
    return share


def answer_pings(n: int, port: int) -> None:
    """Until the standard input ends."""
    alive = []
    for p in range(n):
        hello = {"partition": p, "attempt": p + 1, "host": "h", "pid": p, "torch_version": TORCH, "isa": 1}
        alive.append(core.WorkerLink(core.Line("127.0.0.1", port, SECRET, 20.0), hello))
    print("up", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.argv[1] == "workers":
        answer_pings(int(sys.argv[2]), int(sys.argv[3]))
    print(coordinate(int(sys.argv[2]), float(sys.argv[3])))
