"""Which command is meant, and what its end is for a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from stoker import __version__, errors
from stoker.cli import doctor, train

DONE, FAILED, WRONG, TRY_AGAIN = 0, 1, 2, 3
COMMANDS = (train, doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: it failed, or the doctor found an error; 2: wrong input, trying again is of no use; 3: the cluster
    failed, the same command may be tried again."""
    asked = parser().parse_args(arguments)
    try:
        return asked.run(asked)
    except errors.UserError as error:
        return _say(error, WRONG)
    except errors.WorldError as error:
        return _say(error, TRY_AGAIN)
    except errors.StokerError as error:
        return _say(error, FAILED)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m stoker", description="Deep learning inside Apache Spark")
    whole.add_argument("--version", action="version", version=f"stoker {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole


def _say(error: Exception, code: int) -> int:
    print(f"stoker: {error}", file=sys.stderr)
    return code
