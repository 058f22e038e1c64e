"""What declared inputs mean, slowly: one cell at a time, in plain Python. Tests compare the engine with it."""

import datetime
import math

import numpy as np

from stoker.inputs import Array, Category, DateParts, Numeric, Padded, Present

EPOCH = datetime.date(1970, 1, 1)


def tensor(entry, rows, dtype):
    """The tensor of an input: `rows` are dicts by column; a list is packed."""
    if not isinstance(entry, list):
        return np.array([cells(entry, row[entry.column]) for row in rows]).astype(dtype)
    packed = [[value for item in entry for value in flat(cells(item, row[item.column]))] for row in rows]
    masks = [item for item in entry if getattr(item, "nulls", "") == "mask"]
    marks = [[value for item in masks for value in flat(cells(Present(item), row[item.column]))] for row in rows]
    return np.array([values + more for values, more in zip(packed, marks)], dtype)


def flat(value):
    return [x for inner in value for x in flat(inner)] if isinstance(value, list) else [value]


def cells(item, value):
    return _CELLS[type(item)](item, value)


def is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def numeric(item, value):
    if is_missing(value):
        value = item.fill if item.fill is not None else item.mean or 0.0
    return float(np.float64(value)) if item.mean is None else (float(value) - item.mean) / item.scale


def category(item, value):
    known = {word: i + 1 for i, word in enumerate(item.vocabulary)}
    return known.get(item.fill if value is None else value, 0)


def date_parts(item, value):
    if value is None:
        return [0.0] * (len(item.parts) * (2 if item.cyclic else 1))
    found = {
        "year": value.year, "month": value.month, "day": value.day, "weekday": value.weekday(),
        "yearday": value.timetuple().tm_yday, "hour": getattr(value, "hour", 0), "minute": getattr(value, "minute", 0),
        "second": getattr(value, "second", 0),
    }  # fmt: skip
    first = {"month": 1, "day": 1, "yearday": 1}
    period = {"month": 12, "day": 31, "weekday": 7, "yearday": 366, "hour": 24, "minute": 60, "second": 60}
    if not item.cyclic:
        return [found[part] for part in item.parts]
    angles = [2 * math.pi * (found[part] - first.get(part, 0)) / period[part] for part in item.parts]
    return [f(angle) for angle in angles for f in (math.sin, math.cos)]


def array(item, value):
    if value is None:
        return np.full(item.shape, item.fill * item.unit).tolist()
    filled = [item.fill if is_missing(x) else x for x in (list(value) if isinstance(value, bytes) else flat(value))]
    return (np.array(filled, np.float64).reshape(item.shape) * item.unit).tolist()


def padded(item, value):
    kept = [cells(item.of, x) for x in (value or [])[: item.length]]
    return kept + [item.pad] * (item.length - len(kept))


def present(item, value):
    if isinstance(item.of, Array):
        if value is None:
            return np.zeros(item.of.shape).tolist()
        return np.reshape([float(not is_missing(x)) for x in flat(list(value))], item.of.shape).tolist()
    if isinstance(item.of, Padded):
        kept = [0 if is_missing(x) else 1 for x in (value or [])[: item.of.length]]
        return kept + [0] * (item.of.length - len(kept))
    return 0 if is_missing(value) else 1


_CELLS = {
    Numeric: numeric, Category: category, DateParts: date_parts, Array: array, Padded: padded, Present: present,
}  # fmt: skip
