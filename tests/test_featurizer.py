"""StokerFeaturizer: the values of an inner layer are those of plain PyTorch hooks and of Keras' own sub-models."""

import os

import numpy as np
import pytest
import torch
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from torch import nn

from conftest import blobs, table
from stoker import StokerClassificationModel, StokerClassifier, StokerFeaturizer, inputs
from stoker.errors import UserError


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.shared, self.unused = nn.Linear(8, 8), nn.Linear(8, 2)
        self.recurrent = nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(13, classes)

    def forward(self, features):
        found = self.shared(self.shared(self.encoder(features)))
        steps, _ = self.recurrent(features.reshape(-1, 1, 4))
        return self.head(torch.cat([found, steps[:, 0]], 1))


@pytest.fixture
def rows(spark):
    return table(spark, *blobs(40))


@pytest.fixture
def net():
    torch.manual_seed(3)
    net = Net()
    net.encoder[1].running_mean.normal_()
    return net


def hooked(net, layer, features):
    """What the layer gives, by a hook of plain PyTorch."""
    found = []
    keep = net.get_submodule(layer).register_forward_hook(
        lambda part, args, out: found.append((out[0] if isinstance(out, tuple) else out).clone())
    )
    with torch.no_grad():
        net.eval()(torch.from_numpy(features))
    keep.remove()
    return found[0].flatten(1).numpy()


def vectors(df, column="vector"):
    return np.array([row[column].toArray() for row in df.collect()])


@pytest.mark.parametrize("layer", ["encoder.0", "encoder.1", "encoder", "encoder.3", "recurrent", "head"])
def test_values_are_those_of_a_hook(rows, net, layer):
    features = blobs(40)[0].astype(np.float32)
    added = StokerFeaturizer(model=net, layer=layer).transform(rows)
    assert added.columns == [*rows.columns, "vector"]
    np.testing.assert_allclose(vectors(added), hooked(net, layer, features), rtol=1e-5, atol=1e-6)
    assert not net.get_submodule(layer)._forward_hooks and "forward" not in vars(net)


@pytest.mark.parametrize(("layer", "told"), [
    ("encodr.0", "layer: the model has no layer 'encodr.0'; the nearest are 'encoder.0', "),
    ("zzz", "layer: the model has no layer 'zzz'; the nearest are 'encoder', 'encoder.0'"),
    ("shared", "layer: 'shared' is called 2 times when the model runs, so it has no one value for a row"),
    ("unused", "layer: 'unused' is not called when the model runs"),
    (None, "layer is not set: name the layer whose values are wanted"),
])  # fmt: skip
def test_a_layer_without_one_value_is_told(rows, net, layer, told):
    with pytest.raises(UserError) as caught:
        StokerFeaturizer(model=net, layer=layer).transform(rows)
    assert told in str(caught.value)


def test_what_is_no_model_and_inputs_that_would_have_to_learn_are_refused(rows, net):
    with pytest.raises(UserError, match=r"model is a function; give a torch.nn.Module, a Keras model, or what fit"):
        StokerFeaturizer(model=lambda: net, layer="head").transform(rows)
    declared = {"features": [inputs.Category("label")]}
    with pytest.raises(UserError, match=r"learns from rows, and a featurizer learns nothing: give inputs=stoker"):
        StokerFeaturizer(model=net, layer="head", inputs=declared).transform(rows)
    with pytest.raises(UserError, match="outputCol"):
        StokerFeaturizer(model=net, layer="head", outputCol="label").transform(rows)


def test_a_fitted_model_gives_the_same_features_before_and_after_it_was_saved(rows, net, tmp_path):
    model = StokerClassifier(model=net, epochs=1, batchSize=20, verbose=0).fit(rows)
    features = blobs(40)[0].astype(np.float32)
    wanted = hooked(model.torch(), "encoder", features)
    found = vectors(StokerFeaturizer(model=model, layer="encoder").transform(rows))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    model.save(f"{tmp_path}/model")
    loaded = StokerClassificationModel.load(f"{tmp_path}/model")
    for layer in ("encoder", "encoder.0", "recurrent"):
        again = vectors(StokerFeaturizer(model=loaded, layer=layer).transform(rows))
        np.testing.assert_allclose(again, hooked(model.torch(), layer, features), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="layer: the model has no layer 'encodr'; the nearest are 'encoder'"):
        StokerFeaturizer(model=loaded, layer="encodr").transform(rows)
    with pytest.raises(UserError, match=r"no layer 'encoder.3'; the nearest are"):
        StokerFeaturizer(model=loaded, layer="encoder.3").transform(rows)


def test_in_a_pipeline_it_is_saved_and_gives_the_same_vectors(rows, net, tmp_path):
    stages = [StokerFeaturizer(model=net, layer="encoder", outputCol="found"), LogisticRegression(featuresCol="found")]
    model = Pipeline(stages=stages).fit(rows)
    before = model.transform(rows)
    model.write().overwrite().save(f"{tmp_path}/pipeline")
    after = PipelineModel.load(f"{tmp_path}/pipeline").transform(rows)
    assert np.array_equal(vectors(before, "found"), vectors(after, "found"))
    assert before.where("label = prediction").count() == after.where("label = prediction").count() > 25


def test_one_that_was_loaded_keeps_its_layer(rows, net, tmp_path):
    featurizer = StokerFeaturizer(model=net, layer="encoder.0", inputShape=[4])
    featurizer.save(f"{tmp_path}/it")
    loaded = StokerFeaturizer.load(f"{tmp_path}/it")
    assert np.array_equal(vectors(loaded.transform(rows)), vectors(featurizer.transform(rows)))
    with pytest.raises(UserError, match=r"this featurizer was loaded; it was compiled with layer='encoder.0'"):
        loaded.setLayer("encoder").transform(rows)
    assert loaded.setModel(net).transform(rows).first().vector.size == 8
    with pytest.raises(UserError, match="set inputShape"):
        StokerFeaturizer(model=nn.Sequential(nn.Flatten(), nn.ReLU()), layer="0").save(f"{tmp_path}/not")


def test_inputs_of_a_fitted_model_are_read_as_it_reads_them(spark):
    rows = spark.range(60).selectExpr("element_at(array('a', 'b', 'c'), int(id % 3) + 1) as word", "int(id % 3) label")

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(4, 5), nn.Linear(5, 3)

        def forward(self, word):
            return self.head(self.embed(word).flatten(1))

    told = {"word": [inputs.Category("word")]}
    model = StokerClassifier(model=Words(), inputs=told, epochs=1, batchSize=30, verbose=0).fit(rows)
    added = StokerFeaturizer(model=model, layer="embed").transform(rows).collect()
    table_of = model.torch().embed.weight.detach().numpy()
    words = model.getInputs()["word"][0].vocabulary
    for row in added[:6]:
        np.testing.assert_allclose(row.vector.toArray(), table_of[words.index(row.word) + 1], rtol=1e-6)


def test_keras_layers_by_path_or_name_are_those_of_sub_models(rows):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu", name="wide"),
                              keras.layers.BatchNormalization(name="norm")], name="trunk")  # fmt: skip
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3, "softmax", name="top")(keras.layers.Dropout(0.5)(inner(x))))
    features = blobs(40)[0].astype(np.float32)
    wanted = keras.Model(inner.inputs, inner.get_layer("wide").output).predict(features, verbose=0)
    for layer in ("trunk/wide", "wide"):
        found = vectors(StokerFeaturizer(model=model, layer=layer).transform(rows))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    trunk = vectors(StokerFeaturizer(model=model, layer="trunk").transform(rows))
    np.testing.assert_allclose(trunk, inner.predict(features, verbose=0), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="no layer 'wid'; the nearest are 'wide'"):
        StokerFeaturizer(model=model, layer="wid").transform(rows)
