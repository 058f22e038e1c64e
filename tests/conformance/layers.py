"""A small case for every layer class of torch.nn that has parameters, from a table of constructor arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from conformance.harness import ROWS, Case

INDICES = "indices"  # rows are indices, not numbers
LOSS = "loss"  # the layer is a loss over classes


@dataclass
class Row:
    """How to make and feed a layer. shape: of one row; call: (layer, x) -> tensor where that is not layer(x)."""

    args: tuple = ()
    options: dict = field(default_factory=dict)
    shape: tuple = ()
    call: Callable | None = None
    kind: str = "numbers"


def _conv(dims: int, lazy: bool) -> Row:
    size = (2, 7, 6, 5)[: dims + 1]
    return Row((3, 3) if lazy else (2, 3, 3), {}, size)


def _first(layer, x):
    return layer(x)[0]


def _itself(times: int) -> Callable:
    return lambda layer, x: layer(*[x] * times)


_ENCODER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
_DECODER = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

TABLE: dict[type, Row] = {
    nn.Linear: Row((5, 3), {}, (5,)),
    nn.LazyLinear: Row((3,), {}, (5,)),
    nn.Bilinear: Row((4, 4, 3), {}, (4,), _itself(2)),
    nn.PReLU: Row((), {}, (4,)),
    nn.Embedding: Row((9, 4), {}, (3,), kind=INDICES),
    nn.EmbeddingBag: Row((9, 4), {}, (3,), kind=INDICES),
    nn.RNN: Row((4, 3), {"batch_first": True}, (5, 4), _first),
    nn.LSTM: Row((4, 3), {"batch_first": True, "proj_size": 2}, (5, 4), _first),
    nn.GRU: Row((4, 3), {"batch_first": True}, (5, 4), _first),
    nn.RNNCell: Row((4, 3), {}, (4,)),
    nn.LSTMCell: Row((4, 3), {}, (4,), _first),
    nn.GRUCell: Row((4, 3), {}, (4,)),
    nn.GroupNorm: Row((2, 4), {}, (4, 5)),
    nn.LayerNorm: Row((5,), {}, (4, 5)),
    nn.RMSNorm: Row((5,), {}, (4, 5)),
    nn.SyncBatchNorm: Row((4,), {}, (4, 5)),
    nn.MultiheadAttention: Row((8, 2), {"batch_first": True}, (5, 8), lambda layer, x: layer(x, x, x)[0]),
    nn.TransformerEncoderLayer: Row((8, 2, 16), {"batch_first": True}, (5, 8)),
    nn.TransformerDecoderLayer: Row((8, 2, 16), {"batch_first": True}, (5, 8), _itself(2)),
    nn.TransformerEncoder: Row((_ENCODER, 2), {}, (5, 8)),
    nn.TransformerDecoder: Row((_DECODER, 2), {}, (5, 8), _itself(2)),
    nn.Transformer: Row((8, 2, 1, 1, 16), {"batch_first": True}, (5, 8), _itself(2)),
    nn.LinearCrossEntropyLoss: Row((5, 9), {}, (5,), kind=LOSS),
    nn.AdaptiveLogSoftmaxWithLoss: Row((6, 8, [3, 5]), {}, (6,), lambda layer, x: layer.log_prob(x)),
}
for _dims in (1, 2, 3):
    _shape = (4, 5, 3, 2)[: _dims + 1]
    TABLE[getattr(nn, f"Conv{_dims}d")] = _conv(_dims, lazy=False)
    TABLE[getattr(nn, f"ConvTranspose{_dims}d")] = _conv(_dims, lazy=False)
    TABLE[getattr(nn, f"LazyConv{_dims}d")] = _conv(_dims, lazy=True)
    TABLE[getattr(nn, f"LazyConvTranspose{_dims}d")] = _conv(_dims, lazy=True)
    TABLE[getattr(nn, f"BatchNorm{_dims}d")] = Row((4,), {}, _shape)
    TABLE[getattr(nn, f"LazyBatchNorm{_dims}d")] = Row((), {}, _shape)
    TABLE[getattr(nn, f"InstanceNorm{_dims}d")] = Row((4,), {"affine": True, "track_running_stats": True}, _shape)
    TABLE[getattr(nn, f"LazyInstanceNorm{_dims}d")] = Row((), {"affine": True}, _shape)

# Bases and containers without a forward of their own; what has no parameters, and arguments of its own kind.
LEFT_OUT = {
    nn.Module, nn.RNNBase, nn.RNNCellBase, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict,
    nn.Sequential, nn.Container, nn.DataParallel, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d, nn.Unflatten,
}  # fmt: skip


def unlisted() -> list[str]:
    """Classes that have parameters, or cannot be made to find out, and are not in the table."""
    return [kind.__name__ for kind in _classes() if kind not in TABLE and _may_have_parameters(kind)]


def _classes() -> list[type]:
    found = {kind for _, kind in inspect.getmembers(nn, inspect.isclass) if issubclass(kind, nn.Module)}
    return sorted(found - LEFT_OUT, key=lambda kind: kind.__name__)


def _may_have_parameters(kind: type) -> bool:
    needed = [p for p in list(inspect.signature(kind.__init__).parameters.values())[1:]
              if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]  # fmt: skip
    try:
        return next(kind(*[2] * len(needed)).parameters(), None) is not None
    except Exception:
        return True


class Probe(nn.Module):
    def __init__(self, layer: nn.Module, call: Callable | None):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        y = self.call(self.layer, x) if self.call else self.layer(x)
        return y.flatten(1)


def case_of(kind: type) -> Case:
    row = TABLE[kind]
    if row.kind == LOSS:
        labels = torch.randint(0, row.args[1], (ROWS,))
        return Case(
            nn.Linear(4, *row.shape), kind(*row.args, **row.options), {"x": torch.randn(ROWS, 4)}, {"y": labels}
        )
    model = Probe(kind(*row.args, **row.options), row.call)
    shape = (ROWS, *row.shape)
    x = torch.randint(0, 9, shape) if row.kind == INDICES else torch.randn(shape)
    with torch.no_grad():
        width = model(x).shape[1:]
    return Case(model, squares_of_a_row, {"x": x}, {"y": torch.randn(ROWS, *width)})


def squares_of_a_row(outputs, labels):
    """A mean over rows alone, whose number is a power of two: the layers are compared, not the rounding of a mean."""
    return ((outputs - labels) ** 2).sum(1).mean()
