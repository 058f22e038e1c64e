"""Settings of Spark that a fit depends on. Pure; one rule a function."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stoker.health.facts import Facts
from stoker.health.finding import ERROR, NOTE, WARNING, Finding

IDLE = (
    ("spark.python.worker.idleTimeoutSeconds", "spark.python.worker.killOnIdleTimeout"),
    ("spark.sql.execution.pyspark.udf.idleTimeoutSeconds", "spark.sql.execution.pyspark.udf.killOnIdleTimeout"),
)


def idle_killer(facts: Facts) -> Iterator[Finding]:
    for seconds, kill in IDLE:
        limit = re.match(r"\s*(\d+)", facts.settings.get(seconds) or "0")
        if facts.is_on(kill) and limit is not None and int(limit[1]):
            yield Finding(ERROR, "idle-killer", "session",
                          f"{kill} is on: Spark kills Python workers that send no rows for {limit[1]} s, and a fit's "
                          "workers send none", f"set {kill}=false")  # fmt: skip


def retries(facts: Facts) -> Iterator[Finding]:
    master = facts.settings.get("spark.master") or ""
    if re.fullmatch(r"local(\[[^,\]]*\])?", master):
        yield Finding(NOTE, "no-retries", "session", f"master {master} never runs a task again",
                      "local[N,8] does, so that a lost worker costs a second and not the whole job")  # fmt: skip
    elif not master.startswith("local") and facts.settings.get("spark.task.maxFailures") == "1":
        yield Finding(WARNING, "no-retries", "session", "spark.task.maxFailures=1: the first lost worker fails the job",
                      "leave it at 4 or more; maxRestarts= starts the job again meanwhile")  # fmt: skip


def allocation(facts: Facts) -> Iterator[Finding]:
    if not facts.is_on("spark.dynamicAllocation.enabled"):
        return
    most = facts.settings.get("spark.dynamicAllocation.maxExecutors")
    if most is not None and most.isdigit() and int(most) < facts.workers and facts.slots is None:
        yield Finding(WARNING, "few-executors", "session",
                      f"spark.dynamicAllocation.maxExecutors={most}, and {facts.workers} workers are wished for",
                      "raise it, or give executors as many cores (spark.executor.cores)")  # fmt: skip
    else:
        yield Finding(NOTE, "dynamic-allocation", "session",
                      "dynamic allocation is on: the first fit waits until executors have started",
                      "spark.dynamicAllocation.minExecutors keeps them; minWorkers= begins with fewer")  # fmt: skip


def speculation(facts: Facts) -> Iterator[Finding]:
    if facts.is_on("spark.speculation"):
        yield Finding(NOTE, "speculation", "session",
                      "spark.speculation is on: Spark starts second attempts of workers, which wait in slots of their "
                      "own for nothing", "turn it off for sessions that train")  # fmt: skip


def reuse(facts: Facts) -> Iterator[Finding]:
    if (facts.settings.get("spark.python.worker.reuse") or "true").lower() == "false":
        yield Finding(NOTE, "no-worker-reuse", "session",
                      "spark.python.worker.reuse=false: each task starts Python and loads libtorch anew",
                      "set it to true: a fit or transform begins a second sooner")  # fmt: skip


def pipelined(facts: Facts) -> Iterator[Finding]:
    if facts.is_on("spark.python.udf.pipelined.enabled") and facts.is_on("spark.python.unix.domain.socket.enabled"):
        yield Finding(WARNING, "pipelined-over-unix-sockets", "session",
                      "spark.python.udf.pipelined.enabled and spark.python.unix.domain.socket.enabled are both on, "
                      "which crashed in early builds of Spark 4.3", "turn one of them off")  # fmt: skip


def columnar(facts: Facts) -> Iterator[Finding]:
    setting = "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled"
    if (facts.settings.get(setting) or "true").lower() == "false":
        yield Finding(NOTE, "no-columnar-input", "session", f"{setting}=false: transform reads columns row by row",
                      "leave it on")  # fmt: skip


RULES = (idle_killer, retries, allocation, speculation, reuse, pipelined, columnar)
