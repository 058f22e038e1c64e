"""The named points of the engine (engine/base/fault.h) and what a fit needs so that a worker passes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    name: str
    where: str
    steps: bool = False  # it is passed at each step, with the step's number; else occasions are counted
    attempt: int = 0  # the first attempt of a place that passes it where it can hurt
    workers: int = 1  # at least
    rank: int | None = None  # only this one passes it
    tcp: bool = False  # only between hosts
    checkpoints: bool = False
    ways: tuple[str, ...] = ("die", "freeze", "hang", "slow:400")
    occasions: int = 1  # the first so many are worth hitting


PROCESS_WAYS = ("die", "freeze", "slow:400")  # of another thread than the training one

POINTS = [
    Point("ingest-begin", "before the first row"),
    Point("ingest", "a batch is read, half stored"),
    Point("ingest-end", "all rows are stored, nobody knows"),
    Point("fetch", "the initial weights are asked for"),
    Point("meet", "about to meet the others"),
    Point("forward", "a micro-batch begins", steps=True),
    Point("partials", "gradients are there, not published", steps=True),
    Point("exchange", "published, peers' not awaited", steps=True),
    Point("exchanged", "all partials stand", steps=True),
    Point("norms", "norms of the own slice are written", steps=True),
    Point("slice", "inside the write of the own slice", steps=True),
    Point("written", "the slice is written, its flag is not", steps=True),
    Point("flip", "all slices stand, the commit is not flipped", steps=True),
    Point("flipped", "flipped, and not announced", steps=True),
    Point("hand-out", "the one with the state is about to hand it out", ways=("die", "slow:400")),
    Point("take-over", "about to map the state", attempt=1, workers=2),
    Point("handed-out", "mapped, not everybody knows", attempt=1),
    Point("between-hosts", "before the state's copy to another host", attempt=1, workers=2, tcp=True),
    Point("result", "trained, nothing sent"),
    Point("result-chunk", "a part of the model is sent", rank=0),
    Point("finished", "the model is home, the worker has not said farewell", ways=("die", "slow:400")),
    Point("peer", "the head of a frame to another host", workers=2, tcp=True, ways=("corrupt", "drop"), occasions=40),
    Point("payload", "what a frame to another host carries", workers=2, tcp=True, ways=("corrupt",), occasions=40),
    Point("link", "a frame to the coordinator", ways=("corrupt",), occasions=6),
    Point("checkpoint-write", "inside the write of a part", checkpoints=True, ways=PROCESS_WAYS, occasions=2),
    Point("checkpoint-sync", "written, not synced", checkpoints=True, ways=PROCESS_WAYS, occasions=2),
    Point("checkpoint-rename", "synced, not renamed", checkpoints=True, ways=PROCESS_WAYS, occasions=2),
    Point("checkpoint-renamed", "renamed, the folder is not synced", checkpoints=True, ways=PROCESS_WAYS, occasions=2),
]
BEFORE_RESTARTS = [Point("state-chunk", "a part of the state is handed in, driver elsewhere", workers=2)]
OF_LAYERED = [Point("measures", "norms of the own slice's tensors are written: LARS, LAMB", steps=True)]
OF_ADAFACTOR = [
    Point("moments", "squares of tiles are added up by row and column: Adafactor", steps=True),
    Point("changes", "norms of what changes the own slice's tensors are written: Adafactor", steps=True),
]
OF_EVALUATION = [
    Point("evaluate", "a micro-batch of rows that are held out begins", steps=True),
    Point("aside", "the best weights are set aside, nothing is committed", steps=True),
]
OF_ARRIVAL = [
    Point("window", "a window is done that is pushed as it arrives, it has no ticket", steps=True),
    Point("ticket", "a push has its ticket and is not applied", steps=True),
]
OF_FROZEN = [Point("frozen", "a chunk of rows is about to go through the frozen parts")]
OF_BATCH_NORM = [Point("statistics", "sums of a batch norm are there, not added up", steps=True)]
OF_REPLICAS = [Point("replicas", "a host has its own replicas of the commit, and no other's", steps=True, workers=2,
                     tcp=True)]  # fmt: skip
BY_NAME = {point.name: point for point in [*POINTS, *BEFORE_RESTARTS, *OF_LAYERED, *OF_ADAFACTOR, *OF_EVALUATION,
                                           *OF_FROZEN, *OF_BATCH_NORM, *OF_REPLICAS, *OF_ARRIVAL]}  # fmt: skip
