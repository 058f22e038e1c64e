"""What a program draws, and runs of it in which nothing is left to chance."""

from __future__ import annotations

import torch

from stoker.frontend.interpret import Interpreter, find_operator

_RECURRENT = {f"aten.{name}.input" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}  # dropout, whether in training
_GENERATORS = {"rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "normal",
               "uniform", "exponential", "log_normal", "random", "multinomial"}  # fmt: skip
_SHARES = "aten._sample_dirichlet.default"
# operator -> position and value of the argument that turns its chance off
_DROPOUTS = {
    **{f"aten.{name}.default": (2, False) for name in ("dropout", "alpha_dropout", "feature_dropout")},
    "aten.feature_alpha_dropout.default": (2, False),
    "aten.rrelu.default": (3, False),
    **dict.fromkeys(_RECURRENT, (5, 0.0)),
    "aten.scaled_dot_product_attention.default": (4, 0.0),
}


def without_dropout(program: dict) -> dict:
    return dict(program, nodes=[_without_dropout(node) for node in program["nodes"]])


def _without_dropout(node: dict) -> dict:
    position, off = _DROPOUTS.get(node["op"], (0, None))
    if off is None or len(node["args"]) <= position:
        return node
    args = list(node["args"])
    args[position] = off
    return dict(node, args=args)


def without_mixing(program: dict) -> dict:
    """Of a program that mixes rows (stoker.frontend.mixing): each row's own share, which is drawn first, is all."""
    nodes = list(program["nodes"])
    first = next(number for number, node in enumerate(nodes) if node["op"] == _SHARES)
    nodes[first] = dict(nodes[first], op="aten.ones_like.default", args=nodes[first]["args"][:1], kwargs={})
    return dict(program, nodes=nodes)


def is_random(program: dict) -> bool:
    """Beyond what a run without chance can settle."""
    return any(draws(node) and not _generates(node) for node in program["nodes"])


def _generates(node: dict) -> bool:
    return node["op"].split(".")[1].rstrip("_") in _GENERATORS


class WithoutChance(Interpreter):
    """What is drawn becomes 0.5, 0 or, for permutations, the reverse order: a row's share does not depend on luck."""

    def __init__(self, program: dict):
        super().__init__(program)
        self.drawn = {number: _written(node) for number, node in enumerate(program["nodes"])
                      if draws(node) and _generates(node)}  # fmt: skip

    def step(self, number: int, slots: list) -> None:
        super().step(number, slots)
        tensor = slots[self.drawn[number]] if number in self.drawn else None
        if isinstance(tensor, torch.Tensor):
            with torch.no_grad():
                tensor.copy_(_settled(tensor))


def _written(node: dict) -> int:
    """The slot of the result, or of what is filled in place."""
    return node["out"][0] if node["out"] and node["out"][0] is not None else node["args"][0]["slot"]


def _settled(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_floating_point():
        return torch.full_like(tensor, 0.5)
    is_permutation = tensor.dim() == 1 and torch.equal(tensor.sort()[0], torch.arange(len(tensor)))
    return torch.arange(len(tensor)).flip(0) if is_permutation else torch.zeros_like(tensor)


def draws(node: dict) -> bool:
    """Whether the operator draws random numbers, as it is called here."""
    if torch.Tag.nondeterministic_seeded not in getattr(find_operator(node["op"]), "tags", ()):
        return False
    position, off = _DROPOUTS.get(node["op"], (0, None))
    if off is None:
        return True
    options = node["args"][position:]
    return bool(options) and options[0] != off and not (node["op"] in _RECURRENT and options[1] is False)
