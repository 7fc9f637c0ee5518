"""What a file leaves open is told, or asked: dots in numbers, leading zeros, words for missing, dates, titles."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from components import SlipwayError, params
from components.__main__ import main
from components.data import csv_dates, csv_numbers, csv_reader
from components.recipes.series.source import series
from components.recipes.source import Source
from components.recipes.tabular.example import Params
from components.recipes.tabular.source import tabular
from components.serving import worker
from components.stages import predict
from tests.data.test_csv_reader import read, written

PARAMS = "name: old\nrecipe: images\nnetwork:\n  model: cnn  # mlp, cnn, resnet or vit: docs/recipes/images.md\n"


def rows(values: list[str], mark: str = ",", more: str = "1") -> str:
    return f"x{mark}n{mark}y\n" + "".join(
        f"{value}{mark}{more}{mark}{'ab'[at % 2]}\n" for at, value in enumerate(values)
    )


@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_dots_before_three_digits_beside_whole_numbers_are_asked_about(tmp_path: Path, mark: str) -> None:
    text = rows(["23.456", "760", "1.234", "12"], mark)
    with pytest.raises(SlipwayError, match=r"column x: '23\.456' .* use --thousands \. or --decimal \.; if the column"):
        read(tmp_path, text)
    assert read(tmp_path, text, thousands=".")[1]["x"].to_pylist() == [23456, 760, 1234, 12]
    source, found = read(tmp_path, text, decimal=".")
    assert found["x"].to_pylist() == [23.456, 760, 1.234, 12]
    known = Params.model_validate(source.settings)  # what has been said holds for more rows
    assert read(tmp_path, text, known=known)[1]["x"].to_pylist() == [23.456, 760, 1.234, 12]


def test_dots_that_are_likely_fractions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = read(tmp_path, rows(["23.456", "760"], ";", "1.5"))  # another column has fractions
    assert found["x"].to_pylist() == [23.456, 760]
    assert "x: '23.456' is read as 23.456; for 23456: --thousands ." in capsys.readouterr().out
    for values in (["23.456", "1.2"], ["23.456", "0.123"], ["23.456", "1760"], ["23", "760"]):
        read(tmp_path, rows(values, ";"))  # nothing to tell
        assert "--thousands" not in capsys.readouterr().out
    known = Params.model_validate(read(tmp_path, rows(["1.5", "2.5"], ";"))[0].settings)
    assert read(tmp_path, rows(["23.456", "760"], ";"), known=known)[1]["x"].to_pylist() == [23.456, 760]


def test_dots_as_thousands_are_the_only_ones(tmp_path: Path) -> None:
    """With --thousands . a point is no decimal mark any more: 1.5 is not 15."""
    with pytest.raises(SlipwayError, match=r"column x: .*1\.5"):
        read(tmp_path, rows(["23.456"] * 19 + ["1.5"], ";"), thousands=".")


def daily(folder: Path, values: list[str], written_as: str = "%Y-%m-%d", **options: Any) -> Source:
    days = pd.date_range("2024-01-01", periods=len(values)).strftime(written_as)
    text = "t;v\n" + "".join(f"{day};{value}\n" for day, value in zip(days, values, strict=True))
    path = written(folder, text)
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    return series(path, "t", ["v"], history=2, horizon=1, every=1, **(given | options))


def test_dots_in_a_series_are_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ["23.456", "760"] * 4
    with pytest.raises(SlipwayError, match=r"line 2: v is '23\.456'.*--thousands \. or --decimal \."):
        daily(tmp_path, values)
    assert next(daily(tmp_path, values, thousands=".").tables)["label"][0].as_py() == 23456
    source = daily(tmp_path, values, decimal=".")
    assert next(source.tables)["label"][0].as_py() == 23.456
    assert capsys.readouterr().out == ""
    daily(tmp_path, ["23.456", "23.457", "NA", "23.458", "", "23.460", "23.461", "23.462"])
    said = capsys.readouterr().out
    assert "v: '23.456' is read as 23.456; for 23456: --thousands ." in said
    assert "v: 2 missing values (1 empty, 1 'NA')" in said


def test_codes_with_leading_zeros_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = rows(["07387", "10115", "NULL", "00501"])
    source, found = read(tmp_path, text)
    assert source.settings["categorical"] == ["x"]
    assert found["x"].to_pylist() == ["07387", "10115", None, "00501"]
    assert "x: 2 values with leading zeros, such as '07387': read as categories; --number x" in capsys.readouterr().out
    about = {"recipe": "tabular", "inputs": {"x": "string", "n": "double"}, "params": source.settings}
    assert predict._read(tmp_path / "t.csv", about)[1]["x"].to_pylist() == ["07387", "10115", None, "00501"]
    source, found = read(tmp_path, text, number=["x"])
    assert found["x"].to_pylist() == [7387, 10115, None, 501]
    assert "read as numbers, without the zeros" in capsys.readouterr().out
    known = Params.model_validate(source.settings)
    assert read(tmp_path, text, known=known)[1]["x"].to_pylist() == [7387, 10115, None, 501]
    for values in (["0", "0.5", "10"], ["0.07", "1"], ["0", "00.5"]):
        assert read(tmp_path, rows(values))[0].settings["numeric"] == ["x", "n"]


@pytest.mark.parametrize(
    ("values", "read_as"), [([f"1E{at}" for at in range(10)], "1"), (["+4930123", "+4989456", "+4930123"], "4930123")]
)
def test_numbers_that_look_like_codes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[str], read_as: str
) -> None:
    source, _ = read(tmp_path, rows(values))
    assert source.settings["numeric"] == ["x", "n"]
    said = capsys.readouterr().out
    assert (
        f"x: all values are written as {values[0]!r} is, like codes or phone numbers; read as numbers, {read_as}"
        in said
    )
    assert read(tmp_path, rows(values), category=["x"])[1]["x"].to_pylist() == values
    read(tmp_path, rows(values), number=["x"])  # the user has said so
    read(tmp_path, rows(["+1", "-1", "+2"]))
    read(tmp_path, rows(["1e5", "2.5e5", "7"]))
    assert "like codes" not in capsys.readouterr().out


def test_a_label_with_leading_zeros_is_a_class(tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{at}.5,{at % 12:02}\n" for at in range(48))
    source, _ = read(tmp_path, text)
    assert len(source.settings["labels"]) == 12
    assert source.settings["labels"][0] == "00"


@pytest.mark.parametrize("suffix", ["parquet", "feather", "jsonl"])
def test_words_for_missing_are_read_in_typed_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    frame = pd.DataFrame({"c": ["NULL", "n/a", "red", " blue", None, ""] * 2, "x": [1, 2.5] * 6, "y": ["a", "b"] * 6})
    path = tmp_path / f"t.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        getattr(frame, f"to_{suffix}")(path)
    source = tabular(path, ["y"])
    assert pa.concat_tables(source.tables)["c"].to_pylist() == [None, None, "red", " blue", None, None] * 2
    kept = "--not-missing NULL --not-missing n/a keeps them"
    assert f"c: 8 missing values (4 empty, 2 'NULL', 2 'n/a'); {kept}" in capsys.readouterr().out
    source = tabular(path, ["y"], not_missing=["NULL"], missing=["red"])
    assert pa.concat_tables(source.tables)["c"].to_pylist()[:4] == ["NULL", None, None, " blue"]
    about = {"recipe": "tabular", "inputs": {"c": "string", "x": "double"}, "params": source.settings}
    assert predict._read(path, about)[1]["c"].to_pylist()[:4] == ["NULL", None, None, " blue"]


def test_a_bare_date_takes_the_place_of_the_format_that_is_kept(tmp_path: Path) -> None:
    source, _ = read(tmp_path, rows(["31.12.2024", "1.1.2025"]), date=["x=%d.%m.%Y"])
    known = Params.model_validate(source.settings)
    _, found = read(tmp_path, rows(["2024-12-31", "2025-01-01"]), date=["x"], known=known)
    assert [str(day)[:10] for day in found["x"].to_pylist()] == ["2024-12-31", "2025-01-01"]


def test_a_series_in_iso_takes_the_place_of_the_format_that_is_kept(tmp_path: Path) -> None:
    source = daily(tmp_path, ["1"] * 8, "%d.%m.%Y", form="%d.%m.%Y")
    from components.recipes.series.example import Params as Series

    known = Series.model_validate(source.settings)
    assert known.format == "%d.%m.%Y"
    with pytest.raises(SlipwayError, match=r"it was read as %d\.%m\.%Y; .*; ISO 8601: --format iso|--format %Y-%m-%d"):
        daily(tmp_path, ["1"] * 8, known=known)
    assert next(daily(tmp_path, ["1"] * 8, known=known, form="iso").tables).num_rows


def test_dates_of_several_formats_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, rows(["31.12.2024", "2025-01-01", "1.2.2024"]))
    said = capsys.readouterr().out
    assert "x: dates of several formats, such as '31.12.2024' (%d.%m.%Y) and '2025-01-01' (%Y-%m-%d)" in said
    read(tmp_path, rows([f"{day}.12.2024" for day in range(1, 20)] + ["soon"]))
    said = capsys.readouterr().out
    assert "x: nearly all values look like dates, such as '1.12.2024' (%d.%m.%Y), but 'soon' is none" in said
    assert "--missing=soon and --date x=%d.%m.%Y" in said


@pytest.mark.parametrize(
    ("form", "months"),
    [("%d.%m.%Y", False), ("%m/%d/%Y %I:%M %p", False), ("%d %b %Y", False), ("%b %Y", True), ("%B %d, %Y", False)],
)
def test_times_that_cannot_be_read_propose_a_format(tmp_path: Path, form: str, months: bool) -> None:
    days = pd.date_range("2023-05-13", periods=30, freq="MS" if months else "D").strftime(form)
    assert form in csv_dates.forms(pa.array(days.tolist()), months=months)
    text = "t,v\n" + "".join(f'"{day}",1\n' for day in days)
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step"))
    with pytest.raises(SlipwayError, match="expected ISO 8601") as error:
        series(written(tmp_path, text), "t", ["v"], history=2, horizon=1, every=1, form=None, **given)
    assert "it looks like --format" in str(error.value)
    assert form in str(error.value)
    found = series(written(tmp_path, text), "t", ["v"], history=2, horizon=1, every=1, form=form, **given)
    assert next(found.tables).num_rows == 28


def test_words_that_may_mean_missing_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, found = read(tmp_path, rows(["none", "Unknown", "-", "red", "unknown", "red"]))
    assert found["x"].to_pylist() == ["none", "Unknown", "-", "red", "unknown", "red"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("x: "))
    assert "count as a category; if that means a missing value, use" in line
    for word in ("none", "Unknown", "unknown", "-"):
        assert f"1 {word!r}" in line
        assert f"--missing={word}" in line
    read(tmp_path, rows(["none", "Unknown", "-", "red"]), missing=["none", "Unknown", "-"])
    assert "x: 3 missing values (1 '-', 1 'Unknown', 1 'none')" in capsys.readouterr().out
    assert source.settings["reading"] == {}
    read(tmp_path, rows(["NA", "red"]), not_missing=["NA"])  # the user has said so
    assert "count" not in capsys.readouterr().out


def test_missing_values_are_counted_per_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, "a,b,c,d,y\n1,,x,5,u\n,,NULL,6,v\nunk,2,,7,u\n", missing=["unk"])
    said = capsys.readouterr().out.splitlines()
    assert "missing values (empty): b 2" in said
    assert "a: 2 missing values (1 empty, 1 'unk')" in said
    assert "c: 2 missing values (1 empty, 1 'NULL'); --not-missing NULL keeps them" in said


def test_a_column_called_id_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, found = read(tmp_path, "id,x,y\n7,1,a\n3,2,b\n9,3,a\n")
    assert source.settings["numeric"] == ["x"]
    assert found.column_names == ["x", "label"]
    assert (
        "left out: id (in a dataset, id is the example's own; to have it as a feature, rename"
        in capsys.readouterr().out
    )
    with pytest.raises(SlipwayError, match=r"a feature cannot be named 'id'.*rename the column.*--drop id"):
        read(tmp_path, "id,x,y\n7,1,a\n3,2,b\n9,3,a\n", category=["id"])


TABLE = "zip;kg;y\n" + "".join(f"{at + 10};{at}.5;{'ab'[at % 2]}\n" for at in range(9))


@pytest.mark.parametrize(
    "title",
    ["Sales; of 2024\n", "Sales; of 2024; by me\n\n", "a; b; c; d; e\n", "Sales; 2024\n\n", ";;\nSales; of 2024\n"],
)
def test_a_title_with_delimiters_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], title: str
) -> None:
    source, found = read(tmp_path, title + TABLE)
    assert source.settings["numeric"] == ["zip", "kg"]
    assert len(found) == 9
    assert "before the header" in capsys.readouterr().out


def test_a_title_like_a_header_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match=r"no column 'y' .*; line 2 has it: --skip 1 takes that as the header"):
        read(tmp_path, "Sales;of;2024\n" + TABLE)
    assert len(read(tmp_path, "Sales;of;2024\n" + TABLE, skip=1)[1]) == 9
    units = TABLE.replace("\n", "\ncode;kg;class\n", 1)  # a line of units below a header is none of a title
    assert csv_reader.names(written(tmp_path, units), csv_reader.Reading()) == ("zip", "kg", "y")
    short = "kg,y\n" + "".join(f"r{at},{at}.5,a\n" for at in range(9))  # as R writes row names
    assert csv_reader.names(written(tmp_path, short), csv_reader.Reading()) == ("kg", "y")


def test_why_a_value_cannot_be_read_is_not_part_of_it(tmp_path: Path) -> None:
    from mlflow.types import ColSpec, DataType, Schema

    (tmp_path / "t.csv").write_text("p,d\n62%,31.12.2024\n0.42,2024-12-31\n")
    reading = {"numbers": {"p": "1234.5%"}, "dates": {"d": "%d.%m.%Y"}}
    about = {"recipe": "tabular", "inputs": {"p": "double", "d": "any"}, "params": {"dates": ["d"], "reading": reading}}
    (batch,) = predict._read(tmp_path / "t.csv", about)[1].combine_chunks().to_batches()
    inputs = Schema([ColSpec(DataType.double, "p"), ColSpec(DataType.string, "d")])
    frame, problems = worker._asked(batch, inputs, "tabular")
    assert problems == {1: "p: '0.42' is not a number written as 1234.5 %"}
    assert frame["d"].tolist() == ["2024-12-31T00:00:00.000000", None]
    assert frame["p"].fillna(0).tolist() == [62, 0]
    assert worker.HINT == csv_numbers.HINT
    (batch,) = predict._read(tmp_path / "t.csv", about)[1].select(["d"]).combine_chunks().to_batches()
    assert worker._asked(batch, inputs, "tabular")[1] == {1: "d: '2024-12-31' is not a date of the form %d.%m.%Y"}


def test_a_column_to_predict_of_another_type_is_named() -> None:
    """Arrow's own words reached the user."""
    from mlflow.types import ColSpec, DataType, Schema

    inputs = Schema([ColSpec(DataType.double, "x")])
    objects = pa.array([{"a": 1}])
    with pytest.raises(SystemExit, match="column x is struct<a: int64>, not a number"):
        worker._asked(pa.record_batch({"x": objects, "y": objects}), inputs, "tabular")
    with pytest.raises(SystemExit, match=rf"column x is int64, but not all .* a number: .*{2**60 + 1}"):
        worker._asked(pa.record_batch({"x": pa.array([2**60 + 1])}), inputs, "tabular")
    assert worker._asked(pa.record_batch({"x": pa.array([5]), "y": objects}), inputs, "tabular")[1] == {}


@pytest.mark.parametrize("how", ["group", "time"])
def test_a_single_group_or_time_is_refused_at_the_ingest(
    repo: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    def ingest(*values: str, more: tuple[str, ...] = ()) -> int:
        lines = "".join(f"{values[at % len(values)]},{at}.5,{'ab'[at // 3 % 2]}\n" for at in range(12))
        written(repo, f"p,x,y\n{lines}")
        return main(["ingest", "table", "t.csv", "--label", "y", "--split-by", f"{how}=p", "--replace", *more])

    before = Path("params.yaml").read_bytes()
    assert ingest("2024-01-01") == 1
    said = capsys.readouterr().err
    assert f"--split-by {how}=p: column p has only 1 {how}, 2024-01-01" in said
    assert not Path("data").exists()
    assert Path("params.yaml").read_bytes() == before
    assert ingest("2024-01-01", "2024-01-02") == 1
    assert f"has only 2 {how}s; test and train and validation need one each" in capsys.readouterr().err
    assert ingest("2024-01-01", "2024-01-02", "2024-01-03") == 0
    with pytest.raises(SystemExit):
        ingest("2024-01-01", more=("--split-by", "time=x"))
    assert f"argument --split-by: is given twice ({how}=p and time=x); give it once" in capsys.readouterr().err


def test_labels_that_are_words_of_yaml_stay_words(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["yes", "no", "on", "off", "true", "Null", "12:30", "1.0x"]
    written(repo, "x,y\n" + "".join(f"{at}.5,{labels[at % 8]}\n" for at in range(32)))
    assert main(["ingest", "table", "t.csv", "--label", "y", "--replace", "--not-missing", "Null"]) == 0
    text = Path("params.yaml").read_text()
    for word in ("yes", "no", "on", "off", "true", "Null", "12:30"):
        assert f'  - "{word}"\n' in text
    assert sorted(params.load().task.labels) == sorted(labels)
    assert "model: mlp  # linear, mlp or transformer: docs/recipes/tabular.md" in text  # no longer that of images
    for word, kind in (("true", "a boolean"), ("null", "nothing"), ("2024-01-01", "a date"), ("7", "a number")):
        Path("params.yaml").write_text(f"name: a\nrecipe: tabular\ntabular:\n  numeric: [x]\n  labels: [{word}, b]\n")
        expected = f"tabular.labels.0: expected text, but without quotes YAML reads {word} as {kind}: write '{word}'"
        with pytest.raises(SlipwayError, match=expected):
            params.load()
    Path("params.yaml").write_text("name: a\nrecipe: tabular\ntabular:\n  numeric: [x]\n  labels: [yes, no]\n")
    assert params.load().task.labels == ["yes", "no"]
    assert capsys.readouterr().err == ""
