"""Statements in which a row's result depends on other rows of the batch, or on how many there are."""

from __future__ import annotations

from fuzz_models.scope import Rule, Scope, Value, choices

COUPLED = choices("""
    H - H.mean(0) | H / (1 + H.std(0)) | F.softmax(H, 0) | H + H.sum() | H * H.mean() | torch.cumsum(H, 0) |
    H.flip(0) | H - H[0] | H.roll(1, 0) | H / H.shape[0] | H - H.amax(0, keepdim=True) | torch.sort(H, 0)[0] |
    F.batch_norm(H, None, None, training=True) | H + torch.randperm(H.shape[0])[0] * 0 | H - H.mean() |
    H / (H.norm() + 1) | (H - H.mean(0)).detach() + H |
    H * torch.arange(H.shape[0]).reshape(-1, *[1] * (H.dim() - 1)) | H[:1] + H | H - H.detach().mean(0) |
    F.normalize(H, dim=0) | H.reshape(H.shape[1], -1).sum() * 0.01 + H | H.max() - H |
    H + H[torch.arange(H.shape[0]) - 1] | H * (1 if H.shape[0] > 4 else 2) | torch.where(H > H.median(), H, -H) |
    H - H.quantile(0.5)
""")


def couple(scope: Scope, value: Value) -> Value:
    return scope.same(value, scope.rng.choice(COUPLED).replace("H", value.name))


def by_layer(scope: Scope, value: Value) -> Value | None:
    """Layers with the batch in the wrong place, and norms without running statistics."""
    size, channels = value.shape[-1], value.shape[0]
    if value.dims != 2:
        kind = f"nn.BatchNorm{max(1, value.dims - 1)}d({channels}, track_running_stats=False)"
        return scope.same(value, f"{scope.layer(kind, 'norm')}({value.name})")
    name = scope.layer(scope.rng.choice([f"nn.MultiheadAttention({size}, 1)", f"nn.GRU({size}, {size})"]), "coupled")
    given = ", ".join([value.name] * (3 if "Multi" in scope.made[-1] else 1))
    return scope.same(value, f"{name}({given})[0]")


COUPLING = [Rule(couple, 3, (1, 2, 3)), Rule(by_layer, 1, (1, 2, 3))]
