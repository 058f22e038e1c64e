"""Batches out of Spark's pipe or out of files: one ahead, no more; and a pipe's failures are Spark's."""

import contextlib
import threading

import pytest

from stoker.engine import core
from stoker.errors import WorldError
from stoker.spark import ingest
from stoker.spark.task import from_spark


class Link:
    resting = staticmethod(contextlib.nullcontext)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_batch_comes_once_in_order(count):
    assert list(from_spark(iter(range(1, count + 1)), Link())) == list(range(1, count + 1))


def test_the_next_batch_comes_while_one_is_stored_and_no_other():
    taken = {number: threading.Event() for number in range(5)}

    def pipe():
        for number, event in taken.items():
            event.set()
            yield number

    for number in from_spark(pipe(), Link()):
        if number < 4:
            assert taken[number + 1].wait(5)
        if number < 3:
            assert not taken[number + 2].is_set()


def test_a_pipe_that_breaks_is_a_failure_of_the_world_after_what_came():
    def pipe():
        yield 1
        raise EOFError("the other end is gone")

    rows = from_spark(pipe(), Link())
    assert next(rows) == 1
    with pytest.raises(WorldError, match="rows stopped coming from Spark: EOFError: the other end is gone"):
        next(rows)


def test_who_stops_early_waits_for_no_batch():
    go_on = threading.Event()

    def pipe():
        yield 1
        go_on.wait(30)
        yield 2

    rows = from_spark(pipe(), Link())
    assert next(rows) == 1
    closed = threading.Thread(target=rows.close)
    closed.start()
    closed.join(5)
    go_on.set()
    assert not closed.is_alive()


def test_the_next_batch_of_a_file_is_read_while_one_is_stored(monkeypatch):
    second = threading.Event()

    def scanned(scan, threads):
        yield 1
        second.set()
        yield 2

    class Dealer:
        def deal_into(self, store, batch):
            assert second.wait(5)

    class Told(Link):
        ingesting = staticmethod(lambda rows: None)

    monkeypatch.setattr(ingest, "scanned", scanned)
    monkeypatch.setattr(ingest, "dealer", lambda *_: Dealer())
    spec = {"scan": {}, "threads": 1, "on_bad_row": "error",
            "columns": [{"name": "x", "shown": "x", "dtype": "float32", "shape": [1]}]}  # fmt: skip
    assert ingest.ingest(core(), Told(), spec, [0], 0, iter(())).rows() == 0
