"""Keras models from files: what was saved is what is trained, and what cannot be loaded is told."""

import os

import numpy as np
import pytest

from stoker import StokerClassifier
from stoker.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers


def saved(folder, name, *more):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), *more, layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.SGD(0.3, momentum=0.9), "sparse_categorical_crossentropy")
    model.save(folder / name)
    return model, str(folder / name)


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_file_brings_weights_optimizer_and_loss(tmp_path, name):
    model, path = saved(tmp_path, name)
    estimator = StokerClassifier(model=path)._with_module()
    weights = estimator._module().state_dict().values()
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(weights, model.get_weights(), strict=True))
    options = estimator._optimizer_spec(None)["options"]
    assert options["name"] == "keras_sgd" and options["groups"][0]["momentum"] == pytest.approx(0.9)
    assert estimator.value("loss").name == "sparse_categorical_crossentropy"
    assert estimator._prepare(None)[0].output_kind == "probabilities"


def error_of(path):
    with pytest.raises(UserError) as caught:
        StokerClassifier(model=str(path))._with_module()
    return str(caught.value)


class Unregistered(layers.Layer):
    def call(self, x):
        return x


def test_what_cannot_be_loaded_is_told(tmp_path):
    assert "there is no file" in error_of(tmp_path / "gone.keras")
    (tmp_path / "text.keras").write_text("no model")
    assert "is no file that Keras 3's model.save() wrote" in error_of(tmp_path / "text.keras")
    (tmp_path / "text.h5").write_text("no model")
    assert "is no HDF5 file" in error_of(tmp_path / "text.h5")
    model, _ = saved(tmp_path, "net.keras")
    model.save_weights(tmp_path / "net.weights.h5")
    assert "only has weights: build the model" in error_of(tmp_path / "net.weights.h5")
    _, path = saved(tmp_path, "own.keras", Unregistered())
    assert "register_keras_serializable() before fit" in error_of(path)
