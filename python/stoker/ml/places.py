"""Where a save goes: a new folder, or in the place of an old one, which stays whole until the new one is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

from stoker.errors import UserError
from stoker.spark.session import is_connect


def fill(spark: SparkSession, path: str, overwrite: bool, write: Callable[[str], None]) -> None:
    """`write` fills the folder that it is given. A folder that is there is an error, unless it is to be replaced."""
    files = _file_system(spark, path) if overwrite else None
    if files is None or not files.there(path):
        claim(spark, path, overwrite)
        write(path)
        return
    beside = f"{path.rstrip('/')}.new-{uuid.uuid4().hex[:8]}"
    try:
        write(beside)
        files.replace(path, beside)
    finally:
        files.remove(beside)


def claim(spark: SparkSession, path: str, overwrite: bool) -> None:
    """Makes the directory, empty. One that exists is an error, unless it is to be replaced."""
    empty = spark.createDataFrame([], "value string, part int").write.partitionBy("part")
    try:
        empty.mode("overwrite" if overwrite else "error").text(path)
    except Exception as error:
        if condition(error) == "PATH_ALREADY_EXISTS":
            raise UserError(f"'{path}' exists already: use write().overwrite().save(path) to replace it") from error
        raise


def check_free(spark: SparkSession, path: str) -> None:
    """Before there is anything to save. Over Connect nothing is known yet."""
    files = _file_system(spark, path)
    if files is not None and files.there(path):
        raise UserError(f"'{path}' exists already: take another, or say that it is to be overwritten")


def condition(error: Exception) -> str:
    get = getattr(error, "getCondition", None)
    return (get() if get else "") or ""


class _FileSystem:
    """Hadoop's, as Spark has it for a path."""

    def __init__(self, jvm: Any, settings: Any, path: str) -> None:
        self._path = jvm.org.apache.hadoop.fs.Path
        self._files = self._path(path).getFileSystem(settings)

    def there(self, path: str) -> bool:
        return self._files.exists(self._path(path))

    def remove(self, path: str) -> None:
        self._files.delete(self._path(path), True)

    def replace(self, path: str, by: str) -> None:
        """The old one goes when the new one stands; it comes back if that one cannot take its place."""
        aside = f"{by}-old"
        self._move(path, aside)
        try:
            self._move(by, path)
        except Exception:
            self._move(aside, path)
            raise
        self.remove(aside)

    def _move(self, path: str, to: str) -> None:
        if not self._files.rename(self._path(path), self._path(to)):
            raise UserError(f"'{path}' cannot be renamed to '{to}'")


def _file_system(spark: SparkSession, path: str) -> _FileSystem | None:
    """None over Spark Connect, which has no access to file systems."""
    if is_connect(spark):
        return None
    return _FileSystem(spark._jvm, spark._jsparkSession.sessionState().newHadoopConf(), path)
