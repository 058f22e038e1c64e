"""A loss whose batch is not the sum of its rows is noticed when it is compiled; one whose batch is, is not accused."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stoker.batch_norm import PER_MICRO_BATCH, notes_of
from stoker.errors import CompileError
from stoker.frontend import additivity
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

CLASSES = [TensorSpec("y", "int64", ())]
SKETCH = additivity._SKETCH
NOTICED = "the loss of a batch is not the sum over its rows"


def compiled(loss, model=None, **more):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return compile(model, loss, [TensorSpec("x", "float32", (6,))], CLASSES, **more)


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


def centred_by_batch(o, t):
    """What differs has the value 0: the loss adds up, its gradient does not."""
    centred = (o - o.mean(0)).square().sum(1)
    return (F.cross_entropy(o, t, reduction="none") + centred - centred.detach()).mean()


def test_a_gradient_that_does_not_add_up_is_noticed():
    assert notes(centred_by_batch)[0].startswith(NOTICED)


@pytest.mark.parametrize("values", [0, 1, SKETCH, 2 * SKETCH, 2 * SKETCH + 3])
def test_sketches_of_large_gradients_add_up_and_notice_one_number(values):
    one, other = (torch.randn(values, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    both = additivity._sketch(one + other)
    assert both.numel() <= SKETCH
    torch.testing.assert_close(additivity._sketch(one) + additivity._sketch(other), both, rtol=1e-5, atol=1e-5)
    if values:
        one[-1] += 1
        assert (additivity._sketch(one + other) - both).norm() > 0.01


def test_a_gradient_that_does_not_add_up_is_noticed_in_a_layer_of_millions():
    hidden = nn.Sequential(nn.Linear(6, 1100), nn.Tanh(), nn.Linear(1100, 1000), nn.Tanh(), nn.Linear(1000, 3))
    assert notes(centred_by_batch, model=hidden)[0].startswith(NOTICED)
    assert notes(nn.CrossEntropyLoss(), model=hidden) == []


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


def contrastive(o, t):
    return F.cross_entropy(o @ o.T, torch.arange(o.shape[0]))


class Counting(nn.Linear):
    def forward(self, x):
        return super().forward(x + torch.poisson(torch.ones_like(x)))


class OfLargeNumbers(nn.Linear):
    def forward(self, x):
        return super().forward(x) + nn.functional.one_hot(x[:, 0].long() + 10_000, 3).sum()


@pytest.mark.parametrize("mix", [{"name": "mixup", "alpha": 0.2}, None])
@pytest.mark.parametrize("model", [nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3), nn.RReLU())], ids=["plain", "rrelu"])
def test_neither_mixing_nor_random_slopes_hide_what_a_loss_does(model, mix):
    found = compiled(contrastive, model, mix=mix)
    assert found.notes[0].startswith(NOTICED) and found.coupled
    known = compiled(nn.CrossEntropyLoss(), model, mix=mix)
    assert known.notes == [] and not known.coupled


@pytest.mark.parametrize("model", [Counting(6, 3), OfLargeNumbers(6, 3)], ids=["chance", "rows that are not drawn"])
def test_what_cannot_be_settled_counts_as_coupled(model):
    found = compiled(contrastive, model)
    assert found.notes == [additivity.UNDECIDED] and found.coupled


def test_a_loss_that_divides_by_labels_that_count_is_coupled():
    found = compiled(ADDITIVE["lambda"])
    assert "labels that are not -100" in found.notes[0] and found.coupled


@pytest.mark.parametrize("statistics", [0.0, 3.0])
def test_statistics_do_not_hide_a_loss_that_does_not_add_up(statistics):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model[1].running_mean.fill_(statistics)
    found = compiled(contrastive, model)
    of_norm, of_loss = found.notes
    assert of_norm.startswith(PER_MICRO_BATCH) and of_loss.startswith(NOTICED)
    assert notes_of(found.notes, True, found.train) == [of_loss]
    assert len(compiled(nn.CrossEntropyLoss(), model).notes) == 1


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
