"""How far what the stages made again is from what they made before: by digest, then by how much."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.files import read_json
from components.reports import results

Digests = dict[str, dict[str, str]]  # stage -> path of an output -> its digest in dvc.lock
TOLERANCE = 0.01  # share of its value by which a metric without an interval may differ on another processor
METRICS_KEPT = 20  # differences of metrics that a verdict holds, the largest first


def digests(stages: Mapping[str, Any], order: Sequence[str] = ()) -> Digests:
    """Return the outputs' digests of dvc.lock's stages, in the order of the names in `order`, then in the file's."""
    names = [*(name for name in order if name in stages), *(name for name in stages if name not in order)]
    return {name: {out["path"]: str(out.get("md5", "")) for out in stages[name].get("outs", [])} for name in names}


def changed(before: Digests, now: Digests) -> list[tuple[str, str]]:
    """Return the outputs whose digests differ, missing and new ones too: stage and path, in the order of the stages."""
    return [
        (stage, path)
        for stage in dict.fromkeys([*before, *now])
        for path in dict.fromkeys([*before.get(stage, {}), *now.get(stage, {})])
        if before.get(stage, {}).get(path) != now.get(stage, {}).get(path)
    ]


def weights(before: Path, now: Path) -> dict[str, Any]:
    """Return the largest difference of two ONNX models' weights; `other` where they are not the same in name and shape.

    An infinite or undefined weight in one of them alone is `other` too.
    """
    one, two = _arrays(before), _arrays(now)
    if one.keys() != two.keys() or any(one[name].shape != two[name].shape for name in one):
        return {"other": True}
    found = [_apart(one[name], two[name]) for name in one]
    largest = max(found, default=0.0)
    return {"largest": largest} if math.isfinite(largest) else {"other": True}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    found = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    trees = [(node.name, each) for node in model.graph.node for each in node.attribute if each.HasField("t")]
    found |= {f"{name} {each.name}": numpy_helper.to_array(each.t) for name, each in trees}
    return {name: array for name, array in found.items() if array.dtype.kind in "fiub"}


def _apart(one: np.ndarray, two: np.ndarray) -> float:
    """Return the largest difference of two arrays of one shape; what is missing in both is equal."""
    first, second = one.astype(np.float64), two.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second)[~same]
    if not len(apart):
        return 0.0
    return math.inf if np.isnan(apart).any() else float(apart.max())


def metrics(before: Path, now: Path) -> dict[str, list[Any]]:
    """Return what differs between two metrics.json: name -> value before and now, null where it is not there."""
    one, two = _flat(read_json(before)), _flat(read_json(now))
    return {name: [one.get(name), two.get(name)] for name in sorted({*one, *two}) if one.get(name) != two.get(name)}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    dot = prefix and f"{prefix}."
    return {key: item for name, value in values.items() for key, item in _flat(value, f"{dot}{name}").items()}


def predictions(before: Path, now: Path) -> dict[str, Any]:
    """Compare two predictions.parquet: how many of the examples are predicted otherwise, and the largest difference.

    A prediction is what was decided, the label; of numbers, the numbers themselves. The difference is that of the
    outputs (probabilities, or numbers). `other` where the examples are not the same.
    """
    one, two = pq.read_table(before), pq.read_table(now)
    if one.column_names != two.column_names or not one["id"].equals(two["id"]):
        return {"other": True}
    answers = [name for name in one.column_names if name not in ("id", "actual")]
    numbers = [name for name in answers if _numeric(one.schema.field(name).type)]
    decided = [name for name in answers if name not in numbers] or numbers
    pairs = [(one[name].to_pylist(), two[name].to_pylist()) for name in decided]
    differ = sum(any(first[row] != second[row] for first, second in pairs) for row in range(len(one)))
    return {"differ": differ, "of": len(one), "largest": max((_outputs(one[n], two[n]) for n in numbers), default=0.0)}


def _numeric(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return bool(pa.types.is_floating(inner))


def _outputs(one: pa.ChunkedArray, two: pa.ChunkedArray) -> float:
    first, second = (np.asarray(_plain(column), np.float64) for column in (one, two))
    return _apart(first, second) if first.shape == second.shape else math.inf


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    found: np.ndarray = (array.flatten() if hasattr(array, "flatten") else array).to_numpy(zero_copy_only=False)
    return found


def outside(differences: Mapping[str, Sequence[Any]], intervals: Path) -> list[str]:
    """Return the metrics that are further off than another processor explains; what measures cost is left out.

    A metric with an interval (intervals.csv of the evaluation before) has to lie in it; another one may differ by
    TOLERANCE of its value.
    """
    rows = {row["metric"]: row for row in results.read_csv(intervals)}
    return [
        name
        for name, (was, is_now) in differences.items()
        if not results.measures_cost(name) and not _within(was, is_now, rows.get(name))
    ]


def _within(was: Any, is_now: Any, row: Mapping[str, str] | None) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (was, is_now))
    if not numbers:
        return False
    if row is not None:
        return bool(float(row["low"]) <= is_now <= float(row["high"]))
    return bool(abs(is_now - was) <= TOLERANCE * max(abs(was), abs(is_now)))


def largest(differences: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the METRICS_KEPT metrics that differ most, in shares of their values, the largest difference first."""

    def share(pair: Sequence[Any]) -> float:
        try:
            return -float(abs(pair[1] - pair[0]) / max(abs(pair[0]), abs(pair[1])))
        except (TypeError, ZeroDivisionError):
            return -math.inf

    kept = sorted(differences, key=lambda name: share(differences[name]))[:METRICS_KEPT]
    return {name: list(differences[name]) for name in kept}


def told(verdict: Mapping[str, Any]) -> list[str]:
    """Say by how much something differs, a line each: weights, metrics, predictions."""
    lines = []
    if found := verdict.get("weights"):
        text = "other names or shapes" if found.get("other") else f"largest difference {found['largest']:.3g}"
        lines.append(f"weights: {text}")
    for name, (was, is_now) in verdict.get("metrics", {}).items():
        lines.append(f"{name}: {_number(was)} -> {_number(is_now)}")
    if found := verdict.get("predictions"):
        if found.get("other"):
            lines.append("predictions: of other examples")
        else:
            text = (
                f"{found['differ']:,} of {found['of']:,} differ, largest difference of outputs {found['largest']:.3g}"
            )
            lines.append(f"predictions: {text}")
    return lines


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "missing" if value is None else str(value)
