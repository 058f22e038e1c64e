"""Fixtures that more than one test file uses. Spark starts once for each process of the run."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
# Spark's workers must find the functions of test files.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def one_thread():
    """Small tensors only lose by more, and a busy machine makes it seconds."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .appName("stoker-tests")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def blobs(rows: int, classes: int = 3, width: int = 4, seed: int = 0):
    """(features, labels) that a linear model can tell apart."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1234).normal(0, 3, (classes, width))
    labels = rng.integers(0, classes, rows)
    return (centres[labels] + rng.normal(0, 0.5, (rows, width))).astype(np.float32), labels


def table(session, features, labels, **more):
    """A DataFrame with features (array<float>), label (bigint) and more columns."""
    import pyarrow as pa

    values = pa.array(features.reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(values, features.shape[1]).cast(pa.list_(pa.float32()))
    columns = {
        "features": lists,
        "label": pa.array(labels),
        **{name: pa.array(values) for name, values in more.items()},
    }
    return session.createDataFrame(pa.table(columns))
