"""Stoker, torch and the rest reach the executors of a standalone cluster as an archive: its worker has nothing but
Spark and Python.

Run:    make test-install (or pytest tests/install/shipping.py after `make wheel`)
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pyspark
import pytest

ROOT = Path(__file__).parent.parent.parent
SITE = Path(sysconfig.get_paths()["purelib"])
SPARK = Path(pyspark.__file__).parent
# What workers need of others: torch is never imported there, its libraries are loaded.
PACKAGES = ("torch", "torchgen", "functorch", "numpy", "numpy.libs", "pyarrow", "pandas", "dateutil", "pytz", "tzdata",
            "safetensors", "six.py", "tqdm", "typing_extensions.py")  # fmt: skip
PROGRAM = """
import sys
import stoker
from pyspark.sql import SparkSession
from torch import nn

spark = (SparkSession.builder.master(sys.argv[1]).config("spark.archives", sys.argv[2] + "#environment")
         .config("spark.ui.enabled", False).config("spark.cores.max", 2).config("spark.executor.cores", 2)
         .config("spark.driver.host", "127.0.0.1").getOrCreate())
report = stoker.doctor(spark, numWorkers=2)
assert report.ok, report
pythons = {task["python"]["executable"] for task in report.facts.tasks}
assert all("/environment/bin/python" in python for python in pythons), pythons
df = spark.range(500).selectExpr("array(sin(id), cos(id)) AS features", "int(sin(id) > 0) AS label")
model = stoker.StokerClassifier(model=nn.Linear(2, 2), numWorkers=2, epochs=3, verbose=0).fit(df)
assert model.history.info["workers"] == 2
print("trained by", *pythons)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    wheels = sorted(ROOT.glob("dist/stoker-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        pytest.skip("there is no wheel: run make wheel")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--copies", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in PACKAGES:
        if (SITE / name).is_dir():
            shutil.copytree(SITE / name, site / name, copy_function=os.link, ignore=shutil.ignore_patterns("include"))
        elif (SITE / name).exists():
            os.link(SITE / name, site / name)
    for told in SITE.glob("torch-*.dist-info"):
        shutil.copytree(told, site / told.name)
    install = ["-m", "pip", "--python", folder / "bin/python", "install", "-q", "--no-deps", "--no-index", wheels[-1]]
    subprocess.run([sys.executable, *install], check=True)
    packed = folder.with_suffix(".tar.gz")
    subprocess.run(
        ["tar", "-I", "gzip -1", "-cf", packed, "-C", folder, *sorted(path.name for path in folder.iterdir())],
        check=True,
    )
    yield packed
    packed.unlink()


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A standalone cluster of one worker on this machine."""
    folder, port = tmp_path_factory.mktemp("cluster"), free_port()
    address = f"spark://127.0.0.1:{port}"
    bare = {"PATH": "/usr/bin:/bin", "JAVA_HOME": os.environ["JAVA_HOME"], "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(folder / "work")}  # fmt: skip
    commands = [["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port),
                 "--webui-port", str(free_port())],
                ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "2", "--memory", "2g",
                 "--webui-port", str(free_port()), address]]  # fmt: skip
    with contextlib.ExitStack() as running:
        for command in commands:
            log = running.enter_context((folder / f"{len(command)}.log").open("w"))
            process = subprocess.Popen(
                [SPARK / "bin/spark-class", *command], env=bare, cwd=folder, stdout=log, stderr=log
            )
            running.callback(process.wait)
            running.callback(process.terminate)
            time.sleep(3)
        yield address


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_executors_get_all_of_it_as_an_archive(master, archive, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYSPARK_PYTHON": "./environment/bin/python", "PYSPARK_DRIVER_PYTHON": sys.executable}
    ran = subprocess.run([sys.executable, "program.py", master, str(archive)], cwd=tmp_path, env=environment,
                         capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    assert "trained by" in ran.stdout
