"""What the laboratory prints: a line for each schedule, and what all of them came to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from faults.points import POINTS

SCHEDULES = 200
LEAST_AT_A_POINT = 5
LEAST_OF_A_KIND = 10
MIDDLE = 0.7  # of the kills, at least, between a tenth and nine tenths of the steps
RARE_KINDS = ["two-at-once", "newcomer", "re-forming", "stopped"]

Record = dict[str, Any]


def line(record: Record) -> str:
    hits = "; ".join(f"worker {h['place']} pid {h['pid']} {h['point']} at step {h['step']} {h['how']}"
                     for h in record["hits"])  # fmt: skip
    verdict = "WRONG: " + "; ".join(record["wrong"]) if record["wrong"] else "same bits"
    how = f"{record['model']}, {record['workers']} workers"
    return f"seed {record['seed']} {record['kind']} ({how}): {hits or 'nobody was hit'} -> {verdict}, " \
           f"{record['deaths']} deaths, {record['restarts']} restarts, {record['seconds']} s"  # fmt: skip


def counts(record: Record) -> bool:
    """Whether it hit anyone; those of a rare kind, whether all of it did."""
    needed = record["orders"] if record["kind"] in RARE_KINDS else 1
    return len(record["hits"]) >= needed


def histogram(records: list[Record]) -> list[int]:
    """Deaths by tenths of the steps."""
    tenths = [0] * 10
    for record in records:
        for hit in record["hits"]:
            if hit["how"] in ("kill", "die"):
                tenths[min(hit["step"] * 10 // record["steps"], 9)] += 1
    return tenths


def summary(records: list[Record], whole: bool) -> int:
    """Prints it; 0 when every bar holds. The bars on how many there are hold only for `whole` runs."""
    valid = [record for record in records if counts(record)]
    kinds = Counter(record["kind"] for record in valid)
    points = Counter(hit["point"] for record in valid for hit in record["hits"])
    outside = sum(hit["how"] == "kill" for record in valid for hit in record["hits"])
    tenths = histogram(valid)
    right = sum(not record["wrong"] for record in valid)
    print(f"{right} of {len(valid)} schedules gave the undisturbed model; {len(records) - len(valid)} hit nobody")
    print("by kind:", ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()))
    print("by workers:", dict(sorted(Counter(record["workers"] for record in valid).items())))
    print("by point:", ", ".join(f"{point.name} {points[point.name]}" for point in POINTS))
    print(f"SIGKILL from outside: {outside} of {sum(tenths)} deaths")
    print("deaths by tenth of the steps:", tenths)
    failed = [record for record in records if record["wrong"]]
    for record in failed:
        print(line(record))
    missed = _missed(len(valid), kinds, points, tenths) if whole else []
    for text in missed:
        print("FAILS:", text)
    return int(bool(failed or missed))


def _missed(valid: int, kinds: Counter, points: Counter, tenths: list[int]) -> list[str]:
    missed = [f"{kind}: {kinds[kind]} of {LEAST_OF_A_KIND}" for kind in RARE_KINDS if kinds[kind] < LEAST_OF_A_KIND]
    missed += [f"point {point.name}: {points[point.name]} of {LEAST_AT_A_POINT}"
               for point in POINTS if points[point.name] < LEAST_AT_A_POINT]  # fmt: skip
    if sum(tenths[1:9]) < MIDDLE * sum(tenths):
        missed.append(f"{sum(tenths[1:9])} of {sum(tenths)} deaths in the middle of the steps")
    if valid < SCHEDULES:
        missed.append(f"{valid} of {SCHEDULES} schedules count")
    return missed
