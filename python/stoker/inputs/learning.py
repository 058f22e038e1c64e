"""What declared inputs learn from the rows: vocabularies in one pass of Spark SQL, statistics in one of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, BooleanType, StringType

from stoker.errors import UserError
from stoker.inputs import fields, kinds, moments
from stoker.inputs.declarations import Array, Category, Declared, Numeric, Padded, Present, Text, has_declared, items_of
from stoker.inputs.moments import Moments
from stoker.spark import columns

LIMIT = 100_000  # values of a vocabulary that nobody limited


def complete(df: DataFrame, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with everything that `df` tells. Inputs of plain numeric columns stay as they are."""
    resolved = {name: _resolved(df, name, entry) for name, entry in inputs.items()}
    learnt = _learn(df, list(dict.fromkeys(_learners(resolved))))
    return {name: _mapped(entry, lambda item: _filled_in(item, learnt)) for name, entry in resolved.items()}


def _mapped(entry: Any, change: Any) -> Any:
    return [change(item) for item in entry] if isinstance(entry, list) else change(entry)


def _resolved(df: DataFrame, name: str, entry: Any) -> Any:
    where = f"inputs['{name}']"
    if not has_declared({name: entry}) and all(_is_plain(df, column, where) for column in items_of(entry)):
        return entry
    zone = df.sparkSession.conf.get("spark.sql.session.timeZone")
    named = _mapped(entry, lambda i: i if isinstance(i, Declared) else kinds.default_of(df, i, where))
    for item in items_of(named):
        kinds.check_type(df, item, where)
    return _mapped(named, lambda i: _with_shape(df, fields.with_zone(i, zone), where))


def _is_plain(df: DataFrame, column: str, where: str) -> bool:
    kind = columns.type_of(df, column, where)
    return columns.is_scalar(kind) or columns.is_array(kind) or columns.is_vector(kind)


def _with_shape(df: DataFrame, item: Declared, where: str) -> Declared:
    if isinstance(item, Present) and isinstance(item.of, Declared):
        return Present(_with_shape(df, item.of, where))
    if not isinstance(item, Array) or item.shape is not None:
        return item
    kind = columns.type_of(df, item.column, where)
    if isinstance(kind, BinaryType):
        raise UserError(f"{where}: {item}: binary columns do not tell their shape: give shape=[...]")
    width = columns.known_width(df, [item.column], where)
    return replace(item, shape=(width,) if width else _first_shape(df, item.column, kind))


def _first_shape(df: DataFrame, name: str, kind: Any) -> tuple[int, ...]:
    """The sizes of the first row that has a value: a Spark job."""
    value = columns.column(df, name)
    if columns.is_vector(kind):
        value, kind = columns.vector_to_array(value), ArrayType(BooleanType())
    sizes = []
    inner = value
    while isinstance(kind, ArrayType):
        sizes.append(F.size(inner))
        inner, kind = inner.getItem(0), kind.elementType
    first = df.where(value.isNotNull()).select(*sizes).first()
    if first is None:
        raise UserError(f"the DataFrame has no rows with a value in '{name}'")
    return tuple(first)


def _learners(inputs: Mapping[str, Any]) -> Iterator[Declared]:
    """Declarations, as a whole, that wait for a vocabulary or for statistics."""
    for entry in inputs.values():
        for item in items_of(entry):
            whole = item.of if isinstance(item, Present) and item.of is not None else item
            inner = whole.of if isinstance(whole, Padded) else whole
            words = isinstance(inner, Category) or (isinstance(inner, Text) and inner.tokenizer == "word")
            if words and inner.vocabulary is None:
                yield whole
            if isinstance(inner, Numeric) and inner.standardize and inner.mean is None:
                yield whole


def _filled_in(item: Any, learnt: Mapping[Declared, Declared]) -> Any:
    if isinstance(item, Present) and item.of is not None:
        return Present(_filled_in(item.of, learnt))
    return learnt.get(item, item)


def _learn(df: DataFrame, learners: Sequence[Declared]) -> dict[Declared, Declared]:
    numbers = [item for item in learners if isinstance(_inner(item), Numeric)]
    if padded := [item for item in numbers if isinstance(item, Padded)]:
        raise UserError(f"{padded[0]}: elements of padded arrays are not standardized; give mean and scale")
    categories = [item for item in learners if isinstance(_inner(item), (Category, Text))]
    learnt: dict[Declared, Declared] = {}
    if categories:
        found = _count(df, categories)
        learnt.update((item, _with_vocabulary(df, item, found.get(i, {}))) for i, item in enumerate(categories))
    if numbers:
        found = moments.of_columns(df, [columns.sql_name(df, item.column) for item in numbers])
        learnt.update((item, _with_statistics(item, one)) for item, one in zip(numbers, found))
    return learnt


def _inner(item: Declared) -> Any:
    return item.of if isinstance(item, Padded) else item


def _with_inner(item: Declared, inner: Declared) -> Declared:
    return Padded(inner, item.length, item.pad) if isinstance(item, Padded) else inner


def _with_statistics(item: Numeric, found: Moments) -> Numeric:
    """A column of one value keeps its scale, and gives 0."""
    if not found.count:
        raise UserError(f"{item}: the column has no values to learn a mean from")
    try:
        found.variance()
    except OverflowError:
        raise UserError(f"{item}: the column's variance is beyond what a double holds, so it has values far above "
                        f"1e150. If they stand for missing ones, make them null (nulls='fill' or 'mask'); else give "
                        f"mean and scale") from None  # fmt: skip
    return replace(item, mean=found.mean(), scale=found.deviation() or 1.0)


def _with_vocabulary(df: DataFrame, item: Declared, counts: Mapping[str, int]) -> Declared:
    category = _inner(item)
    if category.maxSize is None and len(counts) > LIMIT:
        raise UserError(f"{category}: the column has more than {LIMIT:,} different values, which is the limit of a "
                        f"vocabulary: set maxSize (keeps the most frequent) or minCount, or use Hashed")  # fmt: skip
    ordered = sorted(counts, key=lambda word: (-counts[word], word.encode()))[: category.maxSize]
    kind = _value_type(df, item)
    words = ordered if isinstance(kind, StringType) else [int(word) for word in ordered]
    return _with_inner(item, replace(category, vocabulary=tuple(words)))


def _value_type(df: DataFrame, item: Declared) -> Any:
    kind = columns.type_of(df, item.column, "inputs")
    return kind.elementType if isinstance(item, Padded) else kind


def _count(df: DataFrame, categories: Sequence[Declared]) -> dict[int, dict[str, int]]:
    """By category i: {value: count}. Every row is cut into one small row per category and word, and these are counted
    by (which, word): one shuffle of partial sums."""
    pieces = [_of_category(df, i, item) for i, item in enumerate(categories)]
    cut = df.select(F.expr(f"inline(concat({', '.join(pieces)}))"))
    counts = cut.groupBy("which", "word").agg(F.count(F.lit(1)).alias("n"))
    kept = counts.where(_worth(categories)).withColumn("place", F.expr(_PLACE)).where(_within(categories))
    found: dict[int, dict[str, int]] = {}
    for which, word, n, _ in zip(*kept.toArrow().to_pydict().values()):
        found.setdefault(which, {})[word] = n
    return found


_PLACE = "row_number() over (partition by which order by n desc, word)"


def _worth(categories: Sequence[Declared]) -> str:
    """Values that occur often enough; nulls are none."""
    least = " ".join(f"when {i} then {_inner(item).minCount}" for i, item in enumerate(categories))
    return f"word is not null and n >= case which {least} end"


def _within(categories: Sequence[Declared]) -> str:
    most = " ".join(f"when {i} then {_inner(item).maxSize or LIMIT + 1}" for i, item in enumerate(categories))
    return f"place <= case which {most} end"


_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# As engine/data/tokenizer.h has it: runs of letters, digits, '_' and what is beyond ASCII; else one character.
_WORD = r"r'[0-9A-Za-z_\x{80}-\x{10FFFF}]+|[^\x09-\x0D ]'"


def _words(item: Text, name: str) -> str:
    text = f"translate({name}, '{_CAPITALS}', '{_CAPITALS.lower()}')" if item.lower else name
    return f"regexp_extract_all({text}, {_WORD}, 0)"


def _of_category(df: DataFrame, i: int, item: Declared) -> str:
    name = columns.sql_name(df, item.column)
    boolean = isinstance(_value_type(df, item), BooleanType)
    word = "cast(cast({} as int) as string)" if boolean else "cast({} as string)"
    row = f"named_struct('which', {i}, 'word', {word})"
    if isinstance(item, (Padded, Text)):
        many = _words(item, name) if isinstance(item, Text) else name
        return f"coalesce(transform({many}, x -> {row.format('x')}), array())"
    return f"array({row.format(name)})"
