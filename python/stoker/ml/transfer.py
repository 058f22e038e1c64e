"""Models for transfer learning: the trunk of one, a head for another task."""

from __future__ import annotations

from typing import Any

from stoker.errors import UserError


def replace_head(model: Any, classes: int) -> Any:
    """A copy of a model whose last dense layer is a new one; the model itself stays as it is.

    Args:
        model: a torch.nn.Module whose last layer with parameters is an nn.Linear, or a Sequential or functional Keras
            model of one output that ends in a Dense.
        classes: outputs of the new layer, at least 1. A Keras Dense keeps its activation, but that with one output a
            softmax becomes a sigmoid.

    Returns:
        A model of the same kind; the new layer has fresh initial weights, all others are those of `model`.

    Raises:
        UserError: where the last layer is another one.

    Example:
        >>> from torch import nn
        >>> from stoker import replace_head
        >>> trunk = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1000))
        >>> replace_head(trunk, 3)[2]
        Linear(in_features=8, out_features=3, bias=True)
    """
    if not isinstance(classes, int) or classes < 1:
        raise UserError(f"replace_head: classes is {classes!r}, expected a whole number of at least 1")
    from stoker.frontend import bridges, foreign, heads

    if foreign.is_foreign(model):
        bridges.as_torch(model)  # its errors
        from stoker.frontend.keras import heads as of_keras

        return of_keras.replaced(model, classes)
    return heads.replaced(model, classes)
