"""A model's answer for one row that is here, without Spark: what pyspark.ml calls predict(vector)."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from stoker.errors import UserError
from stoker.spark.columns import Source
from stoker.spark.infer import Scorer


def answer(scorer: Scorer, sources: list[Source], value: Any) -> list[np.ndarray]:
    """The values of each column that the outputs name, for one row. UserError where a vector cannot be the input."""
    import pyarrow as pa

    source, numbers = _only(sources), _numbers(value)
    width = math.prod(source.shape)
    if numbers.size != width:
        raise UserError(f"this model takes {width} numbers a row, not {numbers.size}")
    row = numbers.astype(source.dtype)
    if not np.array_equal(row, numbers) and np.issubdtype(row.dtype, np.integer):
        raise UserError("this model takes whole numbers: it looks them up")
    array = pa.array([row.tolist()], pa.list_(pa.from_numpy_dtype(row.dtype))) if source.shape else pa.array(row)
    return [column[0] for column in scorer.alone(json.dumps([source.spec()]), {source.sent_as: array})]


def _only(sources: list[Source]) -> Source:
    if len(sources) != 1 or sources[0].fields:
        shown = ", ".join(source.name for source in sources)
        raise UserError(f"this model's input is more than a vector ({shown}): use transform")
    return sources[0]


def _numbers(value: Any) -> np.ndarray:
    """Of a Vector of pyspark.ml, an array or a list."""
    try:
        return np.asarray(value.toArray() if hasattr(value, "toArray") else value, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise UserError(f"a row is a vector, an array or a list of numbers here, not {value!r:.200}: use transform for "
                        "others") from error  # fmt: skip
