"""Programs that were written for Elephas run with the import lines changed."""

import os

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel

from conftest import blobs
from stoker.compat.elephas import (
    ElephasEstimator,
    ElephasTransformer,
    SparkModel,
    load_ml_estimator,
    load_ml_transformer,
    load_spark_model,
    to_data_frame,
    to_simple_rdd,
)
from stoker.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers


def classic():
    """The net of its example, on smaller pictures."""
    keras.utils.set_random_seed(0)
    convolutions = [layers.Conv2D(n, 3, activation="relu") for n in (4, 8, 12)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *convolutions, layers.Flatten(), layers.Dense(256, "relu"),
                              layers.Dense(3, "softmax")])  # fmt: skip
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(("mode", "frequency"), [("asynchronous", "epoch"), ("hogwild", "batch"),
                                                 ("synchronous", "epoch")])  # fmt: skip
def test_the_classic_example_learns_and_fills_its_model(spark, mode, frequency):
    features, labels = blobs(240, width=64)
    features, one_hot = features.reshape(-1, 8, 8, 1), np.eye(3, dtype=np.float32)[labels]
    rdd = to_simple_rdd(spark.sparkContext, features, one_hot)
    spark_model = SparkModel(classic(), frequency=frequency, mode=mode, num_workers=2)
    spark_model.fit(rdd, epochs=4, batch_size=16, verbose=0, validation_split=0.1)
    assert spark_model.evaluate(features, one_hot)[1] > 0.9
    (history,) = spark_model.training_histories
    assert history[-1]["val_categorical_accuracy"] > 0.9


def test_a_model_that_is_saved_comes_back(tmp_path):
    spark_model, features = SparkModel(classic(), mode="synchronous"), np.ones((5, 8, 8, 1), np.float32)
    spark_model.save(str(tmp_path / "net.keras"))
    again = load_spark_model(str(tmp_path / "net.keras"))
    assert np.allclose(again.predict(features), spark_model.predict(features), atol=1e-6)


def test_what_elephas_would_not_take_is_told():
    with pytest.raises(UserError, match="mode is 'async', expected one of 'asynchronous', 'hogwild', 'synchronous'"):
        SparkModel(classic(), mode="async")
    with pytest.raises(UserError, match="frequency is 'step', expected 'epoch' or 'batch'"):
        SparkModel(classic(), frequency="step")
    with pytest.raises(UserError, match="is not compiled: call compile"):
        SparkModel(keras.Sequential([keras.Input((2,)), layers.Dense(1)]))


def dense(classes=3, last="softmax", width=16):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((width,)), layers.Dense(16, "relu"), layers.Dense(classes, last)])


def estimator(model, **more):
    """As its example sets it up."""
    made = ElephasEstimator()
    made.set_keras_model_config(model.to_json())
    made.set_optimizer_config(keras.optimizers.serialize(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)))
    made.set_mode("synchronous")
    made.set_loss("categorical_crossentropy")
    made.set_metrics(["acc"])
    made.set_epochs(8)
    made.set_batch_size(16)
    made.set_validation_split(0.1)
    made.set_categorical_labels(True)
    made.set_nb_classes(3)
    made.set_num_workers(2)
    return made.set_params(**more)


@pytest.fixture
def rows(spark):
    features, labels = blobs(200, width=16)
    return to_data_frame(spark.sparkContext, features, np.eye(3)[labels], categorical=True)


def test_its_classification_example_learns_and_its_transformer_is_saved(rows, tmp_path):
    fitted = Pipeline(stages=[estimator(dense())]).fit(rows)
    found = fitted.transform(rows).select("features", "label", "prediction").collect()
    assert np.mean([np.argmax(row.prediction) == row.label for row in found]) > 0.9
    transformer = fitted.stages[0]
    own = transformer.get_model().predict(np.array([row.features.toArray() for row in found]), verbose=0)
    np.testing.assert_allclose([row.prediction for row in found], own, rtol=1e-4, atol=1e-6)
    assert transformer.history[-1]["val_categorical_accuracy"] > 0.8
    transformer.save(f"{tmp_path}/it")
    again = load_ml_transformer(f"{tmp_path}/it")
    assert [row.prediction for row in again.transform(rows).collect()] == [row.prediction for row in found]
    fitted.save(f"{tmp_path}/pipeline")
    last = PipelineModel.load(f"{tmp_path}/pipeline").transform(rows).collect()
    assert [row.prediction for row in last] == [row.prediction for row in found]


def test_regression_has_doubles_in_the_columns_that_it_is_told(rows):
    named = rows.selectExpr("features as scaled", "label * 2 as truth")
    made = estimator(dense(1, "linear"), featuresCol="scaled", labelCol="truth", outputCol="found", epochs=12)
    made.set_loss("mae").set_metrics(["mae"]).set_categorical_labels(False)
    made.set_optimizer_config(keras.optimizers.serialize(keras.optimizers.Adam(0.02)))
    found = made.fit(named).transform(named)
    assert dict(found.dtypes)["found"] == "double"
    errors = [abs(row.found - row.truth) for row in found.collect()]
    assert np.mean(errors) < 0.6


def test_an_estimator_that_is_saved_has_its_settings(rows, tmp_path):
    made = estimator(dense())
    made.save(f"{tmp_path}/it")
    again = load_ml_estimator(f"{tmp_path}/it")
    assert again.get_model().to_json() == made.get_model().to_json()
    names = ["mode", "frequency", "loss", "metrics", "epochs", "batch_size", "nb_classes", "optimizer_config"]
    assert [getattr(again, f"get_{name}")() for name in names] == [getattr(made, f"get_{name}")() for name in names]
    assert ElephasEstimator().get_validation_split() == 0.1 and ElephasEstimator().get_epochs() == 10
    assert ElephasEstimator().get_categorical_labels() and ElephasEstimator().get_mode() == "asynchronous"


def test_weights_and_functions_of_ones_own_are_given_by_hand(rows):
    def doubled(x):
        return 2 * keras.activations.relu(x)

    model = keras.Sequential([keras.Input((16,)), layers.Dense(5, doubled), layers.Dense(3)])
    told = {"keras_model_config": model.to_json(), "custom_objects": {"doubled": doubled}}
    made = ElephasTransformer(weights=model.get_weights(), **told)
    found = made.transform(rows).collect()
    own = model.predict(np.array([row.features.toArray() for row in found]), verbose=0)
    np.testing.assert_allclose([row.prediction for row in found], own, rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match=r"cannot be read: .*; functions and classes of yours go into set_cust"):
        ElephasTransformer(keras_model_config=model.to_json()).transform(rows)


def test_what_is_missing_or_no_class_is_told(rows):
    with pytest.raises(UserError, match="there is no Keras model: set_keras_model_config"):
        ElephasTransformer().transform(rows)
    with pytest.raises(UserError, match="there is no loss: set_loss"):
        ElephasEstimator(keras_model_config=dense().to_json(), mode="synchronous").fit(rows)
    with pytest.raises(UserError, match="ElephasEstimator: mode is 'async', expected one of"):
        estimator(dense(), mode="async").fit(rows)
    with pytest.raises(UserError, match="has no parameter 'epoch'; did you mean 'epochs'"):
        ElephasEstimator(epoch=3)
    with pytest.raises(UserError, match="there is no column 'lable'; did you mean 'label'"):
        estimator(dense(), labelCol="lable").fit(rows)
    with pytest.raises(Exception, match=r"label is 2.0, no class of 0 to 1"):
        estimator(dense(2), nb_classes=2).fit(rows)
