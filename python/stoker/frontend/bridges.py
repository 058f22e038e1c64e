"""From a model of another framework to the nn.Module that stands for it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from stoker.errors import CompileError
from stoker.frontend.foreign import Foreign, is_foreign_loss, is_keras, is_of, version_of

_OLDEST = (3, 15)  # the bridge leans on names that Keras may change


def as_torch(model: Any) -> Any:
    """A Keras model through its bridge; everything else as it is."""
    if is_of(model, "tf_keras"):
        raise CompileError(
            f"model is {type(model).__name__} of tf_keras, the legacy Keras 2: give a model of Keras 3 (import keras)"
        )
    if not is_keras(model):
        return model
    import keras

    if not _OLDEST <= version_of(keras.__version__) < (4, 0):
        known = ".".join(map(str, _OLDEST))
        raise CompileError(
            f"keras {keras.__version__} is installed, and Stoker knows Keras 3 from {known} on: pip install "
            f"'keras=={known}.*'"
        )
    if keras.config.backend() != "torch":
        from stoker.frontend.keras.elsewhere import Elsewhere

        return Elsewhere(model)
    from stoker.frontend.keras.bridge import KerasModel

    return KerasModel(model)


def compiled_on_torch(compiler: Callable[..., Any]) -> Callable[..., Any]:
    """Of a Keras model on another backend than torch a child process compiles the same on torch."""
    signature = inspect.signature(compiler)

    @functools.wraps(compiler)
    def run(module: Any, *args: Any, **named: Any) -> Any:
        module = as_torch(module)
        if not isinstance(module, Foreign) or module.runs_here:
            return compiler(module, *args, **named)
        from stoker.frontend.keras import child

        return child.call(compiler, **signature.bind(module, *args, **named).arguments)

    return run


def as_torch_loss(loss: Any) -> Any:
    """A Keras loss as the module that stands for it; everything else as it is."""
    if not is_foreign_loss(loss):
        return loss
    from stoker.frontend.keras.losses import KerasLoss

    return KerasLoss(loss)
