"""Tables on which networks learn too much: by early stopping the weights of the best epoch come out, and their area
under the ROC curve, as scikit-learn has it, is that of the history."""

import datetime

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from stoker import StokerClassifier
from stoker.inputs import Category, DateParts, Numeric, learn, sizes, width

ROWS = 1500
CARRIERS = ["UA", "AA", "B6", "DL", "EV", "WN"]


class Overgrown(nn.Module):
    """Far more weights than rows; embeddings of what codes there are."""

    def __init__(self, numbers, codes=()):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 8) for size in codes)
        wide = numbers + 8 * len(codes)
        self.layers = nn.Sequential(nn.Linear(wide, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2))

    def forward(self, features, codes=None):
        looked_up = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        return self.layers(torch.cat([features, *looked_up], dim=1))


def higgs_like(spark):
    """28 numbers, of which products of some tell two kinds of events apart, with much noise."""
    random = np.random.default_rng(7)
    x = random.normal(size=(ROWS, 28))
    score = x[:, 0] * x[:, 1] + np.abs(x[:, 2]) - x[:, 3] * x[:, 4] + 1.5 * random.normal(size=ROWS)
    held, label = random.random(ROWS) < 0.3, (score > np.median(score)).astype(np.int64)
    rows = [(row.tolist(), int(y), bool(h)) for row, y, h in zip(x, label, held, strict=True)]
    return spark.createDataFrame(rows, "features array<double>, label long, held boolean"), {"model": Overgrown(28)}


def flights_like(spark):
    """Late or not by carrier, hour, day and weather, with nulls and with tail numbers that few flights share."""
    random = np.random.default_rng(8)
    carrier, tail, hour = random.integers(0, 6, ROWS), random.integers(0, 300, ROWS), random.integers(5, 23, ROWS)
    wind, day = random.gamma(2, 5, ROWS), random.integers(0, 364, ROWS)
    score = 0.3 * (carrier == 2) + 0.08 * hour + 0.04 * wind + 0.5 * np.sin(day % 28 / 5) + random.normal(size=ROWS)
    label, held = (score > np.median(score)).tolist(), (random.random(ROWS) < 0.3).tolist()
    winds = [None if lost else x for lost, x in zip(random.random(ROWS) < 0.1, wind.tolist(), strict=True)]
    told = zip(carrier, tail, hour, winds, day, label, held, strict=True)
    rows = [(CARRIERS[c], f"N{t}", int(h), wind, datetime.date(2013, 1, 1 + int(d) % 28), int(late), out)
            for c, t, h, wind, d, late, out in told]  # fmt: skip
    rows = spark.createDataFrame(
        rows, "carrier string, tail string, hour long, wind double, date date, label long, held boolean"
    )
    inputs = learn(rows.where("not held"), {
        "features": [Numeric("wind", standardize=True, nulls="mask"), Numeric("hour", standardize=True),
                     DateParts("date", ["day"], cyclic=True)],
        "codes": [Category("carrier"), Category("tail")],
    })  # fmt: skip
    return rows, {"model": Overgrown(width(inputs["features"]), sizes(inputs["codes"])), "inputs": inputs}


@pytest.mark.parametrize("make", [higgs_like, flights_like], ids=lambda make: make.__name__)
def test_the_best_epochs_weights_come_out(make, spark):
    torch.manual_seed(1)
    rows, told = make(spark)
    rows = rows.cache()
    model = StokerClassifier(
        **told, validationIndicatorCol="held", evalMetrics=["roc_auc"], restoreBest=True, epochs=40, batchSize=64,
        earlyStopping={"monitor": "val_roc_auc", "patience": 6}, learningRate=3e-3, numWorkers=2, verbose=0,
    ).fit(rows)  # fmt: skip
    scores = [epoch["val_roc_auc"] for epoch in model.history]
    assert model.history.info["best_epoch"] == int(np.argmax(scores)) + 1 == len(scores) - 6 < 34
    scored = model.transform(rows.where("held")).select("label", "probability").toPandas()
    area = roc_auc_score(scored["label"], [p[1] for p in scored["probability"]])
    assert area == pytest.approx(max(scores), abs=1e-6)
    assert max(scores) > scores[-1] + 0.002
