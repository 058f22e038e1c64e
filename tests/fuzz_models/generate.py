"""Source text of case k of seed s: always the same."""

from __future__ import annotations

import random

from fuzz_models import calls, coupled, layers, modes, objectives, writes  # noqa: F401 (each registers its rules)
from fuzz_models.scope import INDENT, Program, Scope, Value, step

HEAD = """\
import collections
import functools

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed({seed})
ROWS = 11
"""
COUPLED_SHARE = 0.12  # of the cases


def source(seed: int, case: int) -> str:
    rng = random.Random(f"{seed}/{case}")
    program = Program(rng)
    net = Scope(program)
    inputs = begin(net)
    for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 5, 7])):
        step(net)
        use_parts(net)
    if rng.random() < COUPLED_SHARE:
        step(net, coupled.COUPLING)
    objective = objectives.finish(net)
    classes = [*program.functions, *program.classes, net.text("Net", ", ".join(arguments(rng, inputs)))]
    parts = [HEAD.format(seed=case), *(f"\n\n{text}\n" for text in classes), "\n\nNET = Net()\n"]
    return tidy("".join(parts) + "\n".join(objectives.data(program, inputs, objective)) + "\n")


def begin(net: Scope) -> dict[str, str]:
    """Chooses the inputs and writes what brings them together; name -> expression of the rows."""
    kind = net.rng.choices(["vector", "sequence", "image", "ids", "several"], [4, 3, 2, 2, 3])[0]
    return {"vector": one, "sequence": one, "image": one, "ids": ids, "several": several}[kind](net, kind)


def one(net: Scope, kind: str) -> dict[str, str]:
    shapes = {
        "vector": [(4,), (6,), (8,)],
        "sequence": [(4, 6), (3, 4), (5, 2)],
        "image": [(2, 4, 4), (1, 6, 6), (3, 4, 5)],
    }
    shape = net.rng.choice(shapes[kind])
    net.values.append(Value("x", shape))
    return {"x": f"torch.randn(ROWS, {', '.join(map(str, shape))})"}


def ids(net: Scope, kind: str, name: str = "ids") -> dict[str, str]:
    length, size = net.rng.choice([3, 4, 5]), net.rng.choice([2, 4])
    if net.rng.random() < 0.3:
        how = net.rng.choice(
            [f"F.one_hot({name}, 7).float()", f"torch.eye(7)[{name}]", f"torch.eye(7).index_select(0, {name})"]
        )
        net.let(how, (7,))
        return {name: "torch.randint(0, 7, (ROWS,))"}
    more = net.rng.choice(["", "", "", ", padding_idx=0", ", padding_idx=0", ", scale_grad_by_freq=True"])
    bag = net.rng.random() < 0.2
    table = net.layer(f"nn.{'EmbeddingBag' if bag else 'Embedding'}(7, {size}{'' if bag else more})", "table")
    value = net.let(f"{table}({name})", (size,) if bag else (length, size))
    if not bag and net.rng.random() < 0.5:
        mask = net.rng.choice(
            [f"* ({name} != 0).unsqueeze(-1)", f"+ {name}.float().unsqueeze(-1) * 0.1", f"* ({name} % 2)[..., None]"]
        )
        net.same(value, f"{value.name} {mask}")
    return {name: f"torch.randint(0, 7, (ROWS, {length}))"}


def several(net: Scope, kind: str) -> dict[str, str]:
    width = net.rng.choice([3, 4])
    inputs = dict.fromkeys(net.rng.sample(["left", "right", "alpha", "x"], 2), f"torch.randn(ROWS, {width})")
    first, second = inputs
    net.values += [Value(first, (width,)), Value(second, (width,))]
    net.same(net.values[-1], f"{first} * 0.5 - {second}")
    extra = net.rng.random()
    if extra < 0.3:
        kept = net.values[-1]
        inputs |= ids(net, kind, "item")
        flat = net.let(f"{net.values[-1].name}.flatten(1)", (net.values[-1].size,))
        net.let(f"torch.cat([{kept.name}, {flat.name}], 1)", (width + flat.size,))
    elif extra < 0.5:
        inputs["mask"] = "(torch.rand(ROWS) > 0.3).float()"
        net.same(net.values[-1], f"{net.values[-1].name} * mask.unsqueeze(1)")
    elif extra < 0.6:
        inputs["flag"] = "torch.rand(ROWS) > 0.3"
        net.same(net.values[-1], f"torch.where(flag[:, None], {net.values[-1].name}, {first})")
    return inputs


def use_parts(net: Scope) -> None:
    """Sometimes keeps a value from before in what goes on."""
    last = net.values[-1]
    if net.rng.random() < 0.15 and (other := net.partner(last)) is not last:
        net.same(last, f"{last.name} + {other.name}")


def arguments(rng: random.Random, inputs: dict[str, str]) -> list[str]:
    """Several inputs go by name, whatever their order."""
    names = list(inputs)
    rng.shuffle(names)
    return names


def tidy(text: str) -> str:
    for unused in ("import collections\n", "import functools\n"):
        if unused.split()[1] + "." not in text:
            text = text.replace(unused, "")
    return text.replace(INDENT * 2 + "\n", "\n").lstrip()
