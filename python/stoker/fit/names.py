"""What goes by name: every key of a parameter speaks of an input or label that there is, and no column is given in two
ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.inputs.declarations import has_declared

_ONE_OF = (("featuresCol", "featuresCols"), ("featuresCol", "inputs"), ("featuresCols", "inputs"),
           ("labelCol", "labelCols"))  # fmt: skip


@dataclass(frozen=True)
class Naming:
    """Which columns are what, as an estimator or a model has been told."""

    inputs: Mapping[str, Any] | None = None
    features_col: str = "features"
    features_cols: Sequence[str] | None = None
    input_types: Mapping[str, str] | None = None
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None
    label_col: str = "label"
    label_cols: Mapping[str, Any] | Sequence[str] | None = None
    label_types: Mapping[str, str] | None = None
    weight_col: str | None = None
    group_col: str | None = None
    given: frozenset[str] = frozenset()  # which of these parameters the user has set
    label_words: tuple[str, ...] = ()  # that a label of texts holds, by class; learnt from the rows

    @property
    def input_names(self) -> list[str]:
        return list(self.inputs or ["features"])

    @property
    def label_names(self) -> list[str]:
        return list(self.label_cols) if isinstance(self.label_cols, Mapping) else ["label"]


def checked(naming: Naming) -> Naming:
    for one, other in _ONE_OF:
        if {one, other} <= naming.given:
            raise UserError(f"{one} and {other} are both set; set one of them")
    lists = {"inputs": naming.inputs, "featuresCols": naming.features_cols, "labelCols": naming.label_cols}
    for name, value in lists.items():
        if value is not None and not value:
            raise UserError(f"{name} is empty: name a column, or leave it out")
    check_known("inputTypes", naming.input_types or (), naming.input_names, "input")
    check_known("labelTypes", naming.label_types or (), naming.label_names, "label")
    _check_shapes(naming)
    return naming


def check_known(what: str, keys: Iterable[str], known: Iterable[str], kind: str) -> None:
    for key in keys:
        if key not in known:
            raise UserError(f"{what}: there is no {kind} '{key}'{did_you_mean(key, known) or '.'} There is: "
                            f"{', '.join(known)}")  # fmt: skip


def _check_shapes(naming: Naming) -> None:
    """A declared input has a shape of its own."""
    told, inputs = naming.input_shape, naming.inputs or {}
    declared = [name for name, entry in inputs.items() if has_declared({name: entry})]
    if isinstance(told, Mapping):
        check_known("inputShape", told, naming.input_names, "input")
        for name in told:
            if name in declared:
                raise UserError(f"inputShape: inputs['{name}'] is declared, and its declaration tells its shape; leave "
                                f"'{name}' out here")  # fmt: skip
    elif told is not None and declared and len(declared) == len(inputs):
        raise UserError("inputShape: every input is declared, and its declaration tells its shape; leave it out")
