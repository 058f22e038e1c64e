"""What users say about optimizers becomes the engine's options, or an error that names what is wrong."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import stoker
from stoker.engine import core
from stoker.errors import UserError
from stoker.fit.settings import FitSettings
from stoker.optimizer import check_full_batch, check_moments, parse, rate_scale, with_schedule


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def parsed(optimizer, net, learning_rate=None, **params):
    return parse(optimizer, learning_rate, params, net.named_parameters())


def complaint(optimizer, net, learning_rate=None, **params):
    with pytest.raises(UserError) as caught:
        parsed(optimizer, net, learning_rate, **params)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def test_a_name_with_settings(net):
    options, groups = parsed("sgd", net, 0.1, momentum=0.9, nesterov=True, weight_decay=1)
    assert options == {"name": "sgd", "groups": [{"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1.0}]}
    assert groups == {"0.weight": 0, "0.bias": 0, "2.weight": 0, "2.bias": 0}


def test_without_a_rate_the_optimizers_own_default_holds(net):
    assert parsed("AdamW", net)[0] == {"name": "adamw", "groups": [{}]}


def test_an_instance_gives_class_groups_and_settings(net):
    groups = [{"params": net[2].parameters(), "lr": 0.5}, {"params": net[0].parameters(), "momentum": 0.9}]
    options, members = parsed(torch.optim.SGD(groups, lr=0.1, weight_decay=0.2, foreach=True), net)
    common = {"weight_decay": 0.2, "maximize": False, "dampening": 0.0, "nesterov": False}
    assert options["name"] == "sgd"
    assert options["groups"] == [{"lr": 0.5, "momentum": 0.0, **common}, {"lr": 0.1, "momentum": 0.9, **common}]
    assert members == {"0.weight": 1, "0.bias": 1, "2.weight": 0, "2.bias": 0}


def test_adafactor_and_its_eps(net):
    optimizer = torch.optim.Adafactor(net.parameters(), lr=0.5, d=2.0)
    group = {"lr": 0.5, "weight_decay": 0.0, "maximize": False, "beta2_decay": -0.8, "epsilons": [None, 1e-3], "d": 2.0}
    assert parsed(optimizer, net)[0] == {"name": "adafactor", "groups": [group]}
    assert parsed("adafactor", net, eps=(1e-3, 1))[0]["groups"] == [{"epsilons": [1e-3, 1.0]}]
    expected = "expected two numbers, of which the first may be None"
    assert expected in complaint("adafactor", net, eps=(1e-3, None))
    assert expected in complaint("adafactor", net, eps=1e-3)
    assert "Clipping threshold d should be >= 1" in complaint("adafactor", net, d=0.5)
    assert "beta2_decay should be <= 0" in complaint("adafactor", net, beta2_decay=0.5)


@pytest.mark.parametrize("told", [{"saveOptimizer": True}, {"strategy": stoker.LocalSGD(every=2)}], ids=str)
def test_what_adafactor_does_not_go_with(net, told):
    settings = FitSettings.of(stoker.StokerRegressor(model=net, **told).value)
    with pytest.raises(
        UserError, match=r"'adafactor' does not go with (saveOptimizer|strategy 'localSGD'): its moments"
    ):
        check_moments({"name": "adafactor", "groups": [{}]}, settings)


def test_adamw_and_its_betas(net):
    options, _ = parsed(torch.optim.AdamW(net.parameters(), betas=(0.8, 0.99), amsgrad=True, fused=True), net)
    group = {"lr": 0.001, "weight_decay": 0.01, "maximize": False, "betas": [0.8, 0.99], "eps": 1e-8, "amsgrad": True}
    assert options == {"name": "adamw", "groups": [group]}


def test_adam_with_decoupled_decay_is_adamw(net):
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1, decoupled_weight_decay=True)
    assert parsed(optimizer, net)[0]["name"] == "adamw"
    optimizer = torch.optim.Adam(
        [{"params": net[0].parameters(), "decoupled_weight_decay": True}, {"params": net[2].parameters()}]
    )
    assert "decoupled_weight_decay differs between the groups" in complaint(optimizer, net)


def test_a_given_rate_holds_for_every_group(net):
    groups = [{"params": net[0].parameters(), "lr": 1}, {"params": net[2].parameters(), "lr": 2}]
    options, _ = parsed(torch.optim.Adam(groups), net, 0.25)
    assert [group["lr"] for group in options["groups"]] == [0.25, 0.25]


def test_a_named_instance_is_read_like_any_other(net):
    assert parsed(torch.optim.SGD(net.named_parameters()), net)[1] == {name: 0 for name, _ in net.named_parameters()}


def test_frozen_parameters_need_no_group(net):
    net[0].requires_grad_(False)
    assert parsed(torch.optim.SGD(net[2].parameters()), net)[1] == {"2.weight": 0, "2.bias": 0}


def test_a_trained_parameter_in_no_group_is_named(net):
    text = complaint(torch.optim.SGD(net[2].parameters()), net)
    assert "2 of the model's parameters are in no group ('0.weight', '0.bias')" in text
    assert "requires_grad_(False)" in text


def test_parameters_of_another_model_are_counted(net):
    other = nn.Linear(1, 1)
    optimizer = torch.optim.SGD([*net.parameters(), other.weight])
    assert "1 of its 5 parameters are not the model's" in complaint(optimizer, net)


def test_unknown_names_classes_and_settings(net):
    assert "unknown name 'lyon'; did you mean 'lion'?" in complaint("lyon", net)
    assert "unknown name 'newton', expected one of 'sgd', 'adam', 'adamw', 'rmsprop'" in complaint("newton", net)
    assert "adam has no setting 'momentum', it has 'lr'" in complaint("adam", net, momentum=0.9)
    assert "class Rprop is not supported, expected one of SGD, Adam" in complaint(
        torch.optim.Rprop(net.parameters()), net
    )
    assert "got a int" in complaint(3, net)
    assert "give an instance, not the class" in complaint(torch.optim.Adam, net)


def test_a_subclass_may_do_anything(net):
    class Mine(torch.optim.Adam):
        pass

    assert "class Mine is not supported" in complaint(Mine(net.parameters()), net)


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("sgd", {"lr": -1.0}, "Invalid learning rate: -1.0"),
        ("adam", {"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
        ("adam", {"betas": 0.9}, "betas is 0.9, expected two numbers"),
        ("adam", {"eps": "small"}, "eps is 'small', expected a number"),
        ("sgd", {"momentum": True}, "momentum is True, expected a number"),
        ("sgd", {"nesterov": "yes"}, "nesterov is 'yes', expected true or false"),
        ("sgd", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("adamw", {"weight_decay": -0.1}, "Invalid weight_decay value: -0.1"),
        ("adam", {"eps": float("nan")}, "eps is nan, expected a number that is finite"),
        ("sgd", {"lr": float("inf")}, "lr is inf, expected a number that is finite"),
        ("sgd", {"lr": 10**400}, "expected a number that is finite"),
        ("adam", {"betas": (0.9, float("nan"))}, "betas is (0.9, nan), expected two numbers"),
    ],
)
def test_bad_values_are_refused_as_torch_refuses_them(net, name, settings, words):
    assert words in complaint(name, net, **settings)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"history_size": 0}, "history_size is 0, expected 1 or more"),
        ({"max_iter": 2.5}, "max_iter is 2.5, expected a whole number"),
        ({"max_iter": float("inf")}, "max_iter is inf, expected a whole number"),
        ({"max_iter": 1e30}, "max_iter is 1e+30, expected a whole number up to 2147483647"),
        ({"history_size": 2**31}, "history_size is 2147483648, expected a whole number up to 2147483647"),
        ({"tolerance_grad": -1}, "tolerance_grad is -1.0, expected zero or more"),
        ({"weight_decay": 0.1}, "lbfgs has no setting 'weight_decay'"),
    ],
)
def test_settings_of_lbfgs_that_cannot_be(net, settings, words):
    assert words in complaint("lbfgs", net, **settings)


def test_what_is_not_finite_is_refused_of_an_instance_too(net):
    without_end = torch.optim.Adam(net.parameters(), eps=np.inf)
    assert "eps is inf, expected a number that is finite" in complaint(without_end, net)
    assert "lr is inf, expected a number that is finite" in complaint(torch.optim.Adam(net.parameters()), net, np.inf)


def test_an_instance_of_lbfgs_ends_no_fit_where_it_would_end_a_call(net):
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.5, history_size=7, line_search_fn="strong_wolfe")
    told = {"lr": 0.5, "tolerance_grad": 1e-7, "tolerance_change": 1e-9, "history_size": 7}
    assert parsed(optimizer, net)[0] == {"name": "lbfgs", "groups": [told]}
    assert "line_search_fn=None; give it line_search_fn='strong_wolfe'" in complaint(
        torch.optim.LBFGS(net.parameters()), net
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"epochs": 1}, "with epochs=1 nothing would be trained"),
        ({"validationFraction": 0.2, "validationInterval": 5}, "does not go with validationInterval: weights change"),
        ({"clipNorm": 1.0, "averageWeights": "ema"}, "does not go with averageWeights, clipNorm: an evaluation is of"),
        ({"strategy": stoker.LocalSGD(every=4)}, "does not go with strategy 'localSGD'"),
        ({"lrSchedule": "cosine", "maxSteps": 3}, "does not go with lrSchedule, maxSteps"),
        ({"onNaN": "skip"}, "does not go with onNaN='skip'"),
        ({"checkpointDir": "x", "checkpointUnit": "steps"}, "does not go with checkpointUnit='steps'"),
        ({"optimizerParams": {"groups": [{"params": "*.bias", "lr": 0.1}]}}, "does not go with parameter groups"),
    ],
)
def test_what_lbfgs_does_not_go_with_is_named(net, told, words):
    estimator = stoker.StokerRegressor(model=net, **{"optimizer": "lbfgs", "epochs": 9, **told})
    options, _ = parse("lbfgs", None, estimator.value("optimizerParams") or {}, net.named_parameters())
    with pytest.raises(UserError) as caught:
        check_full_batch(options, FitSettings.of(estimator.value))
    assert words in str(caught.value)


def test_what_is_given_twice(net):
    assert "'lr' is given and learningRate too" in complaint("sgd", net, 0.1, lr=0.2)
    assert "which has its settings already" in complaint(torch.optim.SGD(net.parameters()), net, eps=1e-3)


def test_options_that_the_engine_cannot_follow(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=torch.tensor(0.1))
    assert "lr is tensor(0.1000), expected a number" in complaint(optimizer, net)
    optimizer = torch.optim.Adam(net.parameters(), capturable=True)
    assert "capturable=True is not supported" in complaint(optimizer, net)
    optimizer = torch.optim.SGD(net.parameters(), differentiable=True)
    assert "differentiable=True is not supported" in complaint(optimizer, net)
    optimizer = torch.optim.SGD(net.parameters())
    optimizer.param_groups[0]["warmup"] = 3
    assert "setting 'warmup' of SGD is not supported" in complaint(optimizer, net)


def test_a_scheduler_would_have_no_effect(net):
    optimizer = torch.optim.SGD(net.parameters())
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    words = "lr_scheduler is attached to it ('initial_lr'), and would have no effect; give the scheduler too"
    assert words in complaint(optimizer, net)


def test_an_optimizer_with_a_past(net):
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert "has been stepped already" in complaint(optimizer, net)


def test_groups_by_patterns_of_names(net):
    more = [{"params": "*.bias", "weight_decay": 0}, {"params": ["2.*", "9.*"], "lr": 0.5}]
    options, groups = parsed("adamw", net, 0.1, weight_decay=0.2, groups=more)
    assert options["groups"] == [{"lr": 0.1, "weight_decay": 0.2}, {"lr": 0.1, "weight_decay": 0.0},
                                 {"lr": 0.5, "weight_decay": 0.2}]  # fmt: skip
    assert groups == {"0.weight": 0, "0.bias": 1, "2.weight": 2, "2.bias": 1}


def test_groups_that_are_nobodys(net):
    assert "'*.gamma'; the model has '0.weight', '0.bias'" in complaint("adam", net, groups=[{"params": "*.gamma"}])
    twice = [{"params": "2.*"}, {"params": ["2.bias"], "lr": 1}]
    assert "'2.bias'; all that match are in groups before it" in complaint("adam", net, groups=twice)
    assert "has no 'params'" in complaint("adam", net, groups=[{"lr": 1}])
    assert "'groups' is 'x', expected a list of dicts" in complaint("adam", net, groups="x")
    wrong = [{"params": "*", "momentm": 1}]
    assert "sgd has no setting 'momentm'; did you mean 'momentum'?" in complaint("sgd", net, groups=wrong)


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("lion", {"betas": (0.9, 1.5)}, "Invalid beta parameter at index 1: 1.5"),
        ("lars", {"trust_coefficient": -1}, "trust_coefficient is -1.0, expected zero or more"),
        ("lamb", {"lr": -1}, "Invalid learning rate: -1.0"),
        ("rmsprop", {"alpha": -1}, "Invalid alpha value: -1.0"),
    ],
)
def test_bad_values_of_more_optimizers(net, name, settings, words):
    assert words in complaint(name, net, **settings)


def test_a_new_adagrad_has_no_past(net):
    options, _ = parsed(torch.optim.Adagrad(net.parameters(), initial_accumulator_value=0.5), net)
    assert (options["name"], options["groups"][0]["initial_accumulator_value"]) == ("adagrad", 0.5)


def test_a_cycle_of_momentum_wants_one(net):
    cycle = {"name": "one_cycle", "cycle_momentum": True}
    for name, words in (("adagrad", "adagrad has none"), ("nadam", "does not go with nadam")):
        with pytest.raises(UserError, match=words):
            with_schedule({"name": name, "groups": [{}]}, cycle, "steps", 1, False)


def test_a_rate_follows_the_batch_linearly_or_by_its_root():
    assert (rate_scale("linear", 1024), rate_scale("sqrt", 1024), rate_scale("linear", 128)) == (4.0, 2.0, 0.5)


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_a_scaled_rate_is_that_of_every_group_its_default_too(name):
    def stepped(groups, **more):
        told = json.dumps({"name": name, "groups": groups, **more})
        engine = core().ArenaOptimizer(told, [("a", [4], 0), ("b", [4], 1)], "portable")
        weights, gradient = (np.ones(engine.floats(), np.float32) for _ in range(2))
        engine.update(1, gradient, 1.0, weights, [np.zeros_like(weights) for _ in engine.state_names()])
        return weights

    default = {"lars": 0.1, "sgd": 1e-3}[name]
    scaled, told = stepped([{}, {"lr": 0.5}], rate_scale=4.0), stepped([{"lr": 4 * default}, {"lr": 2.0}])
    np.testing.assert_array_equal(scaled, told)
    assert (scaled != 1).any()
