"""Parquet files as driver and workers see them: an identity by size and footer, and what a footer tells."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stoker.errors import WorldError

_TAIL = 8  # bytes: the footer's length and a magic word
_WHOLE = 4 << 20  # bytes: larger column chunks are read in parts, smaller ones at once, which is faster
_PART = 1 << 20


@dataclass(frozen=True)
class Identity:
    """What must be the same for every reader of a file."""

    size: int
    footer: str  # its digest


@contextmanager
def opened(path: str) -> Iterator[tuple[pq.ParquetFile, Identity]]:
    """Both come from one open file, whatever happens to its name. Raises WorldError if it is written to meanwhile.
    Nothing is read ahead: pyarrow would keep it until the end of the file. Nor are large column chunks, which pyarrow
    would keep until their end."""
    with Path(path).open("rb") as handle:
        written = os.fstat(handle.fileno()).st_mtime_ns
        with pa.OSFile(f"/proc/self/fd/{handle.fileno()}") as source:
            metadata = pq.read_metadata(source)
            buffer = _PART if largest_chunk(metadata) > _WHOLE else 0
            with pq.ParquetFile(source, metadata=metadata, buffer_size=buffer, pre_buffer=False) as file:
                yield file, _identity(source)
        if os.fstat(handle.fileno()).st_mtime_ns != written:
            raise changed(path)


def changed(path: str) -> WorldError:
    return WorldError(f"the file {path} has changed since the fit began: fit again, while nothing writes to it")


def _identity(source: pa.NativeFile) -> Identity:
    size = source.size()
    length = int.from_bytes(source.read_at(4, size - _TAIL), "little")
    footer = source.read_at(length, size - _TAIL - length)
    return Identity(size, hashlib.blake2b(footer, digest_size=16).hexdigest())


def batches(path: str, identity: Identity, columns: Sequence[str], rows: int, threads: int) -> Iterator[pa.RecordBatch]:
    """The file's rows. Raises WorldError where it cannot be read or is not the file that it was."""
    try:
        with opened(path) as (file, found):
            if found != identity:
                raise changed(path)
            yield from file.iter_batches(batch_size=rows, columns=list(columns), use_threads=threads > 1)
    except (OSError, pa.ArrowException) as error:
        raise WorldError(f"the file {path} cannot be read any more: {error}") from None


def leaf_paths(metadata: Any, column: str) -> list[str]:
    """The Parquet columns that a top-level column is stored in."""
    paths = (metadata.schema.column(i).path for i in range(metadata.num_columns))
    return [path for path in paths if path == column or path.startswith(column + ".")]


def _chunks(metadata: Any) -> Iterator[Any]:
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return (group.column(i) for group in groups for i in range(group.num_columns))


def largest_chunk(metadata: Any) -> int:
    """Bytes in the file of its largest column chunk."""
    return max((chunk.total_compressed_size for chunk in _chunks(metadata)), default=0)


def codecs(metadata: Any) -> set[str]:
    """The compressions in use. Fails where columns are encrypted."""
    return {chunk.compression for chunk in _chunks(metadata)}
