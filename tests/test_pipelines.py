"""Dataset functions of Spark's declarative pipelines give what a model gives, by Spark's own spark-pipelines."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pyspark
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pyspark.pipelines") is None, reason="no pipelines here")

SPEC = """
name: scoring
storage: file://{folder}/storage
libraries:
  - glob:
      include: datasets/**
"""
BEGIN = """
import stoker
from pyspark import pipelines as dp
from pyspark.sql import DataFrame

small = stoker.StokerClassificationModel.load("{folder}/small")
large = stoker.StokerClassificationModel.load("{folder}/large")
score, score_large = stoker.function(spark, small), stoker.function(spark, large, "probability")
source, schema = "{folder}/rows", spark.read.parquet("{folder}/rows").schema
"""
SCORED = """
@dp.materialized_view
def scored() -> DataFrame:
    return spark.read.parquet(source).select("label", score("features").alias("a"), score_large("features").alias("b"))

@dp.table
def streamed() -> DataFrame:
    rows = spark.readStream.schema(schema).parquet(source)
    return rows.select("label", score("features").alias("a"), score_large("features").alias("b"))
"""
ASKS = """
@dp.materialized_view
def scored() -> DataFrame:
    return small.transform(spark.read.parquet(source))
"""


def model_of(width):
    """Of 1 MB of weights where it is 600 wide: these go to workers as a file of the session."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    x, y = TensorSpec("features", "float32", (4,)), TensorSpec("label", "int64")
    return StokerClassificationModel(compile(net, nn.CrossEntropyLoss(), [x], [y]), output_kind="logits")


@pytest.fixture
def models(spark, tmp_path):
    made = {"small": model_of(8), "large": model_of(600)}
    for name, model in made.items():
        model.save(str(tmp_path / name))
    table(spark, *blobs(300)).write.parquet(str(tmp_path / "rows"))
    return made


def run(folder, datasets):
    (folder / "datasets").mkdir()
    (folder / "datasets/scoring.py").write_text((BEGIN + datasets).format(folder=folder))
    (folder / "spark-pipeline.yml").write_text(SPEC.format(folder=folder))
    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [home / "bin/spark-pipelines", "run", "--spec", folder / "spark-pipeline.yml"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
                          check=False)  # fmt: skip


def test_a_materialized_view_and_a_streaming_table_have_what_transform_adds(spark, tmp_path, models):
    ran = run(tmp_path, SCORED)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    df = spark.read.parquet(str(tmp_path / "rows"))
    small = models["small"].transform(df).select("label", "prediction", "features")
    both = models["large"].setPredictionCol("other").transform(small)
    expected = sorted((row.label, row.prediction, *row.probability) for row in both.collect())
    for name in ("scored", "streamed"):
        found = spark.read.parquet(f"{tmp_path}/spark-warehouse/{name}").collect()
        assert sorted((row.label, row.a, *row.b) for row in found) == expected, name


def test_transform_there_is_refused_with_what_to_do(tmp_path, models):
    ran = run(tmp_path, ASKS)
    assert ran.returncode != 0
    assert "make score = stoker.function(spark, model) outside of it" in ran.stdout + ran.stderr
