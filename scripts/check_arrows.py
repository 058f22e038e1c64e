#!/usr/bin/env python3
"""Proves the include arrows of docs/design.md: which folder of the engine may include which, and who sees libtorch.

Reads the #include lines of engine/, says each one that breaks a rule as file:line, and ends with 1 if there is any.
Tests and bindings may include everything.
"""

import argparse
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
    "collective": {"gang", "net", "shm"},
    "checkpoint": set(),
    "program": {"optim"},
    "images": set(),
    "pieces": set(),
    "data": {"images", "pieces", "shm"},
    "optim": {"collective"},
    "sync": {"net", "shm", "optim", "collective"},
    "train": {"net", "shm", "gang", "collective", "checkpoint", "program", "images", "pieces", "data", "optim", "sync"},
    "observe": set(),
}
TORCH_FOLDERS = {"program", "train"}
TORCH_FILES = re.compile(r"^data/gather[^/]*$")
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
    target = folder_of(include.path)
    if target not in ARROWS:
        return f'"{include.path}": name the folder, as in "{folder}/{include.path}"'
    if target not in ARROWS[folder] | {folder, "base"}:
        return f'"{include.path}": {folder}/ may not include {target}/'
    if not may_see_torch(name):
        for chain in torch_headers(engine, include.path):
            return f'"{include.path}": brings libtorch into {folder}/ ({chain})'
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", nargs="?", type=Path, default=Path(__file__).parent.parent / "engine")
    breaches = check(parser.parse_args().engine)
    print("\n".join(breaches) or "include arrows hold")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
