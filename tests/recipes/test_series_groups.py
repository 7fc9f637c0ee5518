"""Names of the series of a file: joined where they can only be one, told where they look alike or are left out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import SlipwayError
from components.data import csv_reader
from components.recipes.series import example as series
from components.recipes.series.source import latest
from tests.recipes.test_series import csv, ingest, whole

ASKED = series.Params(values=["v"], group=True, history=3, horizon=2, season=1, step="day")


def rows(*names: str, days: int = 7) -> list[str]:
    """Return a line per day and name; names such as `A|A ` take turns."""
    turns = [name.split("|") for name in names]
    return [
        f"{np.datetime64('2020-01-01') + day},{turn[day % len(turn)]},{day}" for day in range(days) for turn in turns
    ]


def grouped(folder: Path, lines: list[str], **options: Any) -> set[str]:
    return set(whole(ingest(csv(folder, *lines, header="t,g,v"), group="g", **options))["group"].to_pylist())


@pytest.mark.parametrize(
    ("names", "expected", "told"),
    [
        (["A|A ", "B"], {"A", "B"}, r"series 'A ': read as 'A'"),
        (["  A|A", "B"], {"A", "B"}, r"series '  A': read as 'A'"),
        (["Zürich|Zu\u0308rich"], {"Zürich"}, r"Zu\\u0308rich\): read as 'Zürich'"),
        (["1|1.0", "2"], {"1", "2"}, r"series '1\.0': read as '1'"),
        (["Nord", "nord"], {"Nord", "nord"}, "series 'Nord' and 'nord' look alike, and are 2 series"),
        (["1", "1.0", "1.1"], {"1", "1.0", "1.1"}, r"series '1' and '1\.0' look alike, and are 2 series"),
        (["A", "B"], {"A", "B"}, ""),
    ],
)
def test_twins_are_joined_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], expected: set[str], told: str
) -> None:
    assert grouped(tmp_path, rows(*names)) == expected
    out = capsys.readouterr().out
    assert re.search(told, out) if told else not out


def test_a_series_of_a_dataset_keeps_its_spelling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grouped(tmp_path, rows("1", "2"), there=["1.0", "3.0"]) == {"1.0", "2"}
    assert "series '1': read as '1.0'" in capsys.readouterr().out
    assert grouped(tmp_path, rows("A "), there=["A ", "b"]) == {"A "}  # of before names were joined
    assert grouped(tmp_path, rows("a"), there=["A", "b", "B"]) == {"a"}
    out = capsys.readouterr().out
    assert "series 'a' and 'A' look alike" in out
    assert "'b'" not in out


def test_two_rows_of_a_time_of_twins_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SlipwayError, match=r"line 3 \(A, 2020-01-01\): line 2 has the same time"):
        grouped(tmp_path, rows("A", "A "))
    assert "series 'A ': read as 'A'" in capsys.readouterr().out


def test_a_series_of_blanks_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="line 2: g is empty"):
        grouped(tmp_path, rows(" "))


def test_a_series_without_a_window_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*rows("A"), *rows(*(f"s{number}" for number in range(30)), days=1), *rows("gaps|other", days=7)]
    assert grouped(tmp_path, lines) == {"A"}
    out = capsys.readouterr().out
    told = re.search("32 of 33 series have no window, so that the dataset gets nothing of them: (.*)", out)
    assert told
    assert told[1].startswith("'s0' (rows: 1), 's1' (rows: 1), ")
    assert told[1].endswith(" and 12 more")


def test_a_forecast_reads_the_names_as_the_model_knows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = csv(tmp_path, *rows("A|A ", "nord", "C"), header="t,g,v")
    names, found = latest(file, ASKED, "t", "g", csv_reader.Reading(), None, trained=["A", "Nord"])
    assert names == ["A after 2020-01-07", "nord after 2020-01-07", "C after 2020-01-07"]
    assert found["group"].to_pylist() == ["A", "nord", "C"]
    out, told = capsys.readouterr()
    assert not out
    assert "series 'A ': read as 'A'" in told
    assert "series 'nord' and 'Nord' look alike, and are 2 series" in told
    assert "2 of 3 series are new to the model: 'nord', 'C'" in told
    names, _ = latest(file, ASKED, "t", "g", csv_reader.Reading(), None, trained=["A ", "C", "nord"])
    assert names[0] == "A  after 2020-01-07"  # as a model of before names were joined knows it


def test_rows_of_a_series_that_no_clock_shows_leave_the_names_of_the_others(tmp_path: Path) -> None:
    lines = ["2024-03-31T02:30,gone,1", *(f"2024-03-31T{hour:02},there,{hour}" for hour in range(4, 10))]
    assert grouped(tmp_path, lines, time_zone="Europe/Berlin", step="hour") == {"there"}
