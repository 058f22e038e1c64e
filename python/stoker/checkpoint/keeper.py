"""What the driver does for the checkpoints of a fit under way: it writes the manifest once all parts are there for
good, and removes what is older than the newest few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker.checkpoint import manifest
from stoker.checkpoint.newest import Search
from stoker.checkpoint.storage import Storage
from stoker.errors import WorldError
from stoker.events import CheckpointPart

Parts = dict[int, CheckpointPart]


class Keeper:
    """Used by one thread. `warn` is told of each checkpoint that could not be made."""

    def __init__(self, storage: Storage, about: dict[str, Any], keep: int, found: Search,
                 warn: Callable[[str], None]) -> None:  # fmt: skip
        self._storage, self._about, self._keep, self._warn = storage, about, keep, warn
        self._torn = set(found.torn)
        self._under_way: dict[tuple[int, int], Parts] = {}  # by (step, number of parts)
        self.records: list[dict[str, Any]] = []  # for the history
        self.inexact: list[str] = []  # why the state is not that of an undisturbed fit, if so

    def event(self, part: CheckpointPart) -> None:
        """A part is there, or failed."""
        parts = self._under_way.setdefault((part.step, part.of), {})
        parts[part.part] = part
        if len(parts) == part.of:
            self._forget_until(part.step)
            self._take(part.step, [parts[i] for i in range(part.of)])

    def settled(self) -> bool:
        """Whether no part is awaited."""
        return not self._under_way

    def give_up(self, why: str) -> None:
        """No part is awaited any more."""
        for step in dict.fromkeys(step for step, _ in self._under_way):
            self._failed(step, why)
        self._under_way = {}

    def _forget_until(self, step: int) -> None:
        """Older ones whose writers died will never be whole."""
        self._under_way = {key: parts for key, parts in self._under_way.items() if key[0] > step}

    def _take(self, step: int, parts: list[CheckpointPart]) -> None:
        if errors := [p.error for p in parts if p.error]:
            return self._failed(step, errors[0])
        try:
            self._write_manifest(step, parts)
            self._check_sizes(step, parts)
        except WorldError as error:
            return self._failed(step, str(error))
        self._record(step, parts)
        self._torn.discard(manifest.folder_name(step))
        try:
            self._remove_old()
        except WorldError as error:
            self._warn(f"an old checkpoint stays: {error}")

    def _write_manifest(self, step: int, parts: list[CheckpointPart]) -> None:
        listed = [{"name": p.file, "begin": p.begin, "bytes": p.bytes, "digest": p.digest} for p in parts]
        whole = {"step": step, "parts": listed, **parts[0].state, **self._about, "inexact": self.inexact}
        self._storage.put(f"{manifest.folder_name(step)}/{manifest.NAME}", [manifest.encode(whole)])

    def _check_sizes(self, step: int, parts: list[CheckpointPart]) -> None:
        """That driver and workers mean the same place, and nothing was lost on the way."""
        folder = manifest.folder_name(step)
        manifest.decode(self._storage.get(f"{folder}/{manifest.NAME}"))
        for p in parts:
            name = f"{folder}/{p.file}"
            if (size := self._storage.size(name)) != p.size:
                raise WorldError(f"{name} has {size} bytes and should have {p.size}")

    def _record(self, step: int, parts: list[CheckpointPart]) -> None:
        self.records.append({
            "step": step, "bytes": sum(p.bytes for p in parts), "parts": len(parts),
            "stall": max(p.stall for p in parts), "seconds": max(p.seconds for p in parts),
        })  # fmt: skip

    def _failed(self, step: int, why: str) -> None:
        self.records.append({"step": step, "error": why})
        self._warn(f"the checkpoint after step {step} could not be made, training goes on: {why}")

    def _remove_old(self) -> None:
        ours = sorted(filter(manifest.is_folder_name, self._storage.folders()), reverse=True)
        whole = [folder for folder in ours if folder not in self._torn and self._has_manifest(folder)]
        for folder in ours:
            if folder < whole[0] and folder not in whole[: self._keep]:
                self._storage.remove(folder)

    def _has_manifest(self, folder: str) -> bool:
        try:
            return self._storage.size(f"{folder}/{manifest.NAME}") > 0
        except WorldError:
            return False
