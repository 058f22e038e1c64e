"""What declared inputs learn from the rows: vocabularies in one pass of Spark SQL, statistics in one of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from stoker.errors import UserError
from stoker.inputs import moments
from stoker.inputs.category import Category
from stoker.inputs.declarations import as_inputs, default_of, has_declared, items_of
from stoker.inputs.declared import Declared
from stoker.inputs.fields import check_type
from stoker.inputs.kinds import is_text
from stoker.inputs.moments import Moments
from stoker.inputs.number import Numeric
from stoker.spark import checks
from stoker.spark.table import Table, is_array, is_scalar, is_vector

LIMIT = 100_000  # values of a vocabulary that nobody limited


def learn(df: DataFrame, inputs: Any) -> dict[str, Any]:
    """The inputs with everything that `df` tells filled in: vocabularies, means, shapes. A pass over the rows
    for vocabularies, one for statistics."""
    checks.check_dataframe(df, "learn")
    checks.check_ends(df, "learn")
    return complete(Table.of(df), as_inputs(inputs))


def complete(table: Table, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with everything that the rows tell. Inputs of plain numeric columns stay as they are."""
    resolved = {name: _resolved(table, name, entry) for name, entry in inputs.items()}
    learnt = _learn(table, list(dict.fromkeys(_learners(resolved))))
    return {name: _mapped(entry, lambda item: _filled_in(item, learnt)) for name, entry in resolved.items()}


def words_of_label(table: Table, column: str, param: str) -> tuple[str, ...]:
    """The texts of a label, by class: the most frequent one is class 0. None where it holds no texts."""
    try:
        kind = table.type_of(column, param)
    except UserError:  # told again where all columns are looked at, in their order
        return ()
    if not is_text(kind):
        return ()
    learnt = _learn(table, [label := Category(column)])[label]
    if not learnt.inner.vocabulary:
        raise UserError(f"{param}: column '{column}' has no values to learn classes from")
    return tuple(learnt.inner.vocabulary)


def _mapped(entry: Any, change: Any) -> Any:
    return [change(item) for item in entry] if isinstance(entry, list) else change(entry)


def _resolved(table: Table, name: str, entry: Any) -> Any:
    where = f"inputs['{name}']"
    if not has_declared({name: entry}) and all(_is_plain(table, column, where) for column in items_of(entry)):
        return entry
    named = _mapped(entry, lambda i: i if isinstance(i, Declared) else default_of(table, i, where))
    for item in items_of(named):
        check_type(table, item, where)
    return _mapped(named, lambda item: item.zoned(table.zone).shaped(table, where))


def _is_plain(table: Table, column: str, where: str) -> bool:
    kind = table.type_of(column, where)
    return is_scalar(kind) or is_array(kind) or is_vector(kind)


def _learners(inputs: Mapping[str, Any]) -> Iterator[Declared]:
    """Declarations, as a whole, that wait for a vocabulary or for statistics."""
    for entry in inputs.values():
        for item in items_of(entry):
            if isinstance(item, Declared) and item.learner is not None:
                yield item.learner


def _filled_in(item: Any, learnt: Mapping[Declared, Declared]) -> Any:
    return item.filled_in(learnt) if isinstance(item, Declared) else item


def _learn(table: Table, learners: Sequence[Declared]) -> dict[Declared, Declared]:
    numbers = [item for item in learners if item.inner.learns == "moments"]
    if padded := [item for item in numbers if item.inner is not item]:
        raise UserError(f"{padded[0]}: elements of padded arrays are not standardized; give mean and scale")
    categories = [item for item in learners if item.inner.learns == "words"]
    learnt: dict[Declared, Declared] = {}
    if categories:
        found = _count(table, categories)
        learnt.update((item, _with_vocabulary(table, item, found.get(i, {}))) for i, item in enumerate(categories))
    if numbers:
        measured = moments.of_columns(table.rows, [table.sql_name(item.column) for item in numbers])
        learnt.update((item, _with_statistics(item.inner, one)) for item, one in zip(numbers, measured))
    return learnt


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


def _with_vocabulary(table: Table, item: Declared, counts: Mapping[str, int]) -> Declared:
    category = item.inner
    if category.maxSize is None and len(counts) > LIMIT:
        raise UserError(f"{category}: the column has more than {LIMIT:,} different values, which is the limit of a "
                        f"vocabulary: set maxSize (keeps the most frequent) or minCount, or use Hashed")  # fmt: skip
    ordered = sorted(counts, key=lambda word: (-counts[word], word.encode()))[: category.maxSize]
    words = ordered if is_text(_value_type(table, item)) else [int(word) for word in ordered]
    return item.with_inner(replace(category, vocabulary=tuple(words)))


def _value_type(table: Table, item: Declared) -> Any:
    kind: Any = table.type_of(item.column, "inputs")
    return kind if item.inner is item else kind.elementType


def _count(table: Table, categories: Sequence[Declared]) -> dict[int, dict[str, int]]:
    """By category i: {value: count}. Every row is cut into one small row per category and word, and these are counted
    by (which, word): one shuffle of partial sums."""
    rows = [_of_category(table, i, item) for i, item in enumerate(categories)]
    cut = table.rows.select(F.expr(f"inline(concat({', '.join(rows)}))"))
    counts = cut.groupBy("which", "word").agg(F.count(F.lit(1)).alias("n"))
    kept = counts.where(_worth(categories)).withColumn("place", F.expr(_PLACE)).where(_within(categories))
    found: dict[int, dict[str, int]] = {}
    for which, word, n, _ in zip(*kept.toArrow().to_pydict().values()):
        found.setdefault(which, {})[word] = n
    return found


_PLACE = "row_number() over (partition by which order by n desc, word)"


def _worth(categories: Sequence[Declared]) -> str:
    """Values that occur often enough; nulls are none."""
    least = " ".join(f"when {i} then {item.inner.minCount}" for i, item in enumerate(categories))
    return f"word is not null and n >= case which {least} end"


def _within(categories: Sequence[Declared]) -> str:
    most = " ".join(f"when {i} then {item.inner.maxSize or LIMIT + 1}" for i, item in enumerate(categories))
    return f"place <= case which {most} end"


def _of_category(table: Table, i: int, item: Declared) -> str:
    boolean = isinstance(_value_type(table, item), BooleanType)
    word = "cast(cast({} as int) as string)" if boolean else "cast({} as string)"
    return item.words_sql(table.sql_name(item.column), f"named_struct('which', {i}, 'word', {word})".format)
