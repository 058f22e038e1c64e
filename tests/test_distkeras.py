"""Programs that were written for dist-keras run with the import lines changed."""

import os

import numpy as np
import pytest

from conftest import blobs, table
from stoker.compat import distkeras
from stoker.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers
RATES = {"SingleTrainer": 0.1, "DOWNPOUR": 0.05, "ADAG": 0.5, "DynSGD": 0.1, "AEASGD": 0.1, "EAMSGD": 0.01}


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])


@pytest.mark.parametrize("name", RATES)
def test_each_trainer_learns_and_leaves_its_model_as_it_was(spark, name):
    features, labels = blobs(300)
    model, df = network(), table(spark, features, labels)
    before = [values.copy() for values in model.get_weights()]
    more = {} if name == "SingleTrainer" else {"num_workers": 2, "communication_window": 4}
    trainer = getattr(distkeras, name)(model, keras.optimizers.SGD(RATES[name]), "sparse_categorical_crossentropy",
                                       batch_size=10, num_epoch=4, **more)  # fmt: skip
    trained = trainer.train(df)
    assert trained.evaluate(features, labels, verbose=0)[1] > 0.9
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights()))
    assert trainer.get_training_time() > 0
    assert trainer.history[-1]["steps"] > 10


def test_the_elastic_share_is_rho_times_the_rate():
    trainer = distkeras.EAMSGD(None, "sgd", "mse", num_workers=4, rho=2.0, learning_rate=0.05, momentum=0.8)
    found = trainer._strategy()
    assert (found.window, found.beta / 4, found.momentum) == (32, pytest.approx(0.1), 0.8)


def test_a_trainer_that_is_none_says_which_there_are(spark):
    trainer = distkeras.Trainer(network(), "sgd", "sparse_categorical_crossentropy")
    with pytest.raises(UserError, match="take one of the trainers: SingleTrainer, DOWNPOUR, ADAG"):
        trainer.train(table(spark, *blobs(30)))
