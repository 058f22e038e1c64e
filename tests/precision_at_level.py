"""Prints "close" where a level's mixed gradients are those of float32 up to roundings: a level, on the command line,
without products of bfloat16."""

import sys

import numpy as np

from stoker.engine import load_torch

load_torch(sys.argv[1])  # before torch: its libraries read their levels once

import torch  # noqa: E402

from conformance.harness import EngineRunner  # noqa: E402
from test_precision import MODELS, ROWS, Steps, compiled  # noqa: E402


def main() -> None:
    assert not load_torch().has_bf16()
    for make, shape in MODELS.items():
        torch.manual_seed(0)
        model, x, y = make().train(), torch.randn(ROWS, *shape), torch.randint(0, 3, (ROWS,))
        weights = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
        mixed = EngineRunner(compiled(model, x, y).train).run(weights, [x.numpy(), y.numpy()])["gradients"]
        torch.nn.functional.cross_entropy(model(x), y).backward()
        pairs = [(mixed[name] / ROWS, p.grad.numpy()) for name, p in model.named_parameters()]
        ours, theirs = (np.concatenate([array.reshape(-1) for array in side]) for side in zip(*pairs, strict=True))
        assert np.linalg.norm(ours - theirs) <= 0.1 * np.linalg.norm(theirs), make
        assert make is Steps or not np.array_equal(ours, theirs), make  # recurrent layers are in float32
    print("close")


if __name__ == "__main__":
    main()
