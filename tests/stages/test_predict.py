from pathlib import Path

import pyarrow as pa
import pytest

from components import SlipwayError
from components.__main__ import main
from components.stages import predict
from components.tracking import connection


@pytest.mark.parametrize(
    "out", ["people.csv", "./people.csv", "link.csv", "data/new.parquet", "data/deep/people.csv", "way/p.csv"]
)
def test_predictions_take_the_place_of_no_example(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("age\n30\n")
    Path("link.csv").symlink_to("people.csv")
    Path("data/deep").mkdir(parents=True)
    Path("data.dvc").touch()
    Path("way").symlink_to("data")
    assert main(["predict", "--out", out, "people", "people.csv"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: --out {Path(out)}: ") and "choose another" in said
    assert Path("people.csv").read_text() == "age\n30\n"


def test_an_earlier_file_of_predictions_may_be_replaced(tmp_path: Path) -> None:
    given, out = tmp_path / "people.csv", tmp_path / "out.csv"
    given.touch()
    out.touch()
    predict._writable(out, given)
    with pytest.raises(SlipwayError, match=r"expected a \.csv or \.parquet file"):
        predict._writable(tmp_path / "out.txt", given)


def test_a_table_of_several_modalities_names_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {
        "recipe": "multimodal",
        "data": "d",
        "params": {
            "images": {"photo": {}},
            "text": {"note": {}},
            "tabular": {"numeric": ["price"], "categorical": ["code"], "reading": {"decimal": ","}, "rare": 1},
        },
        "inputs": {"photo": "binary", "note": "string", "price": "double", "code": "string"},
    }
    monkeypatch.setattr(connection, "about", lambda version: about)
    monkeypatch.setattr(connection, "state", lambda version, data: {"table": {"values": {"code": ["007", "x"]}}})
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "new.csv").write_text('photo,note,price,code\na.png,NA,"1,5",7\n,"",NA,y\ngone.png,b,2,x\n')
    given = predict.prepared("models:/m/1", tmp_path / "new.csv")
    assert given.names == ["0", "1", "2"]
    assert given.examples.to_pydict() == {
        "photo": [b"\x89PNG", None, b"not read"],  # of the last one there is an error
        "note": ["NA", None, "b"],  # a text may be NA
        "price": ["1.5", None, "2"],
        "code": ["007", "y", "x"],
    }
    told = "\n".join(given.told)
    assert given.failed == {2: f"photo: {tmp_path / 'gone.png'} cannot be read: No such file or directory"}
    assert "'y'" in told and "7" in told
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/gone.png").write_bytes(b"here")
    again = predict.prepared("models:/m/1", tmp_path / "new.csv", files=tmp_path / "elsewhere")
    assert again.examples["photo"].to_pylist() == [b"not read", None, b"here"]
    (tmp_path / "elsewhere/a.png").touch()  # an empty file is not a missing one
    again = predict.prepared("models:/m/1", tmp_path / "new.csv", files=tmp_path / "elsewhere")
    assert again.failed == {0: f"photo: {tmp_path / 'elsewhere/a.png'} cannot be read: it is empty"}
    (tmp_path / "few.csv").write_text("photo,price\n,1\n,2\n")
    few = predict.prepared("models:/m/1", tmp_path / "few.csv")
    assert few.examples["photo"].type == pa.binary() and few.examples["note"].null_count == 2
    assert "there is no column note: it is missing in all rows" in few.told


def test_rows_that_failed_before_have_their_error_and_no_answer() -> None:
    answers = pa.table({"label": ["a", "b"], "probability": [0.5, 0.6], "error": pa.nulls(2, pa.string())})
    assert predict._failed(answers, {}) is answers
    assert predict._failed(answers, {1: "gone"}).to_pylist() == [
        {"label": "a", "probability": 0.5, "error": None},
        {"label": None, "probability": None, "error": "gone"},
    ]
