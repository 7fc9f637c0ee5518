"""Cut the test split by a column or a fact, and measure each part."""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.evaluation import bootstrap, metrics
from components.evaluation.examples import Examples, rounded
from components.recipes import Arrays

MAX_SLICES = 20  # values of a column that are a slice of their own; the rest are `other`
QUARTILES = 4
Row = TypeVar("Row", bound=Mapping[str, Any])
MIN_SLICE_ROWS = 30  # rows that a slice needs to be called the worst: in fewer, chance alone makes the difference


def cut(name: str, column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Cut the rows of a column: what a slice is called -> its rows, as a mask `(n,)`.

    Numbers, dates and times are cut into quartiles where they have more than four values, others by value: the
    20 most frequent, and `other`. A lowest value that a quarter of the rows have stands alone. Rows without a value are
    `missing`. Several labels, a list of texts, are a value: the set of them, as JSON; so are the classes of boxes.
    Raises SlipwayError for a column of bytes or of other lists.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_null(kind):
        kind = pa.string()
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("label") >= 0:
        classes = [None if row is None else sorted({box["label"] for box in row}) for row in column.to_pylist()]
        column = pa.chunked_array([pa.array(classes, pa.list_(pa.string()))])
        kind = column.type
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        sets = [
            None if value is None else json.dumps(sorted(value), ensure_ascii=False) for value in column.to_pylist()
        ]
        column, kind = pa.chunked_array([pa.array(sets, pa.string())]), pa.string()
    column = column.cast(kind)
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    there = column.is_valid().to_numpy()
    counted = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    timed = pa.types.is_temporal(kind)
    if not (
        counted or timed or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise SlipwayError(
            f"params.yaml: evaluate.slices: {name} is {kind}; choose a column of numbers, text, dates or booleans"
        )
    if (counted or timed) and pc.count_distinct(column).as_py() > QUARTILES:
        found = _quartiles(column, there)
    else:
        found = _values(column)
    if not there.all():
        found["missing"] = found.get("missing", False) | ~there
    return {text: mask for text, mask in found.items() if mask.any()}


def _quartiles(column: pa.ChunkedArray, there: np.ndarray) -> dict[str, np.ndarray]:
    numbers = column.cast(pa.int64()) if pa.types.is_temporal(column.type) else column
    values = numbers.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy()
    # edges are values of the column, so that they read as such
    edges = np.quantile(values[there], np.linspace(0, 1, QUARTILES + 1), method="lower")
    words = {edge: _text(column[int(np.flatnonzero(there & (values == edge))[0])].as_py()) for edge in edges}
    if len(set(words.values())) < len(words):  # digits that are not shown tell them apart
        words = {edge: str(edge) for edge in words}
    found = {}
    if edges[0] == edges[1]:  # a quarter of the rows or more have the lowest value
        found[words[edges[0]]] = there & (values == edges[0])
    for low, high in pairwise(np.unique(edges)):
        first = not found
        above = values >= low if first else values > low
        found[f"{'' if first else 'over '}{words[low]} to {words[high]}"] = there & above & (values <= high)
    return found


def _values(column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    values = np.array([None if value is None else _text(value) for value in column.to_pylist()], object)
    there = np.array([value is not None for value in values])
    names, counts = np.unique(values[there].astype(str), return_counts=True)
    common = names[np.lexsort((names, -counts))]
    found = {str(text): there & (values == text) for text in common[:MAX_SLICES]}
    if len(common) > MAX_SLICES:
        found["other"] = found.get("other", False) | (there & ~np.any(list(found.values()), axis=0))
    return found


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def measured(
    columns: dict[str, pa.ChunkedArray], examples: Examples, seed: int, resamples: int, confidence: float
) -> list[dict[str, Any]]:
    """Measure every slice by the main metric, with its interval: rows for slices.csv, the worst first.

    A slice for which the metric is undefined is left out.
    """
    metric = metrics.main(examples.target, examples.costs)
    rows = []
    for name, column in columns.items():
        for text, mask in cut(name, column).items():
            part = examples.take(np.flatnonzero(mask))
            if numbers := _with_interval(part, metric, seed, resamples, confidence):
                rows.append({"slice": name, "value": text, "rows": int(mask.sum()), **numbers})
    return sorted(rows, key=lambda row: (metrics.better(metric, row[metric], 0.0), row["slice"], row["value"]))


def views(
    found: Iterable[tuple[str, np.ndarray, Arrays]],
    ask: Callable[[Arrays], np.ndarray],
    examples: Examples,
    seed: int,
    resamples: int,
    confidence: float,
) -> list[dict[str, Any]]:
    """Measure the model where something of the examples is left out, as a recipe's `views` says: rows for views.csv.

    Each with the main metric and its interval, and `whole`: what it is with nothing left out, on the same examples.
    """
    metric = metrics.main(examples.target, examples.costs)
    rows = []
    for name, mask, arrays in found:
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            continue
        whole = examples.take(chosen)
        part = whole.answered(ask({key: np.asarray(array[chosen]) for key, array in arrays.items()}), examples.decision)
        if numbers := _with_interval(part, metric, seed, resamples, confidence):
            rows.append({"view": name, "rows": len(chosen), **numbers, "whole": rounded(_value(whole, metric))})
    return rows


def _value(examples: Examples, metric: str) -> float:
    return float(metrics.measure(examples, ranked=False)[0][metric][0])


def _with_interval(examples: Examples, metric: str, seed: int, resamples: int, confidence: float) -> dict[str, float]:
    """Return a metric, `low` and `high`; nothing where it is undefined: none of several labels is there, or said."""
    value = _value(examples, metric)
    if np.isnan(value):
        return {}
    samples, _ = bootstrap.resampled(examples, seed, resamples, ranked=False)
    low, high = bootstrap.around(value, samples[metric], confidence)
    return {metric: rounded(value), "low": rounded(float(low)), "high": rounded(float(high))}


def worst(rows: Iterable[Row]) -> Row | None:
    """Return the worst slice of at least MIN_SLICE_ROWS rows; `rows` are those of slices.csv, the worst first."""
    return next((row for row in rows if int(row["rows"]) >= MIN_SLICE_ROWS), None)
