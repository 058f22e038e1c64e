#!/usr/bin/env python3
"""Gives all files in wheels the modes that they have under umask 022: python scripts/wheel_modes.py dist/*.whl"""

import sys
import zipfile
from pathlib import Path

FILE, EXECUTABLE = 0o100644, 0o100755


def usual(path: Path) -> None:
    made = path.with_suffix(".made")
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(made, "w") as archive:
        for info in given.infolist():
            content, runs = given.read(info), info.external_attr >> 16 & 0o100
            info.external_attr = (EXECUTABLE if runs else FILE) << 16
            archive.writestr(info, content)
    made.replace(path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        usual(Path(name))
