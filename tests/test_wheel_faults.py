"""Faults on order are for the laboratory: a build as wheels are made has none of them, the build in place has all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faults.points import BY_NAME

ROOT = Path(__file__).parent.parent
CORE = ("base", "net", "shm", "gang", "collective", "checkpoint", "data")
MACHINERY = [b"act_on_frame", b"asked_to_skip", b"STOKER_FAULTS_LOG"]
# Those of files that this build has (the rest needs torch), and that are no words which the engine says anyway.
ELSEWHERE = (
    "result", "forward", "flip", "checkpoint", "partials", "norms", "measures", "moments", "changes", "finished"
)  # fmt: skip
POINTS_BUILT = [p.name for p in BY_NAME.values() if not p.name.startswith(ELSEWHERE)]


def with_points(folders):
    """Sources of those folders that have fault points, or the machinery itself."""
    sources = [s for folder in folders for s in sorted((ROOT / "engine" / folder).glob("*.cc"))]
    found = [s for s in sources if re.search(r"\bfault(::| {)", s.read_text()) and not s.stem.endswith("_test")]
    return [s.relative_to(ROOT / "engine") for s in found if s.name != "fault.cc"]


@pytest.fixture(scope="module")
def wheel_build(tmp_path_factory):
    """The objects with fault points that never see torch, with the settings of pyproject.toml."""
    section = (ROOT / "pyproject.toml").read_text().split("[tool.scikit-build.cmake.define]\n")[1].split("\n\n")[0]
    asked = dict(re.findall(r'^(\w+) = "(\w+)"$', section, re.MULTILINE))
    build = tmp_path_factory.mktemp("wheel")
    defines = [f"-D{name}={value}" for name, value in asked.items()]
    configure = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DSTOKER_TORCH=OFF",
                 f"-DPython_EXECUTABLE={sys.executable}", *defines]  # fmt: skip
    core = [f"engine/CMakeFiles/stoker_core.dir/{s}.o" for s in with_points(CORE)]
    sync = [f"engine/CMakeFiles/stoker_sync.dir/{s}.o" for s in with_points(["sync"])]
    environment = {**os.environ, "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}
    for command in configure, ["cmake", "--build", build, "--target", *core, *sync]:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    return [build / name for name in core + sync]


def bytes_of(files):
    return b"".join(file.read_bytes() for file in files)


def names_in(binary):
    return [name for name in POINTS_BUILT if b"\0" + name.encode() + b"\0" in binary]


def test_a_wheel_has_no_fault_points(wheel_build):
    binary = bytes_of(wheel_build)
    assert b"this build of the engine has no faults to schedule" in binary
    assert names_in(binary) == []
    assert [word for word in MACHINERY if word in binary] == []


def test_there_are_points_to_look_for():
    assert len(with_points(CORE)) >= 5
    assert len(with_points(["sync"])) >= 2


def test_the_build_in_place_has_them():
    libraries = (ROOT / "python/stoker").rglob("*.so")
    binary = bytes_of(libraries)
    assert [word for word in MACHINERY if word not in binary] == []
    assert len(names_in(binary)) >= len(POINTS_BUILT) / 2  # short ones may lie inside instructions
