"""The cgroups around this process, of both versions: whose files say what they may take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Group:
    folder: Path
    unified: bool  # version 2

    def words(self, file: str) -> list[str]:
        """Of a file of it; none where it cannot be read."""
        return " ".join(lines_of(self.folder / file)).split()

    def number(self, file: str) -> int | None:
        """None where it cannot be read or is no number, such as "max"."""
        words = self.words(file)
        return int(words[0]) if len(words) == 1 and words[0].isdigit() else None


def around(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """Those that have a say about "memory" or "cpu", the innermost first. In a container its own group is the root."""
    for line in lines_of(root / "proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        if names == "" or controller in names.split(","):
            mounted = _mounted(root / "sys/fs/cgroup", names, controller)
            inner = mounted / path.lstrip("/")
            for folder in [inner, *inner.parents] if inner.is_dir() else [mounted]:
                yield Group(folder, names == "")
                if folder == mounted:
                    break


def _mounted(at: Path, names: str, controller: str) -> Path:
    """By the names of all that lie there, or by its own."""
    return at / names if (at / names).is_dir() else at / controller


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def numbers_of(path: Path, unit: int = 1) -> dict[str, int]:
    """Of lines of a name and a number."""
    found = {}
    for line in lines_of(path):
        words = line.replace(":", " ").split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) * unit
    return found
