#!/usr/bin/env python3
"""Tells which versions of the system's libraries the built modules need, so on which systems they load, and ends with 1
where they need newer ones than are allowed here.

    python scripts/check_symbols.py                  the modules in python/stoker
    python scripts/check_symbols.py dist/*.whl       those in wheels
    python scripts/check_symbols.py --beyond 2.28    also each symbol that keeps them from systems of that glibc

What is built in place is for this system. Wheels are linked for systems as old as manylinux_2_28 (PEP 600: glibc 2.28,
GLIBCXX 3.4.25, CXXABI 1.3.11), by scripts/old_system.py, and held against that.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from old_system import LIMITS as OLD

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)}
NEEDED = re.compile(r"\*UND\*.*?\(?(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)\)?\s+(?:\.hidden )?(\S+)$", re.MULTILINE)
Version = tuple[int, ...]


def symbols_in(table: str) -> list[tuple[str, Version, str]]:
    """(library, version, symbol) of each that objdump -T shows as undefined."""
    return [(library, tuple(map(int, version.split("."))), name) for library, version, name in NEEDED.findall(table)]


def symbols_of(module: Path) -> list[tuple[str, Version, str]]:
    return symbols_in(subprocess.run(["objdump", "-T", str(module)], check=True, capture_output=True, text=True).stdout)


def highest(symbols: Iterable[tuple[str, Version, str]]) -> dict[str, Version]:
    most: dict[str, Version] = {}
    for library, version, _ in symbols:
        most[library] = max(most.get(library, ()), version)
    return most


def beyond(symbols: Iterable[tuple[str, Version, str]], allowed: dict[str, Version]) -> list[str]:
    """Symbols that are newer than allowed, the newest first."""
    found = {(version, library, name) for library, version, name in symbols if version > allowed.get(library, version)}
    return [f"{name} ({library}_{dotted(version)})" for version, library, name in sorted(found, reverse=True)]


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def modules(paths: list[Path], folder: Path) -> Iterator[Path]:
    """Shared libraries; of wheels those inside, unpacked into `folder`."""
    for path in paths:
        if path.suffix == ".whl":
            zipfile.ZipFile(path).extractall(folder / path.stem)
            yield from sorted((folder / path.stem).rglob("*.so*"))
        else:
            yield path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="wheels or shared libraries")
    parser.add_argument("--beyond", default="2.34", help="shows each symbol that needs a newer glibc")
    asked = parser.parse_args()
    paths = asked.paths or [*ROOT.glob("python/stoker/*.so"), *ROOT.glob("python/stoker/lib/*.so*")]
    allowed = OLD if any(path.suffix == ".whl" for path in paths) else ALLOWED
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for module in modules(paths, Path(folder)):
            symbols = symbols_of(module)
            told = ", ".join(f"{name} {dotted(version)}" for name, version in sorted(highest(symbols).items()))
            print(f"{module.name}: {told or 'nothing of the system'}")
            limit = {"GLIBC": tuple(map(int, asked.beyond.split(".")))}
            print("".join(f"  {line}\n" for line in beyond(symbols, limit)), end="")
            failed = failed or bool(beyond(symbols, allowed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
