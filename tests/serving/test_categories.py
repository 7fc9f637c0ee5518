"""Categories of rows to predict, beside those that the model knows."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import params, recipes
from components.__main__ import main
from components.recipes.tabular import example
from components.serving import categories, onnx_model
from components.stages import predict
from components.tracking import connection, isolated, registry
from tests import fabricate


def known(rows: list[Any], values: list[str], rare: int = 1) -> tuple[list[Any], list[str]]:
    table, told = categories.as_known(pa.table({"x": [1.0] * len(rows), "c": rows}), {"c": values}, rare)
    return table["c"].to_pylist(), told


def test_values_never_seen_are_counted_with_examples() -> None:
    rows = ["red", "pink", None, "pink", "blue", "teal", "pink", "grey"]
    found, told = known(rows, ["blue", "red"])
    assert found == rows
    (line,) = told
    assert line.startswith("c: 5 of 8 values are unknown to the model (never seen in training), such as 'pink' and '")
    assert known(["red", "x"], ["red"], 2)[1] == [
        "c: 1 of 2 values is unknown to the model (never seen in training, or in fewer than 2 examples), such as 'x': "
        "it takes all of these for one"
    ]
    assert known(["red", None], ["red"]) == (["red", None], [])


@pytest.mark.parametrize("rows", [[1067, 80331], [1067.0, 80331.0], ["1067", "80331"]])
def test_lost_zeros_are_given_back_and_told(rows: list[Any]) -> None:
    found, told = known(rows, ["01067", "80331"])
    assert found == ["01067", "80331"]
    assert told == ["c: 1 value without the leading zeros that the training data has, such as '1067': read as '01067'"]
    found, told = known(rows, ["01067", "1067", "80331"])
    assert found == rows
    assert "the training data has '01067' and '1067' as different categories" in told[0]


def test_a_few_columns_are_told_and_the_others_counted() -> None:
    table = pa.table({f"c{at}": ["new"] for at in range(9)})
    _, told = categories.as_known(table, {f"c{at}": ["old"] for at in range(8)})
    assert len(told) == categories.MAX_COLUMNS + 1
    assert told[-1] == "and 3 more columns with values that the model does not know"


@pytest.mark.parametrize("column", [pa.array([b"\xff"]), pa.array([["a"]]), pa.array([b"\xff"]).view(pa.string())])
def test_what_is_no_text_is_left_to_the_model(column: pa.Array) -> None:
    table = pa.table({"c": column})
    assert categories.as_known(table, {"c": ["a"]}) == (table, [])


def test_unknown_is_what_the_encoding_takes_for_unseen() -> None:
    values = ["7", "8.0", "caf\u00e9", "a b", "red", "1.5"]
    given = ["7", "7.0", "8", "8.00", "cafe\u0301", "a \u00a0b", "\ufeffred", "Red", "1.50", "07", "", "x"]
    codes = example._category(pa.array(given), pa.array(values))
    _, told = known(given, values)
    unseen = int(np.sum(codes == example.UNSEEN_CODE))
    assert told[0].startswith(f"c: {unseen} of {len(given)} values are unknown")


@pytest.fixture
def version(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered model of a table, which predicts in this process."""
    from mlflow.models import Model

    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    section = {"numeric": ["x", "y"], "categorical": ["plz"], "labels": ["no", "yes"]}
    Path("params.yaml").write_text(f"name: table\nrecipe: tabular\ntabular: {json.dumps(section)}\n")
    settings = params.load()
    rows = pa.table({"x": [-1.0, 1.0] * 4, "y": [-1.0, 1.0] * 4, "plz": ["01067", "80331", "04109", "80331"] * 2})
    fabricate.table_model(tmp_path / "model", settings, recipes.load("tabular").fit([rows], settings.task))
    (tmp_path / "out").mkdir()
    registry._save(settings, tmp_path, rows, tmp_path / "out", Model())
    client = connection.client()
    client.create_registered_model("table")
    client.create_model_version("table", (tmp_path / "out" / "model").as_uri())

    def answered(uri: str, given: Path, *, trust: bool = False) -> pa.Table:
        assert (uri, trust) == ("models:/table/1", False)
        asked.append(pq.read_table(given))
        table = asked[-1].set_column(2, "plz", asked[-1]["plz"].cast(pa.string()))
        return onnx_model.predict(onnx_model.load(tmp_path / "model"), table)

    monkeypatch.setattr(isolated, "predict", answered)
    return "table/1"


asked: list[pa.Table] = []


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_predict_tells_what_the_model_does_not_know(
    version: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    frame = pd.DataFrame({"x": [1.0] * 5, "y": [1.0] * 5, "plz": [1067, 4109, 80331, 99999, 99999]})
    frame.to_csv(name, index=False) if name == "a.csv" else frame.to_parquet(name)
    assert main(["predict", version, name]) == 0
    told, said = capsys.readouterr()
    assert told.count("yes") == 5
    assert asked[-1]["plz"].to_pylist() == ["01067", "04109", "80331", "99999", "99999"]
    assert said == (
        "note: plz: 2 values without the leading zeros that the training data has, such as '1067': read as '01067'\n"
        "note: plz: 2 of 5 values are unknown to the model (never seen in training, or in fewer than 2 examples), such "
        "as '99999': it takes all of these for one\n"
    )
    predict.answers(version, pa.Table.from_pandas(frame))  # as from Python
    assert asked[-1]["plz"].to_pylist()[0] == "01067"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"state": {"values": [1]}}', "no JSON"])
def test_a_version_that_cannot_tell_is_silent(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "out" / "model" / "data" / "onnx" / "model.json"
    path.unlink() if content is None else path.write_text(content)
    pd.DataFrame({"x": [1.0], "y": [1.0], "plz": ["new"]}).to_csv("a.csv", index=False)
    assert main(["predict", version, "a.csv"]) == 0
    assert capsys.readouterr().err == ""
