"""Gathers facts of a session's cluster by one short Spark job, and says what follows."""

from __future__ import annotations

import json
import platform
import time
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import SparkSession

from stoker import __version__
from stoker.errors import StokerError, UserError
from stoker.health import probe
from stoker.health.facts import SETTINGS, Facts
from stoker.health.findings import find
from stoker.health.meeting import Meeting
from stoker.health.report import Report
from stoker.spark import address, session
from stoker.spark.job import SparkJob, cause_of
from stoker.spark.limits import slots

TOGETHER = 8.0  # seconds after the first task in which the others must come
AT_MOST = 120.0  # seconds for a job that has no end


def doctor(spark: SparkSession, numWorkers: int | None = None, timeout: float = AT_MOST) -> Report:
    """Looks whether a fit of `numWorkers` workers (default: as many as the session has slots) can run on the cluster
    of a session, by one job of a few seconds: packages, Python, engine, instruction set, memory, disk and clock of
    each worker, the ways between driver and workers and among workers, and the settings of Spark that matter.
    `timeout` is in seconds, for all of it.

    The report prints as a table and says of each fault where it is and what cures it; `report.ok`,
    `report.findings` and `report.to_json()` are for programs. Raises UserError for arguments that are wrong.

    >>> import stoker
    >>> stoker.doctor(spark, numWorkers=0)
    Traceback (most recent call last):
    stoker.errors.UserError: numWorkers must be at least 1, not 0
    """
    if numWorkers is not None and numWorkers < 1:
        raise UserError(f"numWorkers must be at least 1, not {numWorkers}")
    return look(spark, numWorkers, timeout, TOGETHER)


def look(spark: SparkSession, workers: int | None, timeout: float, patience: float) -> Report:
    begun, conf = time.monotonic(), session.conf_of(spark)
    known = slots.max_slots(conf)
    workers = workers or known or _parallelism(spark)
    told: dict[str, Any] = {"settings": {key: conf(key) for key in SETTINGS}, "driver": _own(spark), "slots": known}
    try:
        told.update(_gather(spark, conf, min(workers, known or workers), timeout, patience))
    except (StokerError, OSError) as error:
        told["address_error"] = str(error)
    facts = Facts(workers, seconds=time.monotonic() - begun, **told)
    return Report(facts, find(facts))


def brief(spark: SparkSession, workers: int) -> str:
    """For the end of an error: what keeps workers from meeting. Empty where that cannot be found out in some
    seconds."""
    try:
        return look(spark, workers, 20.0, 6.0).brief()
    except Exception:
        return ""


def _own(spark: SparkSession) -> dict[str, Any]:
    return {"python": probe.python(), "packages": probe.packages(), "engine": {"version": __version__},
            "spark": spark.version, "host": platform.node()}  # fmt: skip


def _parallelism(spark: SparkSession) -> int:
    return 2 if session.is_connect(spark) else max(spark.sparkContext.defaultParallelism, 1)


def _gather(spark: SparkSession, conf: session.Conf, workers: int, timeout: float, patience: float) -> dict[str, Any]:
    own, peers = address.of_driver(spark, conf), address.of_peers(conf)
    meeting = Meeting(own.bind, own.ports, workers)
    try:
        place = probe.Place(own.told, meeting.port, meeting.token, peers.host, peers.bind, peers.ports)
        job, until = _start(spark, workers, place), time.monotonic() + timeout
        together = meeting.wait(patience, lambda: job.ended() or time.monotonic() > until)
        job.join(max(until - time.monotonic(), 0.1))
        cancelled = not job.ended()
        job.end(1.0)
    finally:
        meeting.close()
    if job.error is None and not cancelled:
        return {"together": together, "tasks": job.rows}
    return {"together": together, "job_error": cause_of(job.error or TimeoutError()), "job_cancelled": cancelled}


def _start(spark: SparkSession, workers: int, place: probe.Place) -> SparkJob:
    cloudpickle.register_pickle_by_value(probe)  # executors may lack Stoker
    try:
        looks = spark.range(0, workers, 1, workers).mapInArrow(probe.make_probe(place), "facts string")
    finally:
        cloudpickle.unregister_pickle_by_value(probe)
    return SparkJob(spark, lambda: sorted((json.loads(row.facts) for row in looks.collect()), key=lambda t: t["task"]))
