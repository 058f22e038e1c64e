"""What the user says about the mixing of rows (mix): Mixup and CutMix, with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite, plain

Settings = dict[str, Any]

# By name, alpha: rows' shares are drawn from Beta(alpha, alpha). Those of the papers' ImageNet.
_ALPHA = {"mixup": 0.2, "cutmix": 1.0}
_SETTINGS = ("name", "alpha")


def as_mix(value: Any) -> Settings:
    """A dict with its defaults. UserError says what is wrong."""
    value = plain(value)
    told = {"name": value} if isinstance(value, str) else value
    if not isinstance(told, Mapping):
        raise UserError(f"mix: got {value!r}, expected 'mixup', 'cutmix' or a dict such as "
                        "{'name': 'mixup', 'alpha': 0.2}")  # fmt: skip
    for key in told:
        if key not in _SETTINGS:
            raise UserError(f"mix: there is no setting {key!r}{did_you_mean(str(key), _SETTINGS) or '; it has alpha'}")
    name = told.get("name")
    if name not in _ALPHA:
        raise UserError(f"mix: 'name' is {name!r}, expected one of 'mixup', 'cutmix'")
    alpha: Any = told.get("alpha", _ALPHA[name])
    if not is_finite(alpha) or alpha <= 0:
        raise UserError(f"mix: alpha is {alpha!r}, expected a number above 0; the smaller, the less rows are mixed")
    return {"name": name, "alpha": float(alpha)}
