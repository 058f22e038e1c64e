"""The list of operators that programs may name, and who is refused by it."""

import json

import pytest
import torch
from torch import nn

from stoker import engine
from stoker.errors import CompileError
from stoker.frontend import operators
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec


def test_the_list_names_operators_of_this_torch_only():
    known = {schema.name.removeprefix("aten::") for schema in torch._C._jit_get_all_schemas()}
    assert operators.allowed() - known == set()


@pytest.mark.parametrize("name", ["from_file", "set_", "resize_", "_reshape_alias", "max_pool2d_with_indices_backward"])
def test_what_reaches_files_or_memory_is_not_in_the_list(name):
    assert not operators.may_name(name, "default")
    assert not operators.may_name("add", "out")


class Solve(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        pivots = torch.ones(x.shape[0], 2, dtype=torch.int32)
        return torch.linalg.lu_solve(x, pivots, x) * self.scale


def test_a_model_with_another_operator_is_refused_when_it_is_compiled():
    specs = [TensorSpec("x", "float32", (2, 2))], [TensorSpec("y", "float32", (2, 2))]
    with pytest.raises(CompileError, match=r"the operator aten\.linalg_lu_solve at .*Solve.*operators\.txt"):
        compile_module(Solve(), nn.MSELoss(), *specs)


def test_a_strangers_program_reads_no_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 256)
    node = {"op": "aten.from_file.default", "args": [str(secret), False, 256], "kwargs": {"dtype": {"dtype": "uint8"}},
            "out": [1], "where": ""}  # fmt: skip
    program = {"format": "stoker-program", "version": 1, "kind": "infer", "torch": "2.13",
               "inputs": [{"name": "x", "role": "feature", "slot": 0, "dtype": "float32", "shape": [1]}],
               "parameters": [], "buffers": [], "constants": [], "slots": 2, "nodes": [node],
               "outputs": [{"name": "o", "slot": 1, "shape": []}]}  # fmt: skip
    with pytest.raises(ValueError, match="programs may not name this operator"):
        engine.load_torch().Inference(json.dumps(program), (2).to_bytes(8, "little") + b"{}")
