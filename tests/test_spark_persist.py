"""Saving and loading, alone and inside pyspark.ml's own containers."""

import json
from pathlib import Path

import pytest
import torch
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder, TrainValidationSplit
from torch import nn

from stoker import (
    History,
    StokerClassificationModel,
    StokerClassifier,
    StokerModel,
    StokerRegressionModel,
    StokerRegressor,
    UserError,
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.fixture(scope="module")
def estimator(net):
    return StokerClassifier(model=net, learningRate=0.1, epochs=2, labelCol="y")


@pytest.fixture(scope="module")
def model(estimator, net):
    """A model as fit makes it, with the module's own weights for trained ones."""
    compiled = estimator._prepare(None)[0].compiled
    made = StokerClassificationModel(compiled, History([{"epoch": 1, "loss": 0.5}], {"digest": "d"}), "logits", net)
    return estimator._copyValues(made._resetUid(estimator.uid))


@pytest.fixture(scope="module")
def saved(spark, model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("models") / "model")
    model.write().save(path)
    return path


def test_a_model_comes_back_with_weights_history_and_params(saved, model, net):
    loaded = StokerClassificationModel.load(saved)
    x = torch.randn(5, 4)
    assert torch.equal(loaded.torch()(x), net(x))
    assert (loaded.history, loaded.history.info) == (model.history, model.history.info)
    assert (loaded.uid, loaded.getLabelCol(), loaded.numClasses, loaded.numFeatures) == (model.uid, "y", 3, 4)
    assert {p.name: v for p, v in loaded._paramMap.items()} == {p.name: v for p, v in model._paramMap.items()}


def test_nothing_saved_is_a_pickle(saved):
    heads = [path.read_bytes()[:2] for path in Path(saved).rglob("*") if path.is_file() and path.suffix != ".crc"]
    assert heads and b"\x80\x04" not in heads and b"\x80\x05" not in heads


def test_the_user_s_module_is_copied_not_shared(model, net):
    copy = model.torch()
    assert type(copy) is type(net) and copy is not net
    with torch.no_grad():
        copy[0].weight.zero_()
    assert net[0].weight.abs().sum() > 0


def test_weights_fill_a_module_of_the_same_names_only(model, net):
    other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    assert model.torch(into=other) is other
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), net.state_dict().values()))
    with pytest.raises(UserError, match="does not fit the trained weights"):
        model.torch(into=nn.Sequential(nn.Linear(4, 9)))
    with pytest.raises(UserError, match=r"it lacks \[1.weight"):
        model.torch(into=nn.Sequential(nn.Linear(4, 8)))


def test_an_existing_directory_is_not_replaced_unasked(saved, model):
    with pytest.raises(UserError, match=r"exists already: use write\(\).overwrite\(\)"):
        model.save(saved)


def test_overwrite_removes_what_was_there(model, tmp_path):
    (tmp_path / "m" / "old").mkdir(parents=True)
    (tmp_path / "m" / "old" / "file").write_text("x")
    model.write().overwrite().save(str(tmp_path / "m"))
    assert not (tmp_path / "m" / "old").exists()
    assert StokerClassificationModel.load(f"file://{tmp_path}/m").numClasses == 3


@pytest.mark.parametrize("foreign", ["missing", "empty", "text"])
def test_a_foreign_directory_is_refused(spark, tmp_path, foreign):
    if foreign != "missing":
        (tmp_path / "d" / "metadata").mkdir(parents=True)
    if foreign == "text":
        (tmp_path / "d" / "metadata" / "part-00000").write_text('{"class": "org.apache.spark.ml.X"}\n')
    with pytest.raises(UserError, match="is not a saved Stoker model"):
        StokerClassificationModel.load(str(tmp_path / "d"))


def test_another_class_is_refused_by_name(saved):
    with pytest.raises(UserError, match="holds a StokerClassificationModel, not a StokerRegressionModel: load it with"):
        StokerRegressionModel.load(saved)
    with pytest.raises(UserError, match="not a StokerModel"):
        StokerModel.load(saved)


def copied(saved, to):
    import shutil

    shutil.copytree(saved, to)
    for check in Path(to).rglob(".*.crc"):
        check.unlink()
    return Path(to)


def test_truncated_files_are_told(saved, tmp_path):
    path = copied(saved, tmp_path / "cut")
    (data,) = (path / "files").glob("*.parquet")
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged: its files cannot be read"):
        StokerClassificationModel.load(str(path))


def test_files_of_another_model_are_told(saved, tmp_path):
    path = copied(saved, tmp_path / "mixed")
    (metadata,) = (path / "metadata").glob("part-*")
    content = json.loads(metadata.read_text())
    content["stoker"]["files"]["weights.safetensors"]["sha256"] = "0" * 64
    metadata.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is damaged: weights.safetensors should have"):
        StokerClassificationModel.load(str(path))


def test_a_newer_format_is_told(saved, tmp_path):
    path = copied(saved, tmp_path / "newer")
    (metadata,) = (path / "metadata").glob("part-*")
    metadata.write_text(metadata.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(UserError, match="was saved in format stoker-directory 2; this version of Stoker reads"):
        StokerClassificationModel.load(str(path))


def test_an_estimator_comes_back_as_its_program(spark, estimator, tmp_path):
    estimator.save(str(tmp_path / "e"))
    loaded = StokerClassifier.load(str(tmp_path / "e"))
    assert (loaded.getLearningRate(), loaded.getEpochs(), loaded.uid) == (0.1, 2, estimator.uid)
    prepared, sources = loaded._prepare(None)
    assert prepared.compiled.train == estimator._prepare(None)[0].compiled.train
    assert [s.columns for s in prepared.sources(sources)] == [("features",), ("y",)]
    assert loaded._optimizer_spec(prepared) == estimator._optimizer_spec(prepared)


def test_what_is_compiled_in_cannot_change_after_loading(spark, estimator, tmp_path):
    estimator.save(str(tmp_path / "e"))
    loaded = StokerClassifier.load(str(tmp_path / "e"))
    with pytest.raises(UserError, match="it was compiled without weightCol"):
        loaded.copy({loaded.weightCol: "w"})._prepare(None)
    with pytest.raises(UserError, match="its loss is compiled in"):
        loaded.copy({loaded.loss: nn.CrossEntropyLoss()})._prepare(None)


def test_a_torch_optimizer_is_saved_as_its_settings(spark, net, tmp_path):
    groups = [{"params": [*net[0].parameters(), *net[1].parameters()]}, {"params": net[3].parameters(), "lr": 0.5}]
    estimator = StokerClassifier(model=net, optimizer=torch.optim.SGD(groups, lr=0.25, momentum=0.9))
    estimator.save(str(tmp_path / "e"))
    loaded = StokerClassifier.load(str(tmp_path / "e"))
    prepared, _ = loaded._prepare(None)
    spec = loaded._optimizer_spec(prepared)
    assert spec == estimator._optimizer_spec(prepared)
    assert [group["lr"] for group in spec["options"]["groups"]] == [0.25, 0.5]
    faster = loaded.copy({loaded.learningRate: 2.0})._optimizer_spec(prepared)
    assert [group["lr"] for group in faster["options"]["groups"]] == [2.0, 2.0]


def test_a_torch_scheduler_is_saved_as_its_settings(spark, net, tmp_path):
    theirs = torch.optim.SGD(net.parameters(), lr=0.25)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.5, 90)
    estimator = StokerClassifier(model=net, optimizer=theirs, lrSchedule=scheduler, epochs=7, lrScheduleUnit="epochs")
    estimator.save(str(tmp_path / "e"))
    loaded = StokerClassifier.load(str(tmp_path / "e"))
    prepared, _ = loaded._prepare(None)
    spec = loaded._optimizer_spec(prepared)
    assert spec == estimator._optimizer_spec(prepared)
    assert spec["options"]["groups"][0]["lr"] == 0.5
    assert (spec["options"]["schedule"]["total"], spec["options"]["schedule"]["unit"]) == (90, "epochs")
    again = loaded.copy({loaded.lrSchedule: {"name": "cosine"}})._optimizer_spec(prepared)["options"]["schedule"]
    assert (again["name"], again["epochs"]) == ("cosine", 7)


def test_an_estimator_of_unknown_input_shape_says_so(spark, tmp_path):
    estimator = StokerRegressor(model=nn.Sequential(nn.Conv1d(1, 1, 2), nn.Flatten(), nn.Linear(3, 1)))
    with pytest.raises(UserError, match="set inputShape"):
        estimator.save(str(tmp_path / "e"))
    assert not (tmp_path / "e").exists()
    estimator.setInputShape([1, 4]).save(str(tmp_path / "e"))
    assert StokerRegressor.load(str(tmp_path / "e"))._prepare(None)[1][0].shape == (1, 4)


def test_an_estimator_without_a_model_can_be_saved(spark, tmp_path):
    StokerClassifier(epochs=3).save(str(tmp_path / "e"))
    assert StokerClassifier.load(str(tmp_path / "e")).getEpochs() == 3


def test_pipelines_and_validators_save_us_with_them(spark, estimator, model, tmp_path):
    indexer = StringIndexer(inputCol="s", outputCol="y")
    Pipeline(stages=[indexer, estimator]).save(str(tmp_path / "pipeline"))
    assert Pipeline.load(str(tmp_path / "pipeline")).getStages()[1].getEpochs() == 2
    PipelineModel([model]).save(str(tmp_path / "fitted"))
    assert PipelineModel.load(str(tmp_path / "fitted")).stages[0].numClasses == 3

    grid = ParamGridBuilder().addGrid(estimator.learningRate, [0.1, 0.2]).build()
    parts = {"estimator": estimator, "estimatorParamMaps": grid, "evaluator": MulticlassClassificationEvaluator()}
    for made in (CrossValidator(**parts), TrainValidationSplit(**parts)):
        path = str(tmp_path / type(made).__name__)
        made.save(path)
        loaded = type(made).load(path)
        assert loaded.getEstimatorParamMaps() == grid and loaded.getEstimator()._saved is not None
    chosen = CrossValidatorModel(model, [0.5, 0.6])
    chosen._set(**parts)
    chosen.save(str(tmp_path / "chosen"))
    assert CrossValidatorModel.load(str(tmp_path / "chosen")).bestModel.numClasses == 3


def test_none_for_every_param_survives_a_save(spark, net, model, tmp_path):
    skipped = ("model", "loss")
    nothing = {param.name: None for param in StokerClassifier().params if param.name not in skipped}
    StokerClassifier(model=net, **nothing).save(str(tmp_path / "e"))
    assert StokerClassifier.load(str(tmp_path / "e")).getEpochs() == 1
    unset = model.copy(dict.fromkeys(model.params))
    unset.save(str(tmp_path / "m"))
    assert StokerClassificationModel.load(str(tmp_path / "m")).getPredictionCol() == "prediction"


def test_models_that_were_saved_with_null_or_an_output_kind_still_load(saved, tmp_path):
    path = copied(saved, tmp_path / "older")
    (metadata,) = (path / "metadata").glob("part-*")
    content = json.loads(metadata.read_text())
    content["paramMap"].update(predictionCol=None, outputKind="logits")
    content["defaultParamMap"]["outputKind"] = "auto"
    metadata.write_text(json.dumps(content))
    loaded = StokerClassificationModel.load(str(path))
    assert (loaded.getPredictionCol(), loaded.output_kind) == ("prediction", "logits")
    assert not loaded.hasParam("outputKind")


def test_a_save_that_cannot_be_made_leaves_the_old_one(spark, estimator, net, tmp_path):
    estimator.save(str(tmp_path / "e"))
    odd = StokerClassifier(model=net, labelCol="y")
    odd._paramMap[odd.idCol] = object()
    with pytest.raises(UserError, match=r"idCol is .*, which cannot be saved"):
        odd.write().overwrite().save(str(tmp_path / "e"))
    assert StokerClassifier.load(str(tmp_path / "e")).getEpochs() == 2


def test_a_save_that_breaks_off_leaves_the_old_one_and_nothing_beside(spark, model, tmp_path, monkeypatch):
    model.save(str(tmp_path / "m"))

    def break_off(*args):
        raise OSError("disk full")

    monkeypatch.setattr("stoker.ml.persist.write_files", break_off)
    with pytest.raises(OSError, match="disk full"):
        model.write().overwrite().save(str(tmp_path / "m"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert StokerClassificationModel.load(str(tmp_path / "m")).numClasses == 3


def test_a_grid_over_models_is_saved_as_their_texts(spark, estimator, model, net, tmp_path):
    grid = ParamGridBuilder().addGrid(estimator.model, [net, nn.Linear(4, 3)]).build()
    assert estimator.copy(grid[0]).getModel() is net
    chosen = CrossValidatorModel(model, [0.5, 0.6])
    chosen._set(estimator=estimator, estimatorParamMaps=grid, evaluator=MulticlassClassificationEvaluator())
    chosen.save(str(tmp_path / "chosen"))
    loaded = CrossValidatorModel.load(str(tmp_path / "chosen"))
    assert loaded.bestModel.numClasses == 3
    again = loaded.getEstimator().copy(loaded.getEstimatorParamMaps()[1])
    with pytest.raises(UserError, match=r"model is a text, 'Linear.*give the torch.nn.Module itself"):
        again._prepare(None)


def test_settings_that_were_compiled_in_cannot_change_after_loading(spark, estimator, tmp_path):
    estimator.save(str(tmp_path / "e"))
    loaded = StokerClassifier.load(str(tmp_path / "e"))
    for change in ({loaded.lossReduction: "sum"}, {loaded.outputKind: "probabilities"}, {loaded.inputShape: [2, 2]}):
        with pytest.raises(UserError, match="it was compiled with"):
            loaded.copy(change)._prepare(None)
