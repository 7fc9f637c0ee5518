"""Reading CSV and Parquet files as they come, and what `ingest table` makes of them."""

import datetime
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError, recipes
from components.data import csv_reader, csv_start, csv_values
from components.data.csv_reader import Reading
from components.params import new_dataset
from components.recipes.source import Source
from components.recipes.tabular.source import tabular
from components.reports import results
from tests.conftest import ROOT

recipe: Any = recipes.load("tabular")
DATA = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets"))


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes, label: list[str] | None = None, **options: Any) -> tuple[Source, pa.Table]:
    """Ingest it; all examples, of the types that the recipe's settings ask for."""
    source = tabular(written(folder, content), label or ["y"], **options)
    found = pa.concat_tables(source.tables)
    params = recipe.Params.model_validate(source.settings)
    assert found.select(recipes.schema(recipe, params).names).schema.equals(recipes.schema(recipe, params))
    return source, found


def test_columns_become_what_all_of_their_values_are(tmp_path: Path) -> None:
    text = "n,c,b,d,t,none,y\n1, red,true,2020-01-31,2020-01-31T12:30:00,,a\n-2e3,007 ,FALSE,,2020-01-31 12:30,NA,b\n"
    source, found = read(tmp_path, text)
    sections = {key: source.settings[key] for key in ("numeric", "categorical", "boolean", "dates", "labels")}
    assert sections == {
        "numeric": ["n"],
        "categorical": ["c", "none"],
        "boolean": ["b"],
        "dates": ["d", "t"],
        "labels": ["a", "b"],
    }
    noon = datetime.datetime(2020, 1, 31, 12, 30)
    assert found.to_pydict() == {
        "n": [1.0, -2000.0],
        "c": ["red", "007"],
        "b": [True, False],
        "d": [datetime.datetime(2020, 1, 31), None],
        "t": [noon, noon],
        "none": [None, None],
        "label": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("x,y\n1.5,a\n2.5,b\n", {}, [1.5, 2.5]),
        ("\ufeffx,y\n1.5,a\n2.5,b\n", {}, [1.5, 2.5]),
        ("x;y\n1,5;a\n-2,5;b\n", {}, [1.5, -2.5]),
        ("x\ty\n1.5\ta\n2.5\tb\n", {}, [1.5, 2.5]),
        ("x|y\n1.5|a\n2.5|b\n", {}, [1.5, 2.5]),
        ("x*y\n1.5*a\n2.5*b\n", {"delimiter": "*"}, [1.5, 2.5]),
        ("1.5,a\n2.5,b\n", {"columns": "x,y"}, [1.5, 2.5]),
        ('x,y\n"1,234.5",a\n2.5,b\n', {"thousands": ","}, [1234.5, 2.5]),
        ("x;y\n1,234;a\n2,5;b\n", {}, [1.234, 2.5]),
        ("x;y\n1.234,5;a\n2,5;b\n", {"thousands": ".", "decimal": ","}, [1234.5, 2.5]),
        ("x,y\n?,a\n 2.5,b\n", {"missing": ["?"]}, [None, 2.5]),
        ("x,y\r\n1.5,a\r\n2.5,b\r\n\r\n", {}, [1.5, 2.5]),
        ("x,y\n1.5,a\n2.5,b\nsource: somewhere\n", {"footer": 1}, [1.5, 2.5]),
        ("x,y\n1e999,a\n-1e999,b\n", {}, [float("inf"), float("-inf")]),
        ("x,y\n.5,a\n+5.,b\n", {}, [0.5, 5.0]),
    ],
)
def test_numbers_of_many_spellings(tmp_path: Path, text: str, options: dict[str, Any], expected: list[float]) -> None:
    source, found = read(tmp_path, text, **options)
    assert source.settings["numeric"] == ["x"]
    assert found["x"].to_pylist() == expected
    assert source.settings["labels"] == ["a", "b"]


def test_other_encodings(tmp_path: Path) -> None:
    text = "x,y\nGrün,a\nÉté,b\n"
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8-sig"):
        assert read(tmp_path, text.encode(encoding), encoding=encoding)[1]["x"].to_pylist() == ["Grün", "Été"]
    assert read(tmp_path, "x,y\n日本,a\na\0b,b\n")[1]["x"].to_pylist() == ["日本", "a\0b"]


MANY = "".join(f"{number},2020-01-{number:02},a\n" for number in range(1, 20))
HOSTILE: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, "the file is empty"),
    "blank": ("\n \n", {}, "the file is empty|no column"),
    "header only": ("x,y\n", {}, "no rows after the header"),
    "wrong delimiter": ("x:y\n1:a\n2:b\n", {"label": ["x:y"]}, "only one column.*--delimiter"),
    "the delimiter is not it": ("x,y\n1,a\n", {"label": ["x,y"], "delimiter": ";"}, "only one column"),
    "two characters": ("x,y\n1,a\n", {"delimiter": ", "}, "expected one character"),
    "latin-1": (b"x,y\nok,a\nGr\xfcn,b\n", {}, r"line 3, byte 3 \(fc\) is not utf-8.*--encoding cp1252"),
    "latin-1 in the header": (b"x,\xfc,y\nok,a\n", {}, r"line 1, byte 3 \(fc\) is not utf-8"),
    "no text": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08",
        {},
        "t.csv: is no text file: its first bytes are 89 50 4e 47.*Parquet[^;]*$",
    ),
    "utf-16": ("x,y\n1,a\n".encode("utf-16"), {}, "like UTF-16: use --encoding utf-16"),
    "a class that is a word": (
        "x,y\n1,a\n2,NA\n3,NA\n",
        {},
        "1 distinct value, .*; 2 'NA' count as missing; to keep them: --not-missing NA",
    ),
    "a word that is none": ("x,y\n1,a\n", {"not_missing": ["?"]}, "--not-missing '\\?': .* these are: NA, N/A"),
    "unknown encoding": ("x,y\n1,a\n", {"encoding": "latin-l"}, "--encoding latin-l: unknown"),
    "a short row": ("x,y\n1,a\n2\n", {}, "line 3 has 1 values, but 2 are expected: '2'.*--footer 1"),
    "a long row": ("x,y\n1,a\n2,b,c\n", {}, "line 3 has 3 values, but 2 are expected"),
    "twice": ("x,x,y\n1,2,a\n", {}, "two columns are named 'x'"),
    "no header": ("1,a\n2,b\n", {"label": ["y"]}, "no column 'y'.*--columns A,B,C"),
    "a quote never closed": ('x,y\n"1,a\n2,b\n', {}, "cannot be read|has 1 values"),
    "a text among numbers": (
        "x,d,y\n" + MANY + "none,2020-01-20,b\n",
        {},
        "19 of 20 values are numbers, but row 20 has 'none'",
    ),
    "a text among dates": (
        "x,d,y\n" + MANY + "20,soon,b\n",
        {},
        "19 of 20 values are dates, but row 20 has 'soon'.*--missing",
    ),
    "no day": ("x,y\n2020-02-30,a\n2020-01-01,b\n", {}, "column x: '2020-02-30' is not a date.*--missing TEXT"),
    "the year 0, or none": ("x,y\n0000-00-00,a\n2020-01-01,b\n", {}, "'0000-00-00' is not a date"),
    "thousands or a fraction": ("x;y\n1,234;a\n5,678;b\n", {}, "'1,234' looks like a number with thousands"),
    "not exact": (f"x,y\n{2**60 + 1},a\n1,b\n", {}, "column x: .* too large to be represented exactly.*--drop x"),
    "another form": (
        "x,y\n31.1.2020,a\n1/2/2020,b\n",
        {"date": ["x=%d.%m.%Y"]},
        "'1/2/2020' is not a date of the form",
    ),
    "number wanted": ("x,y\n1,a\n2,b\n", {"task": "number"}, "column y: 'a' is not a number"),
    "one class": ("x,y\n1,a\n2,a\n", {}, "1 distinct value"),
    "rename what is not there": ("x,y\n1,a\n2,b\n", {"rename": ["c=d"]}, r"no such label \(there are: a, b\)"),
    "reserved": ("label,y\n1,a\n2,b\n", {}, "cannot be named 'label'.*rename.*--drop label"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_says_what_is_wrong_and_what_mends_it(tmp_path: Path, name: str) -> None:
    content, options, expected = HOSTILE[name]
    with pytest.raises(SlipwayError, match=expected) as caught:
        read(tmp_path, content, **options)
    assert "t.csv" in str(caught.value) or "--" in str(caught.value)


def test_files_that_are_not_there_or_no_parquet(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "no.csv", "no such file"),
        (tmp_path / "no.parquet", "no such file"),
        (written(tmp_path, "PAR1 and no more", "t.parquet"), "cannot be read"),
    ):
        with pytest.raises(SlipwayError, match=expected):
            tabular(path, ["y"])


@pytest.mark.e2e
def test_ten_megabytes_in_a_cell_are_read(tmp_path: Path) -> None:
    _, found = read(tmp_path, f"x,y\n{'x' * 10_000_000},a\nok,b\n")
    assert [len(text) for text in found["x"].to_pylist()] == [10_000_000, 2]


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        (["0", "1", "1"], {}, ["0", "1"]),
        (["0.5", "1", "1"], {}, None),
        ([str(number) for number in range(11)], {}, None),
        (["0", "1", "1"], {"task": "number"}, None),
        ([*map(str, range(11))], {"task": "class"}, sorted(map(str, range(11)))),
        (["true", "false"], {}, ["false", "true"]),
        (["x", "y", ""], {}, ["x", "y"]),
        (["1", "2"], {"rename": ["1=good", "2=bad"]}, ["bad", "good"]),
        (["<=50K", ">50K.", ">50K"], {"rename": [">50K.=>50K"]}, ["<=50K", ">50K"]),
        (["a=b", "a"], {"rename": ["a=b=c", "a=d"]}, ["c", "d"]),
    ],
)
def test_what_is_predicted_is_guessed_and_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: list[str],
    options: dict[str, Any],
    expected: list[str] | None,
) -> None:
    text = "x,y\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels))
    source, found = read(tmp_path, text, **options)
    said = capsys.readouterr().out
    if expected is None:
        assert (source.settings["labels"], source.settings["targets"]) == ([], ["y"])
        assert found["label"].to_pylist() == [float(label) for label in labels]
        assert source.others == {"register": {"minimum": {"r2": 0.0}}}
        assert "to predict: y, a number" in said
    else:
        assert (source.settings["labels"], source.settings["targets"]) == (expected, [])
        assert set(found["label"].to_pylist()) - {None} == set(expected)
        assert f"one of {len(expected)} classes" in said
    assert ("if that is wrong, use --task" in said) == ("task" not in options)


def test_several_numbers_are_a_list_without_gaps(tmp_path: Path) -> None:
    source, found = read(tmp_path, "x,p,q\n1,2,3\n4,5,\n", ["q", "p"])
    assert source.settings["targets"] == ["q", "p"]
    assert found["label"].to_pylist() == [[3.0, 2.0], None]
    assert source.settings["numeric"] == ["x"]


def test_an_official_test_file_is_a_split_and_brings_no_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = written(tmp_path, "y,x\na.,3\nb,4\n", "test.csv")
    source, found = read(tmp_path, "x,y\n1,a\n2,b\n", test=test)
    assert found["split"].to_pylist() == ["train", "train", "test", "test"]
    assert found["x"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert source.settings["labels"] == ["a", "b"]
    assert "test.csv has labels that" in capsys.readouterr().out
    _, found = read(tmp_path, "x,y\n1,a\n2,b\n", test=test, rename=["a.=a"])
    assert found["label"].to_pylist() == ["a", "b", "a", "b"]
    with pytest.raises(SlipwayError, match=r"test\.csv: no column 'z'"):
        read(tmp_path, "x,z,y\n1,1,a\n2,2,b\n", test=test)


def test_columns_are_dropped_and_taken_for_categories_and_dates(tmp_path: Path) -> None:
    text = "x,code,when,split,y\n1,007,31.01.2020,train,a\n2,7,,test,b\n"
    _, found = read(tmp_path, text, drop=["x"], category=["code"], date=["when=%d.%m.%Y"])
    assert found.column_names == ["code", "when", "label", "split"]
    assert found["code"].to_pylist() == ["007", "7"]
    assert found["when"].to_pylist() == [datetime.datetime(2020, 1, 31), None]
    assert found["split"].to_pylist() == ["train", "test"]


COUNTRIES = "land,n,y\nNA,NA,a\nDE,1,null\nnull,2,b\n,3.5,b\nNA,,b\n"


def test_a_missing_value_that_stood_there_as_a_word_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = read(tmp_path, COUNTRIES)
    assert found["land"].to_pylist() == [None, "DE", None, None, None]
    lines = capsys.readouterr().out.splitlines()
    kept = "--not-missing NA --not-missing null keeps them"
    assert f"land: 4 missing values (1 empty, 2 'NA', 1 'null'); {kept}" in lines
    assert "y: 1 missing value (1 'null'); --not-missing null keeps them" in lines
    assert "n: 2 missing values (1 empty, 1 'NA')" in lines  # among numbers it is no value
    read(tmp_path, COUNTRIES, missing=["NA", "DE"])
    assert "land: 5 missing values (1 empty, 1 'DE', 2 'NA', 1 'null')" in capsys.readouterr().out


def test_a_word_may_be_a_category_or_a_label_and_is_never_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, found = read(tmp_path, COUNTRIES, not_missing=["NA", "null"])
    assert found.to_pydict() == {
        "land": ["NA", "DE", "null", None, "NA"],
        "n": [None, 1.0, 2.0, 3.5, None],
        "label": ["a", "null", "b", "b", "b"],
    }
    assert source.settings["labels"] == ["a", "b", "null"]
    assert "not-missing" not in capsys.readouterr().out
    _, found = read(tmp_path, "land,y\nNA,1.5\nDE,NA\n", not_missing=["NA"])
    assert found.to_pydict() == {"land": ["NA", "DE"], "label": [1.5, None]}


def test_many_hints_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(f"c{number}" for number in range(30))
    read(tmp_path, f"{names},y\n{'NA,' * 30}a\n{'x,' * 30}b\n")
    said = capsys.readouterr().out
    assert said.count("--not-missing NA") == 10
    assert "... and 20 more columns" in said


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["31.12.2023", "1.2.2023"], "looks like dates, read as categories: --date 'x=%d.%m.%Y' reads"),
        (["12/31/2023", "01/02/2023"], "--date 'x=%m/%d/%Y' reads"),
        (["03/04/2023", "01/02/2023"], "--date 'x=%m/%d/%Y' or --date 'x=%d/%m/%Y' reads"),
        (["31.12.23 10:15", "1.2.23 23:59"], "--date 'x=%d.%m.%y %H:%M' reads"),
        (["2023-1-31", "2023-12-1"], "--date 'x=%Y-%m-%d' reads"),
        (["31.12.2023", "soon"], None),
        (["", ""], "every value is missing"),
        ([f"u{number}" for number in range(60)], r"an id or a date (60 different values in 60 rows), read"),
        ([f"u{number % 31}" for number in range(60)], "--drop x leaves it out"),
        ([f"u{number % 30}" for number in range(60)], None),
        ([f"u{number}" for number in range(49)], None),
    ],
)
def test_categories_that_look_like_an_id_or_dates_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[str], expected: str | None
) -> None:
    text = "x,n,y\n" + "".join(f"{value},1,{'ab'[row % 2]}\n" for row, value in enumerate(values))
    read(tmp_path, text)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("x: ")]
    assert len(said) == (expected is not None)
    assert expected is None or expected in said[0]
    read(tmp_path, text, category=["x"])  # the user has said so
    assert "\nx: " not in capsys.readouterr().out
    pq.write_table(pa.table({"x": values, "y": ["ab"[row % 2] for row in range(len(values))]}), tmp_path / "t.parquet")
    tabular(tmp_path / "t.parquet", ["y"])
    assert ("\nx: " in capsys.readouterr().out) == (expected is not None)


def test_names_of_columns_may_stand_in_a_file(tmp_path: Path) -> None:
    names = written(tmp_path, "x\ny\n", "names.txt")
    assert read(tmp_path, "1,a\n2,b\n", columns=str(names))[1]["x"].to_pylist() == [1.0, 2.0]


def test_a_parquet_file_is_read_by_its_types(tmp_path: Path) -> None:
    far = pa.array([9_000_000_000_000_000_000, 0], pa.timestamp("us"))
    content = {
        "i": pa.array([1, None], pa.int8()),
        "b": [True, None],
        "c": pa.array(["u", "v"]).dictionary_encode(),
        "large": pa.array(["NA", None], pa.large_string()),
        "d": pa.array([datetime.date(2020, 1, 1), None]),
        "far": far,
        "ns": pa.array([1_000_001, None], pa.timestamp("ns", "Europe/Berlin")),
        "y": [1, 2],
    }
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    source = tabular(tmp_path / "t.parquet", ["y"])
    found = pa.concat_tables(source.tables)
    assert source.settings["numeric"] == ["i"]
    assert source.settings["boolean"] == ["b"]
    assert source.settings["categorical"] == ["c", "large"]
    assert found["large"].to_pylist() == [None, None]  # as in a CSV
    assert source.settings["dates"] == ["d", "far", "ns"]
    assert source.settings["labels"] == ["1", "2"]
    assert found["far"].cast(pa.int64()).to_pylist()[0] == 9_000_000_000_000_000_000
    assert found["ns"].cast(pa.int64()).to_pylist() == [1000, None]
    params = recipe.Params.model_validate(source.settings)
    assert recipe.facts(found, params)["dates_valid"].to_pylist() == [False, True]
    pq.write_table(pa.table({"x": [[1], [2]], "y": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(SlipwayError, match=r"column x is list.*--drop x"):
        tabular(tmp_path / "t.parquet", ["y"])


def test_more_rows_are_read_with_the_datasets_types(tmp_path: Path) -> None:
    """By themselves the second file's codes would be numbers."""
    first, _ = read(tmp_path, "code,n,y\na7,1,u\n007,2,v\n")
    schema = recipes.schema(recipe, recipe.Params.model_validate(first.settings))
    second = tabular(written(tmp_path, "code,n,y\n007,3,u\n008,,v\n"), ["y"])
    second.schema = schema
    assert pa.concat_tables(second.tables)["code"].to_pylist() == ["007", "008"]
    third = tabular(written(tmp_path, "code,n,y\n007,none,u\n008,,v\n"), ["y"])
    third.schema = schema
    with pytest.raises(SlipwayError, match="column n: 'none' is not a number"):
        list(third.tables)


def test_a_file_of_another_dataset_is_told_as_that(tmp_path: Path) -> None:
    classes = recipe.Params.model_validate(read(tmp_path, "code,n,y\na7,1,u\n007,2,v\n")[0].settings)
    houses = written(tmp_path, "code,n,y\n" + "".join(f"a{at},1,{at * 1000}\n" for at in range(200)))
    with pytest.raises(SlipwayError, match=r"predicts something else: classes \(u, v\), where y is a num") as raised:
        tabular(houses, ["y"], known=classes)
    assert "--replace starts a new dataset" in str(raised.value) and "`slipway new NAME" in str(raised.value)
    assert "--task" not in str(raised.value)  # it would only say that these are too many to be classes
    with pytest.raises(SlipwayError, match=r"200 different values.*--replace starts a new") as raised:
        tabular(houses, ["y"], task="class", known=classes)
    assert "--task number" not in str(raised.value)
    with pytest.raises(SlipwayError, match=r"where y is a number; .*; if it is what the dataset .* use --task class"):
        tabular(written(tmp_path, "code,n,y\n007,1,0.5\n008,2,1\n"), ["y"], known=classes)
    numbers = recipe.Params.model_validate(read(tmp_path, "code,n,y\na7,1,1.5\n007,2,2.5\n")[0].settings)
    with pytest.raises(SlipwayError, match="something else: a number, where y is a class; --replace") as raised:
        tabular(written(tmp_path, "code,n,y\na7,1,u\n007,2,v\n"), ["y"], known=numbers)
    assert "--task" not in str(raised.value)


def test_what_the_dataset_predicts_says_what_a_label_is_that_may_be_either(tmp_path: Path) -> None:
    numbers = recipe.Params.model_validate(read(tmp_path, "x,y\n1,1.5\n2,2.5\n")[0].settings)
    assert tabular(written(tmp_path, "x,y\n3,1\n4,2\n"), ["y"], known=numbers).settings["targets"] == ["y"]
    rows = "".join(f"{at % 7},{at % 20}\n" for at in range(60))
    classes = recipe.Params.model_validate(read(tmp_path, f"x,y\n{rows}", task="class")[0].settings)
    assert len(tabular(written(tmp_path, f"x,y\n{rows}"), ["y"], known=classes).settings["labels"]) == 20


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a", "a", "a"], r"1 distinct value, .* the same in every row that has one \('a'\), so there is nothing"),
        (["", "", ""], "0 distinct values, .* every row's is missing, so there is nothing to learn"),
        ([f"word {at}" for at in range(60)], "60 different values in 60 rows, each of them once.*as --label$"),
    ],
)
def test_a_label_of_text_is_not_told_to_be_a_number(tmp_path: Path, values: list[str], told: str) -> None:
    with pytest.raises(SlipwayError, match=told) as raised:
        read(tmp_path, "x,y\n" + "".join(f"{at},{value}\n" for at, value in enumerate(values)))
    assert "--task" not in str(raised.value)
    with pytest.raises(SlipwayError, match=r"60 different values .*; to predict a number, use --task number"):
        read(tmp_path, "x,y\n" + "".join(f"{at},{at}\n" for at in range(60)), task="class")


def test_the_gates_of_a_new_dataset_of_numbers_replace_those_of_classes(tmp_path: Path) -> None:
    source, _ = read(tmp_path, "x,y\n1,1.5\n2,2.5\n")
    assert new_dataset.others(source, None, results.measures_cost) == {"register": {"minimum": {"r2": 0.0}}}


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)


@given(st.lists(st.tuples(CELLS, st.floats(allow_nan=False)), min_size=1, max_size=30), st.sampled_from(",;\t|"))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], mark: str) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "number"), *rows])
    how = Reading(delimiter=mark)
    (found,) = csv_reader.blocks(path, how)
    expected = [text.strip() for text, _ in rows]
    assert [value or "" for value in found["text"].to_pylist()] == [
        "" if text in csv_reader.MISSING_WORDS else text for text in expected
    ]
    assert csv_values.cast(found["number"], pa.float64(), how).to_pylist() == [number for _, number in rows]


def test_blocks_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_start, "BLOCK_BYTES", 1000)
    path = written(tmp_path, "x,y\n" + "".join(f"{number},a\n" for number in range(2000)))
    found = list(csv_reader.blocks(path, Reading()))
    assert len(found) > 5
    assert [int(value) for part in found for value in part["x"].to_pylist()] == list(range(2000))
    kinds = csv_values.look(iter(found), Reading())
    assert (kinds["x"].count, kinds["x"].matches["number"], kinds["y"].odd["number"]) == (2000, 2000, (1, "a"))
    with pytest.raises(SlipwayError, match="a line of more than"):
        list(csv_reader.blocks(written(tmp_path, f"x,y\n{'x' * 5000},a\n"), Reading()))


def test_rows_stand_there_as_in_the_file_with_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, ' text ,label\r\n" one\ntwo ""2""",NA\r\n\r\n007, x\r\n')
    assert list(csv_reader.rows(path, Reading())) == [
        (1, ["text", "label"]),
        (3, [' one\ntwo "2"', "NA"]),
        (5, ["007", " x"]),
    ]
    plain = written(tmp_path, 'a;b\n"x;"\n')
    assert list(csv_reader.rows(plain, Reading(), quotes=False))[1:] == [(2, ['"x', '"'])]


def test_rows_that_are_wrong_are_told_by_their_line_or_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "a,b\n" + '"1\n",2\n' * 100
    odd: dict[int, list[str]] = {}
    assert len(list(csv_reader.rows(written(tmp_path, many + "\nx,y,z\n"), Reading(), odd=odd))) == 101
    assert odd == {202: [], 203: ["x", "y", "z"]}
    for end, expected in (
        (b"x,y,z\n", r"t\.csv: line 202 has 3 values, the header 2; is a quote or a delimiter \(','\) missing"),
        (b'x,"y\n', "line 202: unexpected end of data; is a quote missing"),
        (b"x,\xff\n", r"line 202, byte 3 \(ff\) is not utf-8"),
    ):
        with pytest.raises(SlipwayError, match=expected):
            list(csv_reader.rows(written(tmp_path, many.encode() + end), Reading()))
    monkeypatch.setattr(csv_reader, "LONGEST", 1000)
    with pytest.raises(SlipwayError, match="line 2: field larger than field limit"):
        list(csv_reader.rows(written(tmp_path, f"a,b\n{'x' * 1001},y\n"), Reading()))
    with pytest.raises(SlipwayError, match="no such file"):
        list(csv_reader.rows(tmp_path / "none.csv", Reading(delimiter=",")))


def test_missing_truths_and_dates_go_through_serving() -> None:
    """A frame of MLflow's has objects or NaN where a truth is missing, and NaT for a date."""
    import pandas as pd

    from components.serving import onnx_model

    section, sample = recipe.sample(50, 1)
    params = recipe.Params.model_validate(section)
    state = json.loads(json.dumps(recipe.fit([sample], params)))

    class Session:
        def get_inputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name=name) for name in ("numeric", "categorical")]

        def run(self, _: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            first = feeds["numeric"][:, 0]
            return [np.stack([first < 0, first >= 0], axis=1).astype(np.float32)]

    model = onnx_model.Model(Session(), recipe, params, state, recipe.target(params), None)
    frame = sample.select(recipe.columns(params).names).to_pandas()
    assert frame["member"].isna().any()
    assert frame["since"].isna().any()
    answers = onnx_model.Pyfunc(model).predict(frame)
    assert answers["error"].isna().all()
    assert answers["label"].tolist() == ["yes" if x >= 0 else "no" for x in frame["x"] - np.mean(frame["x"])]
    nanoseconds = frame.assign(since=frame["since"].astype("datetime64[ns]"), x=1e300)
    assert onnx_model.Pyfunc(model).predict(nanoseconds)["error"].str.contains("x is too large").all()
    hostile = frame.assign(since=[pd.Timestamp("0001-01-01"), *[pd.NaT] * 49], member=[None] * 50)
    assert onnx_model.Pyfunc(model).predict(hostile)["error"].isna().all()


@pytest.mark.skipif(not DATA.exists(), reason="the real data sets are not on this machine")
def test_the_real_tables_are_read() -> None:
    income = "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain"
    income += ",capital-loss,hours-per-week,native-country,income"
    source = tabular(
        DATA / "adult" / "adult-train.csv",
        ["income"],
        test=DATA / "adult" / "adult-test.csv",
        columns=income,
        missing=["?"],
        rename=[">50K.=>50K", "<=50K.=<=50K"],
    )
    found = pa.concat_tables(source.tables)
    assert source.settings["labels"] == ["<=50K", ">50K"]
    assert len(source.settings["numeric"]) == 6
    assert (len(found), found["split"].to_pylist().count("test"), found["workclass"].null_count) == (48842, 16281, 2799)
    grades = tabular(DATA / "student" / "student-mat.csv", ["G3"])
    assert grades.settings["targets"] == ["G3"]
    assert "traveltime" in grades.settings["numeric"]  # the byte-order mark is no part of a name
    machines = tabular(DATA / "ai4i2020" / "ai4i2020.csv", ["Machine_failure"], drop=["UDI", "Product ID"])
    assert machines.settings["labels"] == ["0", "1"]
