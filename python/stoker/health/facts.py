"""What was found out of a session and its executors, as plain values: all that findings are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SETTINGS = (
    "spark.master",
    "spark.cores.max",
    "spark.task.cpus",
    "spark.task.maxFailures",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.executor.memory",
    "spark.executor.memoryOverhead",
    "spark.executor.pyspark.memory",
    "spark.dynamicAllocation.enabled",
    "spark.dynamicAllocation.maxExecutors",
    "spark.speculation",
    "spark.python.worker.reuse",
    "spark.python.worker.idleTimeoutSeconds",
    "spark.python.worker.killOnIdleTimeout",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds",
    "spark.sql.execution.pyspark.udf.killOnIdleTimeout",
    "spark.python.udf.pipelined.enabled",
    "spark.python.unix.domain.socket.enabled",
    "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled",
    "spark.authenticate",
    "spark.network.crypto.enabled",
    "spark.stoker.driver.host",
    "spark.stoker.driver.bindAddress",
    "spark.stoker.driver.port",
    "spark.stoker.peer.host",
    "spark.stoker.peer.bindAddress",
    "spark.stoker.peer.ports",
    "spark.stoker.network.encrypt",
    "spark.stoker.arithmetic",
)


@dataclass(frozen=True)
class Facts:
    workers: int  # that were asked for
    slots: int | None = None  # of the session, if its settings tell
    together: int = 0  # tasks that ran at the same time and reached the driver
    settings: dict[str, str | None] = field(default_factory=dict)
    driver: dict[str, Any] = field(default_factory=dict)  # python, packages and engine of this process, its Spark
    tasks: list[dict[str, Any]] = field(default_factory=list)  # probe.facts of each
    address_error: str = ""  # why the driver has no address that workers could reach
    job_error: str = ""  # why Spark's job brought no facts
    job_cancelled: bool = False  # by the doctor itself: it took too long
    seconds: float = 0.0

    def is_on(self, setting: str) -> bool:
        return (self.settings.get(setting) or "").strip().lower() == "true"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def where(task: dict[str, Any]) -> str:
    return f"worker {task['task']} on {task['host']}"
