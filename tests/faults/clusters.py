"""Fits on real Spark clusters of this machine whose executors, workers and daemons are killed; gangs over two hosts.

    python tests/faults/clusters.py [--times 20] [--seed 0] [scenario ...]

Part of make test-faults, where CLUSTERS="--times 1 speculation" asks for some. Each scenario is a session in which
`--times` fits run; in each of them something dies at a seeded moment, and the model must have the digest of an
undisturbed fit. A line of JSON for each fit and one for each scenario; the exit status says whether all held. A fit in
which nothing living was hit does not count, and another one is run in its place.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
sys.path.insert(0, str(HERE.parent.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])

from conftest import blobs, table  # noqa: E402
from faults import two_hosts  # noqa: E402
from stoker.events import Admitted, Event, Metrics  # noqa: E402

ROWS, BATCH, EPOCHS, SHARDS = 2000, 32, 100, 6


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def executor_of(worker: int) -> int:
    """The JVM above a task's Python process and its daemon."""
    return parent(parent(worker))


@dataclass
class Fit:
    """Watches one fit and kills when its epoch has come. Stands in for the progress bar."""

    rank: int
    epoch: int
    victim: Callable[[int], int]  # from the pid of the rank's Python process to who dies
    pids: dict[int, int] = field(default_factory=dict)
    step: int = 0
    hit: dict[str, Any] | None = None

    def event(self, event: Event) -> None:
        if isinstance(event, Admitted):
            self.pids[event.rank] = event.pid
        elif isinstance(event, Metrics):
            self.step = event.step
            if self.hit is None and event.epoch >= self.epoch:
                self.strike()

    def strike(self) -> None:
        try:
            victim = self.victim(self.pids[self.rank])
            os.kill(victim, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return
        self.hit = {"rank": self.rank, "pid": victim, "step": self.step}

    def close(self) -> None:
        pass


_local = threading.local()
_one_model = threading.Lock()  # torch's random numbers are the process's


def watch(fit: Fit | None) -> None:
    """Makes `fit` the progress of this thread's next fit."""
    from stoker.fit import run as fitting

    _local.fit = fit
    fitting.make_progress = lambda *_: _local.fit or Fit(0, EPOCHS + 1, lambda pid: pid)


def train(df: Any, workers: int, assign: str = "hash") -> Any:
    import torch
    from torch import nn

    from stoker import StokerClassifier

    with _one_model:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    shards = workers if assign == "partition" else SHARDS
    return StokerClassifier(model=net, batchSize=BATCH, epochs=EPOCHS, numWorkers=workers, numShards=shards,
                            assign=assign, verbose=0).fit(df)  # fmt: skip


def session(master: str, **settings: str) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("stoker-faults")
    common = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.executor.memory": "1g",
              "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
              "spark.sql.shuffle.partitions": "3"}  # fmt: skip
    for key, value in {**common, **settings}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


@contextmanager
def rows(spark: Any, files: int) -> Iterator[Any]:
    """The rows as a scan of Parquet files."""
    folder = tempfile.mkdtemp(prefix="stoker-faults-")
    try:
        path = f"{folder}/rows"
        table(spark, *blobs(ROWS)).repartition(files).write.parquet(path)
        yield spark.read.parquet(path)
    finally:
        shutil.rmtree(folder)


def report(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def struck(name: str, number: int, df: Any, workers: int, assign: str, chance: random.Random,
           victim: Callable[[int], int], wanted: str) -> bool | None:  # fmt: skip
    """One fit with one death; None when nobody was hit."""
    fit = Fit(chance.randrange(workers), chance.randrange(EPOCHS // 10, EPOCHS * 9 // 10), victim)
    watch(fit)
    began = time.monotonic()
    info = train(df, workers, assign).history.info
    if fit.hit is None or not info["deaths"]:
        return None
    same = info["digest"] == wanted
    report(scenario=name, fit=number, **fit.hit, seconds=round(time.monotonic() - began, 1), holds=same,
           generations=info["generations"], deaths=len(info["deaths"]), rescues=info["rescues"],
           restarts=len(info["restarts"]), micro_batches=info["micro_batches"])  # fmt: skip
    return same


def many(name: str, times: int, seed: int, df: Any, workers: int, assign: str = "hash",
         victim: Callable[[int], int] = executor_of) -> bool:  # fmt: skip
    chance = random.Random(f"{name}-{seed}")
    watch(None)
    wanted = train(df, workers if assign == "partition" else 1, assign).history.info["digest"]
    held: list[bool] = []
    for number in range(3 * times):
        if len(held) == times:
            break
        try:
            result = struck(name, number, df, workers, assign, chance, victim, wanted)
        except Exception as error:
            report(scenario=name, fit=number, holds=False, error=f"{type(error).__name__}: {error}"[:600])
            result = False
        if result is not None:
            held.append(result)
    report(scenario=name, held=sum(held), of=len(held), wanted=times)
    return len(held) == times and all(held)


def local_cluster(name: str, times: int, seed: int, executors: int, cores: int, workers: int, assign: str) -> bool:
    spark = session(f"local-cluster[{executors},{cores},1024]")
    try:
        with rows(spark, workers) as df:
            return many(name, times, seed, df, workers, assign)
    finally:
        spark.stop()
        clean_up_local_cluster()


def clean_up_local_cluster() -> None:
    """local-cluster writes its executors' logs into the installed package."""
    import pyspark

    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


class Standalone:
    """A master and workers of their own addresses on this machine, ended with the object's context."""

    def __init__(self, workers: list[tuple[str, int]]) -> None:
        self.workers, self.processes = workers, []

    def __enter__(self) -> Standalone:
        self.folder = tempfile.mkdtemp(prefix="stoker-standalone-")
        log = self.start("org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0",
                         "--webui-port", "0")  # fmt: skip
        self.url = self.find(log, r"Starting Spark master at (spark://\S+)")
        for host, cores in self.workers:
            log = self.start("org.apache.spark.deploy.worker.Worker", "--host", host, "--cores", str(cores), "--memory",
                             "2g", "--webui-port", "0", "--work-dir", self.folder, self.url)  # fmt: skip
            self.find(log, "Successfully registered with master")
        return self

    def start(self, *command: str) -> Path:
        import pyspark

        home = Path(pyspark.__file__).parent
        log = Path(self.folder) / f"{len(self.processes)}.log"
        environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_NO_DAEMONIZE": "1"}
        with log.open("w") as out:
            self.processes.append(subprocess.Popen([home / "bin" / "spark-class", *command], stdout=out, stderr=out,
                                                   env=environment, start_new_session=True))  # fmt: skip
        return log

    def find(self, log: Path, pattern: str) -> str:
        for _ in range(600):
            if found := re.search(pattern, log.read_text()):
                return found[found.lastindex or 0]
            time.sleep(0.1)
        raise TimeoutError(f"no '{pattern}' in:\n{log.read_text()}")

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def speculation(name: str, times: int, seed: int) -> bool:
    with Standalone([("127.0.0.2", 2), ("127.0.0.3", 2)]) as cluster:
        spark = session(cluster.url, **{"spark.speculation": "true", "spark.speculation.interval": "100ms",
                                        "spark.speculation.multiplier": "1.01", "spark.speculation.quantile": "0.1",
                                        "spark.executor.cores": "2"})  # fmt: skip
        try:
            with rows(spark, 3) as df:
                return many(name, times, seed, df, 3)
        finally:
            spark.stop()


def daemon_gone(name: str, times: int, seed: int) -> bool:
    """A worker daemon dies with its executors and never comes back; what is left has slots enough."""
    held = []
    for round_ in range(times):
        with Standalone([("127.0.0.2", 3), ("127.0.0.3", 3)]) as cluster:
            spark = session(cluster.url, **{"spark.executor.cores": "3"})
            try:
                with rows(spark, 3) as df:
                    held.append(many(name, 1, seed + round_, df, 3, victim=end_daemon_of))
            finally:
                spark.stop()
    report(scenario=name, held=sum(held), of=times, wanted=times)
    return all(held)


def end_daemon_of(worker: int) -> int:
    """Kills the worker daemon above a task's process; returns its executor, which the caller kills."""
    executor = executor_of(worker)
    os.kill(parent(executor), signal.SIGKILL)
    return executor


def two_fits(name: str, times: int, seed: int) -> bool:
    """Two fits of 2 workers at once on 3 slots: the second waits its turn; a worker of either is killed."""
    spark = session("local[3,20]")
    try:
        with rows(spark, 2) as df:
            results: dict[int, bool] = {}

            def run(index: int) -> None:
                results[index] = many(f"{name}-{index}", times, seed + index, df, 2, victim=lambda pid: pid)

            threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return all(results.get(index, False) for index in range(2))
    finally:
        spark.stop()


SCENARIOS: dict[str, Callable[[str, int, int], bool]] = {
    "cluster-3-2-shuffle": lambda name, times, seed: local_cluster(name, times, seed, 3, 2, 4, "hash"),
    "cluster-3-1-shuffle": lambda name, times, seed: local_cluster(name, times, seed, 3, 1, 3, "hash"),
    "cluster-3-2-scan": lambda name, times, seed: local_cluster(name, times, seed, 3, 2, 4, "partition"),
    "cluster-3-1-scan": lambda name, times, seed: local_cluster(name, times, seed, 3, 1, 3, "partition"),
    "speculation": speculation,
    "daemon-gone": daemon_gone,
    "two-fits": two_fits,
    "two-hosts": lambda name, times, seed: two_hosts.many(name, times, seed, report),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    held = [SCENARIOS[name](name, asked.times, asked.seed) for name in asked.scenarios or SCENARIOS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
