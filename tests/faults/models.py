"""What the laboratory trains: an MLP, and a CNN with batch norm and dropout. Each of four workers' slices takes more
than one write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from local_gang import LocalFit
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

SHARDS, CLASSES, WIDTH = 4, 5, 64
SHAPES = {"mlp": (WIDTH,), "cnn": (1, 8, 8)}


def network(model: str) -> nn.Module:
    torch.manual_seed(3)
    if model == "mlp":
        layers = [nn.Linear(WIDTH, 600), nn.ReLU(), nn.Linear(600, 64), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, CLASSES))
    convolution = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    layers = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 16, 600), nn.ReLU()]
    return nn.Sequential(*convolution, *layers, nn.Linear(600, CLASSES))


def draw_rows(rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    labels = random.integers(0, CLASSES, rows)
    centres = random.normal(0, 1, (CLASSES, WIDTH))
    return (centres[labels] + random.normal(0, 1, (rows, WIDTH))).astype(np.float32), labels


def local_fit(model: str, rows: int, batch: int, epochs: int, freeze: Sequence[str] = ()) -> LocalFit:
    """For gangs without Spark."""
    features, labels = draw_rows(rows)
    shape = SHAPES[model]
    compiled = compile_module(network(model), nn.CrossEntropyLoss(), [TensorSpec("features", "float32", shape)],
                              [TensorSpec("label", "int64", ())], metric="argmax", freeze=freeze)  # fmt: skip
    label = {"name": "label", "shown": "label", "dtype": "int64", "shape": [], "integral": True, "classes": CLASSES}
    columns = [{"name": "features", "shown": "features", "dtype": "float32", "shape": list(shape)}, label]
    values = {"features": features.reshape(rows, *shape), "label": labels}
    more = {"clip_norm": 0.5, "batch_size": batch, "epochs": epochs}
    return LocalFit(compiled, columns, values, {"name": "adam", "groups": [{"lr": 2e-3}]}, SHARDS, more)
