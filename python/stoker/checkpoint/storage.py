"""Where checkpoints are kept: a folder of a mounted file system, or anything that fsspec has a URL for.

An object's name is "folder/object". A local object is there whole or not at all; elsewhere one may be torn, so every
object says by itself whether it is whole. Used by the driver and by tasks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stoker import engine
from stoker.errors import UserError, WorldError

T = TypeVar("T")
PROBE = "stoker-probe"


class Storage(Protocol):
    """Whatever fails is a WorldError that names the object and the cause."""

    place: str  # as it is opened again, in another process too

    def put(self, name: str, pieces: Sequence[Any]) -> None:
        """Makes or replaces an object of these pieces of bytes, put end to end."""

    def get(self, name: str) -> bytes: ...

    def size(self, name: str) -> int: ...

    def folders(self) -> list[str]: ...

    def remove(self, folder: str) -> None: ...


def open_storage(place: str) -> Storage:
    if is_local(place):
        return LocalStorage(str(Path(place.removeprefix("file://")).absolute()))
    return FsspecStorage(place)


def is_local(place: str) -> bool:
    """Whether the engine itself writes there."""
    return place.startswith("file:///") or ("://" not in place and "::" not in place)


def check_writable(storage: Storage) -> None:
    try:
        storage.put(f"{PROBE}/{PROBE}", [b"probe"])
        storage.remove(PROBE)
    except WorldError as error:
        raise UserError(f"checkpointDir cannot be used: {error}") from error


class LocalStorage:
    def __init__(self, folder: str) -> None:
        self.place = folder

    def put(self, name: str, pieces: Sequence[Any]) -> None:
        engine.core().put_file(self.place, name, b"".join(pieces))

    def get(self, name: str) -> bytes:
        return guarded("read", self._path(name), lambda: self._path(name).read_bytes())

    def size(self, name: str) -> int:
        return guarded("read", self._path(name), lambda: self._path(name).stat().st_size)

    def folders(self) -> list[str]:
        here = Path(self.place)
        if not here.exists():
            return []
        return guarded("read", here, lambda: [entry.name for entry in here.iterdir() if entry.is_dir()])

    def remove(self, folder: str) -> None:
        guarded("remove", self._path(folder), lambda: shutil.rmtree(self._path(folder)))

    def _path(self, name: str) -> Path:
        return Path(self.place) / name


class FsspecStorage:
    """Objects are written in one go, under their names: not every file system can rename."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UserError(f"checkpointDir {url!r} needs the package fsspec") from None
        self.place = url
        try:
            self._fs, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"checkpointDir {url!r} cannot be used: {error}") from error
        self._root = root.rstrip("/")

    def put(self, name: str, pieces: Sequence[Any]) -> None:
        guarded("write", self._shown(name), lambda: self._put(self._path(name), pieces))

    def _put(self, path: str, pieces: Sequence[Any]) -> None:
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with self._fs.open(path, "wb") as out:
            for piece in pieces:
                out.write(piece)

    def get(self, name: str) -> bytes:
        return guarded("read", self._shown(name), lambda: self._fs.cat_file(self._path(name)))

    def size(self, name: str) -> int:
        self._fs.invalidate_cache()
        return guarded("read", self._shown(name), lambda: self._fs.size(self._path(name)))

    def folders(self) -> list[str]:
        self._fs.invalidate_cache()
        return guarded("read", self.place, self._folders)

    def _folders(self) -> list[str]:
        if not self._fs.exists(self._root):
            return []
        entries = self._fs.ls(self._root, detail=True)
        return [entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory"]

    def remove(self, folder: str) -> None:
        guarded("remove", self._shown(folder), lambda: self._fs.rm(self._path(folder), recursive=True))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self.place.rstrip('/')}/{name}"


def guarded(doing: str, what: object, body: Callable[[], T]) -> T:
    """File systems raise whatever they like."""
    try:
        return body()
    except Exception as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise WorldError(f"cannot {doing} {what}: {cause}") from error
