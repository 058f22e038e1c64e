"""Losses as numerator and denominator: equal to PyTorch, and a batch equals itself cut in unequal parts."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conformance.harness import ROWS, Case, PythonRunner, check
from stoker.errors import CompileError
from stoker.frontend.losses import FUNCTIONS
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

TABLE = torch.tensor([0.5, 2.0, 1.0, 0.25])


def floats(*shape):
    return torch.randn(ROWS, *shape)


def chances(*shape):
    return torch.rand(ROWS, *shape)


def classes(*shape):
    return torch.randint(0, 4, (ROWS, *shape))


def signs(*shape):
    return torch.randint(0, 2, (ROWS, *shape)).float() * 2 - 1


def some_ignored():
    """Two of class 1, which is ignored, and six of others: where all are, the mean is 0 / 0."""
    labels = torch.tensor([0, 2, 3])[torch.randint(0, 3, (ROWS,))]
    labels[[2, 3]] = 1
    return labels


class Net(nn.Module):
    """Outputs of shape [rows, *shape] after `last`."""

    def __init__(self, *shape, last=None):
        super().__init__()
        self.shape, self.last = shape, last
        self.linear = nn.Linear(5, int(np.prod(shape, initial=1)))

    def forward(self, x):
        y = self.linear(x).reshape(-1, *self.shape)
        return self.last(y) if self.last else y


class Two(nn.Module):
    def __init__(self, width, positive=False):
        super().__init__()
        self.a, self.b, self.positive = nn.Linear(5, width), nn.Linear(5, width), positive

    def forward(self, x):
        return self.a(x), F.softplus(self.b(x)) if self.positive else self.b(x)


class Three(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(5, width) for _ in range(3))

    def forward(self, x):
        return tuple(part(x) for part in self.parts)


def all_three(loss, outputs, labels):
    return loss(*outputs)


def first_label_second(loss, outputs, labels):
    return loss(outputs[0], labels, outputs[1])


def first_second_label(loss, outputs, labels):
    return loss(*outputs, labels)


CE, BCE = nn.CrossEntropyLoss, nn.BCEWithLogitsLoss
SOFT = torch.full((ROWS, 4), 0.25)

# model, loss, labels, how PyTorch calls the loss
LOSSES = {
    "cross_entropy": (Net(4), CE(), classes()),
    "cross_entropy_smooth": (Net(4), CE(label_smoothing=0.2), classes()),
    "cross_entropy_weights": (Net(4), CE(weight=TABLE), classes()),
    "cross_entropy_weights_smooth_ignored": (Net(4), CE(TABLE, ignore_index=1, label_smoothing=0.1), some_ignored()),
    "cross_entropy_probabilities": (Net(4), CE(), SOFT.clone()),
    "cross_entropy_probabilities_weights": (Net(4), CE(weight=TABLE, label_smoothing=0.1), SOFT.clone()),
    "cross_entropy_pixels": (Net(4, 3, 2), CE(weight=TABLE, ignore_index=1), classes(3, 2)),
    "cross_entropy_function": (Net(4), F.cross_entropy, classes()),
    "cross_entropy_partial": (Net(4), partial(F.cross_entropy, label_smoothing=0.3, weight=TABLE), classes()),
    "nll": (Net(4, last=nn.LogSoftmax(1)), nn.NLLLoss(ignore_index=1), some_ignored()),
    "nll_weights_pixels": (Net(4, 3, last=nn.LogSoftmax(1)), nn.NLLLoss(TABLE), classes(3)),
    "mse": (Net(3), nn.MSELoss(), floats(3)),
    "mse_function": (Net(3), F.mse_loss, floats(3)),
    "l1": (Net(3, 2), nn.L1Loss(), floats(3, 2)),
    "smooth_l1": (Net(3), nn.SmoothL1Loss(beta=0.5), floats(3)),
    "huber": (Net(3), nn.HuberLoss(delta=0.5), floats(3)),
    "huber_partial": (Net(3), partial(F.huber_loss, delta=0.3), floats(3)),
    "bce": (Net(3, last=nn.Sigmoid()), nn.BCELoss(), chances(3)),
    "bce_logits": (Net(3), BCE(), chances(3)),
    "bce_logits_weights": (Net(4), BCE(pos_weight=TABLE, weight=TABLE.flip(0)), chances(4)),
    "kl_div_batchmean": (Net(4, last=nn.LogSoftmax(1)), nn.KLDivLoss(reduction="batchmean"), SOFT.clone()),
    "kl_div_log_target": (
        Net(4, last=nn.LogSoftmax(1)),
        nn.KLDivLoss(log_target=True, reduction="batchmean"),
        SOFT.log(),
    ),
    "poisson": (Net(), nn.PoissonNLLLoss(full=True), chances()),
    "gaussian": (Two(1, positive=True), nn.GaussianNLLLoss(), floats(1), first_label_second),
    "hinge_embedding": (Net(3), nn.HingeEmbeddingLoss(margin=0.5), signs(3)),
    "soft_margin": (Net(3), nn.SoftMarginLoss(), signs(3)),
    "multi_margin": (Net(4), nn.MultiMarginLoss(weight=TABLE, margin=0.7), classes()),
    "multi_label_soft_margin": (Net(4), nn.MultiLabelSoftMarginLoss(weight=TABLE), chances(4).round()),
    "multi_label_margin": (Net(4), nn.MultiLabelMarginLoss(), torch.tensor([[3, 0, -1, 1]] * ROWS)),
    "cosine_embedding": (Two(3), nn.CosineEmbeddingLoss(margin=0.1), signs(), first_second_label),
    "triplet": (Three(3), nn.TripletMarginLoss(margin=0.7), floats(), all_three),
    "triplet_with_distance": (Three(3), nn.TripletMarginWithDistanceLoss(swap=True), floats(), all_three),
    "margin_ranking": (Two(1), nn.MarginRankingLoss(margin=0.1), signs(1), first_second_label),
}


def case_of(name, weight=None, reference=None):
    model, loss, labels, *call = LOSSES[name]
    call = call[0] if call else lambda loss, outputs, labels: loss(outputs, labels)
    plain = lambda loss, outputs, labels, weight: call(loss, outputs, labels)  # noqa: E731
    return Case(model, loss, {"x": floats(5)}, {"y": labels}, weight, reference=reference or plain)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.fixture
def loosely(monkeypatch):
    """For divisors that are no power of two: dividing before or after the sum rounds differently."""
    monkeypatch.setattr("conformance.harness.TOLERANCE", 3e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_equals_pytorch(name, loosely):
    check(case_of(name), PythonRunner)


def run_parts(compiled, rows, cuts):
    run = PythonRunner(compiled.train).run
    edges = [0, *cuts, len(rows[0])]
    parts = [run(compiled.weights, [row[a:b] for row in rows]) for a, b in itertools.pairwise(edges)]
    names = parts[0]["gradients"]
    gradients = {name: sum(part["gradients"][name] for part in parts) for name in names}
    return sum(p["numerator"] for p in parts), sum(p["denominator"] for p in parts), gradients


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_equals_itself_cut_in_unequal_parts(name, weighted):
    case = case_of(name, torch.rand(ROWS) + 0.1 if weighted else None)
    compiled = case.compile()
    rows = [row.numpy() for row in case.rows()]
    whole, parts = run_parts(compiled, rows, []), run_parts(compiled, rows, [2, 5])
    np.testing.assert_allclose(parts[:2], whole[:2], rtol=1e-5)
    for key, gradient in whole[2].items():
        np.testing.assert_allclose(parts[2][key], gradient, rtol=1e-4, atol=1e-5)
    assert compiled.notes == []


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if not isinstance(LOSSES[name][1], partial) and len(LOSSES[name]) == 3]
)
def test_equal_sample_weights_change_nothing(name):
    plain, weighted = case_of(name), case_of(name, torch.full((ROWS,), 0.5))
    weighted.inputs = plain.inputs
    rows = [[row.numpy() for row in case.rows()] for case in (plain, weighted)]
    one, other = (run_parts(case.compile(), row, []) for case, row in zip((plain, weighted), rows, strict=True))
    np.testing.assert_allclose(one[0] / one[1], other[0] / other[1], rtol=1e-5)


def test_a_row_of_weight_zero_is_not_there():
    case = case_of("cross_entropy_weights", torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0]))
    compiled = case.compile()
    rows = [row.numpy() for row in case.rows()]
    whole, fewer = run_parts(compiled, rows, []), run_parts(compiled, [row[:5] for row in rows], [])
    np.testing.assert_allclose(whole[:2], fewer[:2], rtol=1e-6)


def test_a_batch_where_nothing_counts_has_denominator_zero():
    case = case_of("cross_entropy")
    case.labels["y"] = torch.full((ROWS,), -100)
    numerator, denominator, gradients = run_parts(case.compile(), [row.numpy() for row in case.rows()], [])
    assert (numerator, denominator) == (0.0, 0.0)
    assert all(np.all(gradient == 0) for gradient in gradients.values())


@pytest.mark.parametrize("output, label", [((1,), ()), ((), (1,)), ((3,), (3, 1)), ((1, 3), (3,))])
def test_missing_dimensions_of_size_one_do_not_broadcast(output, label):
    case = Case(Net(*output), nn.MSELoss(), {"x": floats(5)}, {"y": floats(*label)})
    case.reference = lambda loss, outputs, labels, weight: loss(outputs, labels.reshape(outputs.shape))
    compiled = case.compile()
    assert compiled.train["loss"]["denominator"] == {"rows": float(np.prod(output, initial=1))}
    check(case, PythonRunner, compiled)


def test_sum_is_a_plain_sum():
    case = Case(Net(3), nn.MSELoss(reduction="sum"), {"x": floats(5)}, {"y": floats(3)})
    compiled = case.compile()
    assert compiled.train["loss"]["denominator"] == {"rows": 0.0}
    check(case, PythonRunner, compiled)


def test_a_callable_that_sums():
    case = Case(Net(3), lambda o, y: ((o - y) ** 4).sum(), {"x": floats(5)}, {"y": floats(3)}, reduction="sum")
    compiled = case.compile()
    assert compiled.train["loss"]["denominator"] == {"rows": 0.0}
    check(case, PythonRunner, compiled)


def test_a_callable_with_weights_for_rows():
    def quartic(outputs, labels):
        return (outputs - labels) ** 4

    weight = torch.rand(ROWS)
    case = Case(Net(2), quartic, {"x": floats(5)}, {"y": floats(2)}, weight, reduction="none")
    case.reference = lambda loss, o, y, w: (loss(o, y) * w[:, None]).sum() / (2 * w.sum())
    check(case, PythonRunner)


def test_a_loss_that_compares_rows_is_told():
    def contrast(outputs, labels):
        return torch.logsumexp(outputs @ outputs.T, 1).mean()

    compiled = Case(Net(3), contrast, {"x": floats(5)}, {"y": floats()}).compile()
    assert compiled.notes == [
        "the loss of a batch is not the sum over its rows: it is taken per micro-batch, so another number of shards "
        "gives another result"
    ]


def test_statistics_of_one_row_are_no_news():
    model = nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True))
    assert Case(model, nn.MSELoss(), {"x": floats(5)}, {"y": floats(2, 3)}).compile().notes == []


def test_batch_statistics_are_told_with_their_place():
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    (note,) = Case(model, nn.MSELoss(), {"x": floats(5)}, {"y": floats(3)}).compile().notes
    assert "statistics are per micro-batch" in note
    assert "1 (BatchNorm1d)" in note


@pytest.mark.parametrize(
    "metric, outputs, labels, weight, correct, counted",
    [
        ("argmax", [[0, 2], [3, 1], [1, 0]], [1, 0, 1], None, 2, 3),
        ("argmax", [[0, 2], [3, 1], [1, 0]], [1, 0, 1], [0.5, 2, 4], 2.5, 6.5),
        ("sign", [[1.0], [-2], [3]], [1, 0, 0], None, 2, 3),
        ("half", [[0.7], [0.2], [0.4]], [1.0, 0, 1], [1, 1, 2], 2, 4),
    ],
)
def test_what_the_metric_compares(metric, outputs, labels, weight, correct, counted):
    outputs, labels = torch.tensor(outputs, dtype=torch.float32), torch.tensor(labels)
    loss = {"argmax": nn.CrossEntropyLoss(), "sign": BCE(), "half": nn.BCELoss()}[metric]
    model = nn.PReLU(init=1.0)
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float32)
    case = Case(model, loss, {"x": outputs}, {"y": labels}, weight)
    program = case.compile(metric=metric).train
    assert measure(program, case.rows()) == (correct, counted)


def measure(program, rows):
    runner = PythonRunner(program)
    values = {entry["slot"]: row for entry, row in zip(program["inputs"], rows, strict=True)}
    values |= {entry["slot"]: torch.ones(entry["shape"]) for entry in program["parameters"]}
    slots = runner.interpreter.run(values)
    metric = program["metric"]
    output, label = slots[metric["output"]], slots[metric["label"]]
    guess = {"argmax": lambda x: x.argmax(-1), "sign": lambda x: x > 0, "half": lambda x: x > 0.5}[metric["kind"]](
        output
    )
    assert guess.shape == label.shape, "torch would broadcast"
    weight = torch.ones(len(label)) if metric["weight"] is None else slots[metric["weight"]]
    right = (guess == label).reshape(len(label), -1).all(1)
    return float((right * weight).sum()), float(weight.sum())


def test_every_loss_of_torch_nn_functional_is_known():
    """Known: taken apart exactly, or refused with what to do instead."""
    names = {n for n in dir(F) if n.endswith(("_loss", "cross_entropy", "cross_entropy_with_logits")) or n == "kl_div"}
    unknown = {name for name in names if not name.startswith("_") and getattr(F, name) not in FUNCTIONS}
    assert unknown == {"linear_cross_entropy"} & names  # a layer and its loss in one operator


@pytest.mark.parametrize("loss", [nn.CTCLoss(), F.ctc_loss])
def test_a_loss_that_needs_lengths_says_what_to_do(loss):
    with pytest.raises(CompileError, match="CTCLoss takes lengths beside outputs and labels: give a callable"):
        compile(Net(4), loss, [TensorSpec("x", "float32", (5,))], [TensorSpec("y", "int64", (3,))])
