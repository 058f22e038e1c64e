"""What a Keras model was compiled with, as parameters of the estimator where these are not set."""

from __future__ import annotations

import warnings
from collections.abc import Container
from dataclasses import replace
from typing import Any

from stoker import evaluation
from stoker.errors import UserError
from stoker.fit.settings import FitSettings


def params_of(model: Any, loss: Any, given: Container[str], validated: bool, classes: bool) -> dict[str, Any]:
    """By name. The loss that is given for a Keras model may be one of Keras' names. `classes`: labels are numbers of
    classes, whatever the loss wants."""
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
        one_hot = not classes and losses.is_of_one_hot(told.get("loss", loss))
        told["evalMetrics"] = metrics.of_compiled(model, one_hot) or None
    return {name: value for name, value in told.items() if value is not None}


def with_metrics_that_fit(settings: FitSettings, program: Any) -> FitSettings:
    """Without the metrics that a Keras model was compiled with, where they are not of what it gives: a warning says
    so, as these are nobody's wish for this fit."""
    try:
        evaluation.of_program(program, settings.eval_metrics or [])
    except UserError as error:
        warnings.warn(f"metrics that the Keras model was compiled with are not computed: {error}", stacklevel=2)
        return replace(settings, eval_metrics=None)
    return settings
