"""What can be read off a module: the shape of its input, what its output means."""

from __future__ import annotations

import torch
from torch import nn

from stoker.frontend.copies import copied
from stoker.frontend.foreign import Foreign, ForeignLoss
from stoker.frontend.losses import as_module

_KINDS_BY_LOSS = {
    nn.CrossEntropyLoss: "logits",
    nn.BCEWithLogitsLoss: "logits",
    nn.MultiLabelSoftMarginLoss: "logits",
    nn.NLLLoss: "log_probabilities",
    nn.KLDivLoss: "log_probabilities",
    nn.BCELoss: "probabilities",
}
_KINDS_BY_LAYER = {
    nn.Softmax: "probabilities",
    nn.Softmax2d: "probabilities",
    nn.Sigmoid: "probabilities",
    nn.LogSoftmax: "log_probabilities",
    nn.LogSigmoid: "log_probabilities",
}


def infer_input_shape(module: nn.Module) -> tuple[int, ...] | None:
    """The shape of one input row where the first layer with parameters tells it and the model accepts it, else None."""
    first = next((layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None), None)
    if not isinstance(first, nn.Linear) or isinstance(first, nn.LazyLinear):
        return None
    shape = (first.in_features,)
    return shape if _accepts(module, shape) else None


def _accepts(module: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copied(module)[0].eval()(torch.zeros(2, *shape))
    except Exception:  # whatever the user's forward raises: it does not take this shape
        return False
    return True


def default_output_kind(module: nn.Module, loss) -> str:
    """'logits', 'probabilities' or 'log_probabilities': by the loss, else by the last layer."""
    loss = as_module(loss)
    for kind, meaning in _KINDS_BY_LOSS.items():
        if isinstance(loss, kind):
            return meaning
    if isinstance(loss, ForeignLoss) and loss.output_kind:
        return loss.output_kind
    if isinstance(module, Foreign):
        return module.output_kind()
    return _KINDS_BY_LAYER.get(type(_last_layer(module)), "logits")


def _last_layer(module: nn.Module) -> nn.Module:
    children = list(module.children())
    return _last_layer(children[-1]) if children else module
