"""Arrow batches as pyarrow makes them, against a slow reader in Python: types, nesting, slices, errors."""

import json
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.engine import core

SOURCES = {
    "int8": pa.int8(), "uint8": pa.uint8(), "int16": pa.int16(), "uint16": pa.uint16(), "int32": pa.int32(),
    "uint32": pa.uint32(), "int64": pa.int64(), "uint64": pa.uint64(), "float16": pa.float16(), "float32": pa.float32(),
    "float64": pa.float64(), "bool": pa.bool_(),
}  # fmt: skip
TARGETS = ("float32", "float64", "int32", "int64", "uint8")
LISTS = (pa.list_, pa.large_list, "fixed")


def store_of(*specs, shards=(0,), partition=3):
    return core().ColumnStore(json.dumps(specs), list(shards), partition)


def nested(values, kind, sizes):
    """Lists of lists ... of the flat array; the last size is the innermost."""
    for size in reversed(sizes):
        if kind == "fixed":
            values = pa.FixedSizeListArray.from_arrays(values, size)
            continue
        cls, offset = (pa.ListArray, pa.int32()) if kind is pa.list_ else (pa.LargeListArray, pa.int64())
        offsets = pa.array(range(0, len(values) + 1, size), offset)
        values = cls.from_arrays(offsets, values)
    return values


def batch_of(**columns):
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def number(source):
    """Values that every target can hold, unless a float may be between whole numbers."""
    if source == "bool":
        return st.booleans()
    return st.integers(0, 100)


@st.composite
def columns(draw):
    source, target = draw(st.sampled_from(sorted(SOURCES))), draw(st.sampled_from(TARGETS))
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    levels = [math.prod(shape)] if shape and draw(st.booleans()) else shape
    rows = draw(st.integers(0, 12))
    values = draw(st.lists(number(source), min_size=rows * math.prod(shape), max_size=rows * math.prod(shape)))
    if source.startswith("float"):
        values = np.array(values, source)
        if target.startswith("float"):
            values = values / np.array(3, source)
    array = nested(pa.array(values, SOURCES[source]), draw(st.sampled_from(LISTS)), levels)
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=3)))
    return array, target, shape, list(zip([0, *cuts], [*cuts, rows]))


@settings(max_examples=300, deadline=None)
@given(columns())
def test_every_type_nesting_and_slice_arrives_as_a_slow_reader_sees_it(column):
    array, target, shape, slices = column
    store = store_of({"name": "x", "dtype": target, "shape": shape})
    whole = batch_of(x=array)
    for begin, end in slices:
        store.append(whole.slice(begin, end - begin))
    store.seal()
    want = np.array(array.to_pylist()).astype(target).reshape(len(array), *shape)
    got = store.gather(0, np.arange(len(array), dtype=np.uint32))
    assert got.dtype == target
    np.testing.assert_array_equal(got, want)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=4)), max_size=6))
def test_the_first_bad_row_is_named(rows):
    """Null rows are looked for first, then lengths, then null elements, then values."""
    store = store_of({"name": "x", "dtype": "float32", "shape": [2], "finite": True})
    faults = [
        ([row is None for row in rows], "is null"),
        ([row is not None and len(row) != 2 for row in rows], "values, expected 2"),
        ([row is not None and None in row for row in rows], "null element"),
        ([row is not None and not np.isfinite([v for v in row if v is not None]).all() for row in rows], "finite"),
    ]
    batch = batch_of(x=pa.array(rows, pa.list_(pa.float32())))
    for bad, words in faults:
        if any(bad):
            with pytest.raises(core().UserError, match=f"column 'x', partition 3, row {bad.index(True)}: .*{words}"):
                store.append(batch)
            assert store.rows() == 0
            return
    store.append(batch)
    assert store.rows() == len(rows)


def test_a_table_of_features_label_weight_and_shards():
    specs = ({"name": "f", "dtype": "float32", "shape": [3]}, {"name": "y", "dtype": "int64", "classes": 5})
    store = store_of(*specs, {"name": "w", "finite": True, "non_negative": True}, shards=[2, 3, 4])
    features, labels, shards = np.arange(60.0).reshape(20, 3), np.arange(20) % 5, 2 + np.arange(20) % 3
    for rows in (slice(0, 0), slice(0, 7), slice(7, 20)):
        lists = pa.array(list(features[rows]), pa.list_(pa.float64()))
        store.append(batch_of(w=pa.array(labels[rows] * 0.5), y=pa.array(labels[rows] * 1.0), f=lists,
                              __shard=pa.array(shards[rows], pa.int32())))  # fmt: skip
    store.seal()
    assert (store.rows(), store.bytes()) == (20, 20 * (12 + 8 + 4))
    assert [(shard, rows) for shard, rows, _, _ in store.shard_rows()] == [(2, 7), (3, 7), (4, 6)]
    for shard in (2, 3, 4):
        order = store.order(shard)
        assert sorted(order) == list(np.flatnonzero(shards == shard))
        np.testing.assert_array_equal(store.gather(0, order), features[order].astype(np.float32))
        np.testing.assert_array_equal(store.gather(1, order), labels[order])
        np.testing.assert_array_equal(store.gather(2, order), (labels[order] * 0.5).astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_replays_in_another_order_and_batching_give_the_same_shards(order, size):
    def read(rows, size):
        store = store_of({"name": "x", "dtype": "int32"}, shards=[0, 1])
        for at in range(0, len(rows), size):
            part = np.array(rows[at : at + size])
            store.append(batch_of(x=pa.array(part // 3), __shard=pa.array(part % 2, pa.int32())))
        store.seal()
        return store.shard_rows(), [store.gather(0, store.order(shard)).tolist() for shard in (0, 1)]

    assert read(order, size) == read(list(range(12)), 12)


@pytest.mark.parametrize(
    "array, words",
    [
        (pa.array(["a"]), "has type string, expected a number"),
        (pa.array([b"a"]), "has type binary"),
        (pa.array([None], pa.decimal256(50, 2)), "has type decimal"),
        (pa.array([0], pa.timestamp("us")), "has type timestamp"),
        (pa.array(["a"]).dictionary_encode(), "has type dictionary of string"),
        (pa.array([{"a": 1}]), "has type struct"),
        (pa.array([["a"]]), "has type array<string>"),
        (pa.nulls(1), "has type void"),
    ],
)
def test_types_that_hold_no_numbers(array, words):
    with pytest.raises(core().UserError, match=f"column 'features', partition 3: {words}"):
        store_of({"name": "x", "shown": "features"}).append(batch_of(x=array))


def test_decimals_are_the_same_numbers_or_named():
    def read(text, dtype, digits=20):
        store = store_of({"name": "x", "shown": "features", "dtype": dtype})
        store.append(batch_of(x=pa.array([Decimal(text)], pa.decimal128(38, digits))))
        return store.gather(0, np.array([0], np.uint32)).tolist()

    assert read("9007199254740993.00", "int64") == [2**53 + 1] and read("2.5", "float32") == [2.5]
    for text, dtype, told in [
        ("1.00000000000000000001", "int64", "value 1.00000000000000000001, expected a whole number"),
        ("3000000000", "int32", "cannot be kept as int32 without loss"),
        ("16777217", "float32", "cannot be kept as float32 without loss"),
    ]:
        with pytest.raises(core().UserError, match=told):
            read(text, dtype)


def test_missing_columns_say_what_there_is():
    with pytest.raises(core().UserError, match="is missing in the rows of partition 3, which have 'a', 'b'"):
        store_of({"name": "x", "shown": "features"}).append(batch_of(a=pa.array([1]), b=pa.array([1])))


def test_what_is_no_batch_is_refused():
    store = store_of({"name": "x"})
    with pytest.raises(AttributeError):
        store.append([1, 2])
    with pytest.raises(core().BugError, match="not a record batch"):
        store.append(pa.array([1]))


def test_the_store_outlives_its_batches():
    store = store_of({"name": "x", "shape": [1000]})
    before = pa.total_allocated_bytes()
    for i in range(20):
        store.append(batch_of(x=pa.FixedSizeListArray.from_arrays(pa.array(np.full(100_000, i, np.float32)), 1000)))
    assert pa.total_allocated_bytes() - before < 1_000_000  # every batch was released
    store.seal()
    assert store.gather(0, np.arange(2000, dtype=np.uint32))[:, 7].tolist() == [
        i for i in range(20) for _ in range(100)
    ]


def test_plans_cover_every_row_once():
    plan = core().Plan([10, 0, 7, 1], 4)
    assert plan.steps() == 5
    for shard, rows in enumerate([10, 0, 7, 1]):
        seen = [row for step in range(plan.steps()) for row in range(*plan.rows(step, shard))]
        assert seen == list(range(rows))


def test_epochs_have_orders_of_their_own():
    orders = {tuple(core().epoch_order(50, 1, epoch, 0).tolist()) for epoch in range(5)}
    assert len(orders) == 5
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert core().epoch_order(5, 1, 0, 0, shuffle=False).tolist() == [0, 1, 2, 3, 4]
