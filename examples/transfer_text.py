"""What a pretrained text encoder (all-MiniLM-L6-v2) is worth where only 600 sentences have labels: film reviews, good
or bad. Its sentence vectors under a logistic regression, and the whole of it fine-tuned, beside a bag of words.

Run:    make example-text     (or python examples/transfer_text.py where Stoker, Spark, transformers, scikit-learn are)
Holds:  both beat the bag of words (TF-IDF of words and pairs, logistic regression whose strength is chosen by
        cross-validation) in accuracy on the same 2,000 other sentences.
"""

import torch
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.sql import DataFrame
from sklearn import linear_model
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn
from transformers import AutoModel

import pretrained
from stoker import StokerFeaturizer, StokerTextClassifier
from stoker.inputs import Present, Text

TRAIN, TEST, LENGTH = 600, 2000, 48


class Mean(nn.Module):
    """The mean of the vectors of a sentence's tokens, of length 1."""

    def forward(self, hidden, mask):
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1))


class Sentences(nn.Module):
    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder, self.vector, self.head = encoder, Mean(), nn.Linear(encoder.config.hidden_size, 2)
        self.sharpness = 8.0  # vectors have length 1

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(self.sharpness * self.vector(hidden, attention_mask))


def tuned_regression() -> GridSearchCV:
    return GridSearchCV(linear_model.LogisticRegression(max_iter=2000), {"C": [10.0**k for k in range(-4, 5)]})


def bag_of_words(train, test) -> float:
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    learner = make_pipeline(words, tuned_regression())
    learner.fit(train["text"].to_pylist(), train["label"].to_pylist())
    return learner.score(test["text"].to_pylist(), test["label"].to_pylist())


def vectors(net: nn.Module, train: DataFrame, test: DataFrame) -> float:
    text = Text.of_tokenizer(pretrained.minilm(), "text", LENGTH)
    inputs = {"input_ids": text, "attention_mask": Present(text)}
    features = StokerFeaturizer(model=net, layer="vector", inputs=inputs)
    head = LogisticRegression(featuresCol="vector", regParam=0.003)
    return pretrained.accuracy(Pipeline(stages=[features, head]).fit(train), test)


def fine_tuned(net: nn.Module, train: DataFrame, test: DataFrame) -> float:
    estimator = StokerTextClassifier(
        model=net, tokenizer=pretrained.minilm(), maxLength=LENGTH, optimizer="adamw", learningRate=1e-4, batchSize=32,
        epochs=4, lrSchedule={"name": "cosine", "warmup": 10}, numWorkers=2, numShards=2, seed=1, verbose=0,
    )  # fmt: skip
    return pretrained.accuracy(estimator.fit(train), test)


def main() -> None:
    torch.manual_seed(1)
    spark = pretrained.session("transfer_text")
    train, test = pretrained.split(pretrained.reviews(), TRAIN, TEST)
    frames = [spark.createDataFrame(table).repartition(2).cache() for table in (train, test)]
    net = Sentences(AutoModel.from_pretrained(pretrained.minilm()))
    ways = {"bag of words": lambda: bag_of_words(train, test), "vectors of MiniLM": lambda: vectors(net, *frames),
            "MiniLM, fine-tuned": lambda: fine_tuned(net, *frames)}  # fmt: skip
    pretrained.compare(ways)
    spark.stop()


if __name__ == "__main__":
    main()
