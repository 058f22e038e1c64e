"""Loads the engine's libraries: stoker._core, which never needs torch, and stoker._torch_<minor>, which runs programs.

Python's torch is never imported here: loading its C++ libraries takes a fraction of the time. Thread-safe.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from stoker.errors import UserError, WorldError

# What each library calls the levels of engine/base/level.h. They read these once, when they are loaded or first used.
_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
_ENVIRONMENT = {
    "baseline": ("default", "SSE41", "SSE4_2"),
    "avx2": ("avx2", "AVX2", "AVX2"),
    "avx512": ("avx512", "AVX512_CORE_AMX", "AVX512"),
}
_LEVELS = list(_ENVIRONMENT)  # by their numbers
_CAPABILITIES = {"DEFAULT": 0, "AVX2": 1, "AVX512": 2}

_lock = threading.Lock()


def core() -> ModuleType:
    return importlib.import_module("stoker._core")


def load_torch(isa: int | str | None = None) -> ModuleType:
    """The module that runs programs, with libtorch at instruction-set level `isa` (default: the machine's best).

    A process has one level for good: WorldError where libtorch is there already at another one.
    """
    level = _LEVELS.index(isa) if isinstance(isa, str) else isa
    with _lock:
        before = _present_level()
        if before is not None and level not in (None, before):
            raise WorldError(
                f"libtorch is loaded at level {_LEVELS[before]} in this process, and {_LEVELS[level]} is needed; "
                "only a new process can change it"
            )
        if before is None:
            _load_libraries(core().best_isa() if level is None else level)
        return _module()


def loaded_level() -> int | None:
    """The level that libtorch runs at in this process; None where it is not loaded."""
    with _lock:
        return _present_level()


def torch_version() -> str:
    """Of the installed package, such as "2.13.0"."""
    text = (_package() / "version.py").read_text()
    found = re.search(r"^__version__\s*=\s*['\"](\d+\.\d+\.\d+)", text, re.MULTILINE)
    if not found:
        raise WorldError(f"the installed torch in {_package()} does not tell its version")
    return found[1]


def describe() -> dict[str, Any]:
    """What a worker tells of its engine when it is admitted."""
    level = loaded_level()
    return {"torch_version": torch_version(), "isa": core().best_isa(), "loaded_isa": -1 if level is None else level}


def environment_of_level(level: str) -> dict[str, str]:
    """The variables that keep torch's libraries at `level`, such as "avx2", in a process that loads them later."""
    return dict(zip(_VARIABLES, _ENVIRONMENT[level]))


@functools.cache
def _package() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"torch is not installed for {sys.executable}; Stoker needs {_known_text()}")
    return Path(next(iter(spec.submodule_search_locations)))


def _known() -> list[str]:
    """Minor versions of torch that this build has a library for."""
    names = (path.name for path in Path(__file__).parent.glob("_torch_*.so"))
    return sorted({".".join(found) for name in names for found in re.findall(r"^_torch_(\d+)_(\d+)", name)})


def _known_text() -> str:
    return "torch " + " or ".join(_known())


def _present_level() -> int | None:
    if not _is_loaded("libtorch_cpu"):
        return None
    return _CAPABILITIES.get(_module().cpu_capability(), 0)


def _is_loaded(library: str) -> bool:
    with Path("/proc/self/maps").open() as maps:
        return any(f"/{library}.so" in line for line in maps)


def _load_libraries(level: int) -> None:
    _check_version()
    os.environ.update(environment_of_level(_LEVELS[level]))
    for name in ("libc10.so", "libtorch_cpu.so"):
        path = _package() / "lib" / name
        try:
            core().load_library(str(path))
        except WorldError as error:
            raise WorldError(f"cannot load {name} of the installed torch {torch_version()}: {error}") from None
    core().load_library(str(next(Path(__file__).parent.glob(f"{_module_name()}.*"))))  # an import holds others up


def _module_name() -> str:
    return "_torch_" + _check_version().replace(".", "_")


def _module() -> ModuleType:
    return importlib.import_module(f"stoker.{_module_name()}")


def _check_version() -> str:
    minor = torch_version().rsplit(".", 1)[0]
    if minor not in _known():
        raise UserError(f"torch {torch_version()} is installed, and this build of Stoker needs {_known_text()}")
    return minor
