"""Parameters: names, checks, copies, and what is found out without a DataFrame."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyspark.ml.param.shared import HasBatchSize, HasLearningRate, HasLoss, HasSeed
from torch import nn

import stoker
from stoker import StokerClassifier, StokerEstimator, StokerRegressor, UserError
from stoker.fit import layout
from stoker.fit.compiling import Probe
from stoker.fit.layout import starts_with_embedding
from stoker.fit.settings import FitSettings, naming_of
from stoker.frontend.torch import compile as compile_module
from stoker.inputs import Category, Numeric
from stoker.program import TensorSpec


def net(*sizes):
    return nn.Sequential(nn.Linear(*sizes))


def features(params, module):
    return layout.features(naming_of(params), None, module)


def test_an_unknown_name_is_refused_and_the_nearest_suggested():
    with pytest.raises(TypeError, match="has no parameter 'learningrate'; did you mean 'learningRate'"):
        StokerClassifier(learningrate=0.1)


@pytest.mark.parametrize(("old", "new"), [("lossTimeout", "workerTimeout"), ("onLoss", "onWorkerLost")])
def test_an_old_name_says_what_it_is_called_now(old, new):
    with pytest.raises(TypeError, match=f"{old} is called {new} now"):
        StokerClassifier(**{old: 1})
    one = StokerRegressor()
    title, now = old[0].upper() + old[1:], new[0].upper() + new[1:]
    for name, called in ((old, new), (f"set{title}", f"set{now}"), (f"get{title}", f"get{now}")):
        with pytest.raises(AttributeError, match=f"{name} is called {called} now"):
            getattr(one, name)
    assert one.getParam(new).name == new


def test_the_old_name_of_the_sql_functions_says_what_it_is_called_now():
    with pytest.raises(AttributeError, match=r"stoker\.register is called stoker\.register_function now"):
        stoker.register  # noqa: B018


def test_unknown_settings_of_declarations_are_named():
    with pytest.raises(TypeError, match="Numeric has no setting 'standardise': standardise is called standardize now"):
        Numeric("x", standardise=True)
    with pytest.raises(TypeError, match="Category has no setting 'minCuont'; did you mean 'minCount'"):
        Category.each("a", "b", minCuont=2)
    assert copy.deepcopy(Numeric("x", standardize=True)) == Numeric("x", standardize=True)


def test_params_that_spark_has_are_its_own():
    assert all(isinstance(StokerClassifier(), mixin) for mixin in (HasBatchSize, HasLearningRate, HasLoss, HasSeed))
    assert StokerClassifier().getParam("batchSize").doc == "rows of one step over all workers"


def test_a_function_builds_the_module_under_the_seed():
    state = torch.random.get_rng_state()
    built = [StokerClassifier(model=lambda: net(4, 2), seed=seed)._with_module().getModel() for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(built[0][0].weight, net(4, 2)[0].weight)
    assert torch.equal(built[0][0].weight, built[1][0].weight) and not torch.equal(
        built[0][0].weight, built[2][0].weight
    )


@pytest.mark.parametrize(("build", "message"), [
    (lambda width: net(width, 2), "is called without arguments; it has missing a required argument: 'width'"),
    (lambda: "resnet", "a function that gave a str; it must give the torch.nn.Module"),
])  # fmt: skip
def test_a_function_that_builds_no_module_is_refused(build, message):
    with pytest.raises(UserError, match=message):
        StokerClassifier(model=build)._with_module()


def test_every_param_has_a_setter_and_a_getter():
    for cls in (StokerClassifier, StokerRegressor, StokerEstimator):
        estimator = cls()
        for param in estimator.params:
            title = param.name[0].upper() + param.name[1:]
            assert callable(getattr(estimator, f"set{title}")) and callable(getattr(estimator, f"get{title}"))
    assert StokerClassifier().setBatchSize(7).setOptimizer("sgd").getBatchSize() == 7


def test_a_copy_has_its_own_params_but_the_same_module():
    one = StokerClassifier(model=net(4, 2), learningRate=0.1)
    two = one.copy({one.learningRate: 0.2, one.batchSize: 9})
    assert (one.getLearningRate(), two.getLearningRate(), two.getBatchSize()) == (0.1, 0.2, 9)
    assert two.getModel() is one.getModel() and two.uid == one.uid


@pytest.mark.parametrize("cls", [StokerClassifier, StokerRegressor, StokerEstimator])
def test_none_leaves_every_param_unset(cls):
    plain = cls()
    for param in plain.params:
        made = cls(**{param.name: None})
        told = made.copy({made.getParam(param.name): None})
        told.set(made.getParam(param.name), None)
        assert not told.isSet(param.name) and told.value(param.name) == plain.value(param.name), param.name


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("epochs", np.int32(3), 3),
        ("learningRate", np.float32(0.5), 0.5),
        ("seed", np.uint8(7), 7),
        ("shuffle", np.bool_(False), False),
        ("idCol", np.str_("id"), "id"),
        ("storeMemory", np.int64(1 << 30), 1 << 30),
        ("inputShape", np.array([1, 2]), [1, 2]),
        ("featuresCols", np.array(["a", "b"]), ["a", "b"]),
        ("optimizerParams", {"momentum": np.float32(0.5), "betas": (np.float32(0.5), 0.75)},
         {"momentum": 0.5, "betas": [0.5, 0.75]}),
    ],
)  # fmt: skip
def test_numpy_values_become_python_s(name, value, kept):
    told = StokerClassifier(**{name: value}).value(name)
    assert told == kept and type(told) is type(kept)


def test_settings_that_no_file_can_hold_are_refused_at_once():
    with pytest.raises(TypeError, match=r"optimizerParams.*'momentum' is a Linear; expected a number"):
        StokerClassifier(optimizerParams={"momentum": nn.Linear(1, 1)})
    with pytest.raises(TypeError, match="storeMemory"):
        StokerClassifier(storeMemory=nn.Linear(1, 1))


@pytest.mark.parametrize(("model", "message"), [
    (nn.Linear, "the class Linear; give an instance"), ([nn.Linear(4, 2)], "model is a list"), ("resnet", "is a text"),
])  # fmt: skip
def test_what_is_no_module_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        StokerClassifier(model=model)._prepare(None)


def test_a_model_of_another_dtype_is_told_before_its_shape_is_guessed():
    with pytest.raises(
        UserError, match=r"parameter '0\.weight' is bfloat16; Stoker keeps float32 weights: call model\.float"
    ):
        StokerClassifier(model=net(4, 2).bfloat16())._prepare(None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learningRate": float("nan")}, "learningRate must not be negative, it is nan"),
        ({"batchSize": 0}, "batchSize must be at least 1, not 0"),
        ({"epochs": -1}, "epochs must be at least 1, not -1"),
        ({"numWorkers": 0}, "numWorkers must be at least 1"),
        ({"learningRate": -0.1}, "learningRate must not be negative"),
        ({"heartbeatTimeout": 0.5}, "heartbeatTimeout must be at least 1 s, not 0.5"),
        ({"clipNorm": -1.0}, "clipNorm must not be negative"),
        ({"assign": "random"}, "assign must be one of 'hash', 'partition', not 'random'"),
        ({"onNaN": "ignore"}, "onNaN must be one of 'error', 'continue', 'skip', not 'ignore'"),
        ({"scaleRate": "log"}, "scaleRate must be one of 'linear', 'sqrt', not 'log'"),
        ({"outputKind": "odds"}, "outputKind must be one of 'auto', 'logits'"),
        ({"numShards": 1, "numWorkers": 2}, r"numShards \(1\) must not be smaller than numWorkers \(2\)"),
        ({"numShards": 4, "numWorkers": 2, "assign": "partition"}, r"numShards \(4\) must equal numWorkers \(2\)"),
        ({"numShards": 70_000, "batchSize": 100_000}, r"numShards \(70000\) must not be larger than 32768"),
        ({"idCol": "id", "assign": "partition"}, "idCol decides nothing with assign='partition'"),
        ({"numWorkers": 300}, r"batchSize \(256\) is smaller than numWorkers \(300\)"),
        ({"numWorkers": 40_000, "batchSize": 40_000}, r"numWorkers \(40000\) must not be larger than 32768"),
        ({"learningRate": float("inf")}, "learningRate must be a number that is finite, it is inf"),
        ({"batchSize": 3, "numShards": 4}, r"batchSize \(3\) is smaller than numShards \(4\)"),
    ],
)
def test_values_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=message):
        FitSettings.of(StokerClassifier(**params).value)


@pytest.mark.parametrize(
    ("params", "shards"),
    [
        ({}, 8),
        ({"numWorkers": 2}, 8),
        ({"numWorkers": 3}, 9),
        ({"numWorkers": 7}, 14),
        ({"numWorkers": 8}, 8),
        ({"numWorkers": 9}, 9),
        ({"numWorkers": 2, "batchSize": 127}, 2),
        ({"numWorkers": 3, "batchSize": 144}, 9),
        ({"numWorkers": 2, "strategy": stoker.LocalSGD()}, 2),
        ({"numWorkers": 2, "assign": "partition"}, 2),
        ({"numWorkers": 2, "numShards": 5}, 5),
    ],
)
def test_rows_are_cut_into_as_many_shards_as_all_usual_numbers_of_workers_share_evenly(params, shards):
    assert FitSettings.of(StokerClassifier(**params).value).shards == shards


def test_models_whose_rows_depend_on_each_other_get_a_shard_a_worker():
    settings = FitSettings.of(StokerClassifier(numWorkers=2).value)
    for module, shards in ((nn.Linear(4, 2), 8), (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), 2)):
        row = TensorSpec("x", "float32", (4,))
        compiled = compile_module(module, nn.CrossEntropyLoss(), [row], [TensorSpec("y", "int64", ())])
        assert replace(settings, coupled=compiled.coupled).shards == shards


def test_the_defaults_are_in_range():
    for cls in (StokerClassifier, StokerRegressor, StokerEstimator):
        FitSettings.of(cls().value)


def test_both_kinds_of_features_at_once_are_refused():
    with pytest.raises(UserError, match="featuresCol and featuresCols are both set"):
        StokerClassifier(model=net(1, 2), featuresCol="a", featuresCols=["b"])._prepare(None)


def test_the_shape_of_a_row_comes_from_param_columns_or_model():
    assert features(StokerClassifier(inputShape=[1, 2, 2]), nn.Conv2d(1, 3, 2))[0].shape == (1, 2, 2)
    assert features(StokerClassifier(featuresCols=["a", "b"]), nn.Flatten())[0].shape == (2,)
    assert features(StokerClassifier(), net(7, 2))[0].shape == (7,)
    with pytest.raises(UserError, match="shape of a row of 'features' is not known: set inputShape"):
        features(StokerClassifier(), nn.Conv2d(1, 3, 2))


def test_columns_that_do_not_fit_the_model_are_refused():
    with pytest.raises(UserError, match="has 2 values a row, but the model takes 7"):
        features(StokerClassifier(featuresCols=["a", "b"]), net(7, 2))


def test_a_model_that_begins_with_an_embedding_gets_whole_numbers():
    words = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    source = features(StokerClassifier(inputShape=[3]), words)[0]
    assert source.dtype == "int64" and source.rules["integral"]
    assert not starts_with_embedding(net(4, 2))


def test_no_weight_column_is_no_weight():
    assert layout.weight(naming_of(StokerClassifier()), None) is None
    assert layout.weight(naming_of(StokerClassifier(weightCol="w")), None).rules["non_negative"]


def test_a_model_that_does_not_run_says_for_which_shape():
    module = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    inputs = features(StokerClassifier(inputShape=[2, 2]), module)
    with pytest.raises(UserError, match=r"the model does not run on rows of shape features: \[2, 2\]: "):
        _ = Probe(module, inputs).shapes


def test_probing_leaves_module_and_random_state_alone():
    import torch

    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    assert Probe(module, features(StokerClassifier(), module)).shapes == [(4,)]
    assert torch.equal(state, torch.random.get_rng_state()) and module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2))),
            r"outputs of shape \[rows, classes\]; this",
        ),
        (None, "model is not set: give the torch.nn.Module to train"),
    ],
)
def test_a_classifier_refuses_what_it_cannot_read_classes_from(module, message):
    estimator = StokerClassifier() if module is None else StokerClassifier(model=module)
    with pytest.raises(UserError, match=message):
        estimator._prepare(None)


@pytest.mark.parametrize(
    ("last", "size", "kind"),
    [
        ([], 3, "logits"),
        ([], 1, "logits"),
        ([nn.LogSoftmax(1)], 3, "logProbabilities"),
        ([nn.Softmax(1)], 3, "probabilities"),
        ([nn.Sigmoid()], 1, "probabilities"),
    ],
)
def test_the_last_layer_tells_what_outputs_mean(last, size, kind):
    prepared, _ = StokerClassifier(model=nn.Sequential(nn.Linear(4, size), *last))._prepare(None)
    assert prepared.output_kind == kind
    assert prepared.label_rules["classes"] == max(size, 2)


def test_a_told_kind_wins():
    prepared, _ = StokerClassifier(model=net(4, 3), loss=nn.NLLLoss(), outputKind="logits")._prepare(None)
    assert prepared.output_kind == "logits"


def test_labels_that_a_given_loss_ignores_are_let_through():
    rules = StokerClassifier(model=net(4, 3), loss=nn.CrossEntropyLoss(ignore_index=-1))._prepare(None)[0].label_rules
    assert rules == {"classes": 3, "has_ignored": True, "ignored": -1}
    assert StokerClassifier(model=net(4, 3))._prepare(None)[0].label_rules == {"classes": 3}


def test_a_loss_is_needed_where_none_is_usual():
    with pytest.raises(UserError, match="loss is not set"):
        StokerEstimator(model=net(4, 3))._prepare(None)


def test_sources_come_in_the_order_of_the_program_s_inputs():
    estimator = StokerClassifier(model=net(4, 3), weightCol="w", labelCol="y", featuresCol="x")
    prepared, sources = estimator._prepare(None)
    ordered = prepared.sources(list(reversed(sources)))
    assert [s.columns for s in ordered] == [("x",), ("y",), ("w",)]
    assert [s.name for s in ordered] == [entry["name"] for entry in prepared.compiled.train["inputs"]]
    assert ordered[1].rules["classes"] == 3


def test_setters_and_getters_say_what_the_parameter_is():
    assert StokerClassifier.setBatchSize.__doc__ == "Sets batchSize: rows of one step over all workers (default: 256)."
    told = "The value of verbose, or its default: 1: progress, 0: nothing (default: 1)."
    assert StokerClassifier.getVerbose.__doc__ == told
