"""How a model's weights come to Spark's Python workers: small ones with the function, large ones as a file that Spark
brings once to each executor and all workers there map, so that they share its memory."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.errors import WorldError

FILE_ABOVE = 1 << 20  # bytes


@dataclass(frozen=True)
class Carried:
    """Weights that travel with whoever holds this."""

    data: bytes
    digest: str

    def open(self) -> Any:
        return self.data


@dataclass(frozen=True)
class Shipped:
    """Weights in a file of the session's."""

    name: str
    digest: str

    def open(self) -> Any:
        """The bytes, mapped; WorldError where the file is not the one that was sent."""
        from pyspark import SparkFiles

        try:
            with Path(SparkFiles.get(self.name)).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise WorldError(f"the model's weights, file {self.name} of the Spark session, cannot be read: {error}; "
                             "transform again") from error  # fmt: skip
        if digest_of(mapped) != self.digest:
            raise WorldError(f"the model's weights, file {self.name} of the Spark session, are damaged on this host")
        return mapped


Weights = Carried | Shipped


def digest_of(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def carried(data: bytes) -> Carried:
    return Carried(data, digest_of(data))


class _Sent:
    """What has been sent to which session. Spark serves the files from where they lie, as long as anybody may run a
    DataFrame that needs them: they go when this process ends, and Spark's copies with the session. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._names: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()

    def __call__(self, spark: Any, weights: Carried) -> Weights:
        """The same for the workers of a session, as a file if they are large."""
        if len(weights.data) < FILE_ABOVE:
            return weights
        name = f"stoker-{weights.digest[:32]}.safetensors"
        with self._lock:
            names = self._names.setdefault(spark, set())
            if name not in names:
                spark.addArtifacts(str(self._file(name, weights.data)), file=True)
                names.add(name)
        return Shipped(name, weights.digest)

    def _file(self, name: str, data: bytes) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="stoker-")
        path = Path(self._folder.name) / name
        if not path.exists():
            path.write_bytes(data)
        return path


send = _Sent()
