"""torchft's lighthouse and its replicas, each started again when it dies; some are killed. For bench/goodput.py.

Run as: torchft_run.py '{"task": ..., "replicas": number, "seconds": number, "every": seconds or null}'. Prints the
batches that were committed in those seconds, which begin when all replicas have come, and the kills.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torchft.coordination import LighthouseServer

REPLICA = Path(__file__).with_name("torchft_replica.py")


class Replicas:
    def __init__(self, folder: str, options: dict, lighthouse: str) -> None:
        self.times = [Path(folder) / str(i) for i in range(options["replicas"])]
        self.orders = [
            json.dumps({"task": options["task"], "lighthouse": lighthouse, "replica": i, "times": str(path),
                        "replicas": options["replicas"]})
            for i, path in enumerate(self.times)
        ]  # fmt: skip
        self.processes = [self._start(order) for order in self.orders]

    def _start(self, order: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(REPLICA), order], stderr=subprocess.DEVNULL)

    def start_again(self) -> None:
        for i, process in enumerate(self.processes):
            if process.poll() is not None:
                self.processes[i] = self._start(self.orders[i])

    def committed(self) -> list[tuple[float, int]]:
        """(time, batches of all replicas together), by time."""
        lines = [line.split() for path in self.times if path.exists() for line in path.read_text().splitlines()]
        return sorted((float(when), int(batches)) for when, batches in lines)

    def all_work(self) -> bool:
        return all(path.exists() and path.stat().st_size for path in self.times)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def watch(replicas: Replicas, seconds: float, every: float | None) -> int:
    """Starts again who died and kills one each `every` seconds; gives the kills."""
    dice, end, kills = random.Random(7), time.monotonic() + seconds, 0
    strike = time.monotonic() + every if every else float("inf")
    while (now := time.monotonic()) < end:
        replicas.start_again()
        if now >= strike:
            dice.choice(replicas.processes).send_signal(signal.SIGKILL)
            strike, kills = strike + every, kills + 1
        time.sleep(0.05)
    return kills


def main() -> None:
    options = json.loads(sys.argv[1])
    lighthouse = LighthouseServer(bind="127.0.0.1:0", min_replicas=2, join_timeout_ms=100, heartbeat_timeout_ms=1000)
    address = lighthouse.address().replace(os.uname().nodename, "127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        replicas = Replicas(folder, options, address)
        try:
            while not replicas.all_work():
                watch(replicas, 0.5, None)
            watch(replicas, 2, None)
            begun = time.time()
            kills = watch(replicas, options["seconds"], options["every"])
        finally:
            replicas.end()
        told = [(when, batches) for when, batches in replicas.committed() if when >= begun]
    lighthouse.shutdown()
    (first, before), (last, after) = told[0], told[-1]
    print(json.dumps({"seconds": last - first, "batches": after - before, "kills": kills}))


if __name__ == "__main__":
    main()
