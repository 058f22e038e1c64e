"""Batch norms of a training program, as plain data: whether they may go by the statistics of the whole batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.errors import UserError

Program = Mapping[str, Any]
PER_MICRO_BATCH = "statistics are per micro-batch in "  # how a note on them begins
NONE_THERE = "batchNorm='batch' changes nothing: the model has no batch norm that goes by the batch while it trains"

_TORCH, _NATIVE, _INSTANCE = (f"aten.{name}.default" for name in ("batch_norm", "native_batch_norm", "instance_norm"))
_RUNNING = 3  # the argument that is the running mean
_TRAINING = 5  # the argument that says whether the batch's statistics count
_OF_NATIVE = 2  # buffers that one of Keras' layers writes by itself


def by_batch(program: Program) -> list[Mapping[str, Any]]:
    """The nodes that normalise by the batch's statistics."""
    nodes = (node for node in program["nodes"] if node["op"] in (_TORCH, _NATIVE))
    return [node for node in nodes if node["args"][_TRAINING] is True]


def with_still_norms(program: Program) -> dict[str, Any]:
    """The program whose batch norms go by their running statistics, or do nothing where they have none."""
    norms = [id(node) for node in by_batch(program)]
    return {**program, "nodes": [part for node in program["nodes"]
                                 for part in (_still(node) if id(node) in norms else [node])]}  # fmt: skip


def _still(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    args = list(node["args"])
    if args[_RUNNING] is None:
        return [node, {**node, "op": "aten.clone.default", "args": args[:1], "kwargs": {}, "out": node["out"][:1]}]
    args[_TRAINING] = False
    return [{**node, "args": args}]


def check_whole(program: Program) -> None:
    """UserError where some statistics would stay those of a micro-batch, or channels are not known."""
    norms = by_batch(program)
    known = {entry["slot"] for kind in ("parameters", "buffers", "constants") for entry in program[kind]}
    for node in norms:
        if not known & set(_slots(node)):
            raise UserError(f"batchNorm='batch': {node['where']} has neither weights nor running statistics, so its "
                            "channels are not known: give it affine=True or track_running_stats=True")  # fmt: skip
    written = {slot for node in program["nodes"] if node["op"] in (_TORCH, _INSTANCE) for slot in _slots(node)}
    others = [entry["name"] for entry in program["buffers"] if entry["rule"] == "mean" and entry["slot"] not in written]
    if len(others) > _OF_NATIVE * sum(node["op"] == _NATIVE for node in norms):
        raise UserError("batchNorm='batch' knows torch's batch norms and Keras' BatchNormalization without mask, "
                        f"renorm and synchronized; this model has other statistics: {', '.join(others)}")  # fmt: skip


def _slots(node: Mapping[str, Any]) -> Iterator[int]:
    """Of weight, bias and running statistics."""
    tensors = itertools.islice(node["args"], 1, _TRAINING)
    return (value["slot"] for value in tensors if isinstance(value, Mapping))


def notes_of(notes: Sequence[str], whole: bool, program: Program) -> list[str]:
    """What is told of a fit: nothing is per micro-batch where statistics are the whole batch's."""
    if not whole:
        return list(notes)
    kept = [note for note in notes if not note.startswith(PER_MICRO_BATCH)]
    return kept if by_batch(program) else [*kept, NONE_THERE]
