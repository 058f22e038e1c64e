"""Much work is no standstill: all that a worker does for long, at a small part of the time that it usually has."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from faulty_gang import FaultyGang
from local_gang import LocalFit, batch
from stoker.checkpoint.course import Course, Wish
from stoker.events import Failed
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

ROWS, WIDTH, BATCH, EPOCHS = 8_000_000, 20_000_000, 1_000_000, 2
LIMIT = {"heartbeat": 0.05, "heartbeat_timeout": 0.6}  # the rows take longer


class Wide(nn.Module):
    """Has much to keep, and little to compute."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.much = nn.Linear(1, 3), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        return self.first(x) + self.much[:3]


@pytest.fixture
def fit(tmp_path):
    values = {"features": np.arange(ROWS, dtype=np.float32).reshape(ROWS, 1) / ROWS, "label": np.arange(ROWS) % 3}
    compiled = compile_module(Wide(), nn.CrossEntropyLoss(), [TensorSpec("features", "float32", (1,))],
                              [TensorSpec("label", "int64", ())], metric="argmax")  # fmt: skip
    label = {"name": "label", "shown": "label", "dtype": "int64", "shape": [], "integral": True, "classes": 3}
    columns = [{"name": "features", "shown": "features", "dtype": "float32", "shape": [1]}, label]
    store = {"memory": ROWS * 30, "neighbours": 1, "overhead": None, "encrypt": False}  # half of the rows go to disk
    more = {"batch_size": BATCH, "epochs": EPOCHS, "store": store}
    fit = LocalFit(compiled, columns, values, shards=1, more=more)
    course = Course(Wish(str(tmp_path), 1, "epochs", 2), json.loads(fit.spec()), compiled.weights, "2.13.0", print)
    more["checkpoint"] = course.spec()
    return fit


def test_long_phases_are_no_standstill(fit, monkeypatch):
    """Ingest, spill, seal, the state's memory, epochs' orders, checkpoints."""
    parts = np.array_split(np.arange(ROWS), 80)
    monkeypatch.setattr("faulty_gang.deal", lambda *_, **__: [batch(fit, p, np.zeros(ROWS, int), False) for p in parts])
    outcome = FaultyGang(fit, 1, options=LIMIT).run()
    hows = [lost.how for lost in outcome.told(Failed)]  # on a busy machine heartbeats may come too late
    assert "stuck" not in hows
    assert [epoch["rows"] for epoch in outcome.history["epochs"]] == [ROWS] * EPOCHS
