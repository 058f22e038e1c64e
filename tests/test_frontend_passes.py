"""Each pass does its one thing, and leaves alone what it must."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from stoker.frontend import passes
from stoker.frontend.interpret import Interpreter
from stoker.frontend.recurrent import known_shapes
from stoker.frontend.torch import compile
from stoker.program import TensorSpec

aten = torch.ops.aten


def graph_of(function, *shapes, grad: bool = True) -> fx.GraphModule:
    """What torch.export makes of a function of batches."""

    class Wrap(nn.Module):
        def forward(self, *args):
            return function(*args)

    args = tuple(torch.randn(6, *shape, requires_grad=grad) for shape in shapes)
    batch = torch.export.Dim("batch", min=2)
    return torch.export.export(
        Wrap(), args, dynamic_shapes=(tuple({0: batch} for _ in args),), strict=False
    ).graph_module


def targets(gm: fx.GraphModule) -> list:
    return [node.target for node in gm.graph.nodes if node.op == "call_function"]


def test_a_cast_to_the_same_type_goes_and_another_stays():
    gm = graph_of(lambda x: x.to(torch.float32).to(torch.float64) + 1, (3,))
    passes.drop_asserts(gm)
    passes.drop_identities(gm)
    assert targets(gm) == [aten.to.dtype, aten.add.Tensor]


def test_a_cast_that_copies_stays():
    gm = graph_of(lambda x: x.to(torch.float32, copy=True) + 1, (3,))
    passes.drop_asserts(gm)
    passes.drop_identities(gm)
    assert len(targets(gm)) == 2


@pytest.mark.parametrize("p, training, left", [(0.5, True, 1), (0.0, True, 0), (0.5, False, 0)])
def test_dropout_that_drops_nothing_goes(p, training, left):
    gm = graph_of(lambda x: F.dropout(x, p, training) * 2, (3,))
    passes.drop_identities(gm)
    assert targets(gm).count(aten.dropout.default) == left


def test_asserts_go():
    gm = graph_of(lambda x: x.to(torch.float64) * 2, (3,))
    assert aten._assert_tensor_metadata.default in targets(gm)
    passes.drop_asserts(gm)
    assert targets(gm) == [aten.to.dtype, aten.mul.Tensor]


def test_literals_are_constants():
    gm = graph_of(lambda x: x * torch.tensor([1.0, 2.0]), (2,))
    passes.drop_lifting(gm)
    assert targets(gm) == [aten.mul.Tensor]


def test_a_literal_that_is_changed_is_copied_first():
    gm = graph_of(lambda x: x * torch.tensor([1.0, 2.0]).mul_(2), (2,))
    passes.drop_lifting(gm)
    assert targets(gm) == [aten.lift_fresh_copy.default, aten.mul_.Tensor, aten.mul.Tensor]


def test_squeeze_names_its_dimensions():
    gm = graph_of(lambda x: x.squeeze() * 1.5, (1, 3, 1))
    passes.name_squeezed_dims(gm)
    (squeeze,) = [node for node in gm.graph.nodes if node.target is aten.squeeze.dims]
    assert squeeze.args[1] == [1, 3]


@pytest.mark.parametrize(
    "function, shapes, fused",
    [
        (lambda x, w, b: torch.matmul(x, w[0].t()) + b[0], [(4,), (3, 4), (3,)], True),
        (lambda x, w, b: b[0] + torch.matmul(x, w[0].t()), [(4,), (3, 4), (3,)], True),
        (lambda x, w, b: torch.matmul(x, w[0].t()) + b[0], [(5, 4), (3, 4), (3,)], True),
        (lambda x, w, b: torch.matmul(x, w[0].t()) + b, [(4,), (3, 4), (3,)], False),  # a bias for each row
        (lambda x, w, b: torch.matmul(x, w[0].t()) + b[0], [(4,), (3, 4), (1,)], False),  # broadcast
        (lambda x, w, b: torch.add(torch.matmul(x, w[0].t()), b[0], alpha=2), [(4,), (3, 4), (3,)], False),
    ],
)
def test_matmul_and_add_become_linear(function, shapes, fused):
    gm = graph_of(function, *shapes)
    inputs = [torch.randn(5, *shape) for shape in shapes]
    (expected,) = gm(*inputs)
    passes.fuse_linear(gm)
    gm.recompile()
    torch.testing.assert_close(gm(*inputs)[0], expected)
    assert (aten.linear.default in targets(gm)) == fused
    assert (aten.matmul.default in targets(gm)) != fused


def test_a_product_that_is_read_twice_stays():
    def twice(x, w, b):
        product = torch.matmul(x, w[0].t())
        return product + b[0], product * 2

    gm = graph_of(twice, (4,), (3, 4), (3,))
    passes.fuse_linear(gm)
    assert aten.linear.default not in targets(gm)


def test_no_grad_blocks_become_detached_operators():
    def part(x, y):
        with torch.no_grad():
            scale = (x * y).mean()
            with torch.enable_grad():
                inner = y * scale
        return x * scale + inner

    gm = graph_of(part, (3,), (3,))
    passes.inline_modes(gm, gradients=True)
    gm.recompile()
    assert all(isinstance(target, torch._ops.OpOverload) for target in targets(gm))
    ours, theirs = (
        [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(2)] for _ in "ab"
    )
    gm(*ours)[0].sum().backward()
    part(*theirs).sum().backward()
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, expected.grad)


def test_autocast_that_is_off_goes():
    def plain(x):
        with torch.autocast("cpu", enabled=False):
            return x * 2

    gm = graph_of(plain, (3,))
    passes.inline_modes(gm, gradients=True)
    assert targets(gm) == [aten.mul.Tensor]


def compiled_of(function, *shapes):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, *args):
            return function(*args) * self.weight

    inputs = [TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes)]
    return compile(Model(), lambda outputs, labels: outputs.sum(), inputs, [], loss_reduction="sum")


def run(program, *inputs):
    values = {entry["slot"]: tensor for entry, tensor in zip(program["inputs"], inputs, strict=True)}
    values |= {entry["slot"]: torch.ones(entry["shape"]) for entry in program["parameters"]}
    return Interpreter(program).run(values)[program["outputs"][0]["slot"]]


def ops(program) -> list[str]:
    return [node["op"] for node in program["nodes"]]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(x.shape[0] * 2, -1).reshape(x.shape[0], -1),
        lambda x: x.new_ones(x.shape[0] + 1, 4)[:-1] * x,
        lambda x: x + torch.arange(x.shape[0])[:, None] / (x.shape[0] - 0.5),
        lambda x: x.repeat(3, 1)[x.shape[0] : 2 * x.shape[0]],
        lambda x: x * (x.shape[0] // 2) + max(x.shape[0], 3),
        lambda x: x * (x.numel() % 7),
        lambda x: torch.stack(x.unbind(1)[::-1], 1) + sum(x.split([1, 3], 1)[0].unbind(1))[:, None],
        lambda x: x.topk(4, dim=1).values,
        lambda x: torch.where(x > 0, x, float("-inf")).clamp(min=-2),
    ],
)
@pytest.mark.parametrize("rows", [2, 5])
def test_shape_arithmetic_and_lists_survive(function, rows):
    x = torch.randn(rows, 4)
    torch.testing.assert_close(run(compiled_of(function, (4,)).infer, x), function(x))


def test_the_caller_s_rows_stay():
    x = torch.ones(3, 4)
    program = compiled_of(lambda x: x.view(-1, 2, 2).mul_(2).reshape(-1, 4), (4,)).train
    assert ops(program)[0] == "aten.clone.default"
    assert torch.equal(run(program, x), x * 2)
    assert torch.equal(x, torch.ones(3, 4))


def test_what_nobody_reads_goes_and_writes_to_what_is_read_stay():
    def function(x):
        x.sum(1)
        torch.zeros(3).add_(1)
        y = x * 2
        y[:, 0].mul_(5)
        return y

    program = compiled_of(function, (4,)).infer
    assert ops(program) == [
        "aten.mul.Tensor",
        "aten.slice.Tensor",
        "aten.select.int",
        "aten.mul_.Tensor",
        "aten.mul.Tensor",
    ]
    assert run(program, torch.ones(2, 4)).tolist() == [[10, 2, 2, 2]] * 2


def test_unread_results_have_no_slot():
    class Last(nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    compiled = compile(
        Last(4, 3, batch_first=True),
        nn.MSELoss(),
        [TensorSpec("x", "float32", (5, 4))],
        [TensorSpec("y", "float32", (5, 3))],
    )
    (lstm,) = [node for node in compiled.train["nodes"] if node["op"] == "aten.lstm.input"]
    assert lstm["out"][1:] == [None, None]


def test_slots_are_written_once_and_before_they_are_read():
    from conformance import models

    for build in (models.lstm, models.transformer_encoder, models.residual, models.tied_weights):
        compiled = build().compile()
        for program in (compiled.train, compiled.infer):
            check_slots(program)


def check_slots(program):
    entries = (*program["inputs"], *program["parameters"], *program["buffers"], *program["constants"])
    written = [entry["slot"] for entry in entries]
    from stoker.frontend.interpret import slots_in

    for node in program["nodes"]:
        assert set(slots_in([*node["args"], *node["kwargs"].values()])) <= set(written)
        written += [slot for slot in node["out"] if slot is not None]
    assert sorted(written) == list(range(program["slots"]))


def test_where_names_module_class_and_line():
    from conformance import models

    nodes = models.residual().compile().train["nodes"]
    (norm, *_) = [node["where"] for node in nodes if node["op"] == "aten.batch_norm.default"]
    assert norm.startswith("1.norm (BatchNorm2d), models.py:")


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize(
    "kind", [nn.LSTM, nn.GRU, nn.RNN, partial(nn.LSTM, proj_size=2), partial(nn.RNN, nonlinearity="relu")]
)
def test_recurrent_layers_have_torch_s_shapes_and_layouts(kind, options):
    layer = kind(4, 3, **options)
    x = torch.randn(2, 5, 4)
    outputs, states = layer(x)
    expected = [outputs, *(states if isinstance(states, tuple) else [states])]
    with known_shapes(), torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found, states = layer(mode.from_tensor(x))
    found = [found, *(states if isinstance(states, tuple) else [states])]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.shape, ours.stride(), ours.requires_grad) == (theirs.shape, theirs.stride(), theirs.requires_grad)


def test_recurrent_shapes_are_torch_s_own_again_after_a_trace():
    before = dict(aten.lstm.input.py_kernels)
    with pytest.raises(ZeroDivisionError), known_shapes():
        assert aten.lstm.input.py_kernels != before
        1 / 0  # noqa: B018
    assert aten.lstm.input.py_kernels == before


def test_a_recurrent_layer_with_the_wrong_input():
    with pytest.raises(ValueError, match="input"):
        compile(nn.GRU(4, 3, batch_first=True), lambda o, y: o[0].mean(), [TensorSpec("x", "float32", (5, 6))], [])


def pooled(x):
    return F.max_pool2d(F.relu(x), 2)


def pooled_channels_last(x):
    return F.max_pool2d(F.relu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 3, 2, 1)


def pooled_in_place(x):
    return F.max_pool2d(F.relu_(x * 1), 2)


def pooled_twice(x):
    return F.max_pool2d(F.max_pool2d(F.relu(x), 2), 2, ceil_mode=True)


@pytest.mark.parametrize("function", [pooled, pooled_channels_last, pooled_in_place, pooled_twice])
def test_what_is_pooled_is_made_positive_afterwards_with_the_same_bits(function):
    x = torch.randn(6, 2, 9, 9).round(decimals=1)  # ties and zeros
    x[0] = -1.0
    x[1, 0, :4] = torch.nan
    gm = graph_of(function, (2, 9, 9))
    passes.pool_before_relu(gm)
    gm.recompile()
    assert targets(gm)[-1] is aten.relu.default
    assert targets(gm).count(aten.relu.default) == 1
    results = []
    for run in (function, lambda x: gm(x)[0]):
        rows = x.clone().requires_grad_()
        result = run(rows)
        result.backward(torch.arange(result.numel(), dtype=torch.float32).reshape(result.shape))
        results.append((result.detach(), rows.grad))
    for expected, found in zip(*results):
        assert torch.equal(expected.nan_to_num(77.0), found.nan_to_num(77.0))


def relu_read_twice(x):
    y = F.relu(x)
    return F.max_pool2d(y, 2) + y.sum()


def relu_of_what_changes(x):
    x = x * 1
    y = F.relu(x)
    x.add_(1)
    return F.max_pool2d(y, 2)


def relu_in_place_of_what_others_read(x):
    x = x * 1
    return F.max_pool2d(F.relu_(x), 2) + x.sum()


def relu_in_place_of_a_view(x):
    x = x * 1
    y = F.max_pool2d(F.relu_(x.permute(0, 1, 3, 2)), 2)
    return y + x.sum()


def average_of_relu(x):
    return F.avg_pool2d(F.relu(x), 2)


@pytest.mark.parametrize(
    "function",
    [
        relu_read_twice,
        relu_of_what_changes,
        relu_in_place_of_what_others_read,
        relu_in_place_of_a_view,
        average_of_relu,
    ],
)
def test_relus_that_others_read_stay_where_they_are(function):
    gm = graph_of(function, (2, 8, 8))
    before = targets(gm)
    passes.pool_before_relu(gm)
    assert targets(gm) == before
