"""What every bench prints: a table for people, then one JSON line a row.

`ratio` says how many times better we are than the other; `bar` is the least that it should be.
"""

import argparse
import json
from collections.abc import Collection

FIELDS = ("bench", "case", "ours", "other", "other_name", "unit", "ratio", "bar", "holds")

_rows: list[dict] = []


def asked(doc: str | None, cases: Collection[str]) -> Collection[str]:
    """The names of cases on the command line; none: all."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"some of: {', '.join(cases)} (default: all)")
    told = parser.parse_args().cases
    if unknown := set(told) - set(cases):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    return told or cases


def row(
    bench: str, case: str, ours: float, other: float, other_name: str, unit: str, ratio: float, bar: float, holds: bool
) -> None:
    values = (bench, case, float(ours), float(other), other_name, unit, float(ratio), float(bar), bool(holds))
    _rows.append(dict(zip(FIELDS, values, strict=True)))


def finish() -> bool:
    """Prints and forgets the rows. True when every bar holds."""
    table = [("case", "ours", "other", "", "unit", "ratio", "bar", "")]
    for r in _rows:
        numbers = [f"{r[name]:.4g}" for name in ("ours", "other")]
        verdict = "holds" if r["holds"] else "FAILS"
        table.append((r["case"], *numbers, r["other_name"], r["unit"], f"{r['ratio']:.2f}x", f"{r['bar']:g}x", verdict))
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for r in _rows:
        print(json.dumps(r))
    every_bar_holds = all(r["holds"] for r in _rows)
    _rows.clear()
    return every_bar_holds
