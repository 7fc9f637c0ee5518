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
    steps = np.arange(params.history)
    for row, column in np.argwhere(np.isnan(values).any(axis=1)):
        line = values[row, :, column]
        known = ~np.isnan(line)
        if not known.any():
            raise ValueError(f"{names(params)[column]}: all values are missing")
        values[row, :, column] = np.interp(steps, steps[known], line[known])
    return values
