"""Faults that are planted in the Python of real executors are found by python -m stoker doctor: one executor has
another torch and a local folder that cannot be written, the other one lacks Stoker.

Run:    make test-install (or pytest tests/install/doctor_cluster.py)
"""

import json
import os
import subprocess
import sys
import sysconfig

WRAPPER = """#!/bin/sh
case "$PWD" in
  */0) export PYTHONPATH={fake}:$PYTHONPATH SPARK_LOCAL_DIRS=/proc; exec {python} "$@" ;;
  */1) export PYTHONPATH={site}; exec {python} -S "$@" ;;
esac
exec {python} "$@"
"""


def test_executors_without_stoker_with_another_torch_and_a_folder_that_cannot_be_written(tmp_path):
    fake = tmp_path / "fake"
    (fake / "torch").mkdir(parents=True)
    (fake / "torch/__init__.py").touch()
    (fake / "torch/version.py").write_text("__version__ = '2.9.0'\n")
    (fake / "torch-2.9.0.dist-info").mkdir()
    (fake / "torch-2.9.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n")
    wrapper = tmp_path / "python"
    wrapper.write_text(WRAPPER.format(fake=fake, python=sys.executable, site=sysconfig.get_paths()["purelib"]))
    wrapper.chmod(0o755)
    ran = run_doctor(wrapper, "--master", "local-cluster[2,1,1024]")
    report = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 1 and not report["ok"]
    found = {(finding["name"], finding["place"].split()[1]) for finding in report["findings"]
             if finding["level"] == "error"}  # fmt: skip
    assert len({place for _, place in found}) == 2
    assert {name for name, _ in found} == {"missing-package", "other-torch", "engine-fails", "folder-not-writable"}


def run_doctor(python, *options):
    environment = {**os.environ, "PYSPARK_PYTHON": str(python)}
    local = ("--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1")
    command = [sys.executable, "-m", "stoker", "doctor", "--json", *local, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
