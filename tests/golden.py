"""Six models whose trained bits are kept (golden.json): a change that is not meant to change arithmetic shows
that it does not. `GOLDEN=write pytest tests/test_golden.py` writes them down, beside those of other machines.

Bits depend on the kernels of the CPU too. So each model has a probe: the instruction-set level, and what plain PyTorch
computes of it there. Where the probe is one that the file has, the engine's bits must be those of the file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from local_gang import LocalFit, run
from stoker.engine import core
from stoker.engine import environment_of_level as environment_of
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec
from test_exact import Attention, Recurrent

FILE = Path(__file__).with_suffix(".json")
ROWS, BATCH = 160, 32


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 16, 5))

    def forward(self, x):
        return self.head(self.body(x))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 5))

    def forward(self, x):
        return self.head(self.table(x).flatten(1))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 96), nn.ReLU(), nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 5))


def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 1), nn.Flatten(0))


def optimizer(name: str, **group: float) -> dict:
    return {"name": name, "groups": [group]}


# What builds it, the shape and dtype of a row, its optimizer.
MODELS = {
    "mlp": (perceptron, (40,), "float32", optimizer("adam", lr=1e-2)),
    "cnn": (Convolutions, (1, 8, 8), "float32", optimizer("sgd", lr=0.05, momentum=0.9)),
    "lstm": (Recurrent, (6, 4), "float32", optimizer("adam", lr=1e-2)),
    "transformer": (Attention, (5, 8), "float32", optimizer("adamw", lr=1e-2, weight_decay=0.01)),
    "embedding": (Words, (3,), "int64", optimizer("adam", lr=1e-2)),
    "regression": (regression, (12,), "float32", optimizer("sgd", lr=0.05)),
}


def drawn(name: str) -> nn.Module:
    """With weights by numpy: torch's draws depend on the instruction set."""
    module = MODELS[name][0]()
    random = np.random.default_rng(3)
    with torch.no_grad():
        for weight in module.parameters():
            bound = max(weight.shape[-1], 4) ** -0.5
            weight.copy_(torch.from_numpy(random.uniform(-bound, bound, tuple(weight.shape))))
    return module


def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    _, shape, dtype, _ = MODELS[name]
    random = np.random.default_rng(5)
    size = (ROWS, *shape)
    x = random.integers(0, 50, size) if dtype == "int64" else random.uniform(-2, 2, size).astype(np.float32)
    if name == "regression":
        return x, random.uniform(-1, 1, ROWS).astype(np.float32)
    return x, random.integers(0, 5, ROWS)


def loss_of(name: str) -> nn.Module:
    return nn.MSELoss() if name == "regression" else nn.CrossEntropyLoss()


def local_fit(name: str) -> LocalFit:
    _, shape, dtype, chosen = MODELS[name]
    x, label = rows_of(name)
    kind = "float32" if name == "regression" else "int64"
    compiled = compile_module(drawn(name), loss_of(name), [TensorSpec("features", dtype, shape)],
                              [TensorSpec("label", kind, ())])  # fmt: skip
    told = {} if name == "regression" else {"integral": True, "classes": 5}
    columns = [{"name": "features", "shown": "features", "dtype": dtype, "shape": list(shape)},
               {"name": "label", "shown": "label", "dtype": kind, "shape": [], **told}]  # fmt: skip
    more = {"clip_norm": 0.5, "batch_size": BATCH, "epochs": 2}
    return LocalFit(compiled, columns, {"features": x, "label": label}, chosen, 3, more)


def hash_of(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def digest_of(name: str, level: str) -> str:
    """Of the weights and buffers that the engine trains with one worker at `level`."""
    values, history = run(local_fit(name), 1, [{"STOKER_MAX_ISA": level}])
    assert core().isa_name(history["isa"]) == level
    return hash_of([values[key] for key in sorted(values)])


def probes_here() -> dict[str, str]:
    """Of each model, the gradients by plain PyTorch as this process has it."""
    torch.set_num_threads(1)
    return {name: _probe(name) for name in MODELS}


def _probe(name: str) -> str:
    module = drawn(name).eval()
    x, label = (torch.from_numpy(values) for values in rows_of(name))
    found = []
    for first in range(0, ROWS, BATCH):
        module.zero_grad()
        part = slice(first, first + BATCH)
        loss_of(name)(module(x[part]), label[part]).backward()
        found += [weight.grad.numpy().copy() for weight in module.parameters()]
    return hash_of(found)


def probes_at(level: str) -> dict[str, str]:
    """With the level, as the engine has kernels of its own. In a process apart: torch takes its level when it is
    loaded."""
    told = subprocess.run([sys.executable, __file__], env={**os.environ, **environment_of(level)},
                          check=True, capture_output=True, text=True)  # fmt: skip
    return {name: f"{level} {probe}" for name, probe in json.loads(told.stdout).items()}


def levels() -> list[str]:
    """That this machine has, the lowest first."""
    return [core().isa_name(level) for level in range(core().best_isa() + 1)]


def known() -> dict[str, dict[str, str]]:
    """By model, then by probe: the digest."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def write(digests: dict[str, tuple[str, str]]) -> None:
    """Keeps, of each model, its probe and digest."""
    table = known()
    for name, (probe, digest) in digests.items():
        table.setdefault(name, {})[probe] = digest
    FILE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":  # the child of probes_at
    print(json.dumps(probes_here()))
