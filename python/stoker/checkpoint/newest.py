"""Finds the newest whole checkpoint of a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stoker import engine
from stoker.checkpoint import manifest
from stoker.checkpoint.storage import Storage
from stoker.errors import WorldError


@dataclass(frozen=True)
class Whole:
    folder: str
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        return self.manifest["step"]


@dataclass(frozen=True)
class Search:
    newest: Whole | None
    torn: list[str]  # folders that are newer and not whole


def search(storage: Storage, warn: Callable[[str], None]) -> Search:
    """Reads the newest checkpoints until one is whole; `warn` is told of each that is not."""
    torn: list[str] = []
    for folder in sorted(filter(manifest.is_folder_name, storage.folders()), reverse=True):
        try:
            return Search(read(storage, folder), torn)
        except WorldError as error:
            warn(f"the checkpoint {folder} in {storage.place} is not used: {error}")
            torn.append(folder)
    return Search(None, torn)


def read(storage: Storage, folder: str) -> Whole:
    """The checkpoint, all of its bytes checked. WorldError says what is wrong with it."""
    told = manifest.decode(_get_manifest(storage, folder))
    at = 0
    for part in told["parts"]:
        _check_part(storage.get(f"{folder}/{part['name']}"), part, told["step"], at)
        at += part["bytes"]
    if at != sum(size for _, size in told["sections"]):
        raise WorldError("its parts are not the whole state")
    return Whole(folder, told)


def _get_manifest(storage: Storage, folder: str) -> bytes:
    try:
        return storage.get(f"{folder}/{manifest.NAME}")
    except WorldError as error:
        raise WorldError(f"it was not finished ({error})") from error


def _check_part(data: bytes, part: dict[str, Any], step: int, begin: int) -> None:
    try:
        head = engine.core().check_part(data)
    except WorldError as error:
        raise WorldError(f"{part['name']}: {error}") from error
    wanted = {"commit": step + 1, "begin": begin, "bytes": part["bytes"], "digest": part["digest"]}
    if head != wanted:
        raise WorldError(f"{part['name']} belongs to another checkpoint")
