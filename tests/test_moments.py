"""Means and deviations that are never rounded on the way."""

import math
from fractions import Fraction
from statistics import pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.engine import core
from stoker.inputs.moments import Moments, _added, _OfPartition, _parsed, _told

EDGES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 0.1, 1.0, 1e9, 1e9 + 0.1, 2.0**53, 1.7976931348623157e308]
ANY = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(EDGES)


def moments(values):
    sums = core().ExactMoments(1)
    sums.add(np.array(values, np.float64).reshape(-1, 1))
    return Moments(*_read(sums.totals()[0]))


def _read(told):
    import json

    (one,) = _parsed(json.dumps([_told(*told)]))
    return one.count, one.sum, one.squares


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=20))
def test_sums_are_those_of_fractions(values):
    found = moments(values)
    exact = [Fraction(value) for value in values]
    assert Fraction(found.sum, 1 << 1074) == sum(exact)
    assert Fraction(found.squares, 1 << 2148) == sum(value * value for value in exact)
    assert found.mean() == float(sum(exact) / len(exact))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=20))
def test_deviations_are_the_nearest_double(values):
    found, right = moments(values), pstdev([Fraction(value) for value in values])
    assert found.deviation() == pytest.approx(float(right), rel=2**-52, abs=5e-324)
    assert (found.deviation() == 0) == (len(set(values)) == 1)


@given(st.lists(ANY, max_size=20), st.randoms())
@settings(max_examples=100, deadline=None)
def test_neither_order_nor_parts_show(values, random):
    shuffled, cut = random.sample(values, len(values)), random.randint(0, len(values))
    assert moments(values) == moments(shuffled[:cut]) + moments(shuffled[cut:])


def test_a_variance_beyond_double_is_no_number_but_its_root_is():
    found = moments([1e300, 0.0])
    with pytest.raises(OverflowError):
        found.variance()
    assert found.deviation() == 5e299


@pytest.mark.parametrize("value", [0.1, 1234567891.0, -98765.4321, 1e300, 5e-324])
def test_a_constant_is_its_own_mean_and_has_no_deviation(value):
    found = moments([value] * 1000)
    assert (found.mean(), found.deviation()) == (value, 0.0)


def test_partitions_without_rows_and_nulls_count_nothing():
    import pyarrow as pa

    batches = [[[1.0, None], [math.nan, 4.0]], []]
    kind = pa.list_(pa.float64())
    read = [pa.RecordBatch.from_arrays([pa.array(rows, kind)], ["numbers"]) for rows in batches]
    parts = [_parsed(out.column(0)[0].as_py()) for some in (read, []) for out in _OfPartition(2)(iter(some))]
    both = _added(*parts)
    assert [(one.count, one.mean()) for one in both] == [(1, 1.0), (1, 4.0)]
