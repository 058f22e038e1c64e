"""What a pretrained image network (EfficientNet-lite0, ImageNet) is worth where only 100 pictures have labels: faces,
or other parts of the same photographs. Its features under a logistic regression, and its last blocks fine-tuned, beside
a histogram of colours.

Run:    make example-images     (or python examples/transfer_images.py where Stoker, Spark and scikit-learn are)
Holds:  both beat the histogram (32 bins a channel, logistic regression whose strength is chosen by cross-validation)
        in accuracy on the same 100 other pictures.
"""

import io

import numpy as np
import torch
from PIL import Image as Pillow
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.sql import DataFrame
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import pretrained
from stoker import StokerClassifier, StokerFeaturizer, replace_head
from stoker.inputs import Image
from transfer_text import tuned_regression

TRAIN, TEST, SIZE, BINS = 100, 100, 96, 32
PICTURE = Image("file", (SIZE, SIZE), mean=[127 / 255] * 3, std=[128 / 255] * 3)


def histogram(file: bytes) -> np.ndarray:
    pixels = np.asarray(Pillow.open(io.BytesIO(file)).convert("RGB"))
    return np.concatenate([np.histogram(pixels[..., c], BINS, (0, 256), density=True)[0] for c in range(3)])


def histograms(train, test) -> float:
    learner = make_pipeline(StandardScaler(), tuned_regression())
    features = [np.stack([histogram(file) for file in table["file"].to_pylist()]) for table in (train, test)]
    learner.fit(features[0], train["label"].to_pylist())
    return learner.score(features[1], test["label"].to_pylist())


def features(net: nn.Module, train: DataFrame, test: DataFrame) -> float:
    found = StokerFeaturizer(model=net, layer="_avg_pooling", inputs={"inputs": PICTURE})
    head = LogisticRegression(featuresCol="vector", regParam=0.01)
    return pretrained.accuracy(Pipeline(stages=[found, head]).fit(train), test)


def fine_tuned(net: nn.Module, train: DataFrame, test: DataFrame) -> float:
    estimator = StokerClassifier(
        model=replace_head(net, 2), inputs={"inputs": PICTURE}, freeze={"upTo": "_blocks.9"}, optimizer="adamw",
        learningRate=1e-3, batchSize=20, epochs=8, batchNorm="batch", numWorkers=2, numShards=2, seed=1, verbose=0,
    )  # fmt: skip
    return pretrained.accuracy(estimator.fit(train), test)


def main() -> None:
    torch.manual_seed(1)
    spark = pretrained.session("transfer_images")
    train, test = pretrained.split(pretrained.faces(), TRAIN, TEST)
    frames = [spark.createDataFrame(table).repartition(2).cache() for table in (train, test)]
    net = pretrained.efficientnet(SIZE)
    ways = {"histogram": lambda: histograms(train, test), "features": lambda: features(net, *frames),
            "last blocks tuned": lambda: fine_tuned(net, *frames)}  # fmt: skip
    pretrained.compare(ways)
    spark.stop()


if __name__ == "__main__":
    main()
