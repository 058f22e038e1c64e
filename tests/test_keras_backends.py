"""Keras models of another backend: compiled on torch by a child process, they are what they are here; what cannot be
carried is told, and no child outlives who waits for it. Here a model of torch stands for one of another backend."""

import os
import signal
import subprocess
import sys
import threading
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import blobs, table
from stoker import StokerClassifier, StokerFeaturizer
from stoker.errors import CompileError, WorldError
from stoker.frontend import torch as frontend
from stoker.frontend.bridges import as_torch
from stoker.frontend.keras import child
from stoker.program import TensorSpec

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
Elsewhere = pytest.importorskip("stoker.frontend.keras.elsewhere").Elsewhere
KerasLoss = pytest.importorskip("stoker.frontend.keras.losses").KerasLoss
layers = keras.layers
HERE = Path(__file__).parent
INPUTS, LABELS = [TensorSpec("features", "float32", (4,))], [TensorSpec("label", "int64")]


class Gamma(keras.losses.Loss):
    """A setting that get_config does not tell."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma

    def call(self, y_true, y_pred):
        of_class = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), 3)
        return self.gamma * keras.ops.sum(keras.ops.square(of_class - y_pred), axis=-1)


class Own(layers.Layer):
    def __init__(self, factor=2.0, **more):
        super().__init__(**more)
        self.factor, self.inner = factor, layers.Dense(5, "relu", name="inner")

    def call(self, x):
        return self.inner(x) * self.factor


class Whole(keras.Model):
    """Its layers get their names by counting, and one is frozen after it was made."""

    def __init__(self):
        super().__init__()
        self.own, self.norm, self.last = Own(3.0, name="own"), layers.BatchNormalization(), layers.Dense(3)

    def call(self, x, training=None):
        return self.last(self.norm(self.own(x), training=training))


def whole():
    keras.utils.set_random_seed(1)
    model = Whole()
    model(np.zeros((1, 4), np.float32))
    model.own.inner.trainable = False
    return model


def with_layer(layer):
    return keras.Sequential([keras.Input((4,)), layer, layers.Dense(3)], name="net")


def elsewhere(model, loss="sparse_categorical_crossentropy"):
    return child.call(frontend.compile, Elsewhere(model), INPUTS, loss=KerasLoss(loss), labels=LABELS)


def error_of(model, kind=CompileError):
    with pytest.raises(kind) as caught:
        elsewhere(model)
    return str(caught.value)


def test_a_child_gives_the_programs_weights_and_names_of_this_process():
    model = whole()
    here = frontend.compile(as_torch(model), KerasLoss(Gamma(0.7)), INPUTS, LABELS)
    there = elsewhere(model, Gamma(0.7))
    assert there.to_files() == here.to_files()
    assert not any("inner" in entry["name"] for entry in there.train["parameters"])


def test_the_stand_in_tells_names_and_shapes_and_runs_for_a_look():
    model = whole()
    stand_in, real = Elsewhere(model), as_torch(model)
    for ours, theirs in ((stand_in.named_parameters(), real.named_parameters()),
                         (stand_in.named_buffers(), real.named_buffers())):  # fmt: skip
        assert [(n, t.shape, t.dtype, t.requires_grad) for n, t in ours] == [
            (n, t.shape, t.dtype, t.requires_grad) for n, t in theirs
        ]
    (given,) = stand_in.example({"x": torch.ones(2, 4)})
    assert np.allclose(given, model(np.ones((2, 4), np.float32)).detach().numpy())


class Random(layers.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))


def test_what_draws_in_evaluation_too_is_not_compared():
    model = with_layer(Random())
    assert Elsewhere(model).example({"x": torch.ones(2, 4)}) is None


class Unwritable(layers.Layer):
    def __init__(self, thing):
        super().__init__()
        self.thing = thing

    def call(self, x):
        return x


def test_a_layer_without_a_configuration_is_told():
    told = error_of(with_layer(Unwritable(object())))
    assert "'net' is on the torch backend, and is compiled on torch in another process" in told
    assert "its .keras form cannot be written" in told and "Unwritable" in told


def test_a_class_that_cannot_be_carried_is_told_by_name():
    lock = threading.Lock()

    class Locked(layers.Layer):
        def call(self, x):
            with lock:
                return x

    assert "Locked cannot be carried there (TypeError: cannot pickle '_thread.lock' object)" in error_of(
        with_layer(Locked())
    )


def test_a_class_of_a_module_that_is_not_there_is_told_by_name(monkeypatch):
    class Made(layers.Layer):
        def call(self, x):
            return x

    module = types.ModuleType("made_up_here")
    module.__spec__ = ModuleSpec("made_up_here", None)
    module.Made, Made.__module__, Made.__qualname__ = Made, "made_up_here", "Made"
    monkeypatch.setitem(sys.modules, "made_up_here", module)
    told = error_of(with_layer(Made()))
    assert "Made cannot be had there (ModuleNotFoundError: No module named 'made_up_here')" in told


def test_what_is_lost_on_the_way_is_noticed():
    model = with_layer(Own())
    model.layers[0].factor = 7.0  # get_config tells what __init__ was given
    assert "it gives other numbers there" in error_of(model)


class Branches(layers.Layer):
    def call(self, x):
        return x if keras.ops.max(x) > 0 else -x


def test_errors_of_the_child_name_the_layer():
    assert "branches on the values of a tensor at net/mine (Branches), " in error_of(with_layer(Branches(name="mine")))


class Ends(layers.Layer):
    @classmethod
    def from_config(cls, config):
        print("the last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def call(self, x):
        return x


class Sleeps(Ends):
    @classmethod
    def from_config(cls, config):
        import time

        Path(os.environ["TOLD"]).write_text(str(os.getpid()))
        time.sleep(3600)


def test_a_child_that_is_killed_is_told_with_its_last_words():
    told = error_of(with_layer(Ends()), WorldError)
    assert "was ended by SIGKILL, as the system does where memory is short" in told and "the last words" in told


def test_a_script_around_python_is_told(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert "sys.executable is a script around it" in error_of(with_layer(layers.Dense(2)), WorldError)


def test_a_working_folder_that_is_gone_is_left_out(monkeypatch, tmp_path):
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")
    folder.rmdir()
    assert "" not in child._environment()["PYTHONPATH"].split(os.pathsep)


def test_a_child_that_does_not_end_is_ended(monkeypatch, tmp_path):
    monkeypatch.setenv("TOLD", str(tmp_path / "pid"))
    monkeypatch.setattr(child, "SECONDS", 20.0)
    assert "has not ended in 20 s" in error_of(with_layer(Sleeps()), WorldError)
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_a_child_ends_with_its_parent(tmp_path):
    told = tmp_path / "pid"
    code = "import test_keras_backends as t; t.elsewhere(t.with_layer(t.Sleeps()))"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, env={**os.environ, "TOLD": str(told)})
    while not (told.exists() and told.read_text()):
        assert parent.poll() is None
    pid = int(told.read_text())
    parent.kill()
    parent.wait()
    while running(pid):
        pass


def running(pid):
    try:
        return "Z" not in Path("/proc", str(pid), "stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def test_a_whole_fit_by_the_child_has_the_same_bits(spark, monkeypatch):
    """`make conformance` does it on TensorFlow and JAX."""
    model = keras.Sequential(
        [keras.Input((4,)), Own(3.0, name="own"), layers.BatchNormalization(), layers.Dense(3, "softmax")]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = table(spark, *blobs(60))
    estimator = StokerClassifier(model=model, epochs=2, batchSize=20, validationFraction=0.2, verbose=0)
    here = estimator.fit(rows)
    monkeypatch.setattr(keras.config, "backend", lambda: "another")
    there = estimator.fit(rows)
    assert there.history.info["digest"] == here.history.info["digest"]
    assert [epoch["val_accuracy"] for epoch in there.history] == [epoch["val_accuracy"] for epoch in here.history]
    assert all(map(np.array_equal, there.keras().get_weights(), here.keras().get_weights()))
    features = StokerFeaturizer(model=model, layer="own", outputCol="found").transform(rows)
    assert len(features.first().found) == 5
