"""What is exchanged in Keras while a model is traced gives what Keras' own gives, and stays away from what it does not
know."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
from stoker.errors import UserError  # noqa: E402
from stoker.frontend.keras import exchange  # noqa: E402
from test_keras import compiled_of, rows_for  # noqa: E402

layers = keras.layers
STEPS = 6


def masks():
    random = np.random.default_rng(0).random((8, STEPS)) > 0.4
    random[0], random[1], random[2] = True, False, [True, True, False, False, False, False]
    return torch.tensor(random)


LAYERS = {
    "lstm": lambda: layers.LSTM(4),
    "lstm sequences": lambda: layers.LSTM(4, return_sequences=True),
    "lstm backwards": lambda: layers.LSTM(4, return_sequences=True, go_backwards=True),
    "lstm states": lambda: layers.LSTM(4, return_state=True),
    "lstm without bias": lambda: layers.LSTM(4, use_bias=False),
    "lstm of relu": lambda: layers.LSTM(4, activation="relu"),
    "gru": lambda: layers.GRU(4, return_sequences=True),
    "gru backwards": lambda: layers.GRU(4, go_backwards=True, return_state=True),
    "gru without bias": lambda: layers.GRU(4, use_bias=False),
    "gru before reset": lambda: layers.GRU(4, reset_after=False, return_sequences=True),
    "simple": lambda: layers.SimpleRNN(4, return_sequences=True, return_state=True),
    "stacked": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
    "both ways, last": lambda: layers.Bidirectional(layers.GRU(3)),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_are_keras_own(name, masked):
    keras.utils.set_random_seed(0)
    layer, x = LAYERS[name](), torch.randn(8, STEPS, 5, requires_grad=True)
    mask = masks() if masked else None
    expected = keras.tree.flatten(layer(x, mask=mask))
    for variable in layer.weights:
        variable.assign(torch.randn(tuple(variable.shape)))
    expected = keras.tree.flatten(layer(x, mask=mask))
    with exchange.exchanged():
        found = keras.tree.flatten(layer(x, mask=mask))
    given = [x, *[variable.value for variable in layer.trainable_variables]]
    pairs = list(zip(found, expected, strict=True))
    for a, b in pairs:
        assert torch.allclose(a, b, atol=1e-5), (a - b).abs().max()
    slopes = [torch.autograd.grad(sum(((i + 1) * o**2).sum() for i, o in enumerate(outs)), given, allow_unused=True)
              for outs in zip(*pairs)]  # fmt: skip
    for a, b in zip(*slopes):
        assert torch.allclose(a, b, atol=1e-4), (a - b).abs().max()


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_keras_own_with_its_biased_variance(axis, training):
    made = [layers.BatchNormalization(axis=axis, momentum=0.7) for _ in range(2)]
    x = torch.randn(8, 3, 4, 3) * 2 + 1
    expected = made[0](x, training=training)
    made[1].build(tuple(x.shape))
    with exchange.exchanged():
        found = made[1](x, training=training)
    assert torch.allclose(found, expected, atol=1e-5)
    for a, b in zip(made[1].variables, made[0].variables, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), atol=1e-5)


def test_fused_layers_are_few_nodes():
    model = keras.Sequential([keras.Input((4,)), layers.Reshape((4, 1)), layers.Masking(),
                              layers.LSTM(3, return_sequences=True), layers.GRU(3)])  # fmt: skip
    ops = [node["op"] for node in compiled_of(model, rows_for(model)[0]).train["nodes"]]
    assert ops.count("aten.lstm.input") == ops.count("aten.gru.input") == 1 and len(ops) < 90


def test_what_keras_has_otherwise_is_left_as_it_is_and_told(monkeypatch):
    table = [replace(one, arguments="other names") if one.name == "LSTM.inner_loop" else one for one in exchange.TABLE]
    gone = exchange.Exchange("keras.src.nowhere", "name", None, lambda was: was, "")
    monkeypatch.setattr(exchange, "TABLE", [*table, gone])
    assert exchange.left() == ["keras.layers.LSTM.inner_loop", "keras.src.nowhere.name"]
    before = layers.LSTM.inner_loop
    with exchange.exchanged():
        assert layers.LSTM.inner_loop is before and layers.GRU.inner_loop is not exchange.TABLE[-2]
    model = keras.Sequential([keras.Input((4,)), layers.Reshape((4, 1)), layers.LSTM(3)])
    compiled = compiled_of(model, rows_for(model)[0])
    assert any("has keras.layers.LSTM.inner_loop, keras.src.nowhere.name otherwise" in note for note in compiled.notes)


def test_a_newer_keras_is_compiled_as_it_is_with_a_note_and_an_older_one_refused(monkeypatch):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3)])
    wanted = compiled_of(model, rows_for(model)[0])
    monkeypatch.setattr(keras, "__version__", "3.16.2")
    assert exchange.left() == [f"{one.where}.{one.name}" for one in exchange.TABLE]
    before = layers.LSTM.inner_loop
    with exchange.exchanged():
        assert layers.LSTM.inner_loop is before
    found = compiled_of(model, rows_for(model)[0])
    assert any("Keras 3.16.2 has keras.src.backend.torch.random.torch_seed_generator" in note for note in found.notes)
    assert found.output_shapes == wanted.output_shapes and not any("Keras 3." in note for note in wanted.notes)
    for version in ("3.14.1", "4.0.0"):
        monkeypatch.setattr(keras, "__version__", version)
        with pytest.raises(UserError, match=f"keras {version} is installed, and Stoker knows Keras 3 from 3.15 on"):
            compiled_of(model, rows_for(model)[0])


def test_this_keras_is_known_whole_and_comes_back_unchanged():
    places = [(one, *exchange._place(one)) for one in exchange.TABLE]
    before = [getattr(owner, name) for _, owner, name in places]
    with exchange.exchanged():
        assert all(getattr(owner, name) is not was for (_, owner, name), was in zip(places, before))
    assert [getattr(owner, name) for _, owner, name in places] == before and exchange.left() == []
