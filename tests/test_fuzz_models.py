"""Generated programs against eager PyTorch: a fixed choice of `make fuzz-models`, and every fault that it found."""

import collections
from pathlib import Path

import pytest

from fuzz_models.child import Judge
from fuzz_models.generate import source
from fuzz_models.judge import Verdict, normal
from fuzz_models.shrink import shrink

FOUND = sorted((Path(__file__).parent / "fuzz_models" / "found").glob("*.py"))
CASES = range(40)


@pytest.fixture(scope="module")
def judge():
    with Judge() as judge:
        yield lambda text: Verdict(*judge(text))


def test_generated_programs_are_equal_or_refused(judge, capsys):
    verdicts = {case: judge(source(11, case)) for case in CASES}
    kinds = collections.Counter(verdict.kind for verdict in verdicts.values())
    with capsys.disabled():
        print(f"\ngenerated programs: {dict(kinds)}")
    assert {case: verdict for case, verdict in verdicts.items() if verdict.is_fault} == {}
    assert kinds["equal"] >= len(CASES) // 3  # not everything is refused or does not run at all


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path, judge):
    verdict = judge(path.read_text())
    assert verdict.kind in ("equal", "refused", "ill"), verdict.reason


def test_a_case_is_always_the_same_program():
    assert [source(3, case) for case in range(20)] == [source(3, case) for case in range(20)]
    assert len({source(3, case) for case in range(20)}) == 20


LINEAR = """
import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(x)
        return self.part(y)


NET = Net()
INPUTS = {"x": torch.randn(11, 4)}
LABELS = {"y": torch.randn(11, 2)}
LOSS = nn.MSELoss()
"""
# What a case may do that the judge must see: it computes something else when it is compiled.
UNEQUAL = {
    "loss": ("return self.part(y)", "return self.part(y) * (1.001 if (not isinstance(x.shape[0], int)) else 1.0)"),
    "gradient": (
        "return self.part(y)",
        "return self.part(y) + (self.part.bias - self.part.bias.detach()) * (not isinstance(x.shape[0], int))",
    ),
    "eval": (
        "y = torch.tanh(x)",
        "y = torch.tanh(x) * (1.0 if self.training or not (not isinstance(x.shape[0], int)) else 2.0)",
    ),
}


def test_a_plain_program_is_equal(judge):
    assert judge(LINEAR) == Verdict("equal")


@pytest.mark.parametrize("what", UNEQUAL)
def test_the_judge_sees_another_program(what, judge):
    verdict = judge(LINEAR.replace(*UNEQUAL[what]))
    assert (verdict.kind, what in verdict.reason or what == "gradient") == ("different", True), verdict


def test_a_case_that_kills_the_process_is_a_crash(judge):
    assert judge(LINEAR.replace("y = torch.tanh(x)", "import os; os.abort()")).kind == "crashed"
    assert judge(LINEAR) == Verdict("equal")


def test_shrinking_leaves_what_fails():
    small = shrink("a = 1\nwith open(f(b)):\n    c = tanh(2, x)\n    d = g(c + 3)\n", lambda text: "tanh" in text)
    assert small == "c = tanh(2, x)"


def test_reasons_are_counted_without_names_and_numbers():
    assert normal("the model changes 'kept0' at net (Net), a.py:7: 3.5") == normal(
        "the model changes 'x' at b (Block), c.py:12: 1"
    )
