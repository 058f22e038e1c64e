"""A loss whose batch is not the sum of its rows is noticed when it is compiled; one whose batch is, is not accused."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stoker.errors import CompileError
from stoker.frontend import additivity
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

CLASSES = [TensorSpec("y", "int64", ())]
NOTICED = "the loss of a batch is not the sum over its rows"


def notes(loss, classes=3, labels=CLASSES, model=None, reduction=None, inputs=None, metric="argmax"):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, classes))
    inputs = inputs or [TensorSpec("x", "float32", (6,))]
    return compile(model, loss, inputs, labels, loss_reduction=reduction, metric=metric).notes


def by_rows_of_one_class(o, t):
    of_last = (t == o.shape[1] - 1).float()
    return (F.cross_entropy(o, t, reduction="none") * of_last).sum() / of_last.sum().clamp(min=1)


COUPLED = {
    "weight": lambda o, t: F.cross_entropy(o, t, weight=torch.tensor([1.0, 1.0, 50.0])),
    "ignore_index": lambda o, t: F.cross_entropy(o, t, ignore_index=2),
    "nll": lambda o, t: F.nll_loss(o.log_softmax(1), t, ignore_index=0),
    "last class": by_rows_of_one_class,
    "contrastive": lambda o, t: F.cross_entropy(o @ o.T, torch.arange(o.shape[0])),
    "root": lambda o, t: (o[:, 0] - t).square().mean().sqrt(),
    "sum with a penalty": lambda o, t: F.cross_entropy(o, t, reduction="sum") + o.square().mean(),
}


@pytest.mark.parametrize("loss", COUPLED.values(), ids=COUPLED)
def test_a_coupled_loss_is_noticed(loss):
    assert notes(loss)[0].startswith(NOTICED)


def test_one_ignored_class_of_a_thousand_is_noticed():
    assert notes(lambda o, t: F.cross_entropy(o, t, ignore_index=500), classes=1000)[0].startswith(NOTICED)


def test_a_gradient_that_does_not_add_up_is_noticed():
    """The loss itself does: what differs has the value 0."""

    def loss(o, t):
        centred = (o - o.mean(0)).square().sum(1)
        return (F.cross_entropy(o, t, reduction="none") + centred - centred.detach()).mean()

    assert notes(loss)[0].startswith(NOTICED)


def test_gradients_scaled_by_frequency_are_noticed():
    model = nn.Sequential(nn.Embedding(9, 3, scale_grad_by_freq=True), nn.Linear(3, 2))
    assert notes(F.cross_entropy, model=model, inputs=[TensorSpec("x", "int64", ())])[0].startswith(NOTICED)


def test_labels_that_may_be_ignored_are_told():
    texts = [TensorSpec("y", "int64", (5,))]
    model = nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 9))
    inputs = [TensorSpec("x", "int64", (5,))]
    told = notes(
        lambda o, t: F.cross_entropy(o.transpose(1, 2), t), model=model, labels=texts, inputs=inputs, metric=None
    )
    assert "labels that are not -100" in told[0]
    assert "labels that are not -100" in notes(ADDITIVE["lambda"], metric=None)[0]  # no classifier, which checks them


def test_coupling_that_only_numbers_of_both_signs_show_is_noticed():
    class Around(nn.Linear):
        def forward(self, x):
            h = torch.cat([-x.abs(), x], 1)  # for positive x, every cut has its median between the halves
            return super().forward(torch.where(h > h.median(), h, -h))

    compiled = compile(Around(12, 3), nn.CrossEntropyLoss(), [TensorSpec("x", "float32", (6,))], CLASSES)
    assert additivity.notes(compiled.train, compiled.weights)[0].startswith(NOTICED)


class Noisy(nn.Linear):
    def forward(self, x):
        noise = torch.randn_like(x) + torch.rand(x.shape[0], 1) + torch.empty_like(x).uniform_()
        return super().forward(x + noise * torch.bernoulli(torch.sigmoid(x)))


def hardest(o, t):
    return torch.topk(F.cross_entropy(o, t, reduction="none"), 2)[0].mean()


def test_a_head_that_answers_every_row_alike_hides_no_loss_that_does_not_add_up():
    head = nn.Linear(6, 3)
    nn.init.zeros_(head.weight)
    assert notes(hardest, model=head)[0].startswith(NOTICED)
    nn.init.zeros_(head.bias)
    assert notes(hardest, model=head)[0].startswith(NOTICED)
    assert notes(nn.CrossEntropyLoss(), model=head) == []


def test_a_loss_of_probabilities_is_looked_at_with_rows_that_differ():
    model = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid(), nn.Flatten(0))
    nn.init.zeros_(model[0].weight)
    labels = [TensorSpec("y", "float32", ())]

    def worst(o, t):
        return F.binary_cross_entropy(o, (t > 0.5).float(), reduction="none").max()

    assert notes(worst, model=model, labels=labels, metric="half")[0].startswith(NOTICED)
    assert notes(nn.BCELoss(), model=model, labels=labels, metric="half") == []


def test_chance_hides_no_loss_that_does_not_add_up():
    assert notes(hardest, model=Noisy(6, 3))[0].startswith(NOTICED)
    assert notes(nn.CrossEntropyLoss(), model=Noisy(6, 3)) == []


def test_rows_that_are_mixed_by_chance_are_noticed():
    class Mixed(nn.Linear):
        def forward(self, x):
            return super().forward((x + x[torch.randperm(x.shape[0])]) / 2 if self.training else x)

    assert notes(nn.CrossEntropyLoss(), model=Mixed(6, 3))[0].startswith(NOTICED)


ADDITIVE = {
    "module": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 50.0]), ignore_index=1),
    "partial": functools.partial(F.cross_entropy, weight=torch.tensor([1.0, 1.0, 50.0])),
    "lambda": lambda o, t: F.cross_entropy(o, t) * 1.0,
    "focal": lambda o, t: ((1 - torch.exp(-(e := F.cross_entropy(o, t, reduction="none")))) ** 2 * e).mean(),
    "penalty": lambda o, t: F.cross_entropy(o, t) + o.square().mean(),
}


@pytest.mark.parametrize("loss", ADDITIVE.values(), ids=ADDITIVE)
def test_an_additive_loss_is_not_accused(loss):
    assert notes(loss) == []


def test_what_pytorch_cannot_train_is_refused_before_a_job():
    class Spoils(nn.Linear):
        def forward(self, x):
            h = torch.tanh(super().forward(x))
            return h.mul_(2)

    with pytest.raises(CompileError, match="changes a tensor in place that its gradient needs"):
        notes(nn.CrossEntropyLoss(), model=Spoils(6, 3))
