import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from components.files import write_csv
from components.reports import difference


def model(path: Path, weights: dict[str, list[float]]) -> Path:
    arrays = [numpy_helper.from_array(np.array(values, np.float32), name) for name, values in weights.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], arrays)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def lock(**outs: str) -> dict[str, Any]:
    return {name: {"outs": [{"path": f"build/{name}", "md5": md5}]} for name, md5 in outs.items()}


def test_what_changed_is_named_in_the_order_of_the_stages() -> None:
    before = difference.digests(lock(evaluate="1", train="2", validate="3"), ["validate", "train", "evaluate"])
    now = difference.digests(lock(evaluate="8", train="9", validate="3"), ["validate", "train", "evaluate"])
    assert difference.changed(before, before) == []
    assert difference.changed(before, now) == [("train", "build/train"), ("evaluate", "build/evaluate")]
    assert difference.changed(before, difference.digests(lock(validate="3", train="2")))[0][0] == "evaluate"


def test_weights_their_largest_difference_and_other_shapes(tmp_path: Path) -> None:
    one = model(tmp_path / "a", {"w": [1.0, 2.0], "v": [0.0]})
    assert difference.weights(one, one) == {"largest": 0.0}
    assert difference.weights(one, model(tmp_path / "b", {"w": [1.0, 2.5], "v": [0.25]})) == {"largest": 0.5}
    assert difference.weights(one, model(tmp_path / "c", {"w": [1.0], "v": [0.0]})) == {"other": True}
    assert difference.weights(one, model(tmp_path / "d", {"w": [1.0, np.nan], "v": [0.0]})) == {"other": True}


def test_metrics_that_differ_and_those_beyond_their_interval(tmp_path: Path) -> None:
    was = {"accuracy": 0.9, "log_loss": 0.3, "size_mb": 1.0, "of": {"a": 0.5, "b": 0.5}, "rows": 9}
    now = {"accuracy": 0.93, "log_loss": 0.302, "size_mb": 2.0, "of": {"a": 0.6, "b": 0.5}, "rows": 9}
    for name, content in (("was", was), ("now", now)):
        (tmp_path / name).write_text(json.dumps(content))
    found = difference.metrics(tmp_path / "was", tmp_path / "now")
    assert found == {"accuracy": [0.9, 0.93], "log_loss": [0.3, 0.302], "of.a": [0.5, 0.6], "size_mb": [1.0, 2.0]}
    assert list(difference.largest(found)) == ["size_mb", "of.a", "accuracy", "log_loss"]
    write_csv(tmp_path / "i.csv", [{"metric": "accuracy", "low": 0.85, "high": 0.95}], ["metric", "low", "high"])
    assert difference.outside(found, tmp_path / "i.csv") == ["of.a"]  # by a fifth, and without an interval
    write_csv(tmp_path / "i.csv", [{"metric": "accuracy", "low": 0.85, "high": 0.92}], ["metric", "low", "high"])
    assert difference.outside(found, tmp_path / "i.csv") == ["accuracy", "of.a"]
    assert difference.outside({"accuracy": [0.9, None]}, tmp_path / "i.csv") == ["accuracy"]


def predictions(path: Path, ids: str, labels: str, p: list[list[float]]) -> Path:
    columns: dict[str, Any] = {"id": list(ids), "actual": ["a"] * len(ids), "label": list(labels)}
    columns["probabilities"] = pa.array(p, pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)
    return path


def test_predictions_that_differ_and_how_far_their_outputs_are_off(tmp_path: Path) -> None:
    one = predictions(tmp_path / "1", "xyz", "aab", [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    two = predictions(tmp_path / "2", "xyz", "abb", [[0.75, 0.25], [0.375, 0.625], [0.25, 0.75]])
    assert difference.predictions(one, one) == {"differ": 0, "of": 3, "largest": 0.0}
    assert difference.predictions(one, two) == {"differ": 1, "of": 3, "largest": 0.125}
    assert difference.predictions(one, predictions(tmp_path / "3", "xyw", "aab", [[1, 0]] * 3)) == {"other": True}


def test_predictions_of_numbers_are_the_numbers(tmp_path: Path) -> None:
    for name, values in (("1", [1.0, 2.0]), ("2", [1.0, 2.5])):
        pq.write_table(pa.table({"id": ["x", "y"], "actual": [1.0, 2.0], "value": values}), tmp_path / name)
    assert difference.predictions(tmp_path / "1", tmp_path / "2") == {"differ": 1, "of": 2, "largest": 0.5}


def test_differences_are_told_in_lines() -> None:
    verdict = {
        "weights": {"largest": 1.5e-7},
        "metrics": {"accuracy": [0.9, 0.95], "new": [None, 1]},
        "predictions": {"differ": 1, "of": 1200, "largest": 0.02},
    }
    assert difference.told(verdict) == [
        "weights: largest difference 1.5e-07",
        "accuracy: 0.9 -> 0.95",
        "new: missing -> 1",
        "predictions: 1 of 1,200 differ, largest difference of outputs 0.02",
    ]
    assert difference.told({"weights": {"other": True}}) == ["weights: other names or shapes"]
