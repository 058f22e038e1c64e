"""How a task's rows come into the engine's column store: through Spark's pipe, or read from the files by itself."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stoker.spark.limits import memory

SAY_EVERY = 0.5  # seconds between reports of the rows read so far
SAY_AGAIN = 1.05  # times the rows that were told last: who is killed twice at the same row has told the same number


def ingest(core: Any, link: Any, spec: dict[str, Any], shards: list[int], partition: int, piped: Iterator[Any],
           check: Callable[[Any], None] = lambda store: None) -> Any:  # fmt: skip
    """A sealed store of the shards' rows. `spec` is the fit's; with "scan" in it the rows are not those of the pipe.
    `check` looks at the store now and then."""
    core.give_back_freed_memory()  # by earlier tasks of this worker: it is the rows'
    store = core.ColumnStore(json.dumps(spec["columns"]), shards, partition, spec["on_bad_row"] == "skip",
                             **memory.store_options(core, spec.get("store", {})))  # fmt: skip
    scan = spec.get("scan")
    batches = piped if scan is None else instead_of(piped, ahead(scanned(scan, spec["threads"]), link))
    put = store.append if scan is None else functools.partial(dealer(core, scan, shards).deal_into, store)
    said, rows = 0.0, 0
    check(store)
    for batch in batches:
        put(batch)
        if store.rows() > rows * SAY_AGAIN or time.monotonic() - said >= SAY_EVERY:
            said, rows = time.monotonic(), store.rows()
            link.ingesting(rows)
            check(store)
    batch = None
    release_batches()
    store.seal()
    return store


def get_ready(spec: dict[str, Any]) -> None:
    """Loads what the rows will need, which is not much."""
    if "scan" in spec:
        from stoker.spark import parquet  # noqa: F401


def ahead(batches: Iterator[Any], link: Any) -> Iterator[Any]:
    """The batches, of which the next one, and no more, is made while one is stored."""
    maker = ThreadPoolExecutor(1)
    try:
        coming = maker.submit(next, batches, None)
        while True:
            with link.resting():
                batch = coming.result()
            if batch is None:
                return
            coming = maker.submit(next, batches, None)
            yield batch
    finally:
        maker.shutdown(wait=False)


def release_batches() -> None:
    """What pyarrow keeps for batches to come is for putting the rows in order, and for training."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def instead_of(piped: Iterator[Any], batches: Iterator[Any]) -> Iterator[Any]:
    """Read to its end all the same: Spark gives a Python worker that leaves its input unread no second task."""
    for _ in piped:
        pass
    return batches


def dealer(core: Any, scan: dict[str, Any], shards: list[int]) -> Any:
    return core.Dealer(json.dumps(scan["deal"]), shards)


def scanned(scan: dict[str, Any], threads: int) -> Iterator[Any]:
    """Batches of all the files of python/stoker/spark/scan.py."""
    from stoker.spark import parquet

    for file in scan["files"]:
        identity = parquet.Identity(file["size"], file["footer"])
        yield from parquet.batches(file["path"], identity, scan["columns"], scan["batch_rows"], threads)
