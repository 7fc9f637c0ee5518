"""JSON, an object per line or an array of them: the same columns, dates as text, no number that becomes another one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components import SlipwayError
from components.data import csv_reader, file_kinds
from components.data.csv_reader import Reading
from components.recipes.series.source import series
from components.recipes.tabular.example import Params
from components.recipes.tabular.source import tabular
from components.stages import predict
from tests.recipes.test_tabular_zones import BERLIN, dates

SUFFIXES = ("json", "jsonl")


def written(folder: Path, records: list[Any], suffix: str) -> Path:
    file = folder / f"t.{suffix}"
    lines = [json.dumps(record) for record in records]
    file.write_text(f"[{', '.join(lines)}]" if suffix == "json" else "\n".join(lines))
    return file


def timed(*when: str) -> list[dict[str, Any]]:
    return [{"x": at, "when": text, "y": "ab"[at % 2]} for at, text in enumerate(when * 6)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_record_may_bring_columns(tmp_path: Path, suffix: str) -> None:
    """Of an array, columns that the first record lacks were lost."""
    file = written(tmp_path, [{"b": 1, "y": "a"}, {"a": 2.5, "y": "b"}, {"b": 3, "c": True}], suffix)
    found = csv_reader.whole(file, Reading())
    assert found["b"].to_pylist() == [1, None, 3] and found["a"].to_pylist() == [None, 2.5, None]
    assert found.column_names == ["b", "y", "a", "c"]
    assert [str(kind) for kind in found.schema.types] == ["int64", "string", "double", "bool"]


WRONG: list[tuple[list[Any], str]] = [
    ([{"x": 1, "y": "a"}, None], "2: expected an object such as .*, found null"),
    ([{"x": 1, "y": "a"}, 5], "2: expected an object such as .*, found 5"),
    ([[1, "a"]], r"1: expected an object such as .*, found \[1, \"a\"\]"),
    ([], "there are no records|is empty"),
    ([{"x": 1, "y": "a"}, {"x": "b", "y": "a"}], "2: column x is 'b', text, but .* 1 has 1, a number"),
    ([{"x": 1, "y": "a"}, {"x": True, "y": "a"}], "2: column x is true, a boolean, but .* 1 has 1, a number"),
    ([{"x": 10**30, "y": "a"}, {"x": 0.5, "y": "a"}], f"1: column x is {10**30}, .*too large"),
    ([{"x": 10**80, "y": "a"}], f"1: column x is {10**80}, .*too large"),
    ([{"x": "\ud800", "y": "a"}], "1: column x .*half a surrogate pair"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("records", "message"), WRONG)
def test_what_is_no_table_names_its_record(tmp_path: Path, suffix: str, records: list[Any], message: str) -> None:
    file = written(tmp_path, records, suffix)
    with pytest.raises(SlipwayError, match=message) as caught:
        tabular(file, ["y"])
    assert str(caught.value).startswith(f"{file}: ")
    if records:
        assert ("record " if suffix == "json" else "line ") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"x": 1, "y": "a"}\n{"x": 1, "x": 2, "y": "b"}', "line 2: two values are named 'x'"),
        ("t.json", '[{"x": 1, "y": "a"},\n {"x": 1, "x": 2, "y": "b"}]', "two values are named 'x'"),
        ("t.jsonl", '{"x": %s, "y": "a"}' % ("1" * 400), "line 1: column x is 1111.*, which is too large"),
        ("t.jsonl", '{"x": %s, "y": "a"}' % ("1" * 5000), "line 1: cannot be read: "),
        ("t.jsonl", '{"y": "a"}', "there is only one column, 'y'$"),
        ("t.jsonl", '{"x": 1, "y": "a"}\n{"x": 1, "y": "b"', r"line 2, column ..: is not JSON: "),
        ("t.json", '[{"x": 1, "y": "a"},', "line 1, column 21: is not JSON: "),
        ("t.json", '[{"x": 1, "y": "a"}', "line 1, column 20: is not JSON: expected a comma"),
        ("t.json", '[{"x": 1, "y": "a"}]\n{}', "line 2, column 1: is not JSON: there is more"),
        ("t.json", '[{"x": 1, "y": "a"},\n{"x": 1 "y": "b"}]', "line 2, column 9: is not JSON: "),
        ("t.jsonl", '{"x": 1,\n"y": "a"}\n\n{"x": {"z": 1}, "x": 2}', "line 4: two values are named 'x'"),
    ],
)
def test_what_is_no_json_names_its_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SlipwayError, match=message):
        tabular(tmp_path / name, ["y"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whole_numbers_stay_different(tmp_path: Path, suffix: str) -> None:
    """Arrow makes a fraction of one beyond int64: a hundred different ones were one."""
    records = [{"x": 2**63 + at, "y": "ab"[at % 2]} for at in range(100)]
    file = written(tmp_path, records, suffix)
    with pytest.raises(SlipwayError, match=f"column x: {2**63} is too large to be represented exactly"):
        pa.concat_tables(tabular(file, ["y"]).tables)
    source = tabular(file, ["y"], category=["x"])
    assert pa.concat_tables(source.tables)["x"].to_pylist() == [str(record["x"]) for record in records]
    small = written(tmp_path, [{"x": 1e300, "y": "a"}, {"x": 2**60, "y": "b"}, {"x": None, "y": "b"}], suffix)
    assert csv_reader.whole(small, Reading())["x"].to_pylist() == [1e300, 2.0**60, None]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("zone", "expected"), [(None, "2024-03-31 02:30:00"), (BERLIN, "2024-03-31 04:30:00")])
def test_dates_that_name_their_zone_are_read_as_those_of_a_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, zone: str | None, expected: str
) -> None:
    """Arrow took them for UTC and forgot the zone: nothing was told, and `predict` read them otherwise."""
    file = written(tmp_path, timed("2024-03-31T02:30:00+00:00", "2024-04-01T02:30:00Z"), suffix)
    source = tabular(file, ["y"], keep=["x"], time_zone=zone)
    assert source.settings["dates"] == ["when"] and source.settings["reading"] == {"zones": {"when": zone or "UTC"}}
    assert dates(source)[0] == expected
    assert ("when: dates in UTC" in capsys.readouterr().out) == (zone is None)
    about = {"recipe": "tabular", "params": Params.model_validate(source.settings).model_dump()}
    about["inputs"] = {"when": "datetime", "x": "double"}
    there = predict._read(file, about)[1]["when"].to_pylist()[0]
    assert there.replace("T", " ").removesuffix(".000000") == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("when", "message"),
    [
        (
            ("2024-01-01 00:00", "2024-01-01T00:00:00+05:00"),
            r"when: row 2 \(.*\) names its zone, row 1 \(.*\) does not",
        ),
        (("2024-01-01", "2024-02-30"), "when: '2024-02-30' is not a date"),
        (("2024-01-01",) * 9 + ("soon",), "when: 54 of 60 values are dates, but row 10 has 'soon'"),
    ],
    ids=["zones", "February 30th", "nearly all"],
)
def test_dates_of_json_are_as_strict_as_those_of_a_csv(
    tmp_path: Path, suffix: str, when: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SlipwayError, match=message):
        pa.concat_tables(tabular(written(tmp_path, timed(*when), suffix), ["y"]).tables)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_of_json_is_a_category_unless_it_is_a_date(tmp_path: Path, suffix: str) -> None:
    records = [{"n": "5", "t": "true", "d": "-", "y": "a"}, {"n": "6", "t": "no", "d": "2024-01-01 10:00", "y": "b"}]
    file = written(tmp_path, records, suffix)
    source = tabular(file, ["y"])
    assert (source.settings["categorical"], source.settings["dates"]) == (["n", "t"], ["d"])
    told = tabular(written(tmp_path, timed("31.01.2024", "01.02.2024"), suffix), ["y"], date=["when=%d.%m.%Y"])
    assert dates(told)[0] == "2024-01-31 00:00:00"
    about = {"recipe": "tabular", "params": Params.model_validate(told.settings).model_dump()}
    about["inputs"] = {"when": "datetime", "x": "double"}
    there = predict._read(tmp_path / f"t.{suffix}", about)[1]["when"].to_pylist()
    assert there[0].startswith("2024-01-31T00:00:00")


def test_dates_are_text_whatever_reads_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, timed("2024-03-31T02:30:00+00:00"), "jsonl")
    assert [str(table.schema.field("when").type) for table in file_kinds.tables(file)] == ["string", "string"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_series_of_json_knows_the_zone_of_its_times(tmp_path: Path, suffix: str) -> None:
    records = [{"t": f"2020-01-{day:02}T00:00:00+02:00", "v": float(day)} for day in range(1, 10)]
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    source = series(written(tmp_path, records, suffix), time="t", value=["v"], history=3, horizon=2, every=1, **given)
    assert source.settings["time_zone"] == "UTC"
