"""Functional calls and views: nothing here changes a tensor in place."""

from __future__ import annotations

from fuzz_models.scope import Scope, Value, choices, rule

POINTWISE = choices("""
    torch.tanh(H) | torch.sigmoid(H) | F.relu(H) | F.gelu(H) | F.silu(H) | F.softplus(H) | torch.exp(-H.abs()) |
    torch.log1p(H.abs()) | H.abs() | torch.sqrt(H.abs() + 1) | H.pow(2) | H ** 3 * 0.1 | torch.sin(H) | torch.cos(H) |
    torch.atan(H) | torch.erf(H) | 1 / (1 + H.abs()) | torch.rsqrt(H * H + 1) | H.clamp(-1, 1) | H.clamp(min=0.1) |
    torch.maximum(H, -H * 0.5) | torch.where(H > 0, H, H * 0.1) | H.masked_fill(H < 0, 0.5) | H * (H > 0) |
    H - H.detach() | H / (1 + H.detach().abs()) | torch.clamp_max(H, 1.0) | torch.sign(H) + H |
    torch.round(H * 2) + H | torch.floor(H) * H | H.float() | H.double().float() | H.to(torch.float32) |
    torch.nan_to_num(H) | torch.addcmul(H, H, H, value=0.1) | torch.lerp(H, -H, 0.3) |
    torch.hypot(H, torch.ones_like(H)) | H * torch.ones_like(H) * 0.5 | H + torch.full_like(H, 0.3) |
    torch.zeros_like(H) + H | H.sub(0.5, alpha=2) | F.hardtanh(H) | torch.logaddexp(H, -H) | torch.special.expit(H) |
    F.leaky_relu(H, 0.3) | F.elu(H) | torch.remainder(H, 2.0) | torch.square(H) | F.softmax(H, -1) |
    F.log_softmax(H, dim=1) | F.normalize(H, dim=1) | H.softmax(1) | torch.cumsum(H, 1) | H.cumsum(-1) | H.flip(1) |
    torch.roll(H, 1, 1) | torch.sort(H, dim=1)[0] | H - H.mean(-1, keepdim=True) |
    H / (H.norm(dim=-1, keepdim=True) + 1) | H - H.amax(1, keepdim=True) |
    H * torch.sigmoid(H.mean(1, keepdim=True)) | torch.logcumsumexp(H, 1) | H.contiguous() | H.clone() |
    F.layer_norm(H, H.shape[1:]) | H.view(H.shape) | H.reshape(H.shape[0], -1).view_as(H) | H.expand_as(H) |
    H.type_as(H) | -H | F.dropout(H, 0.0) | F.dropout(H, 0.5, training=False) | torch.cummax(H, 1)[0] |
    H.transpose(1, -1).transpose(1, -1) | torch.stack([H, H * 2], 0).sum(0) | torch.cat([H, H], 1).chunk(2, 1)[1] |
    torch.stack(H.unbind(1), 1) | H.split(1, 1)[0] + H | H.unsqueeze(1).squeeze(1) |
    H.unflatten(0, (-1, 1)).squeeze(1) | torch.broadcast_to(H.mean(1, keepdim=True), H.shape)
""")


@rule(8)
def pointwise(scope: Scope, value: Value) -> Value:
    return scope.same(value, scope.rng.choice(POINTWISE).replace("H", value.name))


@rule(3)
def merge(scope: Scope, value: Value) -> Value:
    other = scope.partner(value)
    how = scope.rng.choice([
        "A + B", "A * B", "A - B * 0.5", "A * torch.sigmoid(B)", "torch.where(A > B, A, B)", "torch.maximum(A, B)",
        "torch.add(A, B, alpha=0.5)", "A / (1 + B * B)", "torch.stack([A, B], -1).mean(-1)",
        "torch.einsum('b...,b...->b...', A, B)",
        "torch.atan2(A, B.abs() + 0.5)", "torch.lerp(A, B, torch.sigmoid(A))",
    ])  # fmt: skip
    return scope.same(value, how.replace("A", value.name).replace("B", other.name))


@rule(2)
def join(scope: Scope, value: Value) -> Value:
    other = scope.partner(value)
    return scope.let(f"torch.cat([{value.name}, {other.name}], 1)", (value.shape[0] * 2, *value.shape[1:]))


@rule(2)
def part(scope: Scope, value: Value) -> Value | None:
    first, *rest = value.shape
    if first < 2:
        return None
    text, size = scope.rng.choice([
        ("H[:, 1:]", first - 1), ("H[:, ::2]", (first + 1) // 2), ("H[:, :-1]", first - 1), ("H.narrow(1, 0, 1)", 1),
        ("H[:, [1, 0]]", 2), ("H.chunk(2, 1)[0]", (first + 1) // 2), ("H.index_select(1, torch.tensor([0, 0, 1]))", 3),
        ("H.topk(2, 1)[0]", 2), ("torch.gather(H, 1, H.argsort(1))", first), ("torch.split(H, 1, 1)[-1]", 1),
        ("H[:, torch.arange(H.shape[1]) % 2 == 0]", (first + 1) // 2), ("H.unfold(1, 2, 1).mean(-1)", first - 1),
        ("H.diff(dim=1)", first - 1), ("H.tensor_split(2, 1)[0]", (first + 1) // 2),
        ("H.repeat_interleave(2, 1)", first * 2),
    ])  # fmt: skip
    return scope.let(text.replace("H", value.name), (size, *rest))


@rule(2, (2, 3))
def reduce(scope: Scope, value: Value) -> Value:
    how = scope.rng.choice(["mean(1)", "sum(1)", "amax(1)", "max(1)[0]", "std(1, unbiased=False)", "logsumexp(1)",
    "norm(dim=1)",
                            "select(1, 0)", "median(1)[0]", "var(1, correction=0)", "prod(1)",
                            "mean(dim=(1,))"])  # fmt: skip
    return scope.let(f"{value.name}.{how}", value.shape[1:])


@rule(2, (2, 3))
def flatten(scope: Scope, value: Value) -> Value:
    rest = (value.shape[0] * value.shape[1], *value.shape[2:])
    ways = [f"{value.name}.flatten(1, 2)", f"{value.name}.reshape({value.name}.shape[0], {', '.join(map(str, rest))})",
            f"torch.flatten({value.name}, 1, 2)", f"{value.name}.reshape(-1, {', '.join(map(str, rest))})"]  # fmt: skip
    return scope.let(scope.rng.choice(ways), rest)


@rule(2, (2, 3))
def turn(scope: Scope, value: Value) -> Value:
    if value.dims == 2:
        return scope.let(
            scope.rng.choice(["H.transpose(1, 2)", "H.mT", "H.permute(0, 2, 1)"]).replace("H", value.name),
            value.shape[::-1],
        )
    a, b, c = value.shape
    text, shape = scope.rng.choice(
        [("permute(0, 2, 3, 1)", (b, c, a)), ("transpose(2, 3)", (a, c, b)), ("movedim(3, 1)", (c, a, b))]
    )
    return scope.let(f"{value.name}.{text}", shape)


@rule(1.5, (1, 2))
def fold(scope: Scope, value: Value) -> Value | None:
    size, *rest = value.shape
    if size % 2:
        return None
    sizes = f"-1, 2, {size // 2}" + "".join(f", {n}" for n in rest)
    ways = [f"{value.name}.reshape({sizes})",
    f"{value.name}.view({sizes})" if not rest else f"{value.name}.contiguous().view({sizes})",
            f"{value.name}.unflatten(1, (2, {size // 2}))"]  # fmt: skip
    return scope.let(scope.rng.choice(ways), (2, size // 2, *rest))


@rule(1.5, (2,))
def product(scope: Scope, value: Value) -> Value:
    length, size = value.shape
    other = scope.partner(value)
    text, shape = scope.rng.choice([
        ("torch.bmm(A, B.transpose(1, 2))", (length, length)), ("A @ B.mT / 4", (length, length)),
        ("torch.softmax(A @ B.transpose(-1, -2), -1) @ B", (length, size)),
        ("F.scaled_dot_product_attention(A, B, B)", (length, size)),
        ("F.scaled_dot_product_attention(A, A, B, is_causal=True)", (length, size)),
        ("torch.einsum('bij,bkj->bik', A, B)", (length, length)),
        ("torch.softmax((A @ A.mT).masked_fill(torch.ones(L, L).triu(1).bool(), float('-inf')), -1) @ B",
        (length, size)),
        ("(A @ B.mT).tril()", (length, length)), ("torch.cdist(A, B + 1)", (length, length)),
    ])  # fmt: skip
    names = {"A": value.name, "B": other.name, "L": str(length)}
    return scope.let("".join(names.get(c, c) for c in text), shape)


@rule(1, (1,))
def outer(scope: Scope, value: Value) -> Value:
    other, size = scope.partner(value), value.shape[0]
    text = scope.rng.choice(
        ["A.unsqueeze(2) * B.unsqueeze(1)", "torch.bmm(A[:, :, None], B[:, None])", "A[:, :, None] - B[:, None, :]"]
    )
    return scope.let("".join({"A": value.name, "B": other.name}.get(c, c) for c in text), (size, size))


@rule(1)
def pad(scope: Scope, value: Value) -> Value:
    mode = scope.rng.choice(["", ", value=0.5"])
    return scope.let(f"F.pad({value.name}, (1, 0){mode})", (*value.shape[:-1], value.shape[-1] + 1))


@rule(1, (3,))
def resize(scope: Scope, value: Value) -> Value:
    channels, height, width = value.shape
    how = scope.rng.choice(
        ["mode='nearest'", "mode='bilinear', align_corners=False", "mode='bilinear', align_corners=True"]
    )
    return scope.let(f"F.interpolate({value.name}, scale_factor=2, {how})", (channels, height * 2, width * 2))


@rule(1)
def shape_dependent(scope: Scope, value: Value) -> Value:
    return scope.same(value, scope.rng.choice([
        "H * (H.shape[-1] ** -0.5)", "H / len(H.shape)", "H + torch.arange(H.shape[-1])",
        "H + torch.linspace(0, 1, H.size(-1))",
        "H * torch.tensor(0.5)", "H + H.new_ones(H.shape[-1])", "H * torch.eye(H.shape[-1])[0]",
        "H + torch.zeros(H.shape)",
        "H + torch.zeros(H.shape[0], *H.shape[1:])", "H * (2 if H.dim() > 2 else 3)",
        "H * (1 if H.shape[1] > 3 else 2)",
    ]).replace("H", value.name))  # fmt: skip
