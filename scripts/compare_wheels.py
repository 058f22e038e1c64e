#!/usr/bin/env python3
"""Tells how two wheels differ: files that one lacks, and of each file that is not the same how many bytes, and where:
python scripts/compare_wheels.py ONE.whl OTHER.whl"""

import sys
import zipfile
from collections.abc import Iterator


def differences(one: zipfile.ZipFile, other: zipfile.ZipFile) -> Iterator[str]:
    names, others = one.namelist(), other.namelist()
    yield from (f"only in one of them: {name}" for name in sorted(set(names) ^ set(others)))
    if names != others and set(names) == set(others):
        yield "files stand in another order"
    for name in sorted(set(names) & set(others)):
        told, theirs = one.getinfo(name), other.getinfo(name)
        if told.date_time != theirs.date_time or told.external_attr != theirs.external_attr:
            yield f"{name}: another time or another mode"
        if told.CRC != theirs.CRC or told.file_size != theirs.file_size:
            yield f"{name}: {of_bytes(one.read(name), other.read(name))}"


def of_bytes(mine: bytes, theirs: bytes) -> str:
    at = [i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b]
    around = mine[max(at[0] - 40, 0) : at[0] + 80] if at else b""
    return f"{len(mine)} and {len(theirs)} bytes, {len(at)} of them others, the first within {around!r}"


def main() -> int:
    with zipfile.ZipFile(sys.argv[1]) as one, zipfile.ZipFile(sys.argv[2]) as other:
        found = list(differences(one, other))
    print("\n".join(found) or "their files are the same; the archives around them are not")
    return 1


if __name__ == "__main__":
    sys.exit(main())
