"""Gradient modes as blocks, decorators and around modules; detach and its kin; hooks on values."""

from __future__ import annotations

from fuzz_models.calls import POINTWISE
from fuzz_models.layers import child, linear
from fuzz_models.scope import INDENT, Scope, Value, rule

OFF = (
    "torch.no_grad()",
    "torch.set_grad_enabled(False)",
    "torch.inference_mode()",
    "torch.set_grad_enabled(not self.training)",
)
ON = (
    "torch.enable_grad()",
    "torch.set_grad_enabled(True)",
    "torch.inference_mode(False)",
    "torch.set_grad_enabled(self.training)",
)


def plain(scope: Scope, name: str) -> str:
    return scope.rng.choice(POINTWISE).replace("H", name)


def outside(scope: Scope, mode: str, name: str) -> str:
    """Tensors of inference mode must be copied before autograd may keep them."""
    return f"{name}.clone()" if "inference" in mode else name


@rule(3)
def block(scope: Scope, value: Value) -> Value:
    mode = scope.rng.choice(OFF)
    inner = scope.program.name("h")
    with scope.block(f"with {mode}:"):
        layer = linear(scope, value) if scope.rng.random() < 0.3 else value
        scope.line(f"{inner} = {plain(scope, layer.name)}")
        if scope.rng.random() < 0.35:
            with scope.block(f"with {scope.rng.choice(ON)}:"):
                scope.line(f"{inner} = {inner} + {plain(scope, layer.name)}")
        if scope.rng.random() < 0.3:
            scope.line(f"{inner} = {inner} * {scope.scalar()}")
    shape = layer.shape
    if layer is not value:
        scope.values.pop()
        return scope.let(f"{outside(scope, mode, inner)} + {value.name}.mean(-1, keepdim=True)", shape)
    joined = scope.rng.choice(["V + I", "V * I", "V / (1 + I.abs())", "V - I", "torch.where(I > 0, V, V * 0.5)"])
    return scope.let(joined.replace("I", outside(scope, mode, inner)).replace("V", value.name), shape)


@rule(1)
def block_that_writes(scope: Scope, value: Value) -> Value:
    """In-place changes without gradient of values that have one."""
    base = scope.same(value, f"{value.name} * 1.0")
    with scope.block(f"with {scope.rng.choice(OFF[:2])}:"):
        scope.line(scope.rng.choice([
            "H.mul_(0.5)", "H[:, 0] = 0.0", "H += 1", "H.clamp_(-1, 1)", "H.copy_(H * 2)", "H[:, :1].mul_(3)",
            "G = H[:, :1]\nG.add_(1)",
            "H.sub_(H.mean(1, keepdim=True))", "G = H.view(H.shape)\nG *= 2", "H.data.mul_(2)",
        ]).replace("H", base.name).replace("G", scope.program.name("v")).replace("\n",
        "\n" + INDENT * 3))  # fmt: skip
    return scope.same(base, f"{base.name} * {value.name}") if scope.rng.random() < 0.5 else base


@rule(1)
def statement(scope: Scope, value: Value) -> Value:
    """The mode as a call, put back afterwards."""
    result = scope.program.name("h")
    scope.line("torch.set_grad_enabled(False)")
    scope.line(f"{result} = {plain(scope, value.name)}")
    scope.line(scope.rng.choice(["torch.set_grad_enabled(True)", "torch.set_grad_enabled(self.training)"]))
    return scope.same(value, f"{result} + {value.name}")


@rule(1)
def decorated(scope: Scope, value: Value) -> Value:
    """A method or a function with a decorator."""
    mode = scope.rng.choice([*OFF[:2], "torch.enable_grad()", "torch.inference_mode()"])
    name = scope.program.name("helper")
    body = plain(scope, "h")
    if scope.rng.random() < 0.5:
        scope.program.functions += [f"@{mode}\ndef {name}(h):\n{INDENT}return {body}"]
    else:
        scope.methods += ["", f"{INDENT}@{mode}", f"{INDENT}def {name}(self, h):", f"{INDENT * 2}return {body}"]
        name = f"self.{name}"
    result = f"{name}({value.name})"
    return scope.same(value, f"{outside(scope, mode, result)} + {value.name}")


@rule(1)
def frozen_backbone(scope: Scope, value: Value) -> Value | None:
    """A child module under a mode, in training or always."""
    if scope.depth > 0:
        return None
    kind, shape = child(scope, value.shape)
    name = scope.layer(f"{kind}()", "block")
    result = scope.program.name("h")
    mode = scope.rng.choice(OFF)
    with scope.block(f"with {mode}:"):
        scope.line(f"{result} = {name}({value.name})")
    return scope.let(outside(scope, mode, result) + " * 1.0", shape)


@rule(2)
def detached(scope: Scope, value: Value) -> Value:
    text = scope.rng.choice([
        "H.detach() + H * 2", "H + (H * 2).detach()", "H.detach() * H", "H.data * H", "(H * 2).detach_() + H",
        "H.detach().requires_grad_() * 2 + H",
        "H.detach().clone() - H", "(H > H.detach().mean(1, keepdim=True)).float() * H",
        "H + torch.round(H).detach() - H.detach()",
        "torch.tensor(1.0) * H.detach() + 0.5 * H", "torch.Tensor.detach(H) + H",
        "F.softmax(H, 1) * H.softmax(1).detach()",
    ])  # fmt: skip
    return scope.same(value, text.replace("H", value.name))


@rule(0.7)
def detached_view(scope: Scope, value: Value) -> Value:
    """Shares memory with what is written afterwards."""
    base = scope.same(value, f"{value.name} * 1.0")
    kept = scope.program.name("v")
    scope.line(
        f"{kept} = {base.name}{scope.rng.choice(['.detach()', '.data', '[:, :1].detach()', '.detach()[:, :1]'])}"
    )
    scope.line(
        scope.rng.choice([f"{kept}.mul_(2.0)", f"{kept} += 1.0", f"{base.name}.add_(0.5)", f"{kept}[:, 0] = 0.0"])
    )
    return scope.same(value, f"{base.name} + {kept}")


@rule(0.7)
def hook_on_value(scope: Scope, value: Value) -> Value:
    made = scope.same(value, f"{value.name} * 1.0")
    with scope.block(f"if {made.name}.requires_grad:"):
        scope.line(scope.rng.choice([
            f"{made.name}.register_hook(lambda gradient: gradient * 0.5)",
            f"{made.name}.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))",
            f"{made.name}.retain_grad()", f"{made.name}.register_hook(lambda gradient: None)",
        ]))  # fmt: skip
    return made


@rule(0.5)
def checkpointed(scope: Scope, value: Value) -> Value:
    layer = scope.layer(f"nn.Linear({value.shape[-1]}, {value.shape[-1]})", "linear")
    return scope.same(value, f"torch.utils.checkpoint.checkpoint({layer}, {value.name}, use_reentrant=False)")


STRAIGHT = f"""class Straight(torch.autograd.Function):
{INDENT}@staticmethod
{INDENT}def forward(ctx, x):
{INDENT * 2}return torch.sign(x)

{INDENT}@staticmethod
{INDENT}def backward(ctx, gradient):
{INDENT * 2}return gradient * 0.5"""


@rule(0.3)
def own_function(scope: Scope, value: Value) -> Value:
    if STRAIGHT not in scope.program.functions:
        scope.program.functions.append(STRAIGHT)
    return scope.same(value, f"Straight.apply({value.name})")
