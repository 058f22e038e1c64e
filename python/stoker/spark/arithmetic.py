"""Whether workers that compute other bits than the others may take part: a setting of the Spark session."""

from __future__ import annotations

from stoker.errors import UserError
from stoker.spark.session import Conf

ARITHMETIC = "spark.stoker.arithmetic"


def may_differ(conf: Conf) -> bool:
    asked = conf(ARITHMETIC) or "exact"
    if asked not in ("exact", "any"):
        raise UserError(f"{ARITHMETIC} must be 'exact' or 'any', not {asked!r}")
    return asked == "any"
