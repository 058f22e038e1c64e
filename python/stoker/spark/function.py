"""A model as a SQL function, inside Spark's Python workers: its arguments come as they are, so that what Spark casts
and packs for transform is done here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.errors import UserError
from stoker.program import is_lookup
from stoker.spark.clock import Clock
from stoker.spark.infer import Scorer

VECTOR_FIELDS = ["type", "size", "indices", "values"]


@dataclass(frozen=True)
class Taken:
    """A column that the engine reads, made of one argument."""

    name: str
    argument: int  # its position
    dtype: str | None = None  # that Spark would cast it to; None: it is declared, and read as it is
    clock: Clock | None = None  # on which a timestamp is read


@dataclass(frozen=True)
class Form:
    """One way of calling the function."""

    arguments: tuple[str, ...]  # as the user knows them
    taken: tuple[Taken, ...]
    columns: str  # the engine's ColumnSpecs, as JSON

    def __str__(self) -> str:
        return f"({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Function:
    """Travels to the workers by value."""

    name: str
    scorer: Scorer
    forms: tuple[Form, ...]
    field: str | None  # of the model's columns, the one that is given; None: all, as a struct

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        for result in self.scorer.results(map(self._read, batches)):
            yield result if self.field is None else result.field(self.field)

    def _read(self, given: Any) -> tuple[str, dict[str, Any]]:
        arrays = given if isinstance(given, tuple) else (given,)
        form = self._form(len(arrays))
        return form.columns, {one.name: as_sent(arrays[one.argument], one) for one in form.taken}

    def _form(self, count: int) -> Form:
        for form in self.forms:
            if len(form.arguments) == count:
                return form
        told = " or ".join(f"{self.name}{form}" for form in self.forms)
        raise UserError(f"{self.name} is called with {count} argument{'s'[: count != 1]}; it is {told}")


def as_sent(array: Any, how: Taken) -> Any:
    """What Spark would have made of the column for transform."""
    import pyarrow as pa

    if pa.types.is_struct(array.type) and [field.name for field in array.type] == VECTOR_FIELDS:
        array = from_vectors(array)
    if pa.types.is_timestamp(array.type):
        return array if array.type.tz is None or how.clock is None else on_clock(array, how.clock)
    return array if how.dtype is None else as_numbers(array, how.dtype)


def as_numbers(array: Any, dtype: str) -> Any:
    """Rounds as Spark's cast does, where the engine would see an error: whole numbers and decimals to floats."""
    import pyarrow as pa

    inner = array.type.value_type if pa.types.is_list(array.type) else array.type
    if is_lookup(dtype):
        return array
    if pa.types.is_decimal(inner):
        wanted = pa.float64()
    elif pa.types.is_integer(inner):
        wanted = pa.float32() if dtype == "float32" else pa.float64()
    else:
        return array
    return array.cast(wanted if inner is array.type else pa.list_(wanted), safe=False)


def on_clock(array: Any, clock: Clock) -> Any:
    """The microseconds since 1970 that the clock shows."""
    import pyarrow as pa

    micros = array.cast(pa.timestamp("us", array.type.tz)).view(pa.int64())
    local = clock.local(micros.fill_null(0).to_numpy())
    return pa.array(local, mask=micros.is_null().to_numpy(zero_copy_only=False))


def from_vectors(array: Any) -> Any:
    """Spark ML's vectors, dense or sparse, as lists of their values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.equal(array.field("type"), 1)).as_py() is not False and array.offset == 0 and not array.null_count:
        return array.field("values")
    return pa.array([_dense(vector) for vector in array.to_pylist()], pa.list_(pa.float64()))


def _dense(vector: Mapping[str, Any] | None) -> Sequence[float] | None:
    if vector is None or vector["type"] == 1:
        return None if vector is None else vector["values"]
    values = [0.0] * vector["size"]
    for index, value in zip(vector["indices"], vector["values"]):
        values[index] = value
    return values
