#!/usr/bin/env python3
"""Follows the pages word for word, as a stranger would, in the folder that it is started in: installs the wheel in
dist/, pastes the README's example and the first fit, trains on an own CSV file, runs jobs by file and a cluster of
one machine. Needs the standard library alone.

    python3 trial.py PAGES      PAGES has README.md and docs/; pip finds third parties by itself
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

STEPS = (  # page, heading, what it is, what must be so then; blocks of bash are run, those of Python as one program
    ("docs/install.md", "A wheel", "the wheel is installed", "true"),
    ("docs/install.md", "Is it there?", "it is there", "true"),
    ("docs/first-fit.md", "A first fit", "the first model is trained", "grep -q '^    5 ' trial.log"),
    ("docs/first-fit.md", "", "the page of the first fit, whole", "test -d first-model"),
    ("README.md", "Stoker", "the README's example", "grep -q '^39[0-9][0-9] of 4000' trial.log"),
    ("docs/tabular.md", "", "an own CSV file", "grep -q '|colour|bought|prediction|' trial.log"),
    ("docs/commands.md", "", "jobs by file", "test -d scored && grep -q '{\"accuracy\": ' trial.log"),
    ("docs/deployment.md", "A cluster of one machine", "a cluster of one machine", "true"),
)
SKIPPED = ("--master yarn", "make demo")  # of bash
COLOURS = ("red", "green", "blue")
CSV = "age,income,colour,day,bought\n" + "".join(
    f"{i % 7},{i * 0.5 if i % 5 else ''},{COLOURS[i % 3]},2026-01-{i % 28 + 1:02},{int(i % 3 == 1)}\n"
    for i in range(600)
)
# Where a page goes on in the `spark` of the reader's own program, it is given one.
SESSION = "from pyspark.sql import SparkSession\n\nspark = SparkSession.builder.master('local[2]').getOrCreate()\n"
# Seconds since the beginning, and how many of them processors were at work: the first depends on what else runs.
TELL = """
import re, sys, time
spent = sum(60 * int(m) + float(s) for m, s in re.findall(r"(\\d+)m([0-9.]+)s", open("times").read()))
print(f"trial: {time.time() - float(sys.argv[1]):5.1f} s ({spent:5.1f} s of processors)  {sys.argv[2]}")
"""
BEGIN = f"""
begun=$(date +%s.%N)
told() {{ times >times; python3 -c '{TELL}' $begun "$1" >&3; }}
exec 3>&1 >trial.log 2>&1
"""


def blocks(text: str, heading: str) -> Iterator[tuple[str, str]]:
    """(language, code) of those below a heading, up to the next one; without a heading of all."""
    here, fence, code = not heading, "", []
    for line in text.splitlines():
        if line.startswith("```") or (line == "<!-- setup") or (line == "-->" and fence):
            if fence and here:
                yield fence, "\n".join(code) + "\n"
            fence, code = ("" if fence else line.strip("`") or "text"), []
        elif fence:
            code.append(line)
        elif line.startswith("#") and heading:
            here = line.lstrip("# ") == heading


def commands(pages: Path) -> Iterator[str]:
    yield BEGIN
    for number, (page, heading, what, holds) in enumerate(STEPS):
        program = Path(f"page{number}.py")
        found = list(blocks((pages / page).read_text(), heading))
        if not found:
            raise SystemExit(f"{page} has nothing to run below '{heading}'")
        hidden = "" if page == "docs/tabular.md" else "<!-- setup"  # there the reader has a file
        code = "".join(code for language, code in found if language in ("python", hidden))
        yield from (code for language, code in found if language == "bash" and not any(s in code for s in SKIPPED))
        if code:
            program.write_text(SESSION + code if "spark." in code and "SparkSession" not in code else code)
            yield f"python {program}\n"
        yield f'{holds}\ntold "{what}"\n'


def main() -> int:
    Path("customers.csv").write_text(CSV)
    script = Path("trial.sh")
    script.write_text("".join(commands(Path(sys.argv[1]))))
    ended = subprocess.run(["bash", "-eu", script], check=False)
    if ended.returncode:
        print(*Path("trial.log").read_text().splitlines()[-30:], sep="\n")
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
