"""Training programs equal PyTorch: loss, every gradient, buffers, weights after three steps."""

import numpy as np
import pytest
import torch

from conformance import models
from conformance.harness import check
from stoker.program import Compiled, ProgramModule


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_training_equals_pytorch(build, runner):
    check(build(), runner)


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_a_saved_model_computes_what_the_module_does(build):
    case = build()
    compiled = Compiled.from_files(case.compile().to_files())
    module = ProgramModule(compiled.infer, compiled.weights)
    case.model.eval()
    with torch.no_grad():
        expected = case.model(**{n: t.clone() for n, t in case.inputs.items()}) if len(case.inputs) > 1 else case.model(
            *(t.clone() for t in case.inputs.values()))  # fmt: skip
        got = module(**{name: tensor.clone() for name, tensor in case.inputs.items()})
    expected, got = (x if isinstance(x, dict) else {"output": x} for x in (expected, got))
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(got[name].numpy(), expected[name].numpy(), rtol=1e-6, atol=1e-7)
    assert case.model.load_state_dict(module.state_dict()).missing_keys == []
