"""python -m stoker doctor."""

from __future__ import annotations

import argparse
from typing import Any

from stoker.cli import session
from stoker.health.doctor import AT_MOST, doctor


def add_to(commands: Any) -> None:
    command = commands.add_parser("doctor", help="looks whether a fit can run on a cluster, and says what to cure")
    session.add_options(command)
    command.add_argument("--workers", type=int, help="that a fit shall have; default: the session's slots")
    command.add_argument("--timeout", type=float, default=AT_MOST, help="seconds for all of it (%(default)g)")
    command.add_argument("--json", action="store_true", help="findings and facts as one line of JSON")
    command.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    with session.opened(asked, "stoker doctor") as spark:
        report = doctor(spark, asked.workers, asked.timeout)
    print(report.to_json() if asked.json else report)
    return 0 if report.ok else 1
