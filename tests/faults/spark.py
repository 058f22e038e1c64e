"""A schedule carried out on a fit in Spark's local[4,20]."""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from pyspark.sql import DataFrame, SparkSession

from faults.killer import Killer
from faults.models import SHAPES, SHARDS, draw_rows, network
from faults.schedule import Schedule
from stoker import StokerClassifier
from stoker.fit import run as fitting
from stoker.spark import launch
from stoker.spark.task import Job, context, make_task, partition_of

ROWS, BATCH, EPOCHS = 600, 48, 30
STEPS = EPOCHS * -(-ROWS // BATCH)
HEARTBEAT = {"heartbeat": 0.1}
HEARTBEAT_TIMEOUT = 3.0


def session(master: str = "local[4,20]") -> SparkSession:
    """Each task has a process of its own, because a process reads its faults when the engine is loaded."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {"spark.ui.enabled": "false", "spark.python.worker.reuse": "false", "spark.sql.shuffle.partitions": "4",
                "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                "spark.ui.showConsoleProgress": "false"}  # fmt: skip
    spark = SparkSession.builder.master(master).appName("stoker-faults").config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def rows(spark: SparkSession) -> DataFrame:
    from conftest import table

    features, labels = draw_rows(ROWS)
    return table(spark, features, labels).cache()


def estimator(model: str, workers: int, **more: Any) -> StokerClassifier:
    return StokerClassifier(
        model=network(model), numWorkers=workers, numShards=SHARDS, batchSize=BATCH, epochs=EPOCHS, clipNorm=0.5,
        learningRate=2e-3, heartbeatTimeout=HEARTBEAT_TIMEOUT, verbose=0, inputShape=list(SHAPES[model]), **more,
    )  # fmt: skip


def outcome(fitted: Any) -> dict[str, Any]:
    """What must be the same with deaths and without, and the ledger."""
    losses = [(epoch["loss"], epoch["accuracy"], epoch["rows"]) for epoch in fitted.history]
    info = fitted.history.info
    return {"digest": info["digest"], "losses": losses, "micro_batches": info["micro_batches"]}


def undisturbed(df: DataFrame, model: str, workers: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outcome(estimator(model, workers).fit(df))


def carry_out(schedule: Schedule, df: DataFrame) -> tuple[Killer, dict[str, Any] | Exception]:
    """The account, and the outcome or what the fit failed with."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        killer = Killer(schedule, log)
        where = {"checkpointDir": f"{folder}/checkpoints", "checkpointUnit": "steps", "checkpointInterval": 20}
        asked = estimator(schedule.model, schedule.workers, **(where if schedule.checkpoints else {}))
        asked._gang_options = {**HEARTBEAT, "force_tcp": schedule.tcp}
        try:
            jobs = itertools.count()
            with (
                watched(killer, lambda job: faulty_task(job, next(jobs) == 0, schedule, log)),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                return killer, outcome(asked.fit(df))
        except Exception as error:
            return killer, error
        finally:
            killer.end()


class watched:  # noqa: N801
    """Fits tell the killer their events, and run tasks of `task`."""

    def __init__(self, killer: Killer, task: Callable[[Job], Any]) -> None:
        killer.close = lambda: None
        self._patches = [mock.patch.object(fitting, "make_progress", lambda *_: killer),
                         mock.patch.object(launch, "make_task", task)]  # fmt: skip

    def __enter__(self) -> None:
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()


def faulty_task(job: Job, is_first: bool, schedule: Schedule,
                log: Path) -> Callable[[Iterator[Any]], Iterator[Any]]:  # fmt: skip
    task = make_task(job)

    def faulty(batches: Iterator[Any]) -> Iterator[Any]:
        entries = schedule.environment(partition_of(job), context().attemptNumber()) if is_first else ""
        os.environ.update({"STOKER_FAULTS": entries, "STOKER_FAULTS_LOG": str(log)})
        return task(batches)

    return faulty
