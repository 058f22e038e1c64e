"""Faults that are planted in the Python of real executors, two at a time, are found by python -m stoker doctor, each
at its executor and with its cure; those of settings (tests/planted.py) are counted with them.

Run:    make test-install (or pytest tests/install/doctor_cluster.py)
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pyarrow
import pytest

import stoker
from planted import IN_SESSIONS, look_at

THIRD = Path(pyarrow.__file__).parent.parent  # what others than Stoker are in
SESSION = ("--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1")
FIRST = "export PYTHONPATH={here}:$PYTHONPATH"  # the fault's own files come before all others
CLOCK = "import time\nreal = time.time\ntime.time = lambda: real() - 5\n"
OTHER_STOKER = f"""
import pathlib
where = pathlib.Path({stoker.__file__!r}).parent
__path__ = [str(where)]
exec((where / "__init__.py").read_text())
__version__ = "0.0.9"
"""
FULL_DISK = """
if [ -z "$MOUNTED" ]; then export MOUNTED=1; exec unshare -m "$0" "$@"; fi
mkdir -p {here}/disk && mount -t tmpfs -o size=64k tmpfs {here}/disk
head -c 64k /dev/zero >{here}/disk/rows
export SPARK_LOCAL_DIRS={here}/disk
"""


def torch_of(version):
    """A folder that says it is that torch, without libraries."""
    return {"torch/__init__.py": "", "torch/version.py": f"__version__ = '{version}'\n",
            f"torch-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
            }  # fmt: skip


class Fault(NamedTuple):
    shell: str  # before the executor's Python starts; {here} is a folder of the fault's own
    found: str
    cure: str  # part of what is advised
    files: Mapping[str, str] = MappingProxyType({})
    options: str = ""  # of the Python
    follows: tuple[str, ...] = ()  # findings that come with it


FAULTS = {
    "another torch": Fault(FIRST, "other-torch", "same torch", torch_of("2.9.0"), follows=("engine-fails",)),
    "no Stoker": Fault(f"export PYTHONPATH={THIRD}", "missing-package", "spark.archives", options="-S"),
    "a torch that does not load": Fault(FIRST, "engine-fails", "the wheel", torch_of(metadata.version("torch"))),
    "a local folder that cannot be written": Fault("export SPARK_LOCAL_DIRS=/proc", "folder-not-writable", "take one"),
    "a full disk": Fault(FULL_DISK, "full-disk", "has room"),
    "another Stoker": Fault(FIRST, "other-stoker", "same wheel", {"stoker/__init__.py": OTHER_STOKER}),
    "a clock that is off": Fault(FIRST, "clock-off", "NTP", {"sitecustomize.py": CLOCK}),
    "another instruction set": Fault("export STOKER_MAX_ISA=baseline", "mixed-instruction-sets", "one kind"),
    "few files": Fault("ulimit -n 256", "few-descriptors", "LimitNOFILE"),
    "little memory": Fault("ulimit -v 1900000", "little-memory", "pyspark.memory"),
}  # fmt: skip
NAMES = list(FAULTS)
COUNTED = []  # all that were looked for and found


@pytest.fixture(scope="module")
def report_of(tmp_path_factory):
    """Of a cluster of two executors with the faults of that number and the next one: (report, exit code)."""

    @functools.cache
    def look(number):
        folder = tmp_path_factory.mktemp("faults")
        cases = [case_of(folder / str(i), i, FAULTS[NAMES[number + i]]) for i in range(2)]
        wrapper = folder / "python"
        wrapper.write_text('#!/bin/bash\ncase "$PWD" in\n' + "".join(cases) + f'esac\nexec {sys.executable} "$@"\n')
        wrapper.chmod(0o755)
        return run_doctor(wrapper, "--master", "local-cluster[2,1,1024]")

    return look


def case_of(folder, executor, fault):
    for name, text in fault.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shell = fault.shell.replace("{here}", str(folder))
    return f'*/{executor})\n{shell}\nexec {sys.executable} {fault.options} "$@" ;;\n'


def run_doctor(python, *options):
    environment = {**os.environ, "PYSPARK_PYTHON": str(python)}
    command = [sys.executable, "-m", "stoker", "doctor", "--json", *SESSION, *options]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return json.loads(ran.stdout.splitlines()[-1]), ran.returncode


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_of_an_executor_is_found_there(name, report_of):
    at, fault = NAMES.index(name), FAULTS[name]
    report, code = report_of(at - at % 2)
    found = [one for one in report["findings"] if one["name"] == fault.found and fault.cure in one["cure"]]
    assert len(found) == 1, report["findings"]
    assert report["ok"] == (code == 0) == all(one["level"] != "error" for one in report["findings"])
    COUNTED.append(name)


@pytest.mark.parametrize("at", range(0, len(NAMES), 2))
def test_nothing_else_is_found_and_each_fault_at_an_executor_of_its_own(at, report_of):
    pair = [FAULTS[name] for name in NAMES[at : at + 2]]
    report, _ = report_of(at)
    places = {one["name"]: one["place"] for one in report["findings"] if one["level"] != "note"}
    assert set(places) == {fault.found for fault in pair} | {name for fault in pair for name in fault.follows}
    assert places[pair[0].found] != places[pair[1].found]


def other_python():
    """Of another minor version than this one; None where there is none."""
    known = [Path(f"/usr/bin/python3.{minor}") for minor in range(8, 14)]
    for place in [*known, *Path.home().glob(".pyenv/versions/3.*/bin/python")]:
        told = subprocess.run([place, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True,
                              check=False) if place.exists() else None  # fmt: skip
        if told and told.stdout.strip() not in ("", str(sys.version_info[:2])):
            return place
    return None


def test_another_python_is_found():
    python = other_python()
    if python is None:
        pytest.skip("there is no other Python here")
    report, code = run_doctor(python, "--master", "local[2]")
    assert code == 1 and [one["name"] for one in report["findings"] if one["level"] == "error"] == ["other-python"]
    assert "spark.pyspark.python" in report["findings"][0]["cure"]
    COUNTED.append("another Python")


@pytest.mark.parametrize("name", IN_SESSIONS)
def test_a_fault_of_the_settings_is_found(spark, name):
    look_at(spark, name)
    COUNTED.append(name)


def test_of_fifteen_planted_faults_fifteen_are_found(capsys):
    planted = [*NAMES, *IN_SESSIONS, "another Python"]
    with capsys.disabled():
        print(f"\ndoctor: {len(COUNTED)} of {len(planted)} planted faults found with their cure: {', '.join(COUNTED)}")
    assert len(COUNTED) >= 15
