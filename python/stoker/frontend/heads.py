"""Another last layer for a torch model."""

from __future__ import annotations

from typing import Any

from torch import nn

from stoker.errors import CompileError
from stoker.frontend.copies import copied
from stoker.frontend.onnx import head as of_onnx
from stoker.frontend.onnx.module import OnnxModule


def replaced(model: Any, classes: int) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise CompileError(f"replace_head: model is a {type(model).__name__}; give a torch.nn.Module or a Keras model")
    if isinstance(model, OnnxModule):
        return of_onnx.replaced(model, classes)
    name, last = _last(model)
    (made,) = copied(model)
    head = nn.Linear(last.in_features, classes, last.bias is not None, dtype=last.weight.dtype)
    if not name:
        return head
    for one in [one for one, part in model.named_modules(remove_duplicate=False) if part is last]:
        path, _, own = one.rpartition(".")
        setattr(made.get_submodule(path), own, head)
    return made


def _last(model: nn.Module) -> tuple[str, nn.Linear]:
    """In the order in which the model has its layers, which need not be that in which forward calls them."""
    trained = [(name, part) for name, part in model.named_modules() if list(part.parameters(recurse=False))]
    if not trained or type(trained[-1][1]) is not nn.Linear:
        name, part = trained[-1] if trained else ("", model)
        raise CompileError(f"replace_head: the model's last layer is {name!r} ({type(part).__name__}), not an "
                           "nn.Linear: replace it by hand")  # fmt: skip
    return trained[-1]
