"""What a fit tells of itself."""

import json
from collections.abc import Iterable
from typing import Any

from stoker import order

_COLUMNS = ("epoch", "loss", "accuracy", "rows_per_s", "seconds", "bound_by")


class History(list):
    """One dict per epoch; `info` holds what concerns the whole fit, `phases` the driver's seconds by phase. All keys:
    docs/history.md.

    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}], {"digest": "0a1b"})
    >>> history[-1]["loss"], history.info["digest"]
    (0.25, '0a1b')
    >>> history.to_pandas()
       epoch  loss
    0      1  0.50
    1      2  0.25
    """

    def __init__(self, epochs: Iterable[dict[str, Any]] = (), info: dict[str, Any] | None = None) -> None:
        super().__init__(epochs)
        self.info = dict(info or {})

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of the fit by phase, as the driver saw them; they sum to the whole."""
        return self.info.get("phases", {})

    @property
    def skipped(self) -> dict[str, int]:
        """Rows that were left out because of onBadRow='skip', by reason."""
        return self.info.get("skipped", {})

    @property
    def order(self) -> list[int]:
        """The shard of each push, one after the other, where shards pushed as they arrived: given to a strategy as
        `order` it makes the same bits. Empty where they did not."""
        told = self.info.get("order")
        return order.unpacked(told) if told else []

    @property
    def skew(self) -> float:
        """Rows of the largest shard over those of the mean one."""
        rows = self.info.get("shard_rows") or [1]
        return max(rows) * len(rows) / max(1, sum(rows))

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row per epoch; seconds by phase have columns of their own: phases.gather, ..."""
        import pandas as pd

        return pd.json_normalize(list(self))

    @classmethod
    def from_json(cls, text: str) -> "History":
        whole = json.loads(text)
        return cls(whole.pop("epochs", []), whole)

    def to_json(self) -> str:
        return json.dumps({"epochs": list(self), **self.info})

    def __repr__(self) -> str:
        scores = {name: None for epoch in self for name, value in epoch.items() if _is_score(name, value)}
        columns = [*_COLUMNS[:2], *scores, *_COLUMNS[2:]]
        shown = [name for name in columns if any(name in epoch for epoch in self)]
        rows = [shown] + [[_cell(epoch.get(name)) for name in shown] for epoch in self]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
        if len(self.info.get("shard_rows", ())) > 1:
            lines.append(f"largest shard / mean: {self.skew:.2f}")
        return "\n".join(lines)


def _is_score(name: str, value: Any) -> bool:
    return name.startswith("val_") and not isinstance(value, list)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)
