"""A doctor's report: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from stoker.health.facts import Facts
from stoker.health.finding import ERROR, Finding
from stoker.health.findings import LEVELS, mb

BRIEF = 3  # findings in an error's text
HEAD = ("worker", "host", "python", "torch", "stoker", "level", "memory", "disk", "clock", "driver", "others")


@dataclass(frozen=True)
class Report:
    """What `stoker.doctor` found. As a string, a table and each finding with its cure."""

    facts: Facts
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that keeps a fit from running."""
        return not any(finding.level == ERROR for finding in self.findings)

    def to_json(self) -> str:
        """Facts and findings.

        >>> from stoker.health.facts import Facts
        >>> Report(Facts(workers=2), []).to_json()[:27]
        '{"ok": true, "findings": []'
        """
        told = {"ok": self.ok, "findings": [asdict(one) for one in self.findings], "facts": self.facts.as_dict()}
        return json.dumps(told)

    def brief(self) -> str:
        """For the end of an error's text."""
        wrong = [finding for finding in self.findings if finding.level == ERROR]
        if not wrong:
            return "stoker.doctor finds nothing that is wrong now"
        more = f"; and {len(wrong) - BRIEF} more" if len(wrong) > BRIEF else ""
        return f"stoker.doctor finds: {'; '.join(map(str, wrong[:BRIEF]))}{more}"

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(report: Report) -> Iterator[str]:
    facts = report.facts
    slots = "unknown" if facts.slots is None else facts.slots
    yield (f"Stoker {facts.driver.get('engine', {}).get('version', '?')}, Spark {facts.driver.get('spark', '?')}, "
           f"master {facts.settings.get('spark.master')}: {facts.together} of {facts.workers} workers met "
           f"(slots by the settings: {slots}), in {facts.seconds:.1f} s")  # fmt: skip
    yield ""
    yield from table([HEAD, *[_row(task) for task in facts.tasks]])
    yield ""
    for finding in report.findings:
        yield f"{finding.level:<8}{finding.place}: {finding.text}"
        yield f"        Cure: {finding.cure}"
    if not report.findings:
        yield "Nothing is wrong."


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    found, level = task["packages"], task["engine"].get("isa")
    return (str(task["task"]), task["host"], task["python"].get("version", "?"), found.get("torch") or "-",
            task["engine"].get("version", "?") if found.get("stoker") else "-", "-" if level is None else LEVELS[level],
            _memory(task["memory"]), _disk(task["disk"]), _clock(task["driver"]), _way([task["driver"]]),
            _way(task["peers"]))  # fmt: skip


def _memory(told: dict[str, Any]) -> str:
    left = [limit["left"] for limit in told.get("limits", [])] + ([told["free"]] if "free" in told else [])
    return mb(min(left)) if left else "?"


def _disk(told: Any) -> str:
    free = [folder["free"] for folder in told if folder["free"] is not None] if isinstance(told, list) else []
    return mb(min(free)) if free else "?"


def _clock(told: dict[str, Any]) -> str:
    return f"{-told['ahead']:+.3f} s" if "ahead" in told else "-"


def _way(ways: list[dict[str, Any]]) -> str:
    """The worst of some."""
    if any(way["error"] for way in ways):
        return "unreachable"
    if not any("latency" in way for way in ways):
        return "-"
    latency, bandwidth = max(way["latency"] for way in ways), min(way["bandwidth"] for way in ways)
    return f"{latency * 1e3:.2f} ms {bandwidth / 1e6:,.0f} MB/s"
