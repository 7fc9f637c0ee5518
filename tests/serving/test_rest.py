"""A model of every recipe, served by `mlflow models serve`: what it answers is JSON, for good and for bad rows."""

import base64
import datetime
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components import recipes
from components.params import Params
from components.recipes import networks
from components.serving import onnx_model
from components.tracking import registry
from tests import fabricate

pytestmark = pytest.mark.e2e

# what makes a good row a bad one, and what is then said of it; these recipes take any numbers, so the model overflows
FINITE = "the model's output is not finite"
BAD: dict[str, list[tuple[dict[str, Any], str]]] = {
    "audio": [({"audio": b"no recording"}, "the recording")],
    "images": [({"image": b"no image"}, "the image cannot be decoded")],
    "multimodal": [
        ({"photo": b"no image"}, "photo: the image cannot be decoded"),
        ({"note": " "}, "note: the text is empty"),
        ({"photo": None, "note": None, "sound": None, "size": None}, "the example is empty"),
    ],
    "series": [({"history": [1.0, 2.0]}, "history has 2 values"), ({"history": [1e14] * 24}, FINITE)],
    "tabular": [
        ({"x": 1e300}, "x is too large"),
        ({"x": 1e29}, FINITE),
        ({"member": "perhaps"}, "member: 'perhaps' is not true or false"),
        ({"since": "soon"}, "since: 'soon' is not a time in ISO 8601"),
    ],
    "text": [({"text": " "}, "the text")],
}
BAD["detection"], BAD["speech"] = BAD["images"], BAD["audio"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in recipes.names()}
CASES["several labels"] = "images", {"several": True}
CASES["a number"] = "tabular", {"labels": [], "targets": ["price"]}


def written(value: Any) -> Any:
    """A value as MLflow reads it from JSON."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def ask(port: int, body: dict[str, Any]) -> list[dict[str, Any]]:
    address, kind = f"http://127.0.0.1:{port}/invocations", {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body, allow_nan=False).encode(), kind)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = fabricate.strict(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None
    assert set(found) == {"predictions"}
    rows: list[dict[str, Any]] = found["predictions"]
    return rows


def about(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: about(value) for key, value in answer.items()}
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):  # boxes
        return [about(value) for value in answer]
    return pytest.approx(answer, abs=1e-6)


@pytest.mark.parametrize(("name", "changes"), CASES.values(), ids=CASES.keys())
def test_answers_by_rest_are_json(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    from mlflow.models import Model

    recipe = recipes.load(name)
    section, sample = recipe.sample(60, 3)
    task, network = recipe.Params.model_validate(section | changes), networks.load(name).Network()
    settings = Params(name="trial", recipe=name, task=task, network=network)
    fabricate.any_model(tmp_path / "model", settings, sample)
    examples = sample.select(recipes.asked(recipe, settings.task).names)
    if any(pa.types.is_boolean(field.type) for field in examples.schema):
        assert any(examples[field.name].null_count for field in examples.schema if pa.types.is_boolean(field.type))
    (tmp_path / "out").mkdir()
    registry._save(settings, tmp_path, examples.slice(0, 3), tmp_path / "out", Model())
    expected = onnx_model.predict(onnx_model.load(tmp_path / "model"), examples).to_pylist()

    files = [field.name for field in examples.schema if field.type == pa.binary()]  # MLflow takes no null for one
    rows = [{key: written(value) for key, value in row.items()} for row in examples.to_pylist()]
    bad = [rows[0] | {key: written(value) for key, value in change.items()} for change, _ in BAD[name]]
    for row in (*rows, *bad):
        row |= {key: "" for key in files if row[key] is None}
    port = fabricate.free_port()
    with fabricate.served(str(tmp_path / "out" / "model"), tmp_path, port):
        good = ask(port, {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}})
        mixed = ask(port, {"dataframe_records": [rows[0], *bad, rows[1]]})
        failed = ask(port, {"dataframe_records": bad})
    assert good == [about(answer) for answer in expected]
    assert [mixed[0], mixed[-1]] == [about(answer) for answer in expected[:2]]
    assert {answer["error"] for answer in good} == {None}
    assert mixed[1:-1] == failed
    for answer, (_, said) in zip(failed, BAD[name], strict=True):
        assert said in answer.pop("error")
        assert set(answer.values()) == {None}
