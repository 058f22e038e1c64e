"""Pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql.types import DataType

from stoker.errors import UserError
from stoker.inputs.declared import Declared
from stoker.inputs.kinds import is_image
from stoker.inputs.spec import Field, base, filled
from stoker.spark.columns import Sent


@dataclass(frozen=True, repr=False)
class Image(Declared):
    """JPEG, PNG or WebP files in a binary column, or Spark's image struct, as float planes [channels, height, width].

    Each picture is brought to `size` (height, width) by antialiased bilinear resizing: fit="stretch" distorts it,
    fit="cover" takes the middle in that shape. crop: (height, width) of a part of it, taken at random in training and
    from the middle in transform. flip: half of the rows are mirrored in training. The model sees
    (pixel / 255 - mean) / std, with one mean and std for all channels or one for each.

    Example:
        >>> from stoker.inputs import Image
        >>> Image("file", size=(256, 256), crop=(224, 224), flip=True, mean=0.5, std=0.25).shape
        (3, 224, 224)
    """

    size: Sequence[int]
    crop: Sequence[int] | None = None
    flip: bool = False
    fit: str = "stretch"
    channels: int = 3
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    nulls: str = "error"
    fill: int = 0
    maxPixels: int = 100_000_000

    def _check(self) -> None:
        object.__setattr__(self, "size", self._pair("size", self.size))
        if self.crop is not None:
            object.__setattr__(self, "crop", self._pair("crop", self.crop))
            if self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
                raise UserError(f"{self}: crop {list(self.crop)} is larger than size {list(self.size)}")
        if self.channels not in (1, 3):
            raise UserError(f"{self}: channels is 3 (red, green, blue) or 1 (grey), not {self.channels}")
        if self.fit not in ("stretch", "cover"):
            raise UserError(f"{self}: fit is 'stretch' or 'cover', not {self.fit!r}")
        if self.nulls == "mask" or not 0 <= self.fill <= 255:
            raise UserError(f"{self}: nulls is 'error' or 'fill', and fill a pixel's value, 0 to 255")
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._per_channel(name, getattr(self, name)))
        if 0 in self.std:  # type: ignore[operator]
            raise UserError(f"{self}: std is not 0")

    def _pair(self, name: str, value: Any) -> tuple[int, ...]:
        pair = tuple(value) if isinstance(value, Sequence) else ()
        if len(pair) != 2 or not all(isinstance(n, int) and 1 <= n <= 1 << 14 for n in pair):
            raise UserError(f"{self}: {name} is (height, width) in pixels, such as (224, 224), not {value!r}")
        return pair

    def _per_channel(self, name: str, value: Any) -> tuple[float, ...]:
        many = tuple(value) if isinstance(value, Sequence) else (value,) * self.channels
        if len(many) != self.channels or not all(math.isfinite(one) for one in many):
            raise UserError(f"{self}: {name} is a number, or one for each of the {self.channels} channels: {value!r}")
        return tuple(float(one) for one in many)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *(self.crop or self.size))

    expected = "binary (JPEG, PNG or WebP files) or Spark's image struct"

    def fits(self, kind: DataType) -> bool:
        return is_image(kind)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape

    def spec(self, dtype: str, kind: DataType | None) -> tuple[Field, Sent]:
        if not dtype.startswith("float"):
            raise UserError(f"{self}: pictures are floats, and inputTypes says {dtype}")
        sent = Sent((self.column,))
        field = base("image", sent.columns, sent, "uint8")
        field["image"] = {
            "channels": self.channels, "size": self.size, "crop": self.crop or self.size, "flip": self.flip,
            "cover": self.fit == "cover", "max_pixels": self.maxPixels, "mean": self.mean, "deviation": self.std,
        }  # fmt: skip
        return {**field, **filled(self.nulls, [self.fill])}, sent
