"""A short selection of tests/faults/evaluations.py: what a course hangs on is committed, so deaths change no bit."""

import pytest

from faults.evaluations import COURSES, Schedule, judged

SELECTION = ["all", "batch norm", "lbfgs", "bf16", "adafactor"]


@pytest.mark.parametrize("course", SELECTION)
def test_deaths_change_neither_the_bits_nor_the_last_step(course):
    same, deaths = judged(Schedule(list(COURSES).index(course)))
    assert same
    assert deaths > 0
