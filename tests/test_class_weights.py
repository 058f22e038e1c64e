"""classWeight: rows count by their class, as a column of weights and as plain PyTorch have it."""

import numpy as np
import pytest
import torch
from pyspark.sql import functions as F
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier
from stoker.errors import UserError

WEIGHTS = {0: 0.5, 2: 3.0}
WHOLE = {"batchSize": 90, "numShards": 1}  # other columns deal rows otherwise


def fit(rows, **more):
    torch.manual_seed(4)
    told = {"model": nn.Linear(4, 3), "epochs": 2, "batchSize": 30, "numShards": 2, "optimizer": "sgd",
            "learningRate": 0.1, "verbose": 0}  # fmt: skip
    return StokerClassifier(**{**told, **more}).fit(rows)


def weights(model):
    return torch.cat([tensor.reshape(-1) for _, tensor in sorted(model.torch().state_dict().items())])


@pytest.fixture
def rows(spark):
    features, labels = blobs(90)
    return table(spark, features, labels)


def by_column(rows, told, label="label"):
    cases = F.when(F.lit(False), F.lit(0.0))
    for name, weight in told.items():
        cases = cases.when(F.col(label) == name, F.lit(weight))
    return rows.withColumn("w", cases.otherwise(1.0))


def test_one_step_is_that_of_plain_pytorch(rows):
    torch.manual_seed(4)
    net = nn.Linear(4, 3)
    model = fit(rows, classWeight=WEIGHTS, epochs=1, batchSize=90, numShards=1)
    features, labels = (torch.from_numpy(np.asarray(one)) for one in blobs(90))
    loss = nn.functional.cross_entropy(net(features.float()), labels.long(), weight=torch.tensor([0.5, 1.0, 3.0]))
    loss.backward()
    torch.testing.assert_close(model.torch().weight.detach(), net.weight.detach() - 0.1 * net.weight.grad)
    assert model.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_it_is_a_column_of_weights_and_multiplies_one(rows):
    found = fit(rows, classWeight=WEIGHTS, **WHOLE)
    torch.testing.assert_close(weights(found), weights(fit(by_column(rows, WEIGHTS), weightCol="w", **WHOLE)))
    doubled = by_column(rows, {0: 2.0}).withColumn("both", F.col("w") * F.when(F.col("label") == 2, 3.0).otherwise(1.0))
    both = fit(doubled, weightCol="w", classWeight={2: 3.0}, **WHOLE)
    torch.testing.assert_close(weights(both), weights(fit(doubled, weightCol="both", **WHOLE)))


def test_balanced_is_scikit_learns_of_the_rows_that_are_trained_on(rows):
    few = rows.where("label != 1 or features[0] > 0").withColumn("id", F.monotonically_increasing_id())
    held = few.withColumn("held", F.col("id") % 3 == 0)
    labels = np.array([row.label for row in held.where("not held").collect()])
    wanted = {int(one): len(labels) / (3 * int((labels == one).sum())) for one in np.unique(labels)}
    known = {"idCol": "id", "validationIndicatorCol": "held"}
    found, told = fit(held, classWeight="balanced", **known), fit(held, classWeight=wanted, **known)
    assert torch.equal(weights(found), weights(told)) and len(wanted) == 3
    assert found.history[-1]["val_loss"] == told.history[-1]["val_loss"]
    plain = fit(held, classWeight=wanted, learningRate=0.0, **known), fit(held, learningRate=0.0, **known)
    assert plain[0].history[-1]["val_loss"] == plain[1].history[-1]["val_loss"], "scores do not know of it"
    assert plain[0].history[-1]["accuracy"] == plain[1].history[-1]["accuracy"]


def test_classes_that_are_texts_go_by_their_texts(rows):
    words = rows.withColumn("label", F.expr("element_at(array('cat', 'dog', 'emu'), int(label) + 1)"))
    found = fit(words, classWeight={"dog": 4.0}, **WHOLE)
    numbers = {word: number for number, word in enumerate(found.labels)}
    to_number = F.create_map(*[F.lit(one) for pair in numbers.items() for one in pair])
    as_numbers = words.withColumn("label", to_number[F.col("label")])
    same = fit(as_numbers, classWeight={numbers["dog"]: 4.0}, **WHOLE)
    torch.testing.assert_close(weights(found), weights(same))
    with pytest.raises(UserError, match="classWeight: there is no class 'dgo'; did you mean 'dog'"):
        fit(words, classWeight={"dgo": 4.0})


@pytest.mark.parametrize(("told", "why"), [
    ("even", "classWeight is 'even', expected 'balanced', or a dict of classes to numbers such as"),
    ({}, "classWeight is {}, expected 'balanced'"),
    ({0: -1.0}, "classWeight: class 0 has -1.0, expected a number, not negative"),
    ({0: "much"}, "classWeight: class 0 has 'much'"),
    ({0: 0.0}, "classWeight: every class counts 0"),
])  # fmt: skip
def test_what_is_no_weight_is_told_at_once(told, why):
    with pytest.raises(UserError) as caught:
        StokerClassifier(model=nn.Linear(4, 3), classWeight=told)
    assert why in str(caught.value)


def test_what_contradicts_it_is_refused(rows, tmp_path):
    with pytest.raises(UserError, match="classWeight and the loss's own weight both say what classes count"):
        fit(rows, classWeight=WEIGHTS, loss=nn.CrossEntropyLoss(weight=torch.ones(3)))
    with pytest.raises(UserError, match="there is no class '3'; there are 0, 1, 2"):
        fit(rows, classWeight={3: 1.0})
    with pytest.raises(UserError, match="return the unreduced loss"):
        fit(rows, classWeight=WEIGHTS, loss=lambda outputs, labels: outputs.square().mean() + 0 * labels.sum())
    with pytest.raises(UserError, match="is learnt from rows, and an estimator is saved before its first fit"):
        StokerClassifier(model=nn.Linear(4, 3), classWeight="balanced").save(f"{tmp_path}/it")


def test_a_saved_estimator_has_it_compiled_in(rows, tmp_path):
    torch.manual_seed(4)
    told = {"epochs": 2, "batchSize": 30, "numShards": 2, "optimizer": "sgd", "learningRate": 0.1, "verbose": 0}
    StokerClassifier(model=nn.Linear(4, 3), classWeight=WEIGHTS, **told).save(f"{tmp_path}/it")
    loaded = StokerClassifier.load(f"{tmp_path}/it")
    assert torch.equal(weights(loaded.fit(rows)), weights(fit(rows, classWeight=WEIGHTS)))
    with pytest.raises(UserError, match="it was compiled with classWeight="):
        loaded.setClassWeight({0: 9.0}).fit(rows)
