"""A perceptron by L-BFGS: MLlib's MultilayerPerceptronClassifier and Stoker, with the same weights and rows."""

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyspark
import torch
from pyspark.ml.classification import MultilayerPerceptronClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from torch import nn

from stoker import StokerClassifier

ITERATIONS, WORKERS = 100, 2
SAMPLE = Path(pyspark.__file__).parent / "data/mllib/sample_multiclass_classification_data.txt"


def network(layers: Sequence[int]) -> nn.Sequential:
    """With weights as MLlib draws them."""
    torch.manual_seed(1)
    parts: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(layers):
        linear = nn.Linear(inputs, outputs)
        for part in linear.parameters():
            nn.init.uniform_(part, -2.4 / math.sqrt(inputs), 2.4 / math.sqrt(inputs))
        parts += [linear, nn.Sigmoid()]
    return nn.Sequential(*parts[:-1])


def sample(spark: SparkSession) -> DataFrame:
    """MLlib's own, 150 rows of 4 numbers, 3 classes."""
    return spark.read.format("libsvm").load(str(SAMPLE)).cache()


def made(spark: SparkSession, rows: int, numbers: int) -> DataFrame:
    """Three classes that a perceptron tells apart, with some noise."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=(rows, numbers)).astype(np.float32)
    hidden = np.tanh(x @ generator.normal(size=(numbers, 8)) / 3)
    label = np.argmax(hidden @ generator.normal(size=(8, 3)) + 0.3 * generator.normal(size=(rows, 3)), axis=1)
    frame = spark.createDataFrame(
        [(float(y), Vectors.dense(row.tolist())) for y, row in zip(label, x, strict=True)], ["label", "features"]
    )
    frame = frame.repartition(WORKERS).cache()
    frame.count()
    return frame


def flat(net: nn.Module) -> list[float]:
    """As MLlib has them: of each layer the weights column by column, then the biases."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    parts = [part for layer in layers for part in (layer.weight.detach().T.reshape(-1), layer.bias.detach())]
    return torch.cat(parts).tolist()


def loss_of(predicted: DataFrame) -> float:
    return MulticlassClassificationEvaluator(metricName="logLoss").evaluate(predicted)


def by_mllib(rows: DataFrame, layers: Sequence[int], iterations: int = ITERATIONS) -> tuple[float, float]:
    """(seconds, loss)"""
    told = MultilayerPerceptronClassifier(
        layers=list(layers), maxIter=iterations, solver="l-bfgs", initialWeights=Vectors.dense(flat(network(layers)))
    )
    begun = time.perf_counter()
    model = told.fit(rows)
    return time.perf_counter() - begun, loss_of(model.transform(rows))


def by_stoker(rows: DataFrame, layers: Sequence[int], iterations: int = ITERATIONS) -> tuple[float, float]:
    """(seconds, loss)"""
    told = StokerClassifier(
        model=network(layers), optimizer="lbfgs", optimizerParams={"max_iter": iterations},
        epochs=2 * iterations, batchSize=32_768, numWorkers=WORKERS, verbose=0,
    )  # fmt: skip
    begun = time.perf_counter()
    model = told.fit(rows)
    return time.perf_counter() - begun, loss_of(model.transform(rows))
