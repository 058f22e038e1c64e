"""A compile leaves nothing behind in the driver."""

import ctypes
import gc
from pathlib import Path

import pytest
from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from stoker.errors import CompileError
from stoker.frontend.torch import compile
from stoker.program import TensorSpec


def compiled(net):
    return compile(net, nn.CrossEntropyLoss(), [TensorSpec("x", shape=(3,))], [TensorSpec("y", "int64")])


def alive(kind) -> int:
    gc.collect()
    return sum(kind in type(thing).__mro__ for thing in gc.get_objects())


class Branches(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 else 1)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 2)),
    ],
    ids=["two traces", "one trace"],
)
def test_neither_module_nor_parameter_outlives_a_compile(net):
    compiled(net)
    before = alive(nn.Module), alive(nn.Parameter), alive(ShapeEnv)  # torch keeps those of the last compile's traces
    for _ in range(2):
        compiled(net)
    assert (alive(nn.Module), alive(nn.Parameter), alive(ShapeEnv)) == before


def test_a_model_that_cannot_be_compiled_leaves_no_copy_either():
    net = Branches(3, 2)
    before = alive(nn.Parameter)
    for _ in range(2):
        with pytest.raises(CompileError, match="branches on the values"):
            compiled(net)
    assert alive(nn.Parameter) == before


def test_memory_is_flat_over_many_compiles():
    net = nn.Sequential(nn.Linear(3, 2000), nn.ReLU(), nn.Linear(2000, 2000), nn.Linear(2000, 2))  # 16 MB

    def compile_and_look() -> float:
        compiled(net)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["RssAnon"].split()[0]) / 1024

    megabytes = [compile_and_look() for _ in range(8)]
    assert min(megabytes[5:]) - min(megabytes[1:4]) < 30, megabytes  # 16 a compile, if copies stayed
