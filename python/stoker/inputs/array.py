"""Arrays of a fixed shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql.types import BinaryType, DataType

from stoker.errors import UserError
from stoker.inputs.declared import Declared
from stoker.inputs.kinds import is_array
from stoker.inputs.spec import Field, base, filled
from stoker.spark.columns import Sent, shape_of_first_row
from stoker.spark.table import Table


@dataclass(frozen=True, repr=False)
class Array(Declared):
    """Arrays, nested arrays, vectors or bytes of a fixed shape (default: the first row's).

    stored="uint8" keeps a byte per value; the model sees each value times `unit`, such as 1/255. fill and lossy: as of
    Numeric.

    Example:
        >>> from stoker.inputs import Array, width
        >>> width(Array("pixels", shape=[28, 28], stored="uint8", unit=1 / 255))
        784
    """

    shape: Sequence[int] | None = None
    stored: str | None = None
    unit: float = 1.0
    nulls: str = "error"
    fill: float = 0.0
    lossy: bool = False

    def _check(self) -> None:
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
            if not self.shape or min(self.shape) < 1:
                raise UserError(f"{self}: a shape has at least one size, and each is at least 1: {list(self.shape)}")
        if self.stored not in (None, "uint8"):
            raise UserError(f"{self}: stored is 'uint8' or left out, not {self.stored!r}")

    expected = "an array of numbers, nested or not, a vector or binary"

    def fits(self, kind: DataType) -> bool:
        return is_array(kind)

    @property
    def row_shape(self) -> tuple[int, ...]:
        if self.shape is None:
            raise UserError(f"{self} has no shape yet: give it, such as shape=[28, 28]")
        return tuple(self.shape)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        return self.row_shape

    def shaped(self, table: Table, where: str) -> Array:
        if self.shape is not None:
            return self
        kind = table.type_of(self.column, where)
        if isinstance(kind, BinaryType):
            raise UserError(f"{where}: {self}: binary columns do not tell their shape: give shape=[...]")
        width = table.width_of([self.column], where)
        return replace(self, shape=(width,) if width else shape_of_first_row(table, self.column, kind))

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        sent = Sent((self.column,))
        field = base("number", sent.columns, sent, self.stored or dtype)
        field.update(shape=list(self.row_shape), unit=self.unit, lossy=self.lossy, **filled(self.nulls, [self.fill]))
        return field, sent
