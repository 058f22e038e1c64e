"""Shapes of recurrent layers while a model is traced.

torch finds them by running every time step on fake tensors: a hundred steps take ten seconds. What the trace needs is
the shape of the result, its layout, and that it depends on the weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from stoker.frontend import private

_OPERATORS = [getattr(torch.ops.aten, name).input for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")]


def known_shapes() -> AbstractContextManager[None]:
    """Within it the recurrent operators on fake tensors give shapes at once. One thread at a time."""
    return private.fake_kernel(_OPERATORS, _result)


def _result(steps, hidden, params, has_biases, layers, dropout, train, bidirectional, batch_first):
    """(output, last hidden state, for LSTM last cell state); the values mean nothing."""
    states = hidden if isinstance(hidden, (list, tuple)) else [hidden]
    _check(steps, states, params[0])
    source = _source([steps, *states, *params])
    in_time = steps.transpose(0, 1) if batch_first else steps
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    output = in_time.new_empty((*in_time.shape[:-1], width)) + source
    return (
        output.transpose(0, 1) if batch_first else output,
        *(state.new_empty(state.shape) + source for state in states),
    )


def _source(tensors: list[torch.Tensor]) -> torch.Tensor:
    """A number that needs a gradient of each tensor that needs one."""
    needy = [tensor for tensor in tensors if tensor.requires_grad]
    return sum(tensor.sum() for tensor in needy or tensors[:1])


def _check(steps: torch.Tensor, states: list[torch.Tensor], weight: torch.Tensor) -> None:
    if steps.shape[-1] != weight.shape[1]:
        raise RuntimeError(f"a recurrent layer takes rows of {weight.shape[1]} numbers, and gets {steps.shape[-1]}")
    if any(state.dim() != steps.dim() for state in states):
        raise RuntimeError("a recurrent layer's hidden state does not fit its input")
