"""Stoker, torch and the rest reach the executors of a standalone cluster as an archive, by spark.archives and by
Connect's addArtifacts: its worker has nothing but Spark and Python.

Run:    make test-install (or pytest tests/install/shipping.py after `make wheel`)
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pyspark
import pytest

ROOT = Path(__file__).parent.parent.parent
SITE = Path(find_spec("torch").origin).parent.parent  # of third parties
SPARK = Path(pyspark.__file__).parent
# What workers need of others: torch is never imported there, its libraries are loaded.
PACKAGES = ("torch", "torchgen", "functorch", "numpy", "numpy.libs", "pyarrow", "pandas", "dateutil", "pytz", "tzdata",
            "safetensors", "six.py", "tqdm", "typing_extensions.py")  # fmt: skip
PROGRAM = """
import sys
import stoker
from pyspark.sql import SparkSession
from torch import nn

where, archive = sys.argv[1:]
if where.startswith("sc://"):
    spark = SparkSession.builder.remote(where).getOrCreate()
    spark.addArtifacts(archive + "#environment", archive=True)
    spark.conf.set("spark.sql.execution.pyspark.python", "./environment/bin/python")
else:
    spark = (SparkSession.builder.master(where).config("spark.archives", archive + "#environment")
             .config("spark.ui.enabled", False).config("spark.cores.max", 2).config("spark.executor.cores", 2)
             .config("spark.driver.host", "127.0.0.1").getOrCreate())
report = stoker.doctor(spark, numWorkers=2)
assert report.ok, report
pythons = {task["python"]["executable"] for task in report.facts.tasks}
assert all("/environment/bin/python" in python for python in pythons), pythons
df = spark.range(500).selectExpr("array(sin(id), cos(id)) AS features", "int(sin(id) > 0) AS label")
model = stoker.StokerClassifier(model=nn.Linear(2, 2), numWorkers=2, epochs=3, verbose=0).fit(df)
assert model.history.info["workers"] == 2
stoker.register_function(spark, "score", model)
scored = model.transform(df).selectExpr("prediction", "score(features) AS again").collect()
assert len(scored) == 500 and all(row.prediction == row.again for row in scored), scored[:3]
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


BARE = {"PATH": "/usr/bin:/bin", "JAVA_HOME": os.environ["JAVA_HOME"], "SPARK_HOME": str(SPARK),
        "SPARK_LOCAL_IP": "127.0.0.1"}  # fmt: skip


@contextlib.contextmanager
def started(folder, name, *command):
    """A program of Spark's, with nothing of this environment; its log is in `folder`."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, env={**BARE, "SPARK_WORKER_DIR": str(folder / "work")}, cwd=folder,
                                   stdout=log, stderr=log)  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A standalone cluster of one worker on this machine."""
    folder, port = tmp_path_factory.mktemp("cluster"), free_port()
    deploy, here, address = "org.apache.spark.deploy", ("--host", "127.0.0.1"), f"spark://127.0.0.1:{port}"
    starts, page = SPARK / "bin/spark-class", ("--webui-port", "0")
    with started(folder, "master", starts, f"{deploy}.master.Master", *here, "--port", str(port), *page):
        wait_for(port)
        sizes = ("--cores", "2", "--memory", "2g")
        with started(folder, "worker", starts, f"{deploy}.worker.Worker", *here, *sizes, *page, address):
            yield address


@pytest.fixture
def server(master, tmp_path):
    """A Connect server that is the cluster's driver; its Python, as the executors', has nothing."""
    port = free_port()
    settings = {"spark.connect.grpc.binding.port": port, "spark.connect.grpc.binding.address": "127.0.0.1",
                "spark.driver.host": "127.0.0.1", "spark.cores.max": 2, "spark.executor.cores": 2,
                "spark.ui.enabled": "false"}  # fmt: skip
    told = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    name = "org.apache.spark.sql.connect.service.SparkConnectServer"
    command = (SPARK / "bin/spark-submit", "--master", master, "--class", name, *told, "spark-internal")
    with started(tmp_path, "server", *command):
        wait_for(port)
        yield f"sc://127.0.0.1:{port}"


def wait_for(port, seconds=60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nobody listens on port {port}")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def train(where, archive, folder, **more):
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYSPARK_DRIVER_PYTHON": sys.executable, **more}
    ran = subprocess.run([sys.executable, "program.py", where, str(archive)], cwd=folder, env=environment,
                         capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    assert "trained by" in ran.stdout


def test_executors_get_all_of_it_as_an_archive(master, archive, tmp_path):
    train(master, archive, tmp_path, PYSPARK_PYTHON="./environment/bin/python")


def test_so_they_do_from_a_client_of_connect(server, archive, tmp_path):
    train(server, archive, tmp_path)
