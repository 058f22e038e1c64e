"""What goes by name: every key of a parameter speaks of an input or label that there is, and no column is given in two
ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.inputs.declarations import has_declared

_ONE_OF = (("featuresCol", "featuresCols"), ("featuresCol", "inputs"), ("featuresCols", "inputs"),
           ("labelCol", "labelCols"))  # fmt: skip
_NOT_EMPTY = ("inputs", "featuresCols", "labelCols")


def input_names(params: Any) -> list[str]:
    return list(params.value("inputs") or ["features"])


def label_names(params: Any) -> list[str]:
    named = params.value("labelCols")
    return list(named) if isinstance(named, dict) else ["label"]


def check_names(params: Any) -> None:
    """`params` are those of an estimator or a model."""
    for one, other in _ONE_OF:
        if _is_given(params, one) and _is_given(params, other):
            raise UserError(f"{one} and {other} are both set; set one of them")
    for name in _NOT_EMPTY:
        if params.value(name) is not None and not params.value(name):
            raise UserError(f"{name} is empty: name a column, or leave it out")
    _check_keys(params, "inputTypes", "input", input_names(params))
    _check_keys(params, "labelTypes", "label", label_names(params))
    _check_shapes(params)


def check_known(what: str, keys: Iterable[str], known: Iterable[str], kind: str) -> None:
    for key in keys:
        if key not in known:
            raise UserError(f"{what}: there is no {kind} '{key}'{did_you_mean(key, known) or '.'} There is: "
                            f"{', '.join(known)}")  # fmt: skip


def _is_given(params: Any, name: str) -> bool:
    return params.hasParam(name) and params.isSet(name) and params.value(name) is not None


def _check_keys(params: Any, name: str, kind: str, known: Iterable[str]) -> None:
    check_known(name, params.value(name) or (), known, kind)


def _check_shapes(params: Any) -> None:
    """A declared input has a shape of its own."""
    told, inputs = params.value("inputShape"), params.value("inputs") or {}
    declared = [name for name, entry in inputs.items() if has_declared({name: entry})]
    if isinstance(told, Mapping):
        check_known("inputShape", told, input_names(params), "input")
        for name in told:
            if name in declared:
                raise UserError(f"inputShape: inputs['{name}'] is declared, and its declaration tells its shape; leave "
                                f"'{name}' out here")  # fmt: skip
    elif told is not None and declared and len(declared) == len(inputs):
        raise UserError("inputShape: every input is declared, and its declaration tells its shape; leave it out")
