"""Layers of torch.nn, child modules, tied and frozen ones, parametrizations, hooks on modules."""

from __future__ import annotations

from fuzz_models.scope import INDENT, Scope, Value, choices, rule, step

ACTIVATIONS = choices("""
    ReLU() | ReLU6() | Tanh() | Sigmoid() | GELU() | GELU(approximate='tanh') | SiLU() | Mish() | ELU() | SELU() |
    CELU() | Softplus() | LeakyReLU(0.2) | Hardswish() | Hardsigmoid() | Hardtanh() | LogSigmoid() | Softsign() |
    Tanhshrink() | Softshrink(0.3) | Hardshrink(0.3) | Threshold(0.1,0.2) | PReLU() | ReLU(inplace=True) |
    ELU(inplace=True) | SiLU(inplace=True) | Softmax(dim=1) | LogSoftmax(dim=1) | Dropout(0.3) | Identity() |
    GLU(dim=1)
""")


def width(scope: Scope) -> int:
    return scope.rng.choice([2, 3, 4, 6, 8])


def last(value: Value, size: int) -> tuple[int, ...]:
    return (*value.shape[:-1], size)


@rule(5)
def linear(scope: Scope, value: Value) -> Value:
    size, bias = width(scope), scope.rng.choice(["", "", ", bias=False"])
    name = scope.layer(f"nn.Linear({value.shape[-1]}, {size}{bias})", "linear")
    scope.layers[name] = ("Linear", value.shape[-1])
    return scope.let(f"{name}({value.name})", last(value, size))


@rule(4)
def activation(scope: Scope, value: Value) -> Value | None:
    kind = scope.rng.choice(ACTIVATIONS)
    if "GLU" in kind and "dim=1" in kind:
        return None if value.shape[0] % 2 else scope.let(
            f"{scope.layer(f'nn.{kind}', 'act')}({value.name})", (value.shape[0] // 2, *value.shape[1:])
        )  # fmt: skip
    if kind == "PReLU()" and scope.rng.random() < 0.5:
        kind = f"PReLU({value.shape[0]})"
    source = scope.same(value, f"{value.name}.clone()") if "inplace" in kind and scope.rng.random() < 0.7 else value
    return scope.same(value, f"{scope.layer(f'nn.{kind}', 'act')}({source.name})")


@rule(2)
def norm(scope: Scope, value: Value) -> Value:
    channels = value.shape[0]
    kinds = [f"nn.LayerNorm({value.shape[-1]})", f"nn.RMSNorm({value.shape[-1]})", f"nn.GroupNorm(1, {channels})"]
    kinds += [f"nn.BatchNorm{max(1, value.dims - 1)}d({channels}{more})" for more in ("", ", momentum=0.3")]
    if value.dims > 1 and value.size // channels > 1:
        kinds += [f"nn.InstanceNorm{value.dims - 1}d({channels}, affine=True)"]
    return scope.same(value, f"{scope.layer(scope.rng.choice(kinds), 'norm')}({value.name})")


@rule(1.5, (2,))
def recurrent(scope: Scope, value: Value) -> Value:
    kind, size = scope.rng.choice(["GRU", "LSTM", "RNN"]), scope.rng.choice([2, 3])
    both = scope.rng.random() < 0.3
    more = ", bidirectional=True" if both else scope.rng.choice(["", ", num_layers=2", ", bias=False"])
    name = scope.layer(f"nn.{kind}({value.shape[-1]}, {size}, batch_first=True{more})", kind.lower())
    result = scope.let(f"{name}({value.name})[0]", last(value, size * (2 if both else 1)))
    return scope.let(f"{result.name}[:, -1]", result.shape[1:]) if scope.rng.random() < 0.4 else result


@rule(1, (2,))
def attention(scope: Scope, value: Value) -> Value | None:
    length, size = value.shape
    heads = 2 if size % 2 == 0 else 1
    if scope.rng.random() < 0.5:
        name = scope.layer(f"nn.MultiheadAttention({size}, {heads}, batch_first=True)", "attention")
        mask = f", attn_mask=torch.triu(torch.ones({length}, {length}, dtype=torch.bool), 1)"
        more = scope.rng.choice(["", ", need_weights=False", mask])
        return scope.same(value, f"{name}({value.name}, {value.name}, {value.name}{more})[0]")
    first = scope.rng.choice(["", ", norm_first=True"])
    name = scope.layer(f"nn.TransformerEncoderLayer({size}, {heads}, 8, 0.0, batch_first=True{first})", "encoder")
    return scope.same(value, f"{name}({value.name})")


@rule(1.5, (2,))
def convolution_of_sequences(scope: Scope, value: Value) -> Value | None:
    channels, length = value.shape
    if length < 3:
        return None
    kind = scope.rng.choice(["Conv1d", "ConvTranspose1d"])
    more, size = scope.rng.choice(
        [("", {"Conv1d": length - 2, "ConvTranspose1d": length + 2}[kind]), (", padding=1", length)]
    )
    out = width(scope)
    name = scope.layer(f"nn.{kind}({channels}, {out}, 3{more})", "conv")
    return scope.let(f"{name}({value.name})", (out, size))


@rule(3, (3,))
def convolution_of_images(scope: Scope, value: Value) -> Value | None:
    channels, height, wide = value.shape
    if min(height, wide) < 3:
        return None
    out = scope.rng.choice([2, 4])
    more, less = scope.rng.choice([("", 2), (", padding=1", 0), (", padding='same'", 0)])
    groups = ", groups=2" if channels % 2 == 0 and scope.rng.random() < 0.3 else ""
    name = scope.layer(f"nn.Conv2d({channels}, {out}, 3{more}{groups})", "conv")
    return scope.let(f"{name}({value.name})", (out, height - less, wide - less))


@rule(1.5, (3,))
def pooling(scope: Scope, value: Value) -> Value | None:
    channels, height, wide = value.shape
    if min(height, wide) < 2:
        return None
    kind = scope.rng.choice(
        ["MaxPool2d(2)", "AvgPool2d(2)", "AdaptiveAvgPool2d(2)", "AdaptiveMaxPool2d(1)", "LPPool2d(2, 2)"]
    )
    size = int(kind[-2]) if "Adaptive" in kind else 0
    shape = (channels, size, size) if size else (channels, height // 2, wide // 2)
    return scope.let(f"{scope.layer(f'nn.{kind}', 'pool')}({value.name})", shape)


@rule(1.5)
def again(scope: Scope, value: Value) -> Value | None:
    """A layer that was used before; its result has another shape than what went in, unless it is square."""
    fit = [name for name, (_, wide) in scope.layers.items() if wide == value.shape[-1]]
    if not fit:
        return None
    name = scope.rng.choice(fit)
    return scope.let(f"F.linear({value.name}, {name}.weight)[..., :2]", last(value, 2))


@rule(1)
def tied(scope: Scope, value: Value) -> Value:
    """Two layers with one weight."""
    size = value.shape[-1]
    first, second = (scope.layer(f"nn.Linear({size}, {size})", "tied") for _ in range(2))
    scope.make(f"{second}.weight = {first}.weight")
    inner = scope.same(value, f"torch.tanh({first}({value.name}))")
    return scope.same(value, f"{second}({inner.name})")


@rule(1)
def frozen(scope: Scope, value: Value) -> Value:
    result = linear(scope, value)
    name = list(scope.layers)[-1]
    scope.make(scope.rng.choice([
        f"{name}.requires_grad_(False)", f"{name}.weight.requires_grad = False", f"{name}.weight.requires_grad_(False)",
    ]))  # fmt: skip
    return result


@rule(0.5)
def parametrized(scope: Scope, value: Value) -> Value:
    result = linear(scope, value)
    name = list(scope.layers)[-1]
    scope.make(scope.rng.choice([
        f"nn.utils.parametrizations.weight_norm({name})", f"nn.utils.parametrizations.spectral_norm({name})",
        f"nn.utils.weight_norm({name})", f"nn.utils.spectral_norm({name})",
        f"nn.utils.parametrize.register_parametrization({name}, 'weight', nn.Softsign())",
    ]))  # fmt: skip
    scope.layers.pop(name)
    return result


HOOKS = (
    "register_forward_hook(lambda module, given, made: made * 2)",
    "register_forward_hook(lambda module, given, made: None)",
    "register_forward_pre_hook(lambda module, given: (given[0] * 0.5,))",
    "register_full_backward_hook(lambda module, into, out: (into[0] * 0.5,))",
    "register_full_backward_pre_hook(lambda module, out: (out[0] * 2,))",
    "weight.register_hook(lambda gradient: gradient * 0.5)",
    "weight.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, 'grad', parameter.grad * 0.5))",
)


@rule(0.8)
def hooked(scope: Scope, value: Value) -> Value:
    result = linear(scope, value)
    scope.make(f"{list(scope.layers)[-1]}.{scope.rng.choice(HOOKS)}")
    return result


def child(scope: Scope, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """A class of its own that takes one tensor: its name and the shape of what it gives."""
    inner = Scope(scope.program, scope.depth + 1)
    inner.values.append(Value("x", shape))
    for _ in range(scope.rng.randint(1, 3)):
        step(inner)
    inner.line(f"return {inner.values[-1].name}")
    name = scope.program.name("Block")
    scope.program.classes.append(inner.text(name, "x"))
    return name, inner.values[-1].shape


@rule(2)
def nested(scope: Scope, value: Value) -> Value | None:
    if scope.depth > 1:
        return None
    kind, shape = child(scope, value.shape)
    name = scope.layer(f"{kind}()", "block")
    result = scope.let(f"{name}({value.name})", shape)
    if shape == value.shape and scope.rng.random() < 0.5:
        return scope.let(f"{name}({result.name})", shape)
    return result


@rule(1)
def containers(scope: Scope, value: Value) -> Value:
    size = value.shape[-1]
    made, call = scope.rng.choice([
        (f"nn.ModuleList(nn.Linear({size}, {size}) for _ in range(2))",
        "for layer in NAME:\n    H = torch.tanh(layer(H))"),
        (f"nn.ModuleDict({{'a': nn.Linear({size}, {size}), 'b': nn.Tanh()}})", "H = NAME['b'](NAME['a'](H))"),
        (f"nn.Sequential(nn.Linear({size}, {size}), nn.Sigmoid(), nn.Linear({size}, {size}))", "H = NAME(H)"),
        (f"nn.ParameterList(torch.randn({size}) for _ in range(2))", "for part in NAME:\n    H = H + part"),
        (f"nn.ParameterDict({{'a': torch.randn({size}, {size})}})", "H = H @ NAME['a']"),
        (f"nn.Parameter(torch.randn({size}))", "H = H * NAME"),
        (f"nn.Parameter(torch.randn({size}, {size}))", "H = H @ NAME.t()"),
    ])  # fmt: skip
    name = scope.layer(made, "part")
    result = scope.same(value, f"{value.name} * 1.0")
    for text in call.split("\n"):
        scope.line(text.replace("NAME", name).replace("H", result.name).replace("    ", INDENT))
    return result
