"""A Spark job in the background."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession
from pyspark.util import inheritable_thread_target

FIRST_LINES, MOST_SHOWN = 3, 400  # of an error's text
# The line after a traceback's frames, which are indented.
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)+([^\s].*)", re.MULTILINE)


class SparkJob:
    """A Spark job in a thread of its own, which begins at once. Used by the thread that made it."""

    def __init__(self, spark: SparkSession, run: Callable[[], Any]) -> None:
        self._spark = spark
        self._tag = f"stoker-{uuid.uuid4().hex}"
        self.error: BaseException | None = None
        self.rows: list[Any] = []
        target = inheritable_thread_target(spark)(lambda: self._run(run))
        self._thread = threading.Thread(target=target, name=self._tag, daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], Any]) -> None:
        self._spark.addTag(self._tag)
        try:
            self.rows = run()
        except BaseException as error:
            self.error = error
        finally:
            self._spark.removeTag(self._tag)

    def cancel(self) -> None:
        if not self.ended():
            self._spark.interruptTag(self._tag)

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout: float | None) -> None:
        self._thread.join(timeout)

    def end(self, patience: float) -> None:
        """Gives the tasks `patience` seconds to return, then cancels the job."""
        self.join(patience / 2)
        if not self.ended():
            self.cancel()
            self.join(patience / 2)


def cause_of(error: BaseException) -> str:
    """What an error of Spark says: the exception that a task's Python raised, where it was that; else how it begins."""
    if raised := _RAISED.findall(str(error)):
        return raised[-1] + _cure(raised[-1])
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(said[:FIRST_LINES])[:MOST_SHOWN] or type(error).__name__


def _cure(raised: str) -> str:
    missing = re.match(r"ModuleNotFoundError: No module named '([^'.]+)", raised)
    if missing is None:
        return ""
    return (f". The Python of the executors has no package '{missing[1]}': install it there, for the Python that "
            f"spark.pyspark.python or PYSPARK_PYTHON names")  # fmt: skip


def was_cancelled(error: BaseException) -> bool:
    """Whether somebody ended the job on purpose."""
    return "cancel" in str(error).lower()
