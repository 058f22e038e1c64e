"""A module that is made from a saved program trains what the user's module would, or says that it cannot."""

import copy

import pytest
import torch
from torch import nn

from stoker import UserError
from stoker.fit.compiling import check_module
from stoker.frontend.module import ProgramModule
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

SPECS = [TensorSpec("x", shape=(3,))], [TensorSpec("y", "int64")]


def made_from(net):
    compiled = compile(net, nn.CrossEntropyLoss(), *SPECS)
    return ProgramModule(compiled.infer, compiled.weights, compiled.train)


class Scaled(nn.Linear):
    """Another literal in training, the same operators."""

    def forward(self, x):
        return super().forward(x) * torch.tensor([2.0, 1.0] if self.training else [1.0, 1.0])


class HalfFrozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.head(h)


DIFFERENT = [
    nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)),
    nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
    Scaled(3, 2),
    HalfFrozen(),
]


@pytest.mark.parametrize("net", DIFFERENT, ids=["dropout", "batch norm", "literal", "no_grad"])
def test_one_that_does_something_else_in_training_refuses_to_train(net):
    module = made_from(net)
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    ways = r"evaluation mode only.*initialModel=model, .*model.torch\(into=net\)"
    for attempt in (module.train, lambda: compile(module, nn.CrossEntropyLoss(), *SPECS),
                    lambda: check_module(module.requires_grad_(True), ["x"])):  # fmt: skip
        with pytest.raises(UserError, match=ways):
            attempt()


def test_one_that_does_the_same_trains_as_the_user_s():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    module, x, y = made_from(net).train(), torch.randn(8, 3), torch.arange(8) % 2
    for twin in (module, net):
        nn.functional.cross_entropy(twin(x), y).backward()
    assert all(torch.equal(p.grad, module.get_parameter(name).grad) for name, p in net.named_parameters())
    assert compile(copy.deepcopy(module), nn.CrossEntropyLoss(), *SPECS).train["parameters"]
