"""Who fetches weights from the driver: the first rank of a host as training begins, and nobody who comes later."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faults.gang import HEARTBEAT
from faults.models import local_fit
from faulty_gang import FaultyGang
from stoker.events import Metrics
from stoker.frontend.torch import compile as compile_module
from stoker.program import TensorSpec

TOLD = "fetch@1=slow:1"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "hits"


def fetchers(log):
    """The process of each piece that was fetched, in order."""
    return [int(line.split()[0]) for line in log.read_text().splitlines() if "fetch" in line] if log.exists() else []


def dying(place, faults, log):
    """The first worker of a place dies at a step; the others go on."""

    def environment(*who):
        dies = ";forward@7=die" if who == (place, 0) else ""
        return {"STOKER_FAULTS": faults + dies, "STOKER_FAULTS_LOG": str(log)}

    return environment


def test_one_rank_of_a_host_fetches_and_who_replaces_it_does_not(log):
    fit = local_fit("cnn", rows=300, batch=48, epochs=6)
    assert fit.compiled.train["constants"] == []

    outcome = FaultyGang(fit, 3, options=HEARTBEAT, environment=dying(0, TOLD, log)).run()
    undisturbed = FaultyGang(fit, 1).run()
    assert len(fetchers(log)) == 1
    assert fetchers(log)[0] in [attempts[0] for attempts in outcome.pids]
    assert len(outcome.pids[0]) == 2
    assert all(np.array_equal(undisturbed.weights[name], value) for name, value in outcome.weights.items())


@pytest.fixture(scope="module")
def frozen():
    """A fit whose model has a frozen trunk of five pieces."""
    torch.manual_seed(3)
    trunk, head = nn.Linear(64, 20_000).requires_grad_(False), nn.Linear(20_000, 5)
    compiled = compile_module(nn.Sequential(trunk, nn.ReLU(), head), nn.CrossEntropyLoss(),
                              [TensorSpec("features", "float32", (64,))], [TensorSpec("label", "int64", ())],
                              metric="argmax")  # fmt: skip
    assert {entry["name"] for entry in compiled.train["constants"]} >= {"0.weight", "0.bias"}
    fit = replace(local_fit("mlp", rows=300, batch=48, epochs=3), compiled=compiled)
    return fit, FaultyGang(fit, 1).run().weights


PIECES = ";".join(f"fetch@{number}=slow:1" for number in range(1, 20))


def assert_right(outcome, wanted):
    assert all(np.array_equal(wanted[name], value) for name, value in outcome.weights.items())


def constants_of(pid):
    """Memory that the process shares and cannot write: (inode, bytes)."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []
    found = [line.split() for line in maps.splitlines() if "memfd:stoker" in line]
    ends = [(words[4], words[0].split("-")) for words in found if words[1] == "r--s"]
    return [(inode, int(end, 16) - int(begin, 16)) for inode, (begin, end) in ends]


def test_a_host_has_constants_once_and_nobody_can_write_them(frozen, log):
    fit, wanted = frozen
    seen = set()

    def look(gang, event):
        if isinstance(event, Metrics):
            seen.update(
                (gang.newest(rank).pid, *each) for rank in range(3) for each in constants_of(gang.newest(rank).pid)
            )

    held = f"{PIECES};forward@5=slow:1000"  # there is time to look at all of them
    environment = {"STOKER_FAULTS": held, "STOKER_FAULTS_LOG": str(log)}
    outcome = FaultyGang(fit, 3, on_event=look, environment=lambda *_: environment).run()
    assert_right(outcome, wanted)
    assert len({pid for pid, _, _ in seen}) == 3
    ((_, size),) = {(inode, size) for _, inode, size in seen}
    assert 64 * 20_000 * 4 < size < 64 * 20_000 * 4 * 1.1
    assert len(fetchers(log)) == 5 + 1  # and the initial weights


@pytest.mark.parametrize("force_tcp", [False, True])
def test_constants_whose_fetcher_dies_come_from_who_is_left(frozen, log, force_tcp):
    """Between hosts a newcomer gets them from another host."""
    fit, wanted = frozen

    def environment(place, attempt):
        dies = place == 0 and attempt == 0
        return {
            "STOKER_FAULTS": PIECES.replace("@3=slow:1", "@3=die") if dies else PIECES,
            "STOKER_FAULTS_LOG": str(log),
        }

    options = {**HEARTBEAT, "force_tcp": force_tcp}
    outcome = FaultyGang(fit, 3, environment=environment, options=options).run()
    assert_right(outcome, wanted)
    assert len(outcome.pids[0]) == 2
    by_pid = Counter(fetchers(log))
    assert by_pid[outcome.pids[0][0]] == 3
    if not force_tcp:
        assert sum(by_pid.values()) <= 5 + 1 + 1  # the piece that was under way once more


def test_who_comes_later_takes_constants_from_another_host(frozen, log):
    fit, wanted = frozen
    options = {**HEARTBEAT, "force_tcp": True}
    outcome = FaultyGang(fit, 2, environment=dying(1, PIECES, log), options=options).run()
    assert_right(outcome, wanted)
    assert len(outcome.pids[1]) == 2
    assert outcome.pids[1][1] not in fetchers(log)
