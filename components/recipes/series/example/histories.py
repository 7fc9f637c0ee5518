"""Histories and labels of a table of windows, as arrays."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from components.recipes.series.example import Params


MAX_VALUE = 1e15  # of a value: its square, summed over a history, must stay in float32


def names(params: "Params") -> list[str]:
    """Names of the columns with the histories, in order of `values`."""
    return ["history"] if len(params.values) == 1 else [f"history_{name}" for name in params.values]


def finite(lowest: np.ndarray, highest: np.ndarray) -> pa.Array:
    """Say whether a range is of numbers that can be computed with; one of none is."""
    with np.errstate(invalid="ignore"):
        return pa.array(~(np.abs(lowest) > MAX_VALUE) & ~(np.abs(highest) > MAX_VALUE))


def described(column: Any) -> dict[str, np.ndarray]:
    """Length, gaps, minimum and maximum `(n,)` of lists of numbers, or of numbers; NaN where there is none."""
    column = whole(column)
    rows = len(column)
    if pa.types.is_list(column.type):
        steps = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = column.flatten()
    else:
        steps, flat = np.ones(rows, np.int64), column
    values = flat.to_numpy(zero_copy_only=False)
    missing, lowest, highest = np.zeros(rows, np.int64), np.full(rows, np.nan), np.full(rows, np.nan)
    filled = steps > 0
    starts = (np.cumsum(steps) - steps)[filled]
    if len(starts):
        missing[filled] = np.add.reduceat(np.isnan(values).astype(np.int64), starts)
        lowest[filled] = np.fmin.reduceat(values, starts)
        highest[filled] = np.fmax.reduceat(values, starts)
    return {"steps": steps, "missing": missing, "minimum": lowest, "maximum": highest}


def whole(column: Any) -> Any:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def read(table: pa.Table, params: "Params") -> np.ndarray:
    """Return `(n, history, columns)` float64, NaN where a value is missing; ValueError for a wrong length."""
    stacked = []
    for name in names(params):
        column = whole(table[name])
        steps = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        if len(wrong := np.flatnonzero(steps != params.history)):
            has = f"has {steps[wrong[0]]} values" if steps[wrong[0]] else "is empty"
            raise ValueError(f"{name} {has}; expected {params.history} (series.history)")
        flat = column.flatten().to_numpy(zero_copy_only=False)
        stacked.append(flat.reshape(len(table), params.history))
    return np.stack(stacked, axis=2)


def labels(table: pa.Table, params: "Params") -> np.ndarray:
    """Return `(n, columns, horizon)` float64, NaN where a value or a whole label is missing."""
    column, size = whole(table["label"]), len(params.values) * params.horizon
    if not pa.types.is_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64).reshape(-1, 1, 1)
    found = np.full((len(table), size), np.nan)
    for row, label in enumerate(column.to_pylist()):
        if label is not None and len(label) == size:
            found[row] = label
    return found.reshape(len(table), len(params.values), params.horizon)


def filled(table: pa.Table, params: "Params") -> np.ndarray:
    """Return histories `(n, history, columns)` float64 without a gap; ValueError where that cannot be."""
    values = read(table, params)
    if np.isinf(values).any():
        raise ValueError("history: a value is infinite")
    with np.errstate(invalid="ignore"):
        if (np.abs(values) > MAX_VALUE).any():
            raise ValueError(f"history: a value exceeds {MAX_VALUE:g}")
    gaps = np.isnan(values)
    if len(empty := np.argwhere(gaps.all(axis=1))):
        raise ValueError(f"{names(params)[empty[0, 1]]}: all values are missing")
    if (rows := np.flatnonzero(gaps.any(axis=(1, 2)))).size:
        values[rows] = between(values[rows], gaps[rows])
    return values


def between(values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Fill gaps of `(n, steps, columns)`, as numpy.interp does line by line: here all lines at once."""
    steps = np.arange(values.shape[1])[:, None]
    before = np.maximum.accumulate(np.where(gaps, -1, steps), axis=1)  # the last known step, the step itself included
    after = np.minimum.accumulate(np.where(gaps, len(steps), steps)[:, ::-1], axis=1)[:, ::-1]
    left, right = np.where(before < 0, after, before), np.where(after == len(steps), before, after)
    start, end = np.take_along_axis(values, left, axis=1), np.take_along_axis(values, right, axis=1)
    slope = (end - start) / np.maximum(right - left, 1)
    return np.where(gaps, slope * (steps - left) + start, values)
