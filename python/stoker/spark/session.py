"""What a Spark session says of itself: its settings, and where its tasks and its driver are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

Conf = Callable[[str], "str | None"]


def conf_of(spark: SparkSession) -> Conf:
    """Reads a setting of the session; None where it is not set or cannot be read."""

    def get(key: str) -> str | None:
        try:
            return spark.conf.get(key, None)
        except Exception:  # a server may refuse to tell; then it is unknown
            return None

    return get


def is_local(conf: Conf) -> bool:
    """Whether the tasks run on the machine of Spark's driver."""
    return (conf("spark.master") or "").startswith("local")


def is_connect(spark: Any) -> bool:
    """Whether it is a client of Spark Connect: this process is not Spark's driver, and has no access to its JVM."""
    return type(spark).__module__.startswith("pyspark.sql.connect")
