"""How a task's rows come into the engine's column store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

SAY_EVERY = 0.5  # seconds between reports of the rows read so far


def ingest(core: Any, link: Any, spec: dict, shards: list[int], partition: int, batches: Iterator[Any]) -> Any:
    """A sealed store of the shards' rows. `spec` is engine/train/spec.h's."""
    store = core.ColumnStore(json.dumps(spec["columns"]), shards, partition, spec["on_bad_row"] == "skip")
    said = time.monotonic()
    for batch in batches:
        store.append(batch)
        if time.monotonic() - said >= SAY_EVERY:
            link.ingesting(store.rows())
            said = time.monotonic()
    store.seal()
    return store
