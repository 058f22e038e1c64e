"""Declared inputs: every type of column, null policy and shape through the engine, against a slow reference."""

import datetime
import decimal
import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inputs_reference as reference
from stoker.engine import core
from stoker.errors import UserError
from stoker.inputs import (
    Array,
    Category,
    DateParts,
    Hashed,
    Image,
    Numeric,
    Padded,
    Present,
    as_inputs,
    fields,
    from_json,
    to_json,
)
from stoker.spark.columns import Sent
from stoker.spark.infer import Reader

INTEGERS = {"int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "bool": pa.bool_()}
NUMBERS = {**INTEGERS, "float32": pa.float32(), "float64": pa.float64(), "decimal": pa.decimal128(20, 3)}
WORDS = ["", "a", "bb", "ä", "long word", "x" * 40]


def spec_of(name, entry, dtype=None):
    return fields.source(name, entry, None, dtype).spec()


def sent_batch(entry, rows, types):
    """The rows as they travel: a column under the name of each that is sent."""
    items = entry if isinstance(entry, list) else [entry]
    columns = {Sent((item.column,)).name: pa.array([row[item.column] for row in rows], types[item.column])
               for item in items}  # fmt: skip
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def stored(spec, batches):
    """Through the column store, as training reads."""
    store = core().ColumnStore(json.dumps([spec]), [0], 0)
    for batch in batches:
        store.append(batch)
    store.seal()
    return store.gather(0, np.arange(store.rows(), dtype=np.uint32))


def read(spec, batches):
    """At once, as inference reads."""
    reader = core().TensorReader(json.dumps([spec]), 0)
    return np.concatenate([reader.read(batch)[0] for batch in batches])


def both(entry, rows, types, cuts=(), dtype=None):
    spec, batch = spec_of("x", entry, dtype), sent_batch(entry, rows, types)
    edges = [0, *sorted(cuts), len(rows)]
    batches = [batch.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    one, other = stored(spec, batches), read(spec, batches)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, stored(spec, [batch]), err_msg="depends on how batches are cut")
    assert one.dtype == other.dtype == spec["dtype"]
    return one


def number_values(kind):
    if kind == "bool":
        return st.booleans()
    if kind == "decimal":
        return st.integers(-(10**6), 10**6).map(lambda n: decimal.Decimal(n).scaleb(-3))
    if kind.startswith("float"):
        return st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
    return st.integers(-100, 100)


def maybe(values, nulls):
    return values if nulls == "error" else st.none() | values


@st.composite
def numerics(draw, column):
    kind, nulls = draw(st.sampled_from(sorted(NUMBERS))), draw(st.sampled_from(["fill", "mask", "error"]))
    values = number_values(kind)
    if nulls == "error" and kind.startswith("float"):
        values = st.floats(-1e6, 1e6, width=32)
    learnt = draw(st.none() | st.tuples(st.floats(-5, 5), st.floats(0.1, 9)))
    mean, scale = learnt or (None, None)
    item = Numeric(column, nulls=nulls, fill=draw(st.none() | st.just(1.0)), mean=mean, scale=scale, lossy=True)
    return item, NUMBERS[kind], maybe(values, nulls)


@st.composite
def categories(draw, column):
    nulls = draw(st.sampled_from(["fill", "mask", "error"]))
    if draw(st.booleans()):
        words = draw(st.lists(st.sampled_from(WORDS), unique=True))
        fill = draw(st.sampled_from([None, *words]))
        text = draw(st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int16(), pa.string())]))
        return Category(column, words, nulls=nulls, fill=fill), text, maybe(st.sampled_from(WORDS), nulls)
    numbers = draw(st.lists(st.integers(-3, 3), unique=True))
    kind = draw(st.sampled_from(["int8", "int32", "int64"]))
    return Category(column, numbers, nulls=nulls), INTEGERS[kind], maybe(st.integers(-4, 4), nulls)


@st.composite
def times(draw, column):
    nulls, clock = draw(st.sampled_from(["fill", "mask", "error"])), draw(st.booleans())
    names = ["month", "day", "weekday", "yearday"] + (["hour", "minute", "second"] if clock else [])
    cyclic = draw(st.booleans())
    parts = draw(st.lists(st.sampled_from(names if cyclic else ["year", *names]), min_size=1, unique=True))
    values = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)) if clock else st.dates()
    unit = "us" if not clock else draw(st.sampled_from(["us", "ms", "s"]))
    kind = pa.timestamp(unit) if clock else pa.date32()
    if clock and unit != "us":
        values = values.map(lambda t: t.replace(microsecond=0))
    return DateParts(column, parts, cyclic=cyclic, nulls=nulls), kind, maybe(values, nulls)


@st.composite
def arrays(draw, column):
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    nulls = draw(st.sampled_from(["fill", "error"]))
    if draw(st.booleans()):
        item = Array(column, shape, stored="uint8", unit=draw(st.sampled_from([1.0, 0.5])), nulls=nulls)
        return item, pa.binary(), maybe(st.binary(min_size=size(shape), max_size=size(shape)), nulls)
    kind = draw(st.sampled_from(sorted(set(NUMBERS) - {"decimal", "bool"})))
    inner = number_values(kind) if nulls != "error" else number_values(kind).filter(lambda v: not math.isnan(v))
    values, levels = maybe(inner, nulls), [size(shape)] if draw(st.booleans()) else shape
    arrow = NUMBERS[kind]
    for length in reversed(levels):
        values = st.lists(values, min_size=length, max_size=length)
        arrow = pa.list_(arrow)
    return Array(column, shape, nulls=nulls, fill=2.0), arrow, maybe(values, nulls)


def size(shape):
    return int(np.prod(shape))


@st.composite
def ragged(draw, column):
    inner, kind, values = draw(st.one_of(categories(column), numerics(column)).filter(lambda x: x[0].nulls != "mask"))
    item = Padded(inner, draw(st.integers(1, 4)), draw(st.sampled_from([0, 3])))
    return item, pa.list_(kind), maybe(st.lists(values, max_size=6), inner.nulls)


@st.composite
def rows_of(draw, columns):
    one = st.fixed_dictionaries({name: values for name, (_, _, values) in columns.items()})
    rows = draw(st.lists(one, max_size=12))
    return rows, draw(st.lists(st.integers(0, len(rows)), max_size=2))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_declared_column_arrives_as_the_reference_says(data):
    item, kind, values = data.draw(st.one_of(numerics("c"), categories("c"), times("c"), arrays("c"), ragged("c")))
    entry = [item] if getattr(item, "nulls", "") == "mask" else item
    rows, cuts = data.draw(rows_of({"c": (item, kind, values)}))
    got = both(entry, rows, {"c": kind}, cuts)
    want = reference.tensor(entry, rows, got.dtype).reshape(got.shape)
    np.testing.assert_allclose(got, want, rtol=2e-7, atol=0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_packs_of_many_columns_lie_side_by_side_with_their_masks_at_the_end(data):
    makers = [numerics, categories, times]
    columns = {
        f"c{i}": data.draw(data.draw(st.sampled_from(makers))(f"c{i}")) for i in range(data.draw(st.integers(1, 5)))
    }
    entry = [item for item, _, _ in columns.values()]
    rows, cuts = data.draw(rows_of(columns))
    got = both(entry, rows, {name: kind for name, (_, kind, _) in columns.items()}, cuts)
    np.testing.assert_allclose(got, reference.tensor(entry, rows, got.dtype).reshape(got.shape), rtol=2e-7, atol=0)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_masks_tell_what_is_there(data):
    item, kind, values = data.draw(st.one_of(numerics("c"), categories("c"), ragged("c"), arrays("c")))
    mask = Present(item)
    rows, cuts = data.draw(rows_of({"c": (item, kind, values)}))
    if isinstance(item, Array) and pa.types.is_binary(kind):
        return
    got = both(mask, rows, {"c": kind}, cuts)
    np.testing.assert_array_equal(got, reference.tensor(mask, rows, got.dtype).reshape(got.shape))


@pytest.mark.parametrize(
    "item, kind, value",
    [
        ("c", pa.binary(), b"x"),
        ("c", pa.list_(pa.string()), []),
        ("c", pa.struct({"a": pa.int32()}), {"a": None}),
        (Image("c", (4, 4), nulls="fill"), pa.binary(), b"not looked at"),
        (DateParts("c", ["month", "day"], nulls="fill"), pa.date32(), datetime.date(2020, 2, 1)),
    ],
)
def test_a_row_of_any_type_is_there_or_not(item, kind, value):
    rows = [{"c": one} for one in (value, None, value, value, None)]
    np.testing.assert_array_equal(both(Present(item), rows, {"c": kind}, [2, 3]), [1, 0, 1, 1, 0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.sampled_from(WORDS)), st.integers(2, 500))
def test_hashes_depend_on_the_value_alone_and_keep_zero_for_nulls(values, buckets):
    ids = both(Hashed("c", buckets, nulls="fill"), [{"c": v} for v in values], {"c": pa.string()})
    large = both(Hashed("c", buckets, nulls="fill"), [{"c": v} for v in values], {"c": pa.large_string()})
    np.testing.assert_array_equal(ids, large)
    by_value = {}
    for value, number in zip(values, ids):
        assert number == 0 if value is None else 1 <= number < buckets
        assert by_value.setdefault(value, number) == number


def test_hashes_spread():
    ids = both(Hashed("c", 101), [{"c": i} for i in range(5000)], {"c": pa.int64()})
    counts = np.bincount(ids, minlength=101)
    assert counts[0] == 0 and counts[1:].min() > 20


@st.composite
def vectors(draw, width):
    def one(values):
        if draw(st.booleans()):
            return {"type": 1, "size": None, "indices": None, "values": values}
        kept = [(i, v) for i, v in enumerate(values) if v]
        return {"type": 0, "size": width, "indices": [i for i, _ in kept], "values": [v for _, v in kept]}

    rows = draw(st.lists(st.lists(st.sampled_from([0.0, 1.5, -2.0]), min_size=width, max_size=width), max_size=6))
    return [one(values) for values in rows], rows


VECTOR = pa.struct([("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())),
                    ("values", pa.list_(pa.float64()))])  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_vectors_dense_and_sparse_are_the_same_numbers(data):
    sent, want = data.draw(vectors(4))
    cut = data.draw(st.integers(0, len(sent)))
    got = both(Array("c", [4]), [{"c": v} for v in sent], {"c": VECTOR}, [cut])
    np.testing.assert_array_equal(got, np.array(want, np.float32).reshape(-1, 4))


def test_rows_take_the_bytes_that_they_need():
    words = [str(i) for i in range(300)]
    entry = {"x": [Category("a", ["u"]), Category("b", words), Present("c"), DateParts("d", ["month"])]}
    store = core().ColumnStore(json.dumps([spec_of("x", entry["x"])]), [0], 0)
    types = {"a": pa.string(), "b": pa.string(), "c": pa.int64(), "d": pa.date32()}
    store.append(sent_batch(entry["x"], [{"a": "u", "b": "7", "c": None, "d": datetime.date(2020, 2, 1)}], types))
    assert store.bytes() == 1 + 2 + 1 + 1
    store.seal()
    assert store.gather(0, np.zeros(1, np.uint32)).tolist() == [[1, 8, 0, 2]]


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(10)), st.integers(1, 10))
def test_bad_rows_are_left_out_and_counted_in_any_order_and_batching(order, size):
    rows = [{"a": None if i % 4 == 0 else i, "b": [1.0] * (i % 3)} for i in range(10)]
    entry = [Numeric("a"), Array("b", [1])]
    spec, types = spec_of("x", entry), {"a": pa.int64(), "b": pa.list_(pa.float64())}
    store = core().ColumnStore(json.dumps([spec]), [0], 0, skip_bad=True)
    for at in range(0, 10, size):
        store.append(sent_batch(entry, [rows[i] for i in order[at : at + size]], types))
    store.seal()
    assert store.skipped() == {"column 'a' is null": 3, "column 'b' has another length": 5}
    assert sorted(store.gather(0, store.order(0)).tolist()) == [[1, 1], [7, 1]]


def test_declarations_survive_json():
    told = as_inputs({
        "x": [Numeric("a", standardize=True, mean=1.5, scale=2.0), "b", Present("c")],
        "y": Padded(Category("w", ["u", "v"], minCount=2), 4, 1),
        "z": Array("p", [2, 3], stored="uint8", unit=1 / 255),
        "m": [Hashed("h", 9, nulls="mask"), DateParts("t", ("hour",), cyclic=True, zone="Asia/Tokyo")],
        "k": Present(Padded(Hashed("w", 5), 3)),
    })  # fmt: skip
    assert from_json(json.loads(json.dumps(to_json(told)))) == told


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Numeric("a", nulls="drop"), "nulls must be one of 'error', 'fill', 'mask', not 'drop'"),
        (lambda: Numeric("a", fill=float("nan")), "fill must be a finite number"),
        (lambda: Category("a", ["x", "x"]), "holds a value twice"),
        (lambda: Category("a", ["x", 1]), "strings, or whole numbers"),
        (lambda: Hashed("a", 1), "buckets must be at least 2"),
        (lambda: DateParts("a", ["week"]), "parts are some of year, month"),
        (lambda: DateParts("a", ["year"], cyclic=True), "the year is not cyclic"),
        (lambda: Array("a", []), "a shape has at least one size"),
        (lambda: Padded("words", 3), "Padded takes a Numeric, Category or Hashed"),
        (lambda: Padded(Hashed("w", 9), 0), "length must be at least 1"),
        (lambda: as_inputs({"x": 3}), r"inputs\['x'\] takes a column, a declaration"),
        (lambda: Category("a").size, "has no vocabulary yet"),
        (lambda: spec_of("x", Numeric("a", nulls="mask")), "the input must be a list"),
        (lambda: spec_of("x", ["a", Numeric("b")]), "depends on the DataFrame"),
    ],
)
def test_declarations_that_make_no_sense(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("rows", [0, 1, 7, 8])
@pytest.mark.parametrize(
    "part_bytes, chunk, wanted", [(1, 0, 1), (30, 0, 2), (1, 3, 3), (60, 2, 4), (1 << 20, 5, 87380)]
)
def test_inference_reads_a_batch_in_parts(rows, part_bytes, chunk, wanted):
    """Of three numbers, 12 bytes a row; the rows are counted over parts and batches."""
    spec = json.dumps([spec_of("x", Array("c", [3]))])
    values = [[float(i), i + 0.25, i + 0.5] for i in range(rows)]
    batch = pa.record_batch({sent_name(spec): pa.array(values, pa.list_(pa.float32()))})
    reader = Reader(spec, chunk, part_bytes)
    parts = [part for (part,) in reader.parts(batch)]
    assert [len(part) for part in parts[:-1]] == [wanted] * (len(parts) - 1)
    np.testing.assert_array_equal(np.concatenate(parts), np.reshape(values, (-1, 3)))
    broken = pa.record_batch({sent_name(spec): pa.array([[1.0, 2, 3], None], pa.list_(pa.float32()))})
    with pytest.raises(core().UserError, match=f"partition 0, row {rows + 1}: is null"):
        list(reader.parts(broken))


def sent_name(spec):
    return json.loads(spec)[0]["fields"][0]["column"]
