"""Frozen parts run once for each row: with and without that the same bits, and only where a row stays the same."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier, StokerEstimator, inputs
from stoker.fit.frozen import Frozen
from stoker.frontend import frozen
from stoker.frontend import torch as frontend
from stoker.frontend.interpret import Interpreter
from stoker.program import TensorSpec
from test_images_spark import row

ROWS, LABEL = [TensorSpec("features", "float32", (12,))], [TensorSpec("label", "int64", ())]


class Trunk(nn.Module):
    """Pictures of 3 x 2 x 2, convolutions with a norm and in-place activations, a bottleneck that is narrower than what
    comes out, and a head behind dropout."""

    def __init__(self, drop=0.5, between=0.0):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(between),
                                     nn.Conv2d(8, 5, 2), nn.ReLU(inplace=True))  # fmt: skip
        self.drop, self.head = nn.Dropout(drop), nn.Linear(5, 3)

    def forward(self, features):
        found = self.encoder(features.reshape(features.shape[0], 3, 2, 2))
        return self.head(self.drop(found.mean((2, 3)).reshape(features.shape[0], -1)))


def compiled(model, evaluated=False, **more):
    torch.manual_seed(1)
    return frontend.compile(model, nn.CrossEntropyLoss(), ROWS, LABEL, metric="argmax", evaluated=evaluated, **more)


def run(program, weights, values):
    """Its slots, given tensors of its inputs by name; without chance."""
    slots = {entry["slot"]: torch.from_numpy(np.array(weights[entry["name"]]))
             for kind in ("parameters", "buffers", "constants") for entry in program[kind]}  # fmt: skip
    slots |= {entry["slot"]: values[entry["name"]] for entry in program["inputs"]}
    torch.manual_seed(5)
    return Interpreter(program).run(slots)


def loss_of(program, weights, values):
    found = run(program, weights, {name: tensor.clone() for name, tensor in values.items()})
    return [found[slot] for slot in (program["loss"]["numerator"], program["loss"]["denominator"]["slot"])]


def check_that_trunk_and_head_are_the_whole(made, rows=9):
    cut = frozen.split(made.train, made.weights)
    values = {"features": torch.randn(rows, 12), "label": torch.arange(rows) % 3}
    trunk = run(cut.trunk, made.weights, {"features": values["features"].clone()})
    given = {f"$frozen.{place}": trunk[output["slot"]] for place, output in enumerate(cut.trunk["outputs"])}
    assert loss_of(made.train, made.weights, values) == loss_of(cut.head, made.weights, values | given)
    return cut


@pytest.mark.parametrize("rows", [2, 9])
def test_trunk_and_head_together_are_the_whole(rows):
    made = compiled(Trunk(), freeze=["encoder"])
    cut = frozen.split(made.train, made.weights)
    assert [output["shape"] for output in cut.trunk["outputs"]] == [[5]] and cut.left == ""
    assert [entry["name"] for entry in cut.head["inputs"]] == ["label", "$frozen.0"]
    assert not [entry for entry in cut.head["constants"] if "encoder" in entry["name"]]
    check_that_trunk_and_head_are_the_whole(made, rows)


class Wrote(nn.Module):
    """Whose way from the features to the head's five is told."""

    def __init__(self, way):
        super().__init__()
        self.trunk, self.high, self.head = nn.Linear(12, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.scale, self.way = nn.Parameter(torch.ones(5)), way

    def forward(self, features):
        return self.head(self.way(self, features))


def mask_of_the_head(net, x):
    mask = torch.zeros(1, 5)
    mask[:, 1:3] = 3
    return net.trunk(x) * net.scale + mask


def mask_of_the_trunk(net, x):
    mask = torch.zeros(x.shape[0], 5)
    mask[:, 0] = 3
    return net.trunk(x) + mask


def mask_written_later(net, x):
    mask = torch.zeros(x.shape[0], 5)
    found = net.trunk(x) + mask
    mask[:, 0] = 3
    return net.high(found) * net.scale + mask


def through_an_older_view(net, x):
    low = net.trunk(x)
    view, high = low[:, 0], net.high(low)
    view.fill_(0)
    return high * net.scale + low


def beside_the_only_value(net, x):
    found = net.trunk(x)
    view, same = found[:, :2], found.reshape(-1, 5, 1).reshape(-1, 5)
    view.fill_(0)
    return same


def of_two_names_of_one_memory(net, x):
    low = net.trunk(x)
    same = low.view(-1, 5)
    low[:, 1] = 7
    return low * net.scale + net.high(same)


def into_the_features(net, x):
    x[:, 0] = 0
    return net.trunk(x) * net.scale + x[:, :5]


@pytest.mark.parametrize("way", [
    mask_of_the_head, mask_of_the_trunk, mask_written_later, through_an_older_view, beside_the_only_value,
    of_two_names_of_one_memory, into_the_features,
])  # fmt: skip
def test_what_is_written_through_views_is_written_in_both_parts(way):
    check_that_trunk_and_head_are_the_whole(compiled(Wrote(way), freeze=["trunk", "high"]))


class Masked(nn.Module):
    """Whose trained layer reads a mask of the features, of booleans or of floats, and, where it is wide, one as wide as
    a matrix."""

    def __init__(self, wide=False, floats=False):
        super().__init__()
        self.trunk, self.scale, self.head = nn.Linear(12, 12), nn.Parameter(torch.ones(12)), nn.Linear(12, 3)
        self.wide, self.floats = wide, floats

    def forward(self, features):
        keep = features > 0
        found = self.trunk(features) * self.scale
        if self.wide:
            keep = keep[:, :, None] & keep[:, None, :]
            found = found[:, None, :].expand(-1, 12, -1)
        found = found * keep.float() if self.floats else found.masked_fill(~keep, 0)
        return self.head(found.mean(1) if self.wide else found)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_a_mask_that_hangs_on_no_weight_is_made_anew(wide, floats):
    cut = check_that_trunk_and_head_are_the_whole(compiled(Masked(wide, floats), freeze=["trunk"]))
    assert [entry["name"] for entry in cut.head["inputs"]] == ["features", "label", "$frozen.0"]
    assert cut.values == 12


class MaskedTrunk(nn.Module):
    """Of two inputs, one of which is a mask for what the frozen layer gives."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.Linear(12, 40), nn.Linear(40, 3)

    def forward(self, features, mask):
        found = self.trunk(features) * (mask > 0).float()
        return self.head(found)


def test_what_is_read_of_features_beside_a_cut_is_weighed_too():
    torch.manual_seed(1)
    rows = [*ROWS, TensorSpec("mask", "float32", (40,))]
    made = frontend.compile(MaskedTrunk(), nn.CrossEntropyLoss(), rows, LABEL, freeze=["trunk"])
    cut = frozen.split(made.train, made.weights)
    assert [entry["name"] for entry in cut.head["inputs"]] == ["label", "$frozen.0"] and cut.values == 40
    assert [entry["name"] for entry in cut.trunk["inputs"]] == ["features", "mask"]


def rows_written_with_what_weights_give(net, x):
    found = torch.zeros_like(x)
    found[:, :5] = net.trunk(x)
    return found[:, :5] * net.scale + x[:, 5:10]


def rows_written_without_weights(net, x):
    found = x.clone()
    found[:, 0] = 1
    return net.trunk(found) * net.scale + found[:, :5]


@pytest.mark.parametrize("way", [rows_written_with_what_weights_give, rows_written_without_weights])
def test_rows_that_are_written_are_the_same_where_they_are_made_anew(way):
    check_that_trunk_and_head_are_the_whole(compiled(Wrote(way), freeze=["trunk", "high"]))


class TwoScales(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(12, 4), nn.Linear(4, 6)
        self.heads = nn.ModuleList([nn.Linear(width, 3) for width in (4, 6, 12)])

    def forward(self, features):
        low = self.low(features)
        return sum(head(x) for head, x in zip(self.heads, (low.tanh(), self.high(low), features), strict=True))


def test_values_of_two_places_and_rows_as_they_are_go_to_the_head():
    made = compiled(TwoScales(), freeze=["low", "high"])
    cut = frozen.split(made.train, made.weights)
    assert [entry["name"] for entry in cut.head["inputs"]][:2] == ["features", "label"]
    assert sorted(output["shape"] for output in cut.trunk["outputs"]) == [[4], [6]]


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.scale, self.head = nn.Linear(12, 5), nn.Parameter(torch.ones(5)), nn.Linear(5, 3)

    def forward(self, features):
        return self.head(self.trunk(features).mul_(self.scale))


class Coupled(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.Linear(12, 5), nn.Linear(5, 3)

    def forward(self, features):
        found = self.trunk(features)
        return self.head(found - found.mean(0))


def behind(layer):
    return nn.Sequential(layer, nn.Linear(12, 5), nn.Linear(5, 3))


@pytest.mark.parametrize(("model", "freeze", "why"), [
    (Trunk(), ["head"], "parts that are trained come before them"),
    (Trunk(), ["head.bias"], ""),
    (behind(nn.Dropout(0.5)), ["1"], "draws random numbers, first at 0 (Dropout)"),
    (behind(nn.BatchNorm1d(12, affine=False)), ["1"], "statistics of each batch come before them, first at 0 (Batch"),
    (Written(), ["trunk"], "is written into by others"),
    (Coupled(), ["trunk"], "depends on the rows beside it"),
])  # fmt: skip
def test_where_rows_do_not_stay_the_same_the_reason_is_told(model, freeze, why):
    made = compiled(model, freeze=freeze)
    found = frozen.split(made.train, made.weights)
    assert isinstance(found, str) and (why in found if why else found == "")


def test_what_lies_behind_chance_is_left_to_each_step():
    made = compiled(Trunk(between=0.5), freeze=["encoder"])
    cut = frozen.split(made.train, made.weights)
    assert cut.trunk["outputs"][0]["shape"] == [8, 2, 2] and "first at encoder.3 (Dropout)" in cut.left
    assert [entry["name"] for entry in cut.head["constants"] if entry["name"].startswith("encoder")] == [
        "encoder.4.weight", "encoder.4.bias"]  # fmt: skip


def test_evaluation_shares_the_trunk_where_it_is_the_same():
    made = compiled(Trunk(), evaluated=True, freeze=["encoder"])
    cut = frozen.split(made.train, made.weights)
    beside = frozen.alike(cut, made.train, made.evaluation, made.weights)
    assert [entry["name"] for entry in beside.head["inputs"]] == ["label", "$frozen.0"]
    made = compiled(Trunk(between=0.5), evaluated=True, freeze=["encoder"])
    cut = frozen.split(made.train, made.weights)
    assert frozen.alike(cut, made.train, made.evaluation, made.weights) is None


@pytest.fixture
def rows(spark):
    features, labels = blobs(160, width=12)
    return table(spark, features, labels)


def fit(rows, model=None, **more):
    told = {"epochs": 3, "batchSize": 40, "numShards": 4, "learningRate": 0.02, "freeze": ["encoder"], "verbose": 0}
    return StokerClassifier(model=model or first(), **(told | more)).fit(rows)


def first():
    torch.manual_seed(2)
    return Trunk()


def same(one, other):
    a, b = one.torch().state_dict(), other.torch().state_dict()
    losses = [[epoch["loss"] for epoch in model.history] for model in (one, other)]
    return all(torch.equal(a[name], b[name]) for name in a) and losses[0] == losses[1]


@pytest.mark.parametrize("more", [
    {}, {"validationFraction": 0.3}, {"accumulate": 2, "batchSize": 20}, {"numWorkers": 2}, {"storeMemory": 6000},
])  # fmt: skip
def test_the_bits_are_the_same_with_and_without(rows, more):
    kept, each = fit(rows, **more), fit(rows, cacheFrozen=False, **more)
    assert same(kept, each) and not torch.equal(kept.torch().head.weight, first().head.weight)
    told = kept.history.info["frozen"]
    assert told["kept"] and told["values"] == 5 and told["saved_seconds"] == 2 * told["seconds"] > 0
    assert told["disk_bytes"] > 0 or "storeMemory" not in more
    assert each.history.info["frozen"] == {"kept": False, "values": 5, "why": "cacheFrozen=False"}
    if "validationFraction" in more:
        assert kept.history[-1]["val_loss"] == each.history[-1]["val_loss"]


def test_any_number_of_workers_has_the_same_bits(rows):
    assert same(fit(rows, numWorkers=1), fit(rows, numWorkers=2))


def test_the_head_learns_what_plain_pytorch_makes_of_the_same_features(rows):
    """One shard, full batches of plain SGD without dropout: the head is that of torch on the trunk's values."""
    net = Trunk(drop=0.0)
    net.encoder[1].running_mean.normal_()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = fit(rows, net, batchSize=160, numShards=1, epochs=5, optimizer="sgd", learningRate=0.3)
    features, labels = blobs(160, width=12)
    net.eval()
    with torch.no_grad():
        found = net.encoder(torch.from_numpy(features).float().reshape(-1, 3, 2, 2)).mean((2, 3))
    head, optimizer = net.head, torch.optim.SGD(net.head.parameters(), 0.3)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(found), torch.from_numpy(labels).long()).backward()
        optimizer.step()
    trained = model.torch().state_dict()
    assert all(torch.equal(trained[name], before[name]) for name in before if name.startswith("encoder"))
    torch.testing.assert_close(trained["head.weight"], head.weight.detach(), rtol=1e-4, atol=1e-6)


def test_pictures_that_are_cropped_by_chance_are_run_in_each_step(spark):
    rows = spark.createDataFrame([row(i) for i in range(12)], "id long, file binary, label int")
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    declared = {"input": inputs.Image("file", size=(10, 10), crop=(8, 8))}
    model = StokerClassifier(model=net, inputs=declared, freeze=["0"], epochs=2, batchSize=12, verbose=0).fit(rows)
    assert model.history.info["frozen"]["why"] == (
        "inputs['input'] is cropped or flipped by chance, so rows differ in each epoch")  # fmt: skip


def test_what_single_workers_do_not_keep_is_told_beside_the_rest():
    made, history = Frozen({"program": {}}, 5), {"workers": 3, "frozen": {"kept": True, "bytes": 9}}
    assert made.told(history, {}) == {"frozen": {"kept": True, "bytes": 9, "values": 5}}
    assert made.told(history, {2: "no room"})["frozen"]["why"] == "not in 1 of 3 workers: no room"
    history["frozen"] = {"kept": False, "why": "here neither"}
    assert made.told(history, {0: "here neither", 2: "no room"})["frozen"]["why"] == "here neither"


def test_a_fit_without_frozen_parts_does_not_speak_of_them(rows):
    assert "frozen" not in fit(rows, freeze=None, epochs=1).history.info
    assert not fit(rows, epochs=1).history.info["frozen"]["kept"], "rows are read once"


def test_a_model_with_a_loss_of_its_own_and_weights_keeps_them(rows):
    def loss(outputs, labels):
        return nn.functional.cross_entropy(outputs, labels.long(), reduction="none")

    weighted = rows.selectExpr("*", "1.0 + label as w")
    told = {"loss": loss, "lossReduction": "none", "weightCol": "w", "freeze": ["encoder"], "epochs": 2,
            "batchSize": 40, "numShards": 2, "verbose": 0}  # fmt: skip
    torch.manual_seed(2)
    net = Trunk()
    kept, each = (StokerEstimator(model=net, cacheFrozen=on, **told).fit(weighted) for on in (True, False))
    assert same(kept, each) and kept.history.info["frozen"]["kept"]
