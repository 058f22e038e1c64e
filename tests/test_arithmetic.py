"""A worker whose kernels give other bits than the others' is found out before the first step. One is bent by order."""

import re

import pytest

from faulty_gang import FaultyGang
from stoker.engine import core
from stoker.errors import UserError
from stoker.events import Failed, Inexact, Log
from stoker.spark import arithmetic
from test_exact import make_fit

BENT = {"STOKER_FAULTS": "kernels@1=skip"}
KERNELS = ("DEFAULT", "AVX2", "AVX512")  # as ATen calls the levels


@pytest.fixture(scope="module")
def fit():
    return make_fit("cnn", shards=4, rows=120)


@pytest.fixture(scope="module")
def reference(fit):
    return FaultyGang(fit, 2).run().history["digest"]


def at_this_level():
    """A fit that cannot begin again at a lower one."""
    return {"lowest_isa": core().best_isa()}


def test_a_worker_with_other_bits_is_refused_by_name_and_another_takes_its_place(fit, reference):
    came = FaultyGang(
        fit, 3, environment=lambda *attempt: BENT if attempt == (1, 0) else {}, options=at_this_level()
    ).run()
    (refused,) = came.told(Failed)
    assert (refused.rank, refused.how) == (1, "refused")
    assert re.search(r"worker 1 \(host 127.0.0.1, pid \d+\) on .+ computes other bits than the fit's", refused.text)
    assert "those of 2 of 3 workers, such as worker 0" in refused.text
    assert came.history["digest"] == reference
    assert came.told(Inexact) == []


def test_a_fit_for_which_no_other_machine_comes_ends_and_says_what_to_do(fit):
    bent = FaultyGang(fit, 3, environment=lambda place, _: BENT if place == 1 else {}, options=at_this_level())
    with pytest.raises(RuntimeError, match=r"user: 3 processes in a row.*computes other bits.*spark.stoker.arithmetic"):
        bent.run()
    assert [len(attempts) for attempts in bent.attempts] == [1, 3, 1]


def test_where_other_bits_are_let_in_the_fit_goes_on_and_is_marked(fit, reference):
    options = {**at_this_level(), "allow_other_bits": True}
    came = FaultyGang(fit, 3, environment=lambda place, _: BENT if place == 1 else {}, options=options).run()
    (told,) = came.told(Inexact)
    assert "worker 1 (host 127.0.0.1" in told.text
    assert came.told(Failed) == []
    assert came.history["digest"] != reference


def test_where_a_lower_level_makes_all_alike_they_begin_again_there(fit):
    level = core().best_isa()
    if level == 0:
        pytest.skip("this machine has the lowest level only")
    bent = {"STOKER_FAULTS": f"kernels-{KERNELS[level]}@1=skip"}
    came = FaultyGang(fit, 2, environment=lambda place, _: bent if place == 1 else {}).run()
    lower = FaultyGang(fit, 1, environment=lambda *_: {"STOKER_MAX_ISA": core().isa_name(level - 1)}).run()
    assert (came.history["isa"], came.history["digest"]) == (level - 1, lower.history["digest"])
    assert [event.how for event in came.told(Failed)] == ["refused", "refused"]
    assert any("all workers begin again at instruction-set level" in event.text for event in came.told(Log))


def test_a_model_that_does_not_take_the_canned_batch_trains():
    """Its fingerprint says that it did not run, on each worker."""
    fit = make_fit("embedding", shards=2, rows=60)
    table = next(node for node in fit.compiled.train["nodes"] if node["op"] == "aten.embedding.default")
    rows = {**fit.compiled.weights}
    name = next(p["name"] for p in fit.compiled.train["parameters"] if p["slot"] == table["args"][0]["slot"])
    entry = next(p for p in fit.compiled.train["parameters"] if p["name"] == name)
    entry["shape"] = [1, *entry["shape"][1:]]
    rows[name] = rows[name][:1]
    fit.compiled.weights.update(rows)
    fit.values["features"][:] = 0
    assert FaultyGang(fit, 2).run().history["digest"] == FaultyGang(fit, 1).run().history["digest"]


def test_a_setting_that_is_none_is_an_error_before_a_job():
    with pytest.raises(UserError, match=r"spark.stoker.arithmetic must be 'exact' or 'any', not 'fast'"):
        arithmetic.may_differ({arithmetic.ARITHMETIC: "fast"}.get)
    assert arithmetic.may_differ({arithmetic.ARITHMETIC: "any"}.get)
    assert not arithmetic.may_differ({}.get)
