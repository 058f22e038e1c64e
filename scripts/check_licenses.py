#!/usr/bin/env python3
"""Proves that what the build links or compiles in has its licence's text in licenses/ and a line in its table, and that
built modules need no other library of the machine. Says each that is missing, and ends with 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What the build calls it -> its name in licenses/.
NAMES = {
    "crypto": "openssl", "jpeg": "libjpeg-turbo", "png": "libpng", "z": "zlib", "webp": "libwebp",
    "sentencepiece": "sentencepiece", "nlohmann_json": "nlohmann-json", "nanobind": "nanobind", "xxhash": "xxhash",
    "stdc++": "libstdcxx",
}  # fmt: skip
WITHIN = {"nanobind": ("robin-map",)}
NOT_IN_WHEELS = {"Threads", "Python", "GTest", "benchmark"}
# Of the system, of torch, and Stoker's own.
MAY_NEED = re.compile(r"(ld-linux|libc\.|libm\.|libgcc_s|libstdc\+\+|libc10|libtorch_cpu|libstoker|libsentencepiece)")


def linked(root: Path) -> Iterator[str]:
    """As CMake's files name them."""
    for path in [root / "CMakeLists.txt", *root.glob("*/CMakeLists.txt"), *root.glob("cmake/*.cmake")]:
        text = re.sub(r"#.*", "", path.read_text())
        for call in re.findall(r"find_library\(\w+ +(?:lib)?(\w+)", text):
            yield call
        for call in re.findall(r"find_package\((\w+)", text):
            yield call
        for call in re.findall(r"stoker_link_decoders\(\w+ ([\w ]+)\)", text):
            yield from call.split()
    if any("<xxhash.h>" in path.read_text() for path in root.glob("engine/**/*.cc")):
        yield "xxhash"
    if "libstdc++.a" in (root / "scripts/old_system.py").read_text():
        yield "stdc++"


def complaints(root: Path = ROOT) -> Iterator[str]:
    table = (root / "licenses" / "README.md").read_text()
    for call in sorted(set(linked(root)) - NOT_IN_WHEELS):
        if call not in NAMES:
            yield f"{call} is linked, and scripts/check_licenses.py does not know its licence"
            continue
        for name in (NAMES[call], *WITHIN.get(call, ())):
            if not (root / "licenses" / f"{name}.txt").is_file():
                yield f"licenses/{name}.txt is missing: {call} is linked"
            if f"| {name} |" not in table:
                yield f"licenses/README.md has no line for {name}"
    for text in sorted((root / "licenses").glob("*.txt")):
        if text.stem not in {*NAMES.values(), *(name for names in WITHIN.values() for name in names)}:
            yield f"licenses/{text.name} is of nothing that is linked"


def needed(module: Path) -> list[str]:
    told = subprocess.run(["objdump", "-p", str(module)], check=True, capture_output=True, text=True).stdout
    return re.findall(r"NEEDED +(\S+)", told)


def strangers(root: Path = ROOT) -> Iterator[str]:
    built = [*root.glob("python/stoker/*.so"), *root.glob("python/stoker/lib/*.so*")]
    for module in sorted(built):
        for name in needed(module):
            if not MAY_NEED.match(name):
                yield f"{module.name} needs {name}, which is neither the system's nor in the wheel"


def main() -> int:
    found = [*complaints(), *strangers()]
    print("\n".join(found) if found else "licences are complete")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
