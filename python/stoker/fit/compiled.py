"""What a Keras model was compiled with, as parameters of the estimator where these are not set."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


def params_of(model: Any, loss: Any, given: Container[str], validated: bool) -> dict[str, Any]:
    """By name. The loss that is given for a Keras model may be one of Keras' names."""
    from stoker.frontend.foreign import is_keras

    if not is_keras(model):
        return {}
    from stoker.frontend.bridges import as_torch

    as_torch(model)  # its errors come first
    from stoker.frontend.keras import losses, metrics

    told: dict[str, Any] = {}
    if isinstance(loss, str):
        told["loss"] = losses.KerasLoss(loss)
    if not getattr(model, "compiled", False):
        return told
    if "optimizer" not in given:
        told["optimizer"] = model.optimizer
    if "loss" not in given:
        told["loss"] = losses.of_compiled(model)
    if validated and "evalMetrics" not in given:
        told["evalMetrics"] = metrics.of_compiled(model) or None
    return {name: value for name, value in told.items() if value is not None}
