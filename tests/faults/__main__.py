"""Trains under faults: seeded schedules in Spark's local[4,20], one line each, then what they came to.

Run: make test-faults, or with FAULTS="--from 0 --to 50 --out part.jsonl" for a part; FAULTS="--summary *.jsonl" adds up
parts. A schedule of which nothing hit a living worker does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import account, report
from faults.killer import Killer
from faults.schedule import Schedule, draw
from stoker.events import Restart

OUT = Path(__file__).parents[2] / "build/faults.jsonl"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    parser.add_argument("--to", type=int, default=200, help="seed after the last one")
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        help="a JSON line for each schedule",
    )
    parser.add_argument("--resume", action="store_true", help="leave out the seeds that are in --out already")
    parser.add_argument("--summary", type=Path, nargs="+", help="only add up these files")
    options = parser.parse_args()
    if options.summary is None:
        run(options)
    records = [record for path in options.summary or [options.out] for record in read(path)]
    return report.summary(records, whole=len(records) >= report.SCHEDULES)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(options: argparse.Namespace) -> None:
    done = {record["seed"] for record in read(options.out)} if options.resume else set()
    options.out.parent.mkdir(exist_ok=True)
    with options.out.open("a" if options.resume else "w") as out:
        for record in records_of([seed for seed in range(options.first, options.to) if seed not in done]):
            tell(record, out)


def tell(record: dict[str, Any], out: TextIO) -> None:
    print(report.line(record), flush=True)
    out.write(json.dumps(record) + "\n")
    out.flush()


def records_of(seeds: list[int]) -> Iterator[dict[str, Any]]:
    from faults import spark as lab

    spark = lab.session()
    try:
        df = lab.rows(spark)
        references: dict[tuple[str, int], dict[str, Any]] = {}
        for seed in seeds:
            schedule = draw(seed, lab.STEPS)
            other = 3 if schedule.workers == 2 else 2
            if (schedule.model, other) not in references:
                references[schedule.model, other] = lab.undisturbed(df, schedule.model, other)
            start = time.monotonic()
            killer, result = lab.carry_out(schedule, df)
            yield record_of(schedule, killer, result, references[schedule.model, other], time.monotonic() - start)
    finally:
        spark.stop()


def record_of(schedule: Schedule, killer: Killer, result: dict[str, Any] | Exception, reference: dict[str, Any],
              seconds: float) -> dict[str, Any]:  # fmt: skip
    from faults.models import SHARDS

    if isinstance(result, Exception):
        wrong = [f"{type(result).__name__}: {result}"]
    else:
        wrong = account.complaints(killer, result, reference, SHARDS)
    return {"seed": schedule.seed, "kind": schedule.kind, "model": schedule.model, "workers": schedule.workers,
            "steps": schedule.steps, "orders": len(schedule.orders), "hits": [asdict(hit) for hit in killer.hits],
            "deaths": account.deaths_of(killer), "restarts": len(killer.told(Restart)),
            "seconds": round(seconds, 2), "wrong": wrong}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
