"""`make fuzz-models`: generated programs against eager PyTorch, for so many seconds.

Prints what became of them, with the reasons, and keeps what fails, shrunk, in tests/fuzz_models/found.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import re
import sys
import time
from pathlib import Path

from fuzz_models.child import Judge
from fuzz_models.generate import source
from fuzz_models.judge import Verdict, normal
from fuzz_models.shrink import shrink

FOUND = Path(__file__).parent / "found"
SAME = 3  # faults of one kind and reason are shrunk so many times
FOOTER = """

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from fuzz_models.judge import judge

    print(judge(Path(__file__).read_text()))
"""


class Run:
    def __init__(self, judge: Judge, seed: int, keep: bool, skip: str):
        self.judge, self.seed, self.keep, self.skip = judge, seed, keep, skip
        self.verdicts: list[Verdict] = []
        self.seen: collections.Counter = collections.Counter()
        self.kept: dict[str, Path] = {}

    def case(self, number: int) -> None:
        text = source(self.seed, number)
        if self.skip and re.search(self.skip, text):
            return
        verdict = Verdict(*self.judge(text))
        self.verdicts.append(verdict)
        if verdict.is_fault:
            self._fault(number, text, verdict)

    def _fault(self, number: int, text: str, verdict: Verdict) -> None:
        print(f"fuzz-models: case {number} of seed {self.seed} {verdict.kind}: {verdict.reason}", flush=True)
        self.seen[verdict.kind, normal(verdict.reason)] += 1
        if not self.keep or self.seen[verdict.kind, normal(verdict.reason)] > SAME:
            return
        small = shrink(text, lambda candidate: Verdict(*self.judge(candidate)).like(verdict))
        shape = hashlib.sha256(re.sub(r"\d+", "N", small).encode()).hexdigest()[:8]
        if shape not in self.kept:
            FOUND.mkdir(exist_ok=True)
            self.kept[shape] = FOUND / f"{verdict.kind}_{shape}.py"
            told = Verdict(*self.judge(small)).reason.replace('"', "'").replace("\\", "/")
            self.kept[shape].write_text(f'"""{verdict.kind}: {told}"""\n\n{small}{FOOTER}')
            print(f"fuzz-models: kept as {self.kept[shape].name}:\n{small}\n", flush=True)

    def table(self) -> str:
        total = max(1, len(self.verdicts) - self._count("invalid"))
        lines = [f"{len(self.verdicts)} programs of seed {self.seed}, of which eager runs {total}:"]
        for kind in ("equal", "refused", "ill", "different", "crashed", "slow"):
            lines.append(f"  {kind:10} {self._count(kind):6} {100 * self._count(kind) / total:5.1f} %")
        for kind in ("equal", "refused", "ill", "different", "crashed"):
            reasons = collections.Counter(normal(v.reason) for v in self.verdicts if v.kind == kind and v.reason)
            lines += [f"  {kind}: {reason}: {count}" for reason, count in reasons.most_common(60)]
        return "\n".join(lines)

    def _count(self, kind: str) -> int:
        return sum(verdict.kind == kind for verdict in self.verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz-models", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1 << 40, help="how many at most")
    parser.add_argument("--show", type=int, help="print a case and its verdict")
    parser.add_argument("--skip", default="", help="leave out programs in which this expression is found")
    parser.add_argument("--no-keep", action="store_true", help="shrink and keep nothing")
    options = parser.parse_args()
    with Judge() as judge:
        if options.show is not None:
            text = source(options.seed, options.show)
            print(text, *judge(text), sep="\n")
            return 0
        run = Run(judge, options.seed, not options.no_keep, options.skip)
        until = time.monotonic() + options.seconds
        number = options.first
        while time.monotonic() < until and number < options.first + options.cases:
            run.case(number)
            number += 1
        print(run.table())
        return 1 if any(verdict.is_fault for verdict in run.verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
