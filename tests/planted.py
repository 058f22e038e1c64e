"""Faults that are planted in a real session by its settings, and what the doctor must find of each."""

from typing import NamedTuple

import stoker


class Planted(NamedTuple):
    settings: dict[str, str]  # of the session, for the length of one look
    found: str
    cure: str  # part of what it advises
    workers: int = 2


OTHER_ADDRESS = {"spark.stoker.driver.host": "127.0.0.1", "spark.stoker.driver.bindAddress": "127.0.0.2"}
UNKNOWN_NAME = {"spark.stoker.driver.host": "no-such-host.invalid", "spark.stoker.driver.bindAddress": "127.0.0.1"}
NO_PEERS = {"spark.stoker.peer.host": "127.0.0.3", "spark.stoker.peer.bindAddress": "127.0.0.4"}
IDLE = {
    "spark.sql.execution.pyspark.udf.killOnIdleTimeout": "true",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": "60s",
}

IN_SESSIONS = {
    "one slot too few": Planted({}, "too-few-slots", "numWorkers=2", workers=3),
    "a port that nobody can reach": Planted(OTHER_ADDRESS, "driver-unreachable", "spark.stoker.driver.port"),
    "a name that workers do not know": Planted(UNKNOWN_NAME, "wrong-host-name", "spark.stoker.driver.host"),
    "a driver without an address": Planted(
        {"spark.stoker.driver.host": "no-such-host.invalid"}, "wrong-driver-address", "bindAddress"
    ),
    "ports of workers that are too few": Planted(
        {"spark.stoker.peer.ports": "47391"}, "worker-cannot-listen", "as many ports as workers"
    ),
    "workers that do not reach each other": Planted(NO_PEERS, "peer-unreachable", "spark.stoker.peer.ports"),
    "Spark's killer of idle workers": Planted(IDLE, "idle-killer", "killOnIdleTimeout=false"),
}


def look_at(spark, name):
    """The doctor's report of a session with that fault, which is looked for."""
    fault = IN_SESSIONS[name]
    for key, value in fault.settings.items():
        spark.conf.set(key, value)
    try:
        report = stoker.doctor(spark, numWorkers=fault.workers)
    finally:
        for key in fault.settings:
            spark.conf.unset(key)
    errors = [finding for finding in report.findings if finding.level == "error"]
    assert {finding.name for finding in errors} == {fault.found}, errors
    assert fault.cure in errors[0].cure
    return report
