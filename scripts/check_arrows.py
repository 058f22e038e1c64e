#!/usr/bin/env python3
"""Proves the arrows of docs/design.md: which folder of the engine may include which, and who sees libtorch; which room
of the Python face may import which; and that no Python modules import each other in a circle.

Reads the #include lines of engine/ and the imports of python/stoker, those inside functions too, says each one that
breaks a rule as file:line, and ends with 1 if there is any. Tests and bindings may include everything.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Direct includes. Each folder also includes itself and base.
ARROWS = {
    "base": set(),
    "net": set(),
    "shm": set(),
    "gang": {"net"},
    "collective": {"net", "shm"},
    "checkpoint": set(),
    "program": {"optim"},
    "images": set(),
    "pieces": set(),
    "text": set(),
    "data": {"images", "pieces", "text", "shm"},
    "optim": {"collective"},
    "sync": {"net", "shm", "optim", "collective"},
    "train": {
        "net",
        "shm",
        "gang",
        "collective",
        "checkpoint",
        "program",
        "images",
        "pieces",
        "text",
        "data",
        "optim",
        "sync",
    },
    "observe": set(),
}
# The rooms of data/, by the same rule; what lies in none of them is for tests.
ROOMS = {
    "data/spec": set(),
    "data/arrow": {"data/spec"},
    "data/read": {"data/spec", "data/arrow"},
    "data/store": {"data/spec", "data/arrow", "data/read"},
    "data/deal": {"data/spec", "data/arrow", "data/read"},
}
# Imports between folders of python/stoker. Each also imports itself and the files beside the folders.
PYTHON_ARROWS = {
    "observe": set(),
    "checkpoint": set(),
    "frontend": set(),
    "export": {"frontend"},
    "spark": {"checkpoint"},
    "health": {"spark"},
    "inputs": {"spark"},
    "fit": {"inputs", "frontend", "spark", "health", "checkpoint", "observe"},
    "ml": {"fit", "inputs", "frontend", "spark", "export"},
    "compat": {"ml", "fit"},
    "cli": {"ml", "health", "spark"},
}
FACE = {"__init__", "__main__"}  # files that may import everything
TORCH_FOLDERS = {"program", "train"}
TORCH_FILES = re.compile(r"^data/store/gather[^/]*$")
TORCH_HEADER = re.compile(r"^(torch|ATen|c10|caffe2)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


@dataclass(frozen=True)
class Include:
    line: int
    quoted: bool
    path: str


@cache
def includes(file: Path) -> tuple[Include, ...]:
    found = []
    for number, text in enumerate(file.read_text().splitlines(), 1):
        if match := INCLUDE.match(text):
            found.append(Include(number, match[1] == '"', match[2]))
    return tuple(found)


def folder_of(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def engine_room_of(name: str) -> str:
    """As "data/spec"; "" outside the folders that have rooms."""
    room = "/".join(name.split("/")[:-1])
    return room if folder_of(name) in {folder_of(room) for room in ROOMS} else ""


def is_test(name: str) -> bool:
    return not {"test", "testing"}.isdisjoint(Path(name).stem.split("_"))


def may_see_torch(name: str) -> bool:
    return folder_of(name) in TORCH_FOLDERS or bool(TORCH_FILES.match(name))


def torch_headers(engine: Path, name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The headers of libtorch that including `name` brings, each as the chain that leads to it."""
    if name in seen or not (engine / name).is_file():
        return
    for include in includes(engine / name):
        if TORCH_HEADER.match(include.path):
            yield f"{name} -> {include.path}"
        elif include.quoted:
            for chain in torch_headers(engine, include.path, seen | {name}):
                yield f"{name} -> {chain}"


def breach(engine: Path, name: str, include: Include) -> str | None:
    """Why this include of the file `name` is not allowed; None when it is."""
    folder = folder_of(name)
    if TORCH_HEADER.match(include.path):
        return None if may_see_torch(name) else f"{include.path}: libtorch is not for {folder}/"
    if not include.quoted:
        return None
    if against := against_the_arrows(name, include.path):
        return against
    chains = () if may_see_torch(name) else torch_headers(engine, include.path)
    return next((f'"{include.path}": brings libtorch into {folder}/ ({chain})' for chain in chains), None)


def against_the_arrows(name: str, path: str) -> str | None:
    folder, target = folder_of(name), folder_of(path)
    if target not in ARROWS:
        return f'"{path}": name the folder, as in "{folder}/{path}"'
    if target not in ARROWS[folder] | {folder, "base"}:
        return f'"{path}": {folder}/ may not include {target}/'
    room, target = engine_room_of(name), engine_room_of(path)
    if room and target and target not in ROOMS.get(room, set()) | {room}:
        return f'"{path}": {room}/ may not include {target}/'
    return None


def check(engine: Path) -> list[str]:
    breaches = []
    for file in sorted(file for kind in ("h", "inc", "cc") for file in engine.rglob(f"*.{kind}")):
        name = file.relative_to(engine).as_posix()
        if is_test(name):
            continue
        if folder_of(name) not in ARROWS:
            breaches.append(f"{file}: the folder is not in scripts/check_arrows.py and docs/design.md")
            continue
        for include in includes(file):
            if why := breach(engine, name, include):
                breaches.append(f"{file}:{include.line}: {why}")
    return breaches


@dataclass(frozen=True)
class Import:
    line: int
    module: str  # a file of the package, as "spark.columns"


def modules_of(package: Path) -> dict[str, Path]:
    """By dotted name below the package; a folder's own file has the folder's name."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = file
    return found


def imports(file: Path, package: str, known: dict[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text())):
        names = [f"{node.module}.{one.name}" for one in node.names] if isinstance(node, ast.ImportFrom) else \
                [one.name for one in node.names] if isinstance(node, ast.Import) else []  # fmt: skip
        for name in names:
            if name.startswith(f"{package}."):
                yield Import(node.lineno, _file_of(name.removeprefix(f"{package}."), known))


def _file_of(name: str, known: dict[str, Path]) -> str:
    """The module itself, or the one that has the name; "" of a name of the package's own file."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def room_of(module: str, package: Path) -> str:
    """Its folder; "" for the files beside the folders."""
    first = module.partition(".")[0]
    return first if (package / first).is_dir() else ""


def check_python(package: Path) -> list[str]:
    known = modules_of(package)
    found = {name: list(imports(file, package.name, known)) for name, file in known.items()}
    breaches = []
    for name, targets in found.items():
        room = room_of(name, package)
        if room and room not in PYTHON_ARROWS:
            breaches.append(f"{known[name]}: the folder is not in scripts/check_arrows.py and docs/design.md")
            continue
        for one in targets:
            target = room_of(one.module, package)
            if target and target != room and name not in FACE and target not in PYTHON_ARROWS.get(room, ()):
                breaches.append(
                    f"{known[name]}:{one.line}: {room or 'a file beside the folders'} may not import {target}"
                )
    circle = circle_in({name: {one.module for one in targets if one.module} for name, targets in found.items()})
    return breaches + ([f"modules import each other in a circle: {' -> '.join(circle)}"] if circle else [])


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """One that there is, its first member again at its end."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for target in sorted(arrows[name] - {name}):
                if circle := follow(target, [*way, name]):
                    return circle
            done.add(name)
        return []

    return next(filter(None, (follow(name, []) for name in sorted(arrows))), [])


def main() -> int:
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", nargs="?", type=Path, default=root / "engine")
    breaches = check(parser.parse_args().engine) + check_python(root / "python/stoker")
    print("\n".join(breaches) or "arrows hold")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
