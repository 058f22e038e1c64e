#!/usr/bin/env python3
"""Makes what a wheel is linked against to load on systems as old as manylinux_2_28 has them (PEP 600: glibc 2.28,
GLIBCXX 3.4.25), on a newer one, without an old compiler:

- stub libraries, which have of the C and C++ libraries' symbols those versions that the old systems have, and no code;
- libold.a, with what newer headers call and old systems have not (cmake/old_system.c).

    python scripts/old_system.py build/old          writes them there, and tells what ends a link's command

What of the C++ library is newer is linked from libstdc++.a, as Red Hat's gcc-toolset does. Symbols that were in
libpthread, libdl and librt are asked of libc: versions are looked up by symbol in all loaded libraries, and those
three are loaded too.
"""

import argparse
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMITS = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 25), "CXXABI": (1, 3, 11)}
LIBRARIES = ("libc.so.6", "libm.so.6", "libstdc++.so.6")
EMPTY = ("libpthread.so.0", "libdl.so.2", "librt.so.1")
SHIMS = Path(__file__).parent.parent / "cmake" / "old_system.c"
# The columns of readelf: number, value, size, type, binding, visibility, section, name@version (@@: the default one).
DEFINED = re.compile(
    r"^ *\d+: [0-9a-f]+ +(\w+) (FUNC|IFUNC|OBJECT) +\w+ +DEFAULT +\d+ ([^\s@]+)@+(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Symbol:
    name: str
    is_data: bool
    size: int
    family: str
    version: tuple[int, ...]

    @property
    def node(self) -> str:
        return f"{self.family}_{'.'.join(map(str, self.version))}"


def symbols_in(table: str) -> Iterator[Symbol]:
    """All that readelf shows as defined, with numbered versions."""
    for size, kind, name, family, version in DEFINED.findall(table):
        yield Symbol(name, kind == "OBJECT", int(size, 0), family, tuple(map(int, version.split("."))))


def old(symbols: Iterator[Symbol]) -> list[Symbol]:
    """Of each name the newest version that the old systems have."""
    newest: dict[str, Symbol] = {}
    for symbol in symbols:
        known = newest.get(symbol.name)
        if symbol.version <= LIMITS[symbol.family] and (known is None or known.version < symbol.version):
            newest[symbol.name] = symbol
    return sorted(newest.values(), key=lambda symbol: symbol.name)


def assembly(symbols: list[Symbol]) -> str:
    lines = ['.section .note.GNU-stack,"",@progbits']
    for kind, section in ((False, ".text"), (True, ".data")):
        lines.append(section)
        for symbol in (one for one in symbols if one.is_data == kind):
            size = max(symbol.size, 1)
            lines += [f".globl {symbol.name}", f".type {symbol.name}, {'@object' if kind else '@function'}",
                      f".size {symbol.name}, {size}", f"{symbol.name}: .skip {size if kind else 1}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def version_script(symbols: list[Symbol]) -> str:
    nodes = defaultdict(list)
    for symbol in symbols:
        nodes[symbol.family, symbol.version].append(symbol)
    # A library may name a version of which it has no symbol that is newest; the others follow their order.
    return "".join(
        f"{members[0].node} {{\n  global:\n" + "".join(f"    {one.name};\n" for one in members) + "};\n"
        for _, members in sorted(nodes.items())
    )


def system_library(name: str) -> Path:
    told = subprocess.run(["c++", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return Path(told.stdout.strip())


def make_stub(name: str, folder: Path) -> None:
    command = ["readelf", "--dyn-syms", "--wide", str(system_library(name))]
    table = subprocess.run(command, check=True, capture_output=True, text=True)
    symbols = old(symbols_in(table.stdout))
    source, script = folder / f"{name}.s", folder / f"{name}.map"
    source.write_text(assembly(symbols))
    script.write_text(version_script(symbols))
    link(folder, name, str(source), f"-Wl,--version-script={script}")


def link(folder: Path, name: str, *more: str) -> None:
    subprocess.run(["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(folder / name), *more], check=True)


def libraries(folder: Path) -> list[str]:
    """With -nodefaultlibs before: what is old from the stubs, what is newer from archives."""
    stubs = {name: str(folder / name) for name in (*LIBRARIES, *EMPTY)}
    always = ["-Wl,--push-state,--no-as-needed", *(stubs[name] for name in EMPTY), "-Wl,--pop-state"]
    newer, unwinding, start = (str(system_library(n)) for n in ("libstdc++.a", "libgcc_s.so.1", "libc_nonshared.a"))
    return [*always, stubs["libstdc++.so.6"], newer, stubs["libm.so.6"], str(folder / "libold.a"), stubs["libc.so.6"],
            start, unwinding, "-lgcc"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        make_stub(name, folder)
    for name in EMPTY:
        link(folder, name, "-x", "c", "/dev/null")
    made = folder / "old_system.o"
    subprocess.run(["cc", "-O2", "-fPIC", "-fvisibility=hidden", "-c", "-o", str(made), str(SHIMS)], check=True)
    subprocess.run(["ar", "rcs", str(folder / "libold.a"), str(made)], check=True)
    print(shlex.join(libraries(folder.resolve())))


if __name__ == "__main__":
    main()
