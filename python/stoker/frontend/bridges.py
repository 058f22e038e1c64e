"""From a model of another framework to the nn.Module that stands for it."""

from __future__ import annotations

from typing import Any

from stoker.errors import CompileError
from stoker.frontend.foreign import is_foreign_loss, is_keras, is_of, version_of

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

    if keras.config.backend() != "torch":
        raise CompileError(
            f"the Keras model {model.name!r} is on the {keras.config.backend()} backend: set the environment variable "
            "KERAS_BACKEND to torch before keras is imported"
        )
    if not _OLDEST <= version_of(keras.__version__) < (4, 0):
        known = ".".join(map(str, _OLDEST))
        raise CompileError(
            f"keras {keras.__version__} is installed, and Stoker knows Keras 3 from {known} on: pip install "
            f"'keras=={known}.*'"
        )
    from stoker.frontend.keras.bridge import KerasModel

    return KerasModel(model)


def as_torch_loss(loss: Any) -> Any:
    """A Keras loss as the module that stands for it; everything else as it is."""
    if not is_foreign_loss(loss):
        return loss
    from stoker.frontend.keras.losses import KerasLoss

    return KerasLoss(loss)
