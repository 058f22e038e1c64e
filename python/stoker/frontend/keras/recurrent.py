"""Keras' recurrent layers while they are traced: ATen's LSTM and GRU in place of unrolled steps, masks included, and a
loop over steps that does not ask for the number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import tree

Tensor = torch.Tensor


def loop(original: Callable) -> Callable:
    """Keras' backend.rnn: step by step; a masked step leaves states and output as they were."""

    def rnn(step_function, inputs, initial_states, go_backwards=False, mask=None, constants=None, unroll=False,
            input_length=None, time_major=False, zero_output_for_mask=False, return_all_outputs=True):  # fmt: skip
        steps = tree.flatten(inputs)[0].shape[0 if time_major else 1]
        if input_length is not None and input_length != steps:
            return original(step_function, inputs, initial_states, go_backwards, mask, constants, unroll, input_length,
                            time_major, zero_output_for_mask, return_all_outputs)  # fmt: skip
        at = (lambda x, t: x[t]) if time_major else (lambda x, t: x[:, t])
        states, outputs = tuple(initial_states), []
        for t in range(steps - 1, -1, -1) if go_backwards else range(steps):
            now = tree.map_structure(lambda x, t=t: at(x, t), inputs)
            output, fresh = step_function(now, states + tuple(constants or ()))
            if mask is not None:
                kept = outputs[-1] if outputs and not zero_output_for_mask else torch.zeros_like(output)
                valid = at(mask, t)
                output = _where(valid, output, kept)
                old = tree.pack_sequence_as(fresh, tree.flatten(states))
                fresh = tree.map_structure(lambda new, was, valid=valid: _where(valid, new, was), fresh, old)
            states = tuple(fresh)
            outputs.append(output)
        told = outputs if return_all_outputs else outputs[-1:]
        return outputs[-1], torch.stack(told, 0 if time_major else 1), list(states)

    return rnn


def _where(valid: Tensor, new: Tensor, old: Tensor) -> Tensor:
    valid = valid.bool().reshape(valid.shape[:1] + (1,) * (new.dim() - 1))
    return torch.where(valid, new, old)


def lstm(original: Callable) -> Callable:
    def inner_loop(self, sequences, initial_state, mask, training=False):
        mask = mask[0] if tree.is_nested(mask) else mask
        if not _fits(self, mask):
            return original(self, sequences, initial_state, mask, training)
        hidden = tuple(state.unsqueeze(0) for state in initial_state)
        weights = [self.cell.kernel.value.t(), self.cell.recurrent_kernel.value.t()]
        if self.cell.bias is not None:
            weights += [self.cell.bias.value, torch.zeros_like(self.cell.bias.value)]

        def run(x):
            out, _, cell = torch._VF.lstm(x, hidden, weights, len(weights) > 2, 1, 0.0, True, False, True)
            return out, [cell.squeeze(0)]

        return _fused(self, run, sequences, mask, training)

    return inner_loop


def gru(original: Callable) -> Callable:
    def inner_loop(self, sequences, initial_state, mask, training=False):
        mask = mask[0] if tree.is_nested(mask) else mask
        if not _fits(self, mask) or not self.cell.reset_after:
            return original(self, sequences, initial_state, mask, training)
        state = initial_state[0] if tree.is_nested(initial_state) else initial_state
        weights = [_reset_first(self.cell.kernel.value, 1).t(), _reset_first(self.cell.recurrent_kernel.value, 1).t()]
        if self.cell.bias is not None:
            weights += [_reset_first(bias, 0) for bias in self.cell.bias.value.unbind(0)]

        def run(x):
            out, _ = torch._VF.gru(x, state.unsqueeze(0), weights, len(weights) > 2, 1, 0.0, True, False, True)
            return out, []

        return _fused(self, run, sequences, mask, training)

    return inner_loop


def _reset_first(gates: Tensor, axis: int) -> Tensor:
    """Keras has the update gate first, torch the reset gate."""
    update, reset, new = gates.chunk(3, axis)
    return torch.cat([reset, update, new], axis)


def _fits(layer: Any, mask: Tensor | None) -> bool:
    """The last cell state is not known where steps are left out."""
    return (layer.cell.activation is keras.activations.tanh
            and layer.cell.recurrent_activation is keras.activations.sigmoid
            and not layer.recurrent_dropout
            and not (mask is not None and (layer.return_state or layer.stateful)))  # fmt: skip


def _fused(layer: Any, run: Callable, x: Tensor, mask: Tensor | None, training: bool) -> tuple:
    if training and layer.dropout:
        x = x * layer.cell.get_dropout_mask(x[:, 0, :]).unsqueeze(1)
    if layer.go_backwards:
        x = torch.flip(x, [1])
        mask = torch.flip(mask, [1]) if mask is not None else None
    outputs, more = run(x) if mask is None else _masked(run, x, mask.bool(), layer.zero_output_for_mask)
    last = outputs[:, -1]
    return last, outputs if layer.return_sequences else last.unsqueeze(1), [last, *more]


def _masked(run: Callable, x: Tensor, mask: Tensor, zeros: bool) -> tuple:
    """Steps that count are gathered to the front, in their order; each output is that of the last one so far."""
    counted = mask.to(torch.int64)
    order = torch.argsort(1 - counted, dim=1, stable=True)
    outputs, more = run(x.gather(1, order.unsqueeze(-1).expand_as(x)))
    last = counted.cumsum(1) - 1
    index = last.clamp(min=0).unsqueeze(-1).expand(-1, -1, outputs.shape[-1])
    seen = mask if zeros else last >= 0
    return torch.where(seen.unsqueeze(-1), outputs.gather(1, index), 0.0), more
