"""What can be said of the user's model before anything else is looked at: each check ends in silence or in a
UserError."""

from __future__ import annotations

from typing import Any

from stoker.errors import UserError


def check_model(model: Any) -> None:
    from torch import nn

    from stoker.frontend.foreign import is_keras

    if model is None:
        raise UserError("model is not set: give the torch.nn.Module to train")
    if isinstance(model, str):
        raise UserError(f"model is a text, {model[:60]!r}: give the torch.nn.Module itself; a grid of parameters that "
                        f"was saved keeps only the texts of modules")  # fmt: skip
    if isinstance(model, type):
        raise UserError(f"model is the class {model.__name__}; give an instance of it, such as {model.__name__}(...)")
    if is_keras(model):
        return  # of whatever backend: as_torch says which it takes
    if not isinstance(model, nn.Module) and not callable(model):
        raise UserError(f"model is a {type(model).__name__}; give the torch.nn.Module to train, or a function without "
                        f"arguments that builds it")  # fmt: skip


def check_built(module: Any) -> None:
    """What the user's function has built."""
    from stoker.fit import compiling

    if not compiling.is_model(module):
        raise UserError(f"model is a function that gave a {type(module).__name__}; it must give the torch.nn.Module to "
                        f"train")  # fmt: skip
