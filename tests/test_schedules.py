"""Learning rates over a fit: against torch.optim.lr_scheduler, and errors that name what is wrong."""

import json
import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from stoker import evaluation, optimizer, schedule
from stoker.engine import core
from stoker.errors import UserError

STEPS = 200
RATES = (0.1, 0.003)
SCHEDULERS = {
    "step": lambda o: torch_lr.StepLR(o, 30, 0.5),
    "multi-step": lambda o: torch_lr.MultiStepLR(o, [50, 20, 50], 0.3),
    "exponential": lambda o: torch_lr.ExponentialLR(o, 0.98),
    "constant": lambda o: torch_lr.ConstantLR(o, 0.25, 40),
    "linear": lambda o: torch_lr.LinearLR(o, 0.1, 0.9, 60),
    "polynomial": lambda o: torch_lr.PolynomialLR(o, 150, 2.0),
    "cosine, longer than its half period": lambda o: torch_lr.CosineAnnealingLR(o, 70, 1e-4),
    "restarts": lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 30, eta_min=1e-4),
    "restarts that grow": lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 20, 2),
    "one cycle": lambda o: torch_lr.OneCycleLR(o, [0.5, 0.1], STEPS + 1, cycle_momentum=False),
    "one cycle, linear": lambda o: torch_lr.OneCycleLR(o, 0.5, STEPS + 1, 0, 0, 0.4, "linear", three_phase=True),
    "sequence": lambda o: torch_lr.SequentialLR(
        o, [torch_lr.LinearLR(o, 0.1, 1.0, 30), torch_lr.CosineAnnealingLR(o, 170, 1e-5)], [30]
    ),
    "three in sequence": lambda o: torch_lr.SequentialLR(
        o, [torch_lr.ConstantLR(o, 0.1, 20), torch_lr.ExponentialLR(o, 0.9), torch_lr.StepLR(o, 9)], [20, 90]
    ),
    "chain": lambda o: torch_lr.ChainedScheduler([torch_lr.ConstantLR(o, 0.5, 20), torch_lr.ExponentialLR(o, 0.99)]),
}


def sgd():
    groups = [{"params": [torch.nn.Parameter(torch.ones(3))], "lr": rate} for rate in RATES]
    return torch.optim.SGD(groups, momentum=0.9)


def options_of(told, torch_optimizer, unit="steps", epochs=1):
    named = [(str(i), p) for i, group in enumerate(torch_optimizer.param_groups) for p in group["params"]]
    options, _ = optimizer.parse(torch_optimizer, None, {}, named, scheduled=True)
    return optimizer.with_schedule(options, told, unit, epochs, False)


def rate(options, group, step, epoch=0, steps_of_epoch=0):
    base, told = options["groups"][group]["lr"], json.dumps(options["schedule"])
    return core().learning_rate(told, base, step, epoch, steps_of_epoch)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_two_hundred_steps_equal_torch(name):
    theirs = sgd()
    scheduler = SCHEDULERS[name](theirs)
    options = options_of(schedule.as_schedule(scheduler), theirs)
    for step in range(1, STEPS + 1):
        ours = [rate(options, group, step) for group in range(2)]
        assert ours == pytest.approx([group["lr"] for group in theirs.param_groups], rel=1e-9, abs=1e-15), step
        theirs.step()
        scheduler.step()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_one_cycle_changes_momentum_too(kind):
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 100))
    theirs = kind([parameter], **({"momentum": 0.5} if kind is torch.optim.SGD else {}))
    scheduler = torch_lr.OneCycleLR(theirs, 0.01, 101)
    options = options_of(schedule.as_schedule(scheduler), theirs)
    engine = core().ArenaOptimizer(json.dumps(options), [("p", [100], 0)])
    weights, gradient = (torch.zeros(engine.floats()).numpy() for _ in range(2))
    weights[:100] = parameter.detach().numpy()
    state = [torch.zeros(engine.floats()).numpy() for _ in engine.state_names()]
    for step in range(1, 101):
        parameter.grad = torch.sin(torch.arange(100.0) * step)
        gradient[:100] = parameter.grad.numpy()
        engine.update(step, gradient, 1.0, weights, state)
        theirs.step()
        scheduler.step()
    assert weights[:100] == pytest.approx(parameter.detach().numpy(), rel=1e-5, abs=1e-6)


def rates_of(told, steps, unit="steps", epochs=4, steps_of_epoch=10):
    told = json.dumps(schedule.complete(schedule.as_schedule(told), unit, epochs))
    return [core().learning_rate(told, 2.0, t + 1, t // steps_of_epoch, steps_of_epoch) for t in range(steps)]


def test_warm_up_leads_to_the_rate_and_counts_in_the_length():
    rates = rates_of({"name": "cosine", "warmup": 8, "min_lr": 0.5}, 40)
    assert rates[:8] == pytest.approx([2 * (t + 1) / 8 for t in range(8)])
    assert rates[8:] == pytest.approx([0.5 + 1.5 * (1 + math.cos(math.pi * t / 32)) / 2 for t in range(32)])
    assert rates_of({"name": "constant", "warmup": 4, "warmup_start": 0.5}, 5) == [1.25, 1.5, 1.75, 2, 2]


def test_inverse_square_root_is_noams():
    rates = rates_of({"name": "inverse_sqrt", "warmup": 25}, 100)
    assert rates == pytest.approx([2 * 5 * min((t + 1) ** -0.5, (t + 1) * 25**-1.5) for t in range(100)])


def test_by_epoch_the_rate_stays_within_each():
    rates = rates_of({"name": "step", "step_size": 2, "gamma": 0.5}, 40, "epochs")
    assert rates == [2.0] * 20 + [1.0] * 20
    assert rates_of("polynomial", 40, "epochs")[::10] == [2.0, 1.5, 1.0, 0.5]


def test_the_length_of_the_fit_is_part_of_what_is_told():
    told = schedule.as_schedule("cosine")
    assert schedule.complete(told, "steps", 7)["epochs"] == 7
    assert "epochs" not in schedule.complete({**told, "total": 9}, "steps", 7)


def complaint(told):
    with pytest.raises(UserError) as caught:
        schedule.as_schedule(told)
    return str(caught.value)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"name": "cosin"}, "unknown name 'cosin'; did you mean 'cosine'?"),
        ({"name": "cosine", "warmpu": 3}, "'cosine' has no setting 'warmpu'; did you mean 'warmup'?"),
        ({"warmup": 3}, "'name' is missing; it is one of 'constant', 'linear'"),
        ({"name": "step"}, "'step' needs 'step_size', a whole number of at least 1"),
        ({"name": "step", "step_size": 0.5}, "step_size is 0.5, expected a whole number of at least 1"),
        ({"name": "exponential", "gamma": -1}, "gamma is -1, expected a number, not negative"),
        ({"name": "multi_step", "milestones": [3, 2]}, "milestones is [3, 2], expected ascending whole numbers"),
        ({"name": "cosine", "total": 5, "warmup": 5}, "warmup (5) must be shorter than total (5)"),
        ({"name": "sequence", "schedules": ["cosine"], "milestones": [4]}, "1 schedules and 1 milestones"),
        ({"name": "plateau", "warmup": 5}, "'plateau' has no setting 'warmup'"),
        ({"name": "plateau", "factor": 1}, "'plateau': factor is 1, expected a number below 1, not negative"),
        ({"name": "ReduceLROnPlateau"}, "unknown name 'ReduceLROnPlateau': it is called 'plateau' here"),
        ({"name": "noam"}, "it is called 'inverse_sqrt' here"),
        (torch_lr.StepLR, "got the class StepLR; give an instance"),
        (3, "got a int, expected a dict such as {'name': 'cosine', 'warmup': 500}"),
    ],
)
def test_what_cannot_be_is_named(told, words):
    assert words in complaint(told)


def test_torch_schedulers_that_cannot_be_read():
    class Mine(torch_lr.StepLR):
        pass

    words = complaint(torch_lr.LambdaLR(sgd(), lambda epoch: 0.9))
    assert "LambdaLR cannot be read: it calls a Python function, which cannot run on the workers" in words
    uneven = torch_lr.ReduceLROnPlateau(sgd(), min_lr=[0.1, 0.2])
    assert "min_lr of the ReduceLROnPlateau differs between the groups" in complaint(uneven)
    assert "Mine cannot be read" in complaint(Mine(sgd(), 3))
    chained = torch_lr.ChainedScheduler([torch_lr.CosineAnnealingLR(sgd(), 9)])
    assert "'cosine' does not" in complaint(chained)
    stepped = torch_lr.StepLR(sgd(), 3)
    stepped.optimizer.step()
    stepped.step()
    assert "StepLR has been stepped already" in complaint(stepped)


def test_a_cycle_of_another_number_of_groups():
    told = schedule.as_schedule(torch_lr.OneCycleLR(sgd(), 0.5, 10))
    with pytest.raises(UserError, match="an optimizer with 2 groups, and this one has 1"):
        optimizer.with_schedule({"name": "sgd", "groups": [{}]}, told, "steps", 1, False)


PLATEAUS = [
    {},
    {"patience": 0, "factor": 0.7},
    {"patience": 2, "cooldown": 3},
    {"mode": "max", "patience": 1},
    {"mode": "max", "threshold_mode": "abs"},
    {"threshold_mode": "abs", "threshold": 0.05, "patience": 1},
    {"patience": 1, "min_lr": 0.002},
    {"patience": 0, "eps": 0.01},
    {"threshold": 0.2, "patience": 3},
]


@pytest.mark.parametrize("settings", PLATEAUS, ids=str)
def test_two_hundred_scores_on_plateaus_equal_torch(settings):
    theirs = sgd()
    scheduler = torch_lr.ReduceLROnPlateau(theirs, **settings)
    told = schedule.as_schedule(scheduler)
    rules = evaluation.plateau({**told, "mode": "auto", "monitor": "val_accuracy" if told["mode"] == "max" else
                                "val_loss"}, ["accuracy"])  # fmt: skip
    options = {"groups": [{"lr": one} for one in RATES], "schedule": schedule.complete(told, "steps", 1)}
    rng = np.random.default_rng(3)
    scores = (np.exp(-np.arange(STEPS) / 60) + 0.1 * rng.normal(size=STEPS)).round(2).tolist()
    scores[7] = math.nan
    for seen in range(1, STEPS + 1):
        scheduler.step(scores[seen - 1])
        lowered = core().lowerings(json.dumps(rules), scores[:seen])
        ours = [core().learning_rate(json.dumps(options["schedule"]), one, 1, lowered=lowered) for one in RATES]
        assert ours == [group["lr"] for group in theirs.param_groups], seen
