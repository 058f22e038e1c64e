"""A process that judges: a line of JSON with a source in, a line with kind, reason and the process's size out.

torch.export leaves state behind, and a case may kill the process; so a child judges, and is replaced now and then.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

CASES = 150  # of one child
LARGEST = 2 << 30  # bytes of a child
SECONDS = 30  # of the processor, for one case
WAIT = 4 * SECONDS
TESTS = Path(__file__).parents[1]


class Judge:
    """Asks the child; begins another when it is worn out, dead or stuck. Verdicts are (kind, reason)."""

    def __init__(self) -> None:
        self.child: subprocess.Popen | None = None
        self.asked = 0

    def __call__(self, source: str) -> tuple[str, str]:
        child = self._fresh()
        child.stdin.write(json.dumps(source).encode() + b"\n")
        child.stdin.flush()
        self.asked += 1
        ready, _, _ = select.select([child.stdout], [], [], WAIT)
        line = child.stdout.readline() if ready else b""
        if line:
            answer = json.loads(line)
            self.asked += CASES * (answer["size"] > LARGEST)
            return answer["kind"], answer["reason"]
        self.close()
        return ("crashed", f"the process died ({child.returncode})") if ready else ("slow", f"more than {SECONDS} s")

    def _fresh(self) -> subprocess.Popen:
        if self.asked >= CASES:
            self.close()
        if self.child is None:
            path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
            environment = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1")
            command = [sys.executable, "-m", "fuzz_models.child"]
            self.child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL)  # fmt: skip
            self.asked = 0
        return self.child

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child.stdin.close()
            self.child.stdout.close()
            self.child = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def timed(source: str):
    """The verdict on a source, in this process, within SECONDS."""
    from fuzz_models.judge import Verdict, judge

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return judge(source)
    except (TimeoutError, SystemError) as error:
        if not isinstance(error.__cause__ or error, TimeoutError):  # raised inside a function of C
            return Verdict("crashed", f"SystemError: {error}")
        return Verdict("slow", f"more than {SECONDS} s")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def serve() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with who asks
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a case prints
    for line in sys.stdin:
        verdict = timed(json.loads(line))
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"kind": verdict.kind, "reason": verdict.reason, "size": size}), file=answers, flush=True)


if __name__ == "__main__":
    serve()
