"""An older build beside this one: the same bench in both trees in turn, and how many times as fast this one is.

    git worktree add ../old <commit>; make -C ../old modules
    make bench-against BENCH="../old 3 bench/step.py --quick mlp"

The arguments: the older tree, how often each is run, the bench and what it is told. A row is a case that both know; its
figures are medians, and the bar is "not worse": noise apart, 1.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import report

HERE = Path(__file__).resolve().parent.parent
MORE_IS_BETTER = ("/s", "right", "share")  # units: rates, and shares of what could be
NOISE = 0.97  # runs of one and the same build differ by as much on a quiet machine


def rows(tree: Path, command: list[str]) -> list[dict]:
    python = tree / ".venv/bin/python"
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    environment = {**os.environ, "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), "PATH": path}
    done = subprocess.run([python, *command], check=False, cwd=tree, env=environment, text=True, stdout=subprocess.PIPE)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"{' '.join(command)} printed no figures in {tree} (exit code {done.returncode})")
    return [json.loads(line) for line in lines]


def less_is_better(row: dict) -> bool:
    """By what is measured: a ratio of pairs need not be that of the medians."""
    return not row["unit"].endswith(MORE_IS_BETTER)


def compared(old: list[dict], new: list[dict]) -> None:
    before, now = (median(row["ours"] for row in rows) for rows in (old, new))
    ratio = before / now if less_is_better(new[0]) else now / before
    report.row(new[0]["bench"], new[0]["case"], now, before, "before", new[0]["unit"], ratio, NOISE, ratio >= NOISE)


def main(other: str, times: str, *command: str) -> bool:
    figures: dict[Path, dict[tuple, list[dict]]] = {}
    trees = (Path(other).resolve(), HERE)
    for _ in range(int(times)):
        for tree in trees:
            known = figures.setdefault(tree, defaultdict(list))
            for row in rows(tree, list(command)):
                known[row["bench"], row["case"], row["other_name"]].append(row)
    old, new = (figures[tree] for tree in trees)
    for name in new:
        if name in old:
            compared(old[name], new[name])
    return report.finish()


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    raise SystemExit(0 if main(*sys.argv[1:]) else 1)
