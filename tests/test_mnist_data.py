"""The MNIST reader on small idx files: plain, gzipped, absent, of another type."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import mnist_data

PIXELS = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
LABELS = np.uint8([7, 0, 9])


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_DIR", str(tmp_path))
    monkeypatch.setattr(mnist_data, "CACHE", tmp_path / "cache")
    return tmp_path


def test_plain_and_gzipped_files_are_read(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (folder / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    digits = mnist_data.load("train")
    assert digits.pixels.tolist() == PIXELS.reshape(3, 4).tolist()
    assert digits.labels.tolist() == [7, 0, 9]


def test_parquet_holds_the_same_rows_scaled(folder):
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    table = pq.read_table(mnist_data.parquet("test"))
    assert table["label"].to_pylist() == [7, 0, 9]
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32) * 255, PIXELS.reshape(3, 4))


def test_a_missing_file_is_named(folder):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte, gzipped or not"):
        mnist_data.load("train")


def test_more_labels_than_images_is_an_error(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.append(LABELS, LABELS)))
    with pytest.raises(ValueError, match="3 images and 6 labels"):
        mnist_data.load("train")


def test_another_type_than_bytes_is_refused():
    with pytest.raises(ValueError, match="not an idx file of unsigned bytes"):
        mnist_data.parse_idx(idx(np.zeros(2, np.float32), kind=13))
