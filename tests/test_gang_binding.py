"""The coordinator and two workers as Python drives them: each in a thread of its own, none holding another up."""

import hmac
import json
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import stoker
from stoker.engine import core

SECRET = bytes(range(32))


@contextmanager
def fit(workers=2, **options):
    coordinator = core().Coordinator({"secret": SECRET, "workers": workers, "shards": workers, **options})
    try:
        yield coordinator
    finally:
        coordinator.close()


def link(coordinator, partition, secret=SECRET, **more):
    hello = {"partition": partition, "attempt": partition + 10, "host": "127.0.0.1", "pid": 100 + partition, **more}
    return core().WorkerLink(core().Line("127.0.0.1", coordinator.port, secret, 10), hello)


def work(coordinator, partition, weights):
    worker = link(coordinator, partition)
    assert worker.admission() == ("go", "")
    worker.ingesting(2)
    worker.ingested([(partition, 5, 2**64 - 1, 3)])
    start = worker.start().to_dict()
    worker.metrics('{"step": 3, "loss": 1.5}')
    if partition == 0:
        worker.result(weights, '{"epochs": []}')
    worker.finished()
    worker.close()
    return start


def in_threads(*calls):
    """Runs the calls side by side; their results in order."""
    results = [None] * len(calls)

    def run(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def wait_done(coordinator, timeout=10.0):
    events, until = [], time.monotonic() + timeout
    while not coordinator.done() and time.monotonic() < until:
        events += coordinator.poll(0.1)
    assert coordinator.done()
    return events + coordinator.poll(0)


def test_whole_fit_comes_home():
    weights = bytes(range(256)) * 20_000
    with fit() as coordinator:
        starts = in_threads(*(lambda p=p: work(coordinator, p, weights) for p in range(2)))
        events = wait_done(coordinator)
        assert coordinator.failure() is None
        assert coordinator.take_result() == (weights, '{"epochs": []}')
    assert [start["rank"] for start in starts] == [0, 1]
    assert starts[0]["shards"] == [(0, 5, 2**64 - 1, 3), (1, 5, 2**64 - 1, 3)]
    assert [member["pid"] for member in starts[1]["members"]] == [100, 101]
    assert "secret" not in starts[0]
    kinds = {kind for kind, _ in events}
    assert kinds == {"admitted", "ingesting", "ingested", "started", "metrics", "result", "finished"}
    metrics = [json.loads(text) for kind, text in events if kind == "metrics"]
    assert sorted(line["rank"] for line in metrics) == [0, 1]
    assert {line["loss"] for line in metrics} == {1.5}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("user", "a label is wrong", "a label is wrong [worker 1 (host 127.0.0.1, pid 101)]"),
        ("bug", "oops", "worker 1 (host 127.0.0.1, pid 101) failed before the first step: oops"),
    ],
)
def test_failure_of_a_worker_reaches_driver_and_others(kind, text, expected):
    with fit() as coordinator:
        good, bad = link(coordinator, 0), link(coordinator, 1)
        assert bad.admission() == good.admission() == ("go", "")
        bad.failed(kind, text)
        wait_done(coordinator)
        assert coordinator.failure() == (kind, expected)
        with pytest.raises(core().AbortedError, match="worker 1"):
            good.start()
        assert good.aborted()
        assert expected in good.abort_reason()


def test_abort_wakes_a_waiting_worker():
    with fit() as coordinator:
        worker = link(coordinator, 0)

        def wait():
            with pytest.raises(core().AbortedError, match="cancelled"):
                worker.start()
            return True

        def cancel():
            time.sleep(0.1)
            coordinator.abort("cancelled")

        assert in_threads(wait, cancel)[0]
        assert coordinator.failure() == ("aborted", "cancelled")
        late = link(coordinator, 1)
        assert late.admission()[0] == "finished"


def test_waiting_leaves_python_free():
    with fit() as coordinator:
        ticks = []

        def tick():
            for _ in range(10):
                time.sleep(0.01)
                ticks.append(time.monotonic())

        polled = time.monotonic()
        in_threads(lambda: coordinator.poll(1.0), tick)
        assert len(ticks) == 10
        assert ticks[-1] < polled + 1.0


def test_errors_are_what_their_names_say():
    module = core()
    for name in ("UserError", "WorldError", "AbortedError", "BugError"):
        assert getattr(module, name) is getattr(stoker, name) and issubclass(getattr(stoker, name), stoker.StokerError)
    assert issubclass(stoker.UserError, ValueError) and issubclass(stoker.CompileError, stoker.UserError)
    with fit(1) as coordinator, pytest.raises(module.WorldError, match="does not know this fit's secret"):
        link(coordinator, 0, secret=bytes(32))
    with pytest.raises(module.UserError, match="at least one worker"):
        module.Coordinator({"secret": SECRET, "workers": 0})


@pytest.mark.parametrize(
    ("options", "text"),
    [({"wokers": 2}, "unknown field in .*wokers"), ({"workers": "two"}, "field workers cannot be 'two'")],
)
def test_mistaken_options_are_named(options, text):
    with pytest.raises(core().BugError, match=text):
        core().Coordinator({"secret": SECRET, **options})


def test_isa_levels_have_names():
    assert core().isa_name(core().best_isa()) in ("baseline", "avx2", "avx512")


PAGE = (Path(__file__).parent.parent / "docs" / "formats" / "gang.md").read_text()
PURPOSE = bytes([1]) + bytes(19)


def proof(role, ours, theirs):
    return hmac.digest(SECRET, b"stoker handshake 2 " + role + PURPOSE + ours + theirs, "sha256")


def key(sender, ours, theirs):
    """HKDF-SHA256 of 32 bytes."""
    extracted = hmac.digest(ours + theirs, SECRET, "sha256")
    return hmac.digest(extracted, b"stoker frames 3 " + sender + PURPOSE + bytes([1]), "sha256")


def test_proofs_and_keys_of_the_format_s_page_are_true():
    """By Python's own HMAC; its frames: engine/gang/protocol_test.cc."""
    ours, theirs = bytes([0xC0]) * 32, bytes([0x10]) * 32
    for role, number in (b"listener", 2), (b"connector", 3):
        assert re.search(rf"proof in {number} +{proof(role, ours, theirs).hex()}\n", PAGE)
        assert re.search(rf"key\({role.decode()}\) +{key(role, ours, theirs).hex()}\n", PAGE)


def test_the_coordinator_shakes_hands_as_the_format_s_page_says():
    with fit(1) as coordinator, socket.create_connection(("127.0.0.1", coordinator.port), 5) as wire:
        stream = wire.makefile("rwb")
        ours = bytes([0xC0]) * 32
        stream.write(b"STH\x02" + PURPOSE + ours)
        stream.flush()
        answer = stream.read(88)
        theirs = answer[24:56]
        assert answer == b"STH\x02" + PURPOSE + theirs + proof(b"listener", ours, theirs)
        stream.write(proof(b"connector", ours, theirs) + bytes(36))  # and a frame that is none
        stream.flush()
        assert stream.read() == b""


def test_an_interrupt_is_heard_while_a_restart_waits_for_survivors():
    with fit(1) as coordinator:
        worker = link(coordinator, 0)
        worker.ingested([(0, 1, 0, 0)])
        worker.start()  # and never halts
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                coordinator.restart(1, "the job was lost")
        finally:
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - began < 10
        worker.close()
