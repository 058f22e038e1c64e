"""The columns that transform adds, and what names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.errors import UserError
from stoker.spark import checks


def added_columns(params: Any, outputs: Sequence[str]) -> dict[str, str]:
    """By what names them; columns that are switched off (by an empty name) are left out. `outputs` are the names of the
    model's."""
    if params.hasParam("outputCols"):
        wanted = columns_of_outputs(params, outputs)
    else:
        wanted = {name: params.value(name) for name in ("rawPredictionCol", "probabilityCol", "predictionCol")}
    added = {param: name for param, name in wanted.items() if name}
    checks.check_distinct(added.values())
    return added


def known_columns(params: Any) -> dict[str, str]:
    """Those of them that can be told before the model's outputs are known."""
    if not params.hasParam("outputCols"):
        return added_columns(params, ())
    return added_columns(params, told) if (told := params.value("outputCols")) else {}


def columns_of_outputs(params: Any, outputs: Sequence[str]) -> dict[str, str]:
    """One for each output."""
    told = params.value("outputCols")
    if not told:
        if len(outputs) == 1:
            return {"predictionCol": params.getPredictionCol()}
        return {f"outputCols[{i}]": name for i, name in enumerate(outputs)}
    if len(told) != len(outputs):
        raise UserError(f"outputCols names {len(told)} columns, but the model has {len(outputs)} outputs: "
                        f"{', '.join(outputs)}")  # fmt: skip
    return {f"outputCols[{i}]": name for i, name in enumerate(told)}
