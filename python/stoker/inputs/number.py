"""Numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql.types import BooleanType, DataType

from stoker.errors import UserError
from stoker.inputs.declared import Declared
from stoker.inputs.kinds import is_number
from stoker.inputs.spec import Field, base, filled
from stoker.spark.columns import Sent


@dataclass(frozen=True, repr=False)
class Numeric(Declared):
    """A number, boolean or decimal. NaN counts as null.

    standardize: (value - mean) / scale, both learnt. fill: stands in for nulls (default: the mean where it is known,
    else 0). lossy: digits that float32 cannot keep may be lost.

    Example:
        >>> from stoker.inputs import Numeric, width
        >>> width([Numeric("distance", standardize=True), Numeric("delay", nulls="mask")])
        3
    """

    standardize: bool = False
    nulls: str = "error"
    fill: float | None = None
    lossy: bool = False
    mean: float | None = None
    scale: float | None = None

    def _check(self) -> None:
        if self.fill is not None and not math.isfinite(self.fill):
            raise UserError(f"{self}: fill must be a finite number, not {self.fill}")
        if (self.mean is None) != (self.scale is None) or self.scale == 0:
            raise UserError(f"{self}: mean and scale come together, and scale is not 0")

    expected = "a numeric type"
    of_arrays = True
    learns = "moments"

    def fits(self, kind: DataType) -> bool:
        return is_number(kind)

    @property
    def waits(self) -> bool:
        return self.standardize and self.mean is None

    def likeness(self, kind: DataType | None) -> Any:
        return None if kind is None else (kind.simpleString(), self.nulls, self.lossy, self.mean is None)

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        return self.together([self], dtype, kind)

    def together(self, alike: Sequence[Numeric], dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        names = tuple(item.column for item in alike)
        sent = Sent(names)
        small = isinstance(kind, BooleanType) and all(item.fill in (None, 0, 1) for item in alike)
        field = base("number", names, sent, "uint8" if small else dtype)
        if len(alike) > 1:
            field["shape"] = [len(alike)]
        field.update(lossy=self.lossy, **filled(self.nulls, [item.stand_in for item in alike]))
        if self.mean is not None:
            field.update(mean=[item.mean for item in alike], scale=[item.scale for item in alike], stored=dtype)
        return field, sent

    @property
    def stand_in(self) -> float:
        """For nulls."""
        if self.fill is not None:
            return self.fill
        return self.mean if self.mean is not None else 0.0
