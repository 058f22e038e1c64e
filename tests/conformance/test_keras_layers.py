"""A selection of the layers of Keras, one of each family (`make conformance` has all of them)."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras")
from conformance import keras_layers

QUICK = ("Dense with l2", "Embedding with mask", "Conv2D same, strides", "SeparableConv1D", "MaxPooling2D",
         "LSTM masked", "Bidirectional", "SimpleRNN", "BatchNormalization of images", "LayerNormalization",
         "MultiHeadAttention masked", "Dropout")  # fmt: skip


def test_every_class_of_keras_is_in_the_table_or_apart_with_a_reason():
    assert keras_layers.unlisted() == set()


@pytest.mark.parametrize("name", QUICK)
def test_a_layer_is_trained_as_by_keras(name):
    assert keras_layers.result_of(name, steps=3).reason == ""


def test_the_comparison_sees_a_wrong_gradient(monkeypatch):
    of_program = keras_layers._of_program

    def wrong(*args):
        loss, gradients = of_program(*args)
        return loss, {name: gradient * 1.001 for name, gradient in gradients.items()}

    monkeypatch.setattr(keras_layers, "_of_program", wrong)
    assert "gradient differs" in keras_layers.result_of("Dense", steps=1).reason
