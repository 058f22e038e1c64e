"""Faults that are really planted in Spark are found; a fit whose workers do not meet says what the doctor finds."""

from functools import partial

import pytest
from torch import nn

import stoker
from conftest import blobs, table
from planted import IN_SESSIONS, look_at
from stoker import StokerClassifier, WorldError
from stoker.cli import main
from stoker.spark.task import Job


@pytest.fixture
def setting(spark):
    """Sets one of the session for the length of a test."""
    keys = []

    def put(key, value):
        keys.append(key)
        spark.conf.set(key, value)

    yield put
    for key in keys:
        spark.conf.unset(key)


def names(report):
    return [finding.name for finding in report.findings if finding.level == "error"]


def test_a_session_that_is_sound(spark):
    """Unless `make test-matrix` has set what the doctor warns of."""
    report = stoker.doctor(spark)
    killed = spark.conf.get("spark.python.worker.killOnIdleTimeout", "false") == "true"
    assert set(names(report)) == ({"idle-killer"} if killed else set()) and report.ok != killed
    assert report.facts.together == 2
    assert report.facts.seconds < 30


@pytest.mark.parametrize("name", IN_SESSIONS)
def test_a_planted_fault_is_found_with_its_cure(spark, name):
    look_at(spark, name)


def test_the_brief_names_the_port_that_nobody_can_reach(spark):
    assert "127.0.0.1:" in look_at(spark, "a port that nobody can reach").brief()


def test_a_fit_whose_workers_do_not_meet_says_what_the_doctor_finds(spark, setting, monkeypatch):
    monkeypatch.setattr("stoker.spark.launch.Job", partial(Job, connect_timeout=1.0))
    setting("spark.stoker.driver.host", "127.0.0.1")
    setting("spark.stoker.driver.bindAddress", "127.0.0.2")
    net = StokerClassifier(model=nn.Linear(4, 3), numWorkers=1, verbose=0, maxRestarts=0)
    with pytest.raises(WorldError, match=r"stoker.doctor finds: worker 0 on .*: the driver cannot be reached: 127"):
        net.fit(table(spark, *blobs(50)))


def test_a_command_that_is_wrong_has_its_own_exit_code(capsys):
    assert main(["doctor", "--conf", "spark.ui.enabled"]) == 2
    assert capsys.readouterr().err == "stoker: --conf spark.ui.enabled: it must be KEY=VALUE\n"
