"""In-place operators, writes through views, buffers that the model updates, branches on self.training."""

from __future__ import annotations

from fuzz_models.layers import linear
from fuzz_models.scope import INDENT, Scope, Value, choices, rule

WRITES = choices("""
    H.mul_(0.5) | H.add_(1.0) | H[:, 0] = 0.5 | H[:, 0] = H[:, -1] * 2 | H[:, :1] += 1.0 | H[:, -1] *= 0.5 |
    H.clamp_(-1, 1) | H.tanh_() | H.relu_() | F.relu(H, inplace=True) | H.masked_fill_(H < 0, 0.1) | H[H < 0] = 0.2 |
    H.sub_(H.mean(1, keepdim=True)) | H *= 2 | H /= 1.5 | H += H.detach() | H.abs_() | H.copy_(H * 0.5) |
    H[:, :1].zero_() | H.select(1, 0).mul_(2) | H.narrow(1, 0, 1).fill_(0.3) | H.exp_().log1p_() | H.neg_() |
    H.index_fill_(1, torch.tensor([0]), 0.5) | H.index_add_(1, torch.tensor([0]), H[:, -1:].clone()) |
    H.clamp_(min=0) | H.pow_(2) | H.view(H.shape[0], -1)[:, 0] += 1 | H.view(-1).mul_(0.5) |
    H.flatten(1)[:, 0].mul_(2) | H.addcmul_(H, H, value=0.1) | H.sigmoid_() | torch.add(H, 1.0, out=H.detach()) |
    H.t().mul_(2) | H.transpose(0, 1)[0] += 1 | H.unsqueeze(1).mul_(0.5) | H.lerp_(torch.ones_like(H), 0.2) |
    H.squeeze_(0) | H[..., 0] = H[..., -1].detach() | H[:, 0], H[:, -1] = H[:, -1].clone(), H[:, 0].clone() |
    H.fill_(0.5).add_(1)
""")


@rule(4)
def write(scope: Scope, value: Value) -> Value | None:
    """Into a copy, or, where eager allows it, into the value itself; then a view of it may be read."""
    text = scope.rng.choice(WRITES)
    if "t()" in text and value.dims != 1:
        return None
    target = (
        value
        if scope.rng.random() < 0.25
        else scope.same(value, f"{value.name}{scope.rng.choice(['.clone()', ' * 1.0', ' + 0'])}")
    )
    scope.line(text.replace("H", target.name))
    return scope.same(target, f"{target.name} + {value.name}") if scope.rng.random() < 0.3 else target


@rule(2)
def write_through_view(scope: Scope, value: Value) -> Value:
    """The view is made first, the base is written, the view is read; or the other way round."""
    base = scope.same(value, f"{value.name} * 1.0")
    view = scope.program.name("v")
    how = scope.rng.choice(
        ["[:, :1]", "[:, -1:]", ".view(H.shape)", "[:, ::2]", ".detach()", "[...]", ".narrow(1, 0, 1)", ".view_as(H)"]
    )
    scope.line(f"{view} = {base.name}{how.replace('H', base.name)}")
    written, read = scope.rng.sample([view, base.name], 2)
    change = [".mul_(2.0)", ".add_(0.5)", ".tanh_()", "[:, 0] = 0.3", ".zero_()", " += 1", ".clamp_(min=0)"]
    scope.line(written + scope.rng.choice(change))
    return scope.same(base, f"{base.name} + {read}[:, :1]")


@rule(0.8)
def buffer_read(scope: Scope, value: Value) -> Value:
    name = scope.program.name("table")
    more = scope.rng.choice(["", ", persistent=False"])
    scope.make(f"self.register_buffer('{name}', torch.randn({value.shape[-1]}){more})")
    return scope.same(value, f"{value.name} * self.{name}")


COUNTERS = ("N += 1", "N.add_(1)", "N = N + 1", "N.copy_(N + 1)", "N += 2", "with torch.no_grad():\n    N += 1")
AVERAGES = choices("""
    N.mul_(0.9).add_(H.detach().mean(0), alpha=0.1) | N.lerp_(H.detach().mean(0), 0.1) |
    N = 0.9 * N + 0.1 * H.detach().mean(0) | N.copy_(H.detach().mean(0)) |
    with torch.no_grad():\n    N.mul_(0.9).add_(H.mean(0) * 0.1) | N.data = N.data * 0.9 | N.mul_(0.5) |
    N.add_(H.detach().sum(0)) | N.copy_(torch.maximum(N, H.detach().amax(0)))
""")


@rule(1)
def buffer_written(scope: Scope, value: Value) -> Value:
    name = scope.program.name("kept")
    if scope.rng.random() < 0.5:
        scope.make(f"self.register_buffer('{name}', torch.tensor(0))")
        text, use = scope.rng.choice(COUNTERS), scope.rng.choice(["H", "H / (1 + N)"])
    else:
        scope.make(f"self.register_buffer('{name}', torch.zeros({', '.join(map(str, value.shape))}))")
        text, use = scope.rng.choice(AVERAGES), scope.rng.choice(["H", "H + N", "H - N.clone()"])
    lines = [line.replace("N", f"self.{name}").replace("H", value.name) for line in text.split("\n")]
    if scope.rng.random() < 0.6:
        lines = ["if self.training:", *(INDENT + line for line in lines)]
    for line in lines:
        scope.line(line)
    return scope.same(value, use.replace("N", f"self.{name}").replace("H", value.name) + " * 1.0")


@rule(1)
def branch(scope: Scope, value: Value) -> Value:
    result = scope.same(value, f"{value.name} * 1.0")
    condition = scope.rng.choice(
        ["self.training", "not self.training", "self.training and torch.is_grad_enabled()", "torch.is_grad_enabled()"]
    )
    with scope.block(f"if {condition}:"):
        scope.line(f"{result.name} = {result.name} * 0.5")
    if scope.rng.random() < 0.5:
        with scope.block("else:"):
            scope.line(f"{result.name} = torch.tanh({result.name})")
    return result


@rule(0.3)
def branch_on_layers(scope: Scope, value: Value) -> Value:
    layer = linear(scope, value)
    return scope.same(layer, f"{layer.name} if self.training else {layer.name} * 2")


@rule(0.3)
def python_state(scope: Scope, value: Value) -> Value:
    """Numbers that the module keeps for itself, beside its buffers."""
    name = scope.program.name("self.state")
    scope.make(f"{name} = 0")
    scope.line(f"{name} += 1")
    return scope.same(value, f"{value.name} * (1 + 0.1 * {name})")
