"""Mixup and CutMix against their formulas; smoothed labels; the same bits for any number of workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from local_gang import run
from stoker.errors import CompileError, UserError
from stoker.frontend import mixing
from stoker.frontend.interpret import Interpreter
from stoker.frontend.torch import compile as compile_module
from stoker.mixing import as_mix
from stoker.program import TensorSpec
from test_exact import MODELS, assert_same, make_fit

LABEL = [TensorSpec("label", "int64", ())]


def numerator(compiled, rows, seed=0):
    """Of the training program's loss, as its operators compute it."""
    program = compiled.train
    values = {entry["slot"]: rows[entry["name"]] for entry in program["inputs"]}
    for entry in (*program["parameters"], *program["constants"]):
        values[entry["slot"]] = torch.from_numpy(compiled.weights[entry["name"]])
    torch.manual_seed(seed)
    slots = Interpreter(program).run(values)
    return slots[program["loss"]["numerator"]].item(), slots


def drawn(mix, rows, seed=0):
    """As the program draws: the same numbers in the same order."""
    torch.manual_seed(seed)
    return mix.draw(rows)


@pytest.mark.parametrize(("name", "shape"), [("mixup", (4,)), ("cutmix", (3, 8, 6))])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_loss_is_that_of_mixed_rows_against_both_labels(name, shape, weights):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3))
    loss = nn.CrossEntropyLoss(weight=None if weights is None else torch.tensor(weights))
    compiled = compile_module(net, loss, [TensorSpec("features", "float32", shape)], LABEL, mix=as_mix(name))
    x, y = torch.randn(9, *shape), torch.arange(9) % 3
    mixed, own = drawn(mixing.Mix(**as_mix(name)), {"features": x}, seed=5)
    out, each = net(mixed["features"]), nn.CrossEntropyLoss(loss.weight, reduction="sum")
    wanted = own * each(out, y) + (1 - own) * each(out, y.flip(0))
    assert numerator(compiled, {"features": x, "label": y}, seed=5)[0] == pytest.approx(wanted.item(), rel=1e-6)


def test_cutmix_pastes_a_box_and_counts_its_pixels():
    x = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 20, 30)
    for seed in range(20):
        mixed, own = drawn(mixing.Mix("cutmix", 1.0), {"x": x}, seed)
        pasted = mixed["x"][0, 0]  # of row 1, which is all ones
        assert pasted.mean().item() == pytest.approx(1 - own.item(), abs=1e-6)
        rows, columns = pasted.amax(1) > 0, pasted.amax(0) > 0
        assert torch.equal(pasted > 0, rows[:, None] & columns[None])
        last = mixing.Mix("cutmix", 1.0, channels_last=True)
        assert torch.equal(drawn(last, {"x": x.movedim(1, -1)}, seed)[0]["x"].movedim(-1, 1), mixed["x"])


def test_shares_are_drawn_from_beta():
    torch.manual_seed(0)
    rows = {"x": torch.zeros(2, 1)}
    shares = torch.stack([mixing.Mix("mixup", 0.2).draw(rows)[1] for _ in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.05)  # of Beta(0.2, 0.2)


OF_MODEL = {"mixup": "mlp", "cutmix": "cnn"}


def mixed_fit(name):
    fit = make_fit(OF_MODEL[name])
    features, label = [TensorSpec(e["name"], e["dtype"], tuple(e["shape"])) for e in fit.compiled.train["inputs"]]
    compiled = compile_module(MODELS[OF_MODEL[name]][0](), nn.CrossEntropyLoss(), [features], [label],
                              metric="argmax", mix=as_mix(name))  # fmt: skip
    return replace(fit, compiled=compiled)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_any_number_of_workers_gives_the_same_bits(name):
    assert not any("sum over its rows" in note for note in mixed_fit(name).compiled.notes)
    alone = run(mixed_fit(name), 1)
    assert_same(alone, run(mixed_fit(name), 3, order_seed=3))
    assert alone[1]["digest"] != run(make_fit(OF_MODEL[name]), 1)[1]["digest"]


def test_smoothed_labels_are_torchs():
    torch.manual_seed(1)
    net, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(label_smoothing=0.1)
    compiled = compile_module(net, loss, [TensorSpec("features", "float32", (4,))], LABEL)
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    found, _ = numerator(compiled, {"features": x, "label": y})
    assert found / 9 == pytest.approx(loss(net(x), y).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("mixip", "'name' is 'mixip', expected one of 'mixup', 'cutmix'"),
        ({"name": "mixup", "alfa": 1}, "there is no setting 'alfa'; did you mean 'alpha'"),
        ({"name": "cutmix", "alpha": 0}, "alpha is 0, expected a number above 0"),
        (3, "got 3, expected 'mixup', 'cutmix' or a dict"),
    ],
)
def test_what_is_no_mixing_is_told(value, text):
    with pytest.raises(UserError, match=text):
        as_mix(value)


@pytest.mark.parametrize(
    ("name", "spec", "text"),
    [
        ("mixup", TensorSpec("words", "int64", (4,)), "mix='mixup' mixes numbers, and input 'words' is int64"),
        ("cutmix", TensorSpec("x", "float32", (4,)), r"a row of input 'x' has shape \[4\], not three dimensions"),
    ],
)
def test_inputs_that_cannot_be_mixed_are_told(name, spec, text):
    with pytest.raises(CompileError, match=text):
        compile_module(nn.Linear(4, 3), nn.CrossEntropyLoss(), [spec], LABEL, mix=as_mix(name))
