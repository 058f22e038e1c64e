"""What `make bench-fit` trains, the same for both sides: the rows, the network, the loss, the hyperparameters."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import mnist_data  # noqa: E402

LEARNING_RATE = 1e-3


def mnist_network() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def convolutions() -> nn.Module:
    """For MNIST's rows as they are stored, 784 numbers."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


class Transformer(nn.Module):
    """A picture's 28 lines as words."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = nn.Linear(28, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classes = nn.Linear(64, 10)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classes(self.encoder(self.lines(features.reshape(-1, 28, 28))).mean(1))


def tabular_network() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))


def large_network() -> nn.Module:
    """24.9 million parameters."""
    return nn.Sequential(
        nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1200), nn.ReLU(),
        nn.Linear(1200, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Task:
    name: str
    network: Callable[[], nn.Module]
    batch: int
    epochs: int
    columns: tuple[str, ...]  # one array column, or one column a feature
    binary: bool
    parquet: Callable[[str], Path]  # of "train" or "test"

    def loss(self) -> nn.Module:
        return nn.BCEWithLogitsLoss() if self.binary else nn.CrossEntropyLoss()

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return to_arrays(pq.read_table(self.parquet(split)), self)

    def features(self) -> dict:
        """The Params that name the features."""
        return {"featuresCol": self.columns[0]} if len(self.columns) == 1 else {"featuresCols": list(self.columns)}


def to_arrays(table: pa.Table, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [n, d]; labels float32 [n, 1] for a binary task, else int64 [n]."""
    if len(task.columns) == 1:
        flat = table[task.columns[0]].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        features = flat.reshape(table.num_rows, -1)
    else:
        features = np.column_stack([table[name].to_numpy() for name in task.columns])
    labels = table["label"].to_numpy()
    return features, labels.astype(np.float32)[:, None] if task.binary else labels.astype(np.int64)


def to_tensors(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
        return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])


TABULAR_COLUMNS = tuple(f"f{i}" for i in range(30))


def tabular_parquet(split: str) -> Path:
    """200,000 training and 20,000 test rows of 30 numbers; the label depends on some of them and their products."""
    path = mnist_data.CACHE / f"tabular-{split}.parquet"
    if not path.exists():
        rows = {"train": 200_000, "test": 20_000}[split]
        draw = np.random.default_rng([7, rows])
        x = draw.standard_normal((rows, len(TABULAR_COLUMNS)), dtype=np.float32)
        score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3:8] @ np.float32([0.5, -0.4, 0.3, -0.2, 0.1])
        label = (score + 0.3 * draw.standard_normal(rows) > 0).astype(np.int32)
        columns = {name: x[:, i] for i, name in enumerate(TABULAR_COLUMNS)}
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({**columns, "label": label}), path, row_group_size=20_000)
    return path


TASKS = {
    task.name: task
    for task in (
        Task("mnist", mnist_network, 256, 3, ("features",), False, mnist_data.parquet),
        Task("mnist-cnn", convolutions, 256, 1, ("features",), False, mnist_data.parquet),
        Task("mnist-transformer", Transformer, 256, 1, ("features",), False, mnist_data.parquet),
        Task("tabular", tabular_network, 512, 2, TABULAR_COLUMNS, True, tabular_parquet),
    )
}


def accuracy(task: Task, network: nn.Module) -> float:
    """The share of test rows that the network gets right."""
    features, labels = to_tensors(task.arrays("test"))
    with torch.no_grad():
        outputs = network.eval()(features)
    predicted = outputs > 0 if task.binary else outputs.argmax(1)
    return float((predicted == labels).float().mean())
