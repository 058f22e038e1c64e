"""What of torch is private does what the front end takes it for, and is spoken of in one file."""

import contextlib
import re
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import stoker
from stoker.frontend import private

FRONTEND = Path(stoker.__file__).parent / "frontend"
PRIVATE = re.compile(
    r"\btorch(?:\.\w+)*\._(?!_)\w+|from torch[\w.]* import .*\b_\w+|\bpy_kernels\b|\.shape_env\b"
    r"|\._(?:forward|backward|non_persistent|schema|overloadname|dispatch_cache)\w*"
)


def test_no_other_file_of_the_front_end_speaks_of_it():
    for file in FRONTEND.glob("*.py"):
        if file.name != "private.py":
            found = [line for line in file.read_text().splitlines() if PRIVATE.search(line)]
            assert not found, f"{file.name}: {found}"


def test_operators_have_names():
    assert private.aten_name(torch.ops.aten.add.Tensor) == ("add", "Tensor")
    assert private.aten_name(torch.ops.prims.add.default) is None and private.aten_name(len) is None


def test_operators_are_seen_before_they_run():
    seen = []
    with private.Operators(lambda operator: seen.append(private.aten_name(operator))):
        (torch.ones(3) + 1).norm()
    assert seen == [("ones", "default"), ("add", "Tensor"), ("linalg_vector_norm", "default")]
    assert len(seen) == 3 and bool(torch.ones(3).sum()), "nobody looks any more"


def test_buffers_and_hooks_are_seen():
    layer = nn.BatchNorm1d(2)
    layer.register_buffer("kept", torch.ones(1), persistent=False)
    assert private.hidden_buffers(layer) == {"kept"} and "kept" not in layer.state_dict()
    assert not private.has_hooks(layer)
    layer.register_forward_pre_hook(lambda *_: None)
    assert private.has_hooks(layer)
    assert isinstance(layer, private.Norm) and isinstance(nn.Dropout2d(), private.Dropout)


def test_gradient_hooks_are_seen():
    layer, weight = nn.Linear(1, 1), nn.Parameter(torch.ones(1))
    layer.register_full_backward_hook(lambda *_: None)
    layer.register_full_backward_pre_hook(lambda *_: None)
    weight.register_hook(lambda _: None)
    weight.register_post_accumulate_grad_hook(lambda _: None)
    assert all(getattr(layer, name) for name in private.HOOKS_OF_MODULES)
    assert all(getattr(weight, name) for name in private.HOOKS_OF_TENSORS)
    assert not private.hooks_everywhere()
    handle = nn.modules.module.register_module_full_backward_hook(lambda *_: None)
    assert private.hooks_everywhere()
    handle.remove()


def test_a_kernel_stands_in_and_goes_again():
    lstm, kernel = torch.ops.aten.lstm.input, print
    before = dict(lstm.py_kernels)
    assert before
    with private.fake_kernel([lstm], kernel):
        assert set(lstm.py_kernels.values()) == {kernel} and not lstm._dispatch_cache
    assert lstm.py_kernels == before


def test_fake_tensors_are_told_apart_and_left_for_a_while():
    with FakeTensorMode():
        assert isinstance(torch.ones(1), private.FakeTensor)
        with private.unset_fake_temporarily():
            assert not isinstance(torch.ones(1), private.FakeTensor)


def test_functions_of_users_are_caught_and_let_go():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return 2 * x

    with private.function_applied(lambda cls, *args: cls.__name__):
        assert Twice.apply(torch.ones(1)) == "Twice"
    assert Twice.apply(torch.ones(1)) == 2


def test_questions_about_sizes_are_heard_and_forgotten():
    class Asks(nn.Module):
        def forward(self, x):
            shapes.append(private.watch_guards(x.shape[0], Heard))
            return x * 2 if x.shape[0] % 2 == 0 else x

    class Heard(list):
        def append(self, guard):
            heard.append(str(guard.expr))
            super().append(guard)

    shapes, heard = [], []
    with contextlib.suppress(Exception):  # the size is no constant
        torch.export.export(Asks(), (torch.ones(4, 1),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert any("Mod" in question or "%" in question for question in heard)
    private.forget(shapes[0])
    assert shapes[0].tracked_fakes is None and not shapes[0].fake_tensor_cache


def test_switching_gradients_calls_what_is_watched():
    calls = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **(kwargs or {}))

    with Watch(), torch.no_grad():
        pass
    assert private.set_grad_enabled in calls
    assert private.tree_map_only(int, lambda n: n + 1, ([1], {"a": "b"})) == ([2], {"a": "b"})
    seen = []
    torch.func.grad(lambda x: (seen.append(private.is_functorch_wrapped_tensor(x)), x.sum())[1])(torch.ones(2))
    assert seen == [True]


def test_shares_are_drawn():
    torch.manual_seed(0)
    drawn = torch.stack([private.dirichlet(torch.full((2,), 2.0)) for _ in range(500)])
    assert torch.allclose(drawn.sum(1), torch.ones(500)) and abs(drawn[:, 0].mean() - 0.5) < 0.05
    assert abs(drawn[:, 0].var() - 0.05) < 0.01, "of Beta(2, 2)"
