"""Models whose outputs show what the engine read of columns."""

import numpy as np
import pytest
import torch

from stoker import StokerModel
from stoker.frontend.torch import compile as compile_program
from stoker.program import TensorSpec


class Same(torch.nn.Module):
    """Gives what it gets, as doubles."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.zero = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.change(x).double() + self.zero.double() * 0


def same(width, dtype="float32", change=torch.clone, **params):
    """A model whose output shows what the engine read."""
    specs = [TensorSpec("features", dtype, (width,))], [TensorSpec("label", "float32", (width,))]
    compiled = compile_program(Same(change), lambda out, label: ((out.float() - label) ** 2).mean(), *specs)
    return StokerModel(compiled).setParams(outputCols=["o"], **params)


def read(model, df):
    """[rows, values]"""
    outputs = [row.o for row in model.transform(df).select("o").collect()]
    return np.array([[out] if isinstance(out, float) else out.toArray() for out in outputs])


def refused(action):
    with pytest.raises(Exception) as error:
        action()
    return str(error.value)
