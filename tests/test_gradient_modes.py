"""A gradient flows where PyTorch lets it, and nowhere else; what cannot be kept is refused by name."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from conformance.harness import EngineRunner
from stoker.errors import CompileError
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

ROWS = torch.randn(24, 4, generator=torch.Generator().manual_seed(5))
LABELS = (ROWS[:, 0] > 0).long()
FEATURES, CLASSES = [TensorSpec("x", "float32", (4,))], [TensorSpec("y", "int64", ())]


class Net(nn.Module):
    """l, tanh, whatever the test says, o."""

    def __init__(self, part):
        super().__init__()
        self.l, self.o, self.part = nn.Linear(4, 4), nn.Linear(4, 2), part

    def forward(self, x):
        return self.o(self.part(self, torch.tanh(self.l(x))))


def trained(model, loss, steps=3, rate=0.1):
    """PyTorch's own weights and losses."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), rate, weight_decay=0.1)  # sees the size of gradients
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model, model(ROWS), LABELS)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return dict(model.named_parameters()), losses


def by_program(compiled, steps=3, rate=0.1):
    """The same by the training program, its parameters moved by the same optimizer."""
    weights, losses = dict(compiled.weights), []
    names = [entry["name"] for entry in compiled.train["parameters"]]
    moved = {name: torch.tensor(weights[name], requires_grad=True) for name in names}
    optimizer = torch.optim.SGD(moved.values(), rate, weight_decay=0.1)
    for _ in range(steps):
        weights |= {name: tensor.detach().numpy() for name, tensor in moved.items()}
        result = EngineRunner(compiled.train).run(weights, [ROWS.numpy(), LABELS.numpy()])
        divisor = result["denominator"]
        for name, tensor in moved.items():
            tensor.grad = torch.tensor(result["gradients"][name] / np.float32(divisor))
        optimizer.step()
        weights |= {name: array for name, array in result["buffers"].items() if "num_batches" not in name}
        losses.append(result["numerator"] / divisor)
    return weights | {name: tensor.detach().numpy() for name, tensor in moved.items()}, losses


def same_as_torch(model, loss=None, told=None):
    """`loss(model, outputs, labels)` for PyTorch; `told` what fit is given (default: that loss on the model itself)."""
    loss = loss or (lambda _, outputs, labels: F.cross_entropy(outputs, labels))
    told = told or (lambda outputs, labels: loss(model, outputs, labels))
    compiled = compile(model, told, FEATURES, CLASSES)
    expected, losses = trained(model, loss)
    got, ours = by_program(compiled)
    np.testing.assert_allclose(ours, losses, rtol=1e-5)
    for name, tensor in expected.items():
        np.testing.assert_allclose(got[name], tensor.detach().numpy(), atol=2e-6, err_msg=name)
    return compiled


def error_of(model, loss=F.cross_entropy):
    with pytest.raises(CompileError) as caught:
        compile(model, loss, FEATURES, CLASSES)
    return str(caught.value)


# --- modes in forward -------------------------------------------------------------------------------------------------
@torch.no_grad()
def decorated(h):
    return h * 2


def no_grad_block(net, h):
    with torch.no_grad():
        z = h * 2
    return h + z


def switched(net, h):
    torch.set_grad_enabled(False)
    z = h * 2
    torch.set_grad_enabled(True)
    return h + z


def inference_block(net, h):
    with torch.inference_mode():
        z = h * 2
    return h + z


def switched_inside_inference(net, h):
    with torch.inference_mode():
        torch.set_grad_enabled(True)
        z = h * 2
        with torch.enable_grad():
            z = z + net.o.weight.sum()
        with torch.inference_mode(False):
            inner = h * 3
    return h * inner + z


def inference_switched_off_inside(net, h):
    with torch.inference_mode(), torch.inference_mode(False):
        inner = h * 3
    return h * inner


def enabled_inside(net, h):
    with torch.no_grad():
        z = h * 2
        with torch.enable_grad():
            inner = h * 3 + net.o.weight.sum()
            twice = inner * 2
        outer = inner * 2
    return h + z + twice + outer


def parameter_inside_and_outside(net, h):
    with torch.no_grad():
        w = net.o.weight.sum()
    return h * w + net.o.weight.sum()


def changed_in_place(net, h):
    h = h * 1.5
    with torch.no_grad():
        z = h.mul_(2)
    return h + z


def view_changed_in_place(net, h):
    h = h * 1.5
    with torch.no_grad():
        h[:, 0].mul_(2)
    return h


def several_results(net, h):
    with torch.no_grad():
        a, b = (h * 2).chunk(2, 1)
    return h + torch.cat([b, a], 1)


def sorted_inside(net, h):
    with torch.no_grad():
        values, order = h.sort(1)
    return h.gather(1, order) * values


def detached_in_place(net, h):
    z = h * 2
    before = z + 1
    z.detach_()
    return before + z


def through_data(net, h):
    return h + h.data * 2 + net.o.weight.data.sum()


def data_in_place(net, h):
    h = h * 1
    h.data.mul_(2)
    return h * 3


def new_leaf(net, h):
    z = h.detach().requires_grad_()
    return h * z


def asks_for_grad(net, h):
    return h * 2 if h.requires_grad else h * 3


def checkpointed(net, h):
    return torch.utils.checkpoint.checkpoint(lambda q: torch.tanh(q) * 2, h, use_reentrant=False)


PARTS = [no_grad_block, lambda net, h: h + decorated(h), switched, inference_block, enabled_inside,
         switched_inside_inference, inference_switched_off_inside,
         parameter_inside_and_outside, changed_in_place, view_changed_in_place, several_results, sorted_inside,
         detached_in_place, through_data, data_in_place, new_leaf, asks_for_grad, checkpointed,
         lambda net, h: h + torch.inference_mode()(lambda q: q * 2)(h)]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_a_gradient_stops_where_pytorch_stops_it(part):
    torch.manual_seed(0)
    same_as_torch(Net(part))


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.back = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.o = nn.Linear(8, 2)

    def forward(self, x):
        with torch.no_grad():
            h = self.back(x)
        return self.o(h)


def test_weight_decay_leaves_a_backbone_without_gradient_alone():
    torch.manual_seed(0)
    compiled = same_as_torch(Frozen())
    assert [entry["name"] for entry in compiled.train["parameters"]] == ["o.weight", "o.bias"]


def test_a_caller_without_gradients_does_not_matter():
    torch.manual_seed(0)
    with torch.no_grad():
        compiled = compile(Net(no_grad_block), nn.CrossEntropyLoss(), FEATURES, CLASSES)
    assert len(compiled.train["parameters"]) == 4


def test_parts_in_evaluation_mode_stay_in_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[1].eval()
    compiled = same_as_torch(model)
    assert "in evaluation mode while it trains, as it was given: 1" in compiled.notes
    assert compile(model.eval(), nn.CrossEntropyLoss(), FEATURES, CLASSES).train["buffers"]


# --- hooks and reparametrizations -------------------------------------------------------------------------------------
def hooked(register):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    register(model)
    return model


@pytest.mark.parametrize(
    "register, text",
    [
        (lambda m: m[0].weight.register_hook(lambda g: g * 0), "parameter '0.weight' has a gradient hook"),
        (lambda m: m[0].bias.register_post_accumulate_grad_hook(lambda p: None), "a post-accumulate-gradient hook"),
        (lambda m: m[1].register_full_backward_hook(lambda *_: None), "the model's 1 has a backward hook"),
        (lambda m: m[1].register_full_backward_pre_hook(lambda *_: None), "the model's 1 has a backward pre-hook"),
    ],
)
def test_hooks_on_gradients_are_refused_by_name(register, text):
    assert text in error_of(hooked(register))


def test_hooks_on_activations_are_refused_with_the_line():
    def part(net, h):
        if h.requires_grad:
            h.register_hook(lambda g: g * 10)
        return h

    assert "registers a gradient hook (Tensor.register_hook)" in (text := error_of(Net(part)))
    assert "test_gradient_modes.py" in text


@pytest.mark.parametrize(
    "part, text",
    [
        (lambda net, h: h + torch.autograd.grad(h.sum(), net.l.weight)[0].sum(), "torch.autograd.grad"),
        (lambda net, h: h if h.grad_fn else h * 2, "reads grad_fn"),
        (lambda net, h: [p.requires_grad_(False) for p in net.l.parameters()] and h, "changes requires_grad"),
        (lambda net, h: h + h.grad if h.grad is not None else h, "reads a tensor's grad"),
    ],
)
def test_what_asks_autograd_in_forward_is_refused(part, text):
    assert text in error_of(Net(part))


def test_forward_hooks_and_reparametrizations_are_honoured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    model[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    nn.utils.parametrizations.weight_norm(model[2])
    same_as_torch(model)


def test_weight_norm_by_hooks_and_pruning_are_honoured():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    prune.l1_unstructured(model[1], "weight", 0.5)
    compiled = compile(model, nn.CrossEntropyLoss(), FEATURES, CLASSES)
    names = {entry["name"] for entry in compiled.train["parameters"]}
    assert names == {"0.weight_g", "0.weight_v", "0.bias", "1.weight_orig", "1.bias"}


# --- losses that see the model ----------------------------------------------------------------------------------------
def penalty(model, outputs, labels):
    return F.cross_entropy(outputs, labels) + sum(p.pow(2).sum() for p in model.parameters())


def test_a_penalty_over_the_models_parameters_trains_them():
    torch.manual_seed(0)
    same_as_torch(nn.Linear(4, 2), penalty)


def test_a_tensor_of_the_model_in_a_closure_is_the_models():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    weight = model.weight
    same_as_torch(
        model,
        lambda net, outputs, labels: F.cross_entropy(outputs, labels) + net.weight.abs().sum(),
        lambda outputs, labels: F.cross_entropy(outputs, labels) + weight.abs().sum(),
    )


class Shares(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.net = model

    def forward(self, outputs, labels):
        return penalty(self.net, outputs, labels)


def test_a_loss_module_that_holds_the_model_shares_its_weights():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    compiled = same_as_torch(model, penalty, Shares(model))
    assert [entry["name"] for entry in compiled.train["parameters"]] == ["weight", "bias"]


def test_a_focal_weight_without_gradient():
    def focal(model, outputs, labels):
        each = F.cross_entropy(outputs, labels, reduction="none")
        with torch.no_grad():
            weight = (1 - torch.exp(-each)) ** 2
        return (weight * each).mean()

    torch.manual_seed(0)
    same_as_torch(nn.Linear(4, 2), focal)


def test_a_trainable_tensor_of_nobody_is_refused():
    scale = nn.Parameter(torch.zeros(2))
    text = error_of(nn.Linear(4, 2), lambda o, t: F.cross_entropy(o * scale, t))
    assert "reads scale of the loss, a tensor of shape [2] (make the loss an nn.Module that holds it)" in text


def test_a_loss_that_calls_a_model_in_evaluation_mode_is_refused():
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout()).eval()
    text = error_of(model, lambda o, t: F.cross_entropy(o, t) + model(ROWS).mean())
    assert "the loss calls the model's Sequential, which is in evaluation mode" in text


def test_the_users_module_stays_as_it_is():
    class Remembers(nn.Linear):
        last = None

        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    model = Remembers(4, 2)
    compile(model, lambda o, t: F.cross_entropy(o, t) + model(ROWS).pow(2).mean(), FEATURES, CLASSES)
    assert model.last is None


# --- programs that would train nothing, or something frozen -----------------------------------------------------------
class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.o = [nn.Linear(4, 4)], nn.Linear(4, 2)

    def forward(self, x):
        return self.o(self.layers[0](x))


def test_parameters_hidden_in_a_list_are_refused_by_name():
    assert "reads self.layers[0].weight of Hidden, a tensor of shape [4, 4]" in error_of(Hidden())


def test_a_list_of_registered_parameters_is_no_hiding_place():
    class Listed(nn.Linear):
        def __init__(self):
            super().__init__(4, 2)
            self.all = [self.weight]

        def forward(self, x):
            return super().forward(x) + self.all[0].sum()

    torch.manual_seed(0)
    same_as_torch(Listed())


def test_models_of_the_old_keras_are_refused_by_name():
    class Functional(nn.Linear):
        __module__ = "tf_keras.src.engine.functional"

    assert "model is Functional of tf_keras, the legacy Keras 2" in error_of(Functional(4, 2))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.o, self.calls = nn.Linear(4, 2), 0

    def forward(self, x):
        self.calls += 1
        return self.o(x) * self.calls


class Assigns(nn.Module):
    def __init__(self):
        super().__init__()
        self.o = nn.Linear(4, 2)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean = self.mean * 0.9 + x.mean(0) * 0.1
        return self.o(x - self.mean)


class Draws(nn.Linear):
    def forward(self, x):
        return super().forward(x) * np.random.rand()


@pytest.mark.parametrize(
    "model, text",
    [
        (Counts(), "remembers something from one call of forward to the next, in 'calls'"),
        (Assigns(), "assigns to its buffer 'mean'"),
        (Draws(4, 2), "draws from Python's or numpy's random generator"),
    ],
)
def test_what_would_be_frozen_at_its_first_value_is_refused(model, text):
    assert text in error_of(model)


def test_memory_that_only_gradients_show_is_refused():
    class Silent(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            h = super().forward(x) * self.calls
            return h - h.detach()

    assert "remembers something" in error_of(Silent(4, 2))


def test_memory_behind_a_table_whose_row_0_is_padding_is_refused():
    class Texts(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.calls = nn.Embedding(7, 2, padding_idx=0), 0

        def forward(self, x):
            self.calls += 1
            return self.words(x).sum(1) * self.calls

    with pytest.raises(CompileError, match="remembers something"):
        compile(Texts(), F.cross_entropy, [TensorSpec("x", "int64", (3,))], CLASSES)


def test_a_loss_that_assigns_to_its_buffer_is_refused():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("centre", torch.zeros(()))

        def forward(self, outputs, labels):
            self.centre = 0.9 * self.centre + 0.1 * outputs.detach().mean()
            return F.cross_entropy(outputs - self.centre, labels)

    assert "the loss assigns to its buffer 'centre'" in error_of(nn.Linear(4, 2), Centred())


def test_a_loss_that_counts_is_refused():
    calls = 0

    def loss(outputs, labels):
        nonlocal calls
        calls += 1
        return F.cross_entropy(outputs, labels) * calls

    assert "the loss changes 'calls'" in error_of(nn.Linear(4, 2), loss)


def test_a_model_that_keeps_what_it_computed_may():
    class Keeps(nn.Linear):
        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    torch.manual_seed(0)
    model = Keeps(4, 2)
    model(ROWS)  # the attribute is now a tensor with a history, which deepcopy would refuse
    assert compile(model, nn.CrossEntropyLoss(), FEATURES, CLASSES).notes == []


def test_tied_weights_before_a_block_without_gradients():
    """torch.export forgets a user of h there."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.first, self.second = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.frozen, self.o = nn.Linear(4, 8, bias=False), nn.Linear(24, 2)

        def forward(self, x):
            h = self.words(x)
            self.second(h)
            with torch.inference_mode():
                frozen = self.frozen(h)
            return self.o(frozen.clone().flatten(1))

    compiled = compile(Tied(), F.cross_entropy, [TensorSpec("x", "int64", (3,))], CLASSES)
    assert [entry["name"] for entry in compiled.train["parameters"]] == ["o.weight", "o.bias"]


def test_shapes_that_depend_on_values_under_no_grad_do_no_harm():
    def part(_, h):
        with torch.no_grad():
            torch.sign(h[:, torch.arange(4) == 0])
        return h

    torch.manual_seed(0)
    same_as_torch(Net(part))


SAME_TENSORS = {
    "cast": lambda h: h.to(torch.float32),
    "type_as": lambda h: h.type_as(h),
    "idle dropout": lambda h: F.dropout(h, 0.5, training=False),
    "flatten": lambda h: h.flatten(1),
    "contiguous": lambda h: h.contiguous(),
    "at least two": torch.atleast_2d,
    "real": lambda h: h.real,
    "sum to its own size": lambda h: h.sum_to_size(h.shape),
    "view": lambda h: h.view_as(h),
    "slice": lambda h: h[:],
    "reshape": lambda h: h.reshape(-1, 4),
}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("same", SAME_TENSORS.values(), ids=SAME_TENSORS)
def test_what_gives_back_its_argument_keeps_the_gradient_where_gradients_are_off(same, used):
    """Where PyTorch gives the very tensor back; a view is another."""

    def part(_, h):
        with torch.no_grad():
            other = same(h)
        return other if used else h

    torch.manual_seed(0)
    same_as_torch(Net(part))
