"""LSTM, GRU and RNN, by torch's own; their weights stay as the file has them, gates in ONNX's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stoker.frontend.onnx.registry import operator
from stoker.frontend.onnx.values import numbers

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # of torch, by their places in ONNX
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@operator("LSTM", reads="hidden_size direction activations clip input_forget layout", known=(4,))
def _lstm(node: Any, x: Tensor, w: Tensor, r: Tensor, bias: Any = None, lengths: Any = None, h: Any = None,
          c: Any = None, peepholes: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    if peepholes is not None:
        raise node.error("it has peepholes, which torch's LSTM has not")
    if node.attribute("input_forget", 0):
        raise node.error("it couples its input and forget gates (input_forget), which torch's LSTM does not")
    return _run(node, x, (w, r, bias), lengths, [h, c], torch.lstm)


@operator("GRU", reads="hidden_size direction activations clip linear_before_reset layout", known=(4,))
def _gru(node: Any, x: Tensor, w: Tensor, r: Tensor, bias: Any = None, lengths: Any = None,
         h: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    run = torch.gru if node.attribute("linear_before_reset", 0) else _reset_first
    return _run(node, x, (w, r, bias), lengths, [h], run)


@operator("RNN", reads="hidden_size direction activations clip layout", known=(4,))
def _rnn(node: Any, x: Tensor, w: Tensor, r: Tensor, bias: Any = None, lengths: Any = None,
         h: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    relu = set(node.attribute("activations", [])) == {"Relu"}
    return _run(node, x, (w, r, bias), lengths, [h], torch.rnn_relu if relu else torch.rnn_tanh)


def _run(node: Any, x: Tensor, weights: tuple, lengths: Any, states: list[Any], run: Callable) -> tuple[Tensor, ...]:
    """Places, rows, values -> places, directions, rows, values; and the last states."""
    _check(node, x, lengths)
    by_row = bool(node.attribute("layout", 0))
    x = x.transpose(0, 1) if by_row else x
    size, directions = node.attribute("hidden_size") or weights[1].shape[-1], weights[0].shape[0]
    if directions != 1 + (node.attribute("direction", "forward") == "bidirectional"):
        raise node.error(f"its direction is {node.attribute('direction', 'forward')!r}, and its weights are of "
                         f"{directions}")  # fmt: skip
    states = [_state(one, x, directions, size, by_row) for one in states]
    backwards = node.attribute("direction", "forward") == "reverse"
    flat = [tensor for number in range(directions) for tensor in _of_direction(node, weights, number)]
    hidden = tuple(states) if len(states) > 1 else states[0]
    given = x.flip(0) if backwards else x
    out, *last = run(given, hidden, flat, weights[2] is not None, 1, 0.0, False, directions == 2, False)
    out = out.flip(0) if backwards else out
    out = out.unflatten(2, (directions, -1))  # places, rows, directions, values
    if by_row:
        return out.transpose(0, 1), *[one.transpose(0, 1) for one in last]
    return out.transpose(1, 2), *last


def _check(node: Any, x: Tensor, lengths: Any) -> None:
    usual, told = _USUAL[node.op], node.attribute("activations", [])
    known = [usual, ["Relu"]] if node.op == "RNN" else [usual]
    if told and not any(told == one * (len(told) // len(one)) for one in known):
        raise node.error(f"its activations are {', '.join(told)}; torch's {node.op} has {', '.join(usual)}")
    if node.attribute("clip"):
        raise node.error("it clips its gates, which torch's does not")
    steps = x.shape[1 if node.attribute("layout", 0) else 0]
    if lengths is not None and any(one != steps for one in numbers(lengths)):
        raise node.error("its rows have lengths of their own (sequence_lens): pad them, and export it without")


def _state(state: Any, x: Tensor, directions: int, size: int, by_row: bool) -> Tensor:
    """Zeros where there is none; one for all rows is repeated."""
    if state is None:
        return x.new_zeros(directions, x.shape[1], size)
    state = state.transpose(0, 1) if by_row else state
    return state.expand(directions, x.shape[1], size)


def _of_direction(node: Any, weights: tuple, number: int) -> list[Tensor]:
    w, r, bias = weights
    found = [_reordered(node.op, one[number]) for one in (w, r)]
    if bias is not None:
        found += [_reordered(node.op, one) for one in bias[number].chunk(2)]
    return found


def _reordered(op: str, gates: Tensor) -> Tensor:
    parts = gates.chunk(len(_GATES[op]))
    return torch.cat([parts[place] for place in _GATES[op]]) if len(parts) > 1 else gates


def _reset_first(x: Tensor, hidden: Tensor, flat: list[Tensor], biased: bool, layers: int, dropout: float,
                 train: bool, both: bool, by_row: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A GRU that resets the state before it is multiplied (linear_before_reset=0), place by place."""
    each, outs, lasts = len(flat) // (2 if both else 1), [], []
    for number in range(2 if both else 1):
        w, r, *biases = flat[number * each : (number + 1) * each]
        steps = [x[place] for place in range(x.shape[0])]
        h, found = hidden[number], []
        for step in reversed(steps) if number else steps:
            h = _step(step, h, w, r, biases)
            found.append(h)
        outs.append(torch.stack(found[::-1] if number else found))
        lasts.append(h)
    return torch.cat(outs, 2), torch.stack(lasts)


def _step(x: Tensor, h: Tensor, w: Tensor, r: Tensor, biases: list[Tensor]) -> Tensor:
    linear = torch.nn.functional.linear
    of_x = linear(x, w, biases[0] if biases else None)
    size = h.shape[-1]
    bias = biases[1] if biases else None
    of_h = linear(h, r[: 2 * size], None if bias is None else bias[: 2 * size])
    reset = torch.sigmoid(of_x[:, :size] + of_h[:, :size])
    update = torch.sigmoid(of_x[:, size : 2 * size] + of_h[:, size:])
    new = torch.tanh(of_x[:, 2 * size :] + linear(reset * h, r[2 * size :], None if bias is None else bias[2 * size :]))
    return (1 - update) * new + update * h
