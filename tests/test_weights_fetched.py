"""Who fetches weights from the driver: the first rank of a host as training begins, and nobody who comes later."""

import numpy as np
import pytest

from faults.gang import HEARTBEAT
from faults.models import local_fit
from faulty_gang import FaultyGang

TOLD = "fetch@1=slow:1"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "hits"


def fetchers(log):
    return [int(line.split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


def told(log):
    return lambda partition, number: {"STOKER_FAULTS": TOLD, "STOKER_FAULTS_LOG": str(log)}


def test_one_rank_of_a_host_fetches_and_who_replaces_it_does_not(log):
    fit = local_fit("cnn", rows=300, batch=48, epochs=6)
    assert fit.compiled.train["constants"] == []

    def kill(gang, kind, data):
        if kind == "metrics" and data["step"] >= 7 and len(gang.attempts[0]) == 1:
            gang.kill(0)

    outcome = FaultyGang(fit, 3, on_event=kill, options=HEARTBEAT, environment=told(log)).run()
    undisturbed = FaultyGang(fit, 1).run()
    assert len(fetchers(log)) == 1
    assert fetchers(log)[0] in [attempts[0] for attempts in outcome.pids]
    assert len(outcome.pids[0]) == 2
    assert all(np.array_equal(undisturbed.weights[name], value) for name, value in outcome.weights.items())
