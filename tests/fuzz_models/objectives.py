"""What the model gives, its labels, and the loss over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fuzz_models.scope import INDENT, Program, Scope, Value, choices


@dataclass
class Objective:
    """Lines that define LOSS, the labels by name, and what else `Case` takes."""

    labels: dict[str, str]
    lines: list[str]
    more: list[str] = field(default_factory=list)


def to_width(scope: Scope, size: int) -> Value:
    """The newest value, brought to [rows, size]."""
    value = scope.values[-1]
    if value.dims > 1:
        value = scope.let(f"{value.name}.flatten(1)", (value.size,))
    head = scope.layer(f"nn.Linear({value.shape[0]}, {size})", "head")
    return scope.let(f"{head}({value.name})", (size,))


CLASS_LOSSES = choices("""
    nn.CrossEntropyLoss() | nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.2, 5.0])) |
    nn.CrossEntropyLoss(ignore_index=2) | nn.CrossEntropyLoss() | nn.CrossEntropyLoss(label_smoothing=0.1) |
    nn.CrossEntropyLoss(reduction='sum') | nn.MultiMarginLoss() | nn.MultiMarginLoss(p=2, margin=0.5) |
    nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.2, 5.0]), ignore_index=0, label_smoothing=0.2) | F.cross_entropy |
    functools.partial(F.cross_entropy, label_smoothing=0.1) | functools.partial(F.cross_entropy, ignore_index=1) |
    lambda o, y: F.cross_entropy(o, y) | lambda o, y: F.nll_loss(F.log_softmax(o, 1), y) |
    lambda o, y: F.cross_entropy(o, y, reduction='sum') / len(y) |
    lambda o, y: F.cross_entropy(o, y, weight=torch.tensor([1.0, 1.0, 50.0])) |
    lambda o, y: F.cross_entropy(o, y, ignore_index=2) |
    lambda o, y: F.mse_loss(o.softmax(1), F.one_hot(y, 3).float()) |
    lambda o, y: -(o.log_softmax(1)[torch.arange(len(y)), y]).mean() | lambda o, y: F.multi_margin_loss(o, y) |
    lambda o, y: F.cross_entropy(o, y) ** 2 |
    lambda o, y: F.cross_entropy(o / o.detach().norm(dim=1, keepdim=True), y) |
    lambda o, y: F.cross_entropy(o @ o.t(), torch.arange(len(o))) |
    lambda o, y: F.cross_entropy(o, y) + o.mean(0).pow(2).sum() |
    lambda o, y: F.kl_div(o.log_softmax(1), F.one_hot(y, 3).float(), reduction='batchmean') |
    lambda o, y: F.cross_entropy(o[y > 0], y[y > 0]) |
    lambda o, y: (F.cross_entropy(o, y, reduction='none') * (y == 1)).sum() / (y == 1).sum().clamp(min=1) |
    lambda o, y: F.cross_entropy(o, y.clamp(max=1)) + 0.1 * F.cross_entropy(o[:, 1:], (y > 1).long()) |
    lambda o, y: F.cross_entropy(o, y, reduction='none').max()
""")

NUMBER_LOSSES = choices("""
    nn.MSELoss() | nn.L1Loss() | nn.SmoothL1Loss() | nn.HuberLoss(delta=0.5) | nn.MSELoss(reduction='sum') |
    nn.BCEWithLogitsLoss() | F.mse_loss | F.l1_loss | nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0, 0.5])) |
    nn.BCEWithLogitsLoss(weight=torch.tensor([3.0, 0.5])) | nn.PoissonNLLLoss() | nn.SoftMarginLoss() |
    nn.MultiLabelSoftMarginLoss() | nn.HingeEmbeddingLoss() | lambda o, y: ((o - y) ** 2).mean() |
    lambda o, y: (o - y).abs().mean() | lambda o, y: ((o - y) ** 2).mean().sqrt() |
    lambda o, y: ((o - y) ** 2).sum() | lambda o, y: ((o - y) ** 2).sum() / o.numel() |
    lambda o, y: torch.log(torch.cosh(o - y)).mean() | lambda o, y: F.mse_loss(o, y) / y.var() |
    lambda o, y: ((o - y).abs() * (y > 0)).mean() | lambda o, y: 1 - F.cosine_similarity(o, y, dim=1).mean() |
    lambda o, y: 1 - F.cosine_similarity(o, y, dim=0).mean() | lambda o, y: F.huber_loss(o, y) |
    lambda o, y: torch.where(o > y, o - y, (y - o) * 0.3).mean() |
    lambda o, y: F.binary_cross_entropy(torch.sigmoid(o), torch.sigmoid(y)) |
    lambda o, y: (o - y).pow(2).mean(0).sum() | lambda o, y: (o - y).pow(2).sum(1).mean() |
    lambda o, y: (o - y).norm() | lambda o, y: (o.mean(0) - y.mean(0)).pow(2).sum()
""")

SEQUENCE_LOSSES = choices("""
    nn.CrossEntropyLoss() | nn.CrossEntropyLoss(ignore_index=1) | lambda o, y: F.cross_entropy(o, y) | F.cross_entropy |
    lambda o, y: F.cross_entropy(o.transpose(1, 2).reshape(-1, 3), y.reshape(-1), ignore_index=0)
""")

ROW_LOSSES = {
    "classes": [
        "lambda o, y: F.cross_entropy(o, y, reduction='none')",
        "lambda o, y: -o.log_softmax(1).gather(1, y[:, None])[:, 0]",
    ],
    "numbers": [
        "lambda o, y: (o - y) ** 2",
        "lambda o, y: ((o - y) ** 2).mean(1)",
        "lambda o, y: F.smooth_l1_loss(o, y, reduction='none')",
    ],
}
BASE = {"classes": "F.cross_entropy(outputs, labels)", "numbers": "F.mse_loss(outputs, labels)"}
EACH = {
    "classes": "F.cross_entropy(outputs, labels, reduction='none')",
    "numbers": "F.mse_loss(outputs, labels, reduction='none').mean(1)",
}
LABELS = {"classes": "torch.randint(0, 3, (ROWS,))", "numbers": "torch.randn(ROWS, 2)"}

PENALTIES = choices("""
    0.1 * sum(p.pow(2).sum() for p in NET.parameters()) | 0.01 * sum(p.abs().sum() for p in NET.parameters()) |
    0.1 * sum(p.pow(2).sum() for n, p in NET.named_parameters() if 'bias' not in n) |
    0.1 * next(NET.parameters()).norm() | 0.1 * sum(p.detach().pow(2).sum() for p in NET.parameters()) |
    0.1 * torch.cat([p.flatten() for p in NET.parameters()]).pow(2).mean() | 0.1 * list(NET.parameters())[-1].sum() |
    0.1 * sum((b.float() ** 2).sum() for b in NET.buffers()) |
    0.1 * sum(m.weight.pow(2).mean() for m in NET.modules() if isinstance(m, nn.Linear)) |
    0.1 * NET.state_dict()[list(NET.state_dict())[-1]].sum()
""")

FOCAL = choices("""
    with torch.no_grad():\n    w = (1 - torch.exp(-each)) ** 2\nreturn (w * each).mean() |
    w = (1 - torch.exp(-each.detach())) ** 2\nreturn (w * each).mean() |
    with torch.no_grad():\n    w = each / each.sum()\nreturn (w * each).sum() |
    w = torch.no_grad()(torch.sigmoid)(each)\nreturn (w * each).mean() |
    hard = each > each.mean()\nreturn each[hard].mean() | return torch.topk(each, 2)[0].mean() |
    with torch.no_grad():\n    each = each * 2\nreturn each.mean() + each_again |
    with torch.inference_mode():\n    w = torch.exp(-each)\nreturn (w.clone() * each).mean() |
    return (each * torch.linspace(0, 1, len(each))).mean() | each.mul_(0.5)\nreturn each.mean() |
    each = each.clone()\neach[0] = 0\nreturn each.mean() | return each.mean() + each.var() | return each.median() |
    return each.pow(2).mean() if NET.training else each.mean() | return each.sum() / max(len(each), 1) |
    each.register_hook(lambda g: g * 0.5)\nreturn each.mean()
""")

# What __init__ makes, what forward does
LOSS_MODULES = [
    ("self.scale = nn.Parameter(torch.tensor(1.5))", "return F.mse_loss(outputs * self.scale, target)"),
    (
        "self.register_buffer('shift', torch.tensor([0.1, -0.2, 0.3]))",
        "return F.mse_loss(outputs + self.shift[: outputs.shape[1]], target)",
    ),
    (
        "self.register_buffer('centre', torch.zeros(()))",
        "self.centre = 0.9 * self.centre + 0.1 * outputs.detach().mean()",
        "return F.mse_loss(outputs - self.centre, target)",
    ),
    ("self.net = NET", "return F.mse_loss(outputs, target) + 0.1 * sum(p.pow(2).sum() for p in self.net.parameters())"),
    ("self.inner = nn.SmoothL1Loss()", "return self.inner(outputs, target)"),
    ("self.step = 0", "self.step += 1", "return F.mse_loss(outputs, target) * (1 + 0.1 * self.step)"),
    (
        "self.log_sigma = nn.Parameter(torch.zeros(2))",
        "each = F.mse_loss(outputs, target, reduction='none').mean(0)[:2]",
        "return (each / self.log_sigma.exp() + self.log_sigma).sum()",
    ),
]


def kind_of(scope: Scope) -> str:
    return scope.rng.choice(["classes", "numbers"])


def single(scope: Scope) -> tuple[str, str, Callable]:
    kind = kind_of(scope)
    value = to_width(scope, 3 if kind == "classes" else 2)
    scope.line(f"return {value.name}")
    return kind, LABELS[kind], scope.rng.choice


def known(scope: Scope) -> Objective:
    kind, label, choice = single(scope)
    loss = choice(CLASS_LOSSES if kind == "classes" else NUMBER_LOSSES)
    if any(word in loss for word in ("BCEWith", "Poisson", "MultiLabel")):
        label = f"({label} > 0).float()"
    elif "SoftMargin" in loss or "Hinge" in loss:
        label = f"{label}.sign()"
    return Objective({"y": label}, [f"LOSS = {loss}"])


def ignored(scope: Scope) -> Objective:
    """Some labels are the number that counts for nothing."""
    value = to_width(scope, 3)
    scope.line(f"return {value.name}")
    loss = scope.rng.choice(
        [
            "nn.CrossEntropyLoss()",
            "lambda o, y: F.cross_entropy(o, y)",
            "nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 0.5]))",
        ]
    )
    return Objective(
        {"y": "torch.randint(0, 3, (ROWS,)).masked_fill(torch.rand(ROWS) < 0.3, -100)"}, [f"LOSS = {loss}"]
    )


def by_row(scope: Scope) -> Objective:
    kind, label, choice = single(scope)
    more = ["REDUCTION = 'none'"]
    if scope.rng.random() < 0.5:
        more.append("WEIGHT = torch.rand(ROWS) * (torch.rand(ROWS) > 0.2)")
    return Objective({"y": label}, [f"LOSS = {choice(ROW_LOSSES[kind])}"], more)


def weighted(scope: Scope) -> Objective:
    kind, label, _ = single(scope)
    loss = {"classes": "nn.CrossEntropyLoss()", "numbers": "nn.MSELoss()"}[kind]
    each = f"{INDENT}return ({EACH[kind]} * weight).sum() / weight.sum()"
    return Objective(
        {"y": label},
        [f"LOSS = {loss}"],
        ["WEIGHT = torch.rand(ROWS)", "\n\ndef reference(outputs, labels, weight):", each],
    )


def summed(scope: Scope) -> Objective:
    kind, label, _ = single(scope)
    return Objective({"y": label}, [f"LOSS = lambda outputs, labels: ({EACH[kind]}).sum()"], ["REDUCTION = 'sum'"])


def penalised(scope: Scope) -> Objective:
    kind, label, choice = single(scope)
    base = f"{BASE[kind]} + {choice(PENALTIES)}"
    return Objective({"y": label}, ["\n\ndef LOSS(outputs, labels):", f"{INDENT}return {base}", "\n"])


def focal(scope: Scope) -> Objective:
    kind, label, choice = single(scope)
    body = choice(FOCAL).replace("each_again", EACH[kind] + ".mean()")
    lines = [f"each = {EACH[kind]}", *body.split("\n")]
    return Objective({"y": label}, ["\n\ndef LOSS(outputs, labels):", *(INDENT + line for line in lines), "\n"])


def module(scope: Scope) -> Objective:
    kind, label, choice = single(scope)
    made, *body = choice(LOSS_MODULES)
    target = "F.one_hot(labels, 3).float()" if kind == "classes" else "labels"
    lines = ["\n\nclass Loss(nn.Module):", f"{INDENT}def __init__(self):", f"{INDENT * 2}super().__init__()",
    INDENT * 2 + made, "",
             f"{INDENT}def forward(self, outputs, labels):",
             *(INDENT * 2 + line.replace("target", target) for line in body)]  # fmt: skip
    return Objective({"y": label}, [*lines, "\n\nLOSS = Loss()"])


def sequence(scope: Scope) -> Objective | None:
    """A class for each position."""
    value = scope.values[-1]
    if value.dims != 2:
        return None
    length = value.shape[0]
    head = scope.layer(f"nn.Linear({value.shape[1]}, 3)", "head")
    scope.line(f"return {head}({value.name}).transpose(1, 2)")
    loss = scope.rng.choice(SEQUENCE_LOSSES)
    return Objective({"y": f"torch.randint(0, 3, (ROWS, {length}))"}, [f"LOSS = {loss}"])


def scalar(scope: Scope) -> Objective:
    """One number a row, with the dimension of size 1 or without."""
    value = to_width(scope, 1)
    squeezed = scope.rng.random() < 0.5
    scope.line(f"return {value.name}{'.squeeze(1)' if squeezed else ''}")
    loss = scope.rng.choice(
        ["nn.MSELoss()", "nn.L1Loss()", "F.mse_loss", "lambda o, y: F.mse_loss(o, y)", "nn.BCEWithLogitsLoss()"]
    )
    return Objective({"y": f"torch.rand(ROWS{'' if squeezed else ', 1'})"}, [f"LOSS = {loss}"])


STRUCTURES = ('{"kind": K, "size": S}', '{"size": S, "more": {"kind": K}}', "Result(K, S)",
'{"kind": K, "size": S, "nothing": None}', '{"kind": K, "size": S, "extra": X}',
              '{"kind": K, "size": S, "mean": X.mean(0)}', "(K, S)", "[K, S]", "(K, (S, X))")  # fmt: skip


def several(scope: Scope) -> Objective:
    """Outputs in dicts, tuples, lists, named tuples; two labels."""
    base = scope.values[-1].name
    kind, size = to_width(scope, 3), None
    scope.values.pop()
    size = to_width(scope, 2)
    text = scope.rng.choice(STRUCTURES)
    if "Result" in text:
        scope.program.functions.append('Result = collections.namedtuple("Result", "kind size")')
    made = "".join({"K": kind.name, "S": size.name, "X": base}.get(c, c) for c in text)
    scope.line(f"return {made}")
    take = {
        "{": ('outputs["kind"]', 'outputs["size"]'),
        "R": ("outputs.kind", "outputs.size"),
        "(": ("outputs[0]", "outputs[1]"),
        "[": ("outputs[0]", "outputs[1]"),
    }[text[0]]
    take = (
        ('outputs["more"]["kind"]', take[1]) if "more" in text else (take[0], "outputs[1][0]") if "(S" in text else take
    )
    loss = f"F.cross_entropy({take[0]}, labels['kind']) + F.mse_loss({take[1]}, labels['size'])"
    extra = scope.rng.choice(
        ["", f" + 0.1 * ({take[0]}.mean(1) - {take[1]}.mean(1)).pow(2).mean()", f" * {take[1]}.detach().abs().mean()"]
    )
    return Objective(
        {"kind": LABELS["classes"], "size": LABELS["numbers"]},
        ["\n\ndef LOSS(outputs, labels):", f"{INDENT}return ({loss}){extra}", "\n"],
    )


KINDS: list[tuple[Callable[[Scope], Objective | None], float]] = [
    (known, 8), (ignored, 1), (by_row, 1.5), (weighted, 1), (summed, 0.7), (penalised, 2), (focal, 2), (module, 1.5),
    (sequence, 2), (scalar, 1.5), (several, 2.5),
]  # fmt: skip


def finish(scope: Scope) -> Objective:
    while True:
        [(make, _)] = scope.rng.choices(KINDS, [weight for _, weight in KINDS])
        if (objective := make(scope)) is not None:
            return objective


def data(program: Program, inputs: dict[str, str], objective: Objective) -> list[str]:
    def table(name: str, values: dict[str, str]) -> str:
        return f"{name} = {{" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}"

    return [table("INPUTS", inputs), table("LABELS", objective.labels), *objective.lines, *objective.more]
