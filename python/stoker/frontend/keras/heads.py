"""Another last layer for a Keras model."""

from __future__ import annotations

import keras

from stoker.errors import CompileError


def _activation(last: keras.layers.Dense, classes: int) -> str:
    """Two classes as one number go with sigmoid, several with softmax."""
    kind = keras.activations.serialize(last.activation)
    if classes == 1 and kind == "softmax":
        return "sigmoid"
    return "softmax" if classes > 1 and last.units == 1 and kind == "sigmoid" else kind


def replaced(model: keras.Model, classes: int) -> keras.Model:
    if len(getattr(model, "outputs", None) or ()) != 1:
        raise CompileError(f"replace_head: the Keras model {model.name!r} ({type(model).__name__}) is no Sequential or "
                           "functional model of one output: replace its last layer by hand")  # fmt: skip
    last = model.outputs[0]._keras_history.operation
    if not isinstance(last, keras.layers.Dense):
        raise CompileError(f"replace_head: the Keras model's last layer is {last.name!r} ({type(last).__name__}), not "
                           "a Dense: replace it by hand")  # fmt: skip
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    old = copy.outputs[0]._keras_history.operation
    kind = _activation(last, classes)
    told = {**last.get_config(), "units": classes, "activation": kind, "name": f"{last.name}_of_{classes}"}
    head = type(last).from_config(told)
    return keras.Model(copy.inputs[0] if len(copy.inputs) == 1 else copy.input, head(old.input), name=model.name)
