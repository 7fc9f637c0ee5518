"""What stands behind the last time of a file: a footer, or rows of the series whose time cannot be read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.data import csv_reader, times
from components.recipes.series import example as series
from components.recipes.series.source import footer, latest
from tests.recipes.test_series import GOOD, csv, days, ingest, whole

ASKED = series.Params(values=["v"], history=3, horizon=2, season=1, step="day")
FOOTERS = {
    "a source": ["Source: the office"],
    "a source of a year": ["Source: the office 2024", "Data from 1981-01-01 to 1990-12-31"],
    "totals": ["Total,21", "Total 2024,21", "Mean (1981-1990),3.5", ",21"],
    "a count": ["(6 rows affected)", "6 rows,"],
    "a legend": [f"{letter} means a note," for letter in "abcdefghijklmnop"],
    "rules": ["-----,---", "=====", ";;;"],
}
ROWS = {
    "another format": (["07.01.2020,7"], "line 8: t is '07.01.2020', which is not a time; .*--format %d.%m.%Y"),
    "many of another format": ([f"{day:02}.01.2020,7" for day in range(7, 30)], "line 8: .*as 6 others .*one format"),
    "another format without a value": (["07.01.2020,"], "line 8: t is '07.01.2020'"),
    "a month of words": (["7 Jan 2020,7"], "line 8: t is '7 Jan 2020'"),
    "a month of other words": (["7. Lipiec 2020,7"], "line 8: t is '7. Lipiec 2020'"),
    "a day that is none": (["2020-01-32,7"], "line 8: t is '2020-01-32'"),
    "a flag": (["2020-01-07 (p),7"], "line 8: t is '2020-01-07 .p.'"),
    "a date before a footer": (["07.01.2020,7", "Source: the office"], "line 8: t is '07.01.2020'"),
    "a line that is cut off": (["2020-01-0"], "line 8 does not have the columns of the header: '2020-01-0'"),
    "a line too many columns": (["2020-01-07,7,8"], "line 8 does not have the columns of the header"),
    "many without a time": ([f",{at}" for at in range(11)], r"line 8: 11 rows at the end, from this one \('0'\) on"),
    "many with words": (
        [f"soon,{at}" for at in range(11)],
        "11 rows at the end.*no t, which is too many for a footer",
    ),
}


@pytest.mark.parametrize("name", FOOTERS)
def test_a_footer_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = FOOTERS[name]
    file = csv(tmp_path, *GOOD, *lines)
    source = ingest(file)
    assert len(whole(source)) == 2
    ((why, count),) = source.skipped.items()
    assert why.startswith("a line at the end without a time; the first is line 8 ('")
    assert count == len(lines)
    capsys.readouterr()
    names, _ = latest(file, ASKED, "t", None, csv_reader.Reading(), None)
    assert names == ["after 2020-01-06"]
    assert f"skipped {count}: {why}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ROWS)
def test_a_row_whose_time_cannot_be_read_is_never_a_footer(tmp_path: Path, name: str) -> None:
    lines, expected = ROWS[name]
    file = csv(tmp_path, *GOOD, *lines)
    with pytest.raises(SlipwayError, match=expected):
        ingest(file)
    with pytest.raises(SlipwayError, match=expected):
        latest(file, ASKED, "t", None, csv_reader.Reading(), None)


def test_the_rows_of_another_format_are_told_also_where_one_is_given(tmp_path: Path) -> None:
    lines = [f"{day:02}.01.2020,{day}" for day in range(1, 7)]
    with pytest.raises(SlipwayError, match=r"line 8: t is '2020-01-07'.* read as %d.%m.%Y; it looks like --format %Y"):
        ingest(csv(tmp_path, *lines, *days(7, 8, start="2020-01-07")), form="%d.%m.%Y")


def test_a_parquet_file_of_text_has_no_footer_of_dates(tmp_path: Path) -> None:
    time = [*np.datetime_as_string(np.datetime64("2020-01-01") + np.arange(6)).tolist(), "07.01.2020", "Total"]
    pq.write_table(pa.table({"t": time, "v": pa.array(range(8))}), tmp_path / "s.parquet")
    with pytest.raises(SlipwayError, match=r"row 6: t is '07\.01\.2020', which is not a time"):
        ingest(tmp_path / "s.parquet")


@pytest.mark.parametrize("form", [None, "%d.%m.%Y"])
def test_no_time_is_read_off_the_clock_of_the_machine(form: str | None) -> None:
    clock, _ = times.read(np.array(["now", "today", "NaT", ""], object), form)
    assert np.isnat(clock).all()


@pytest.mark.parametrize(
    "text",
    [
        *("31.01.2024", "1/31/24", "20240131", "2024-01", "45322", "2024-01-31T12:00Z", "12:30", "31 Jan 2024"),
        *("Jan-24", "January 31st, 2024", "31. März 2024", "3 de marzo de 2024", "2024Q1", "Q1 2024", "2024-W05"),
        *("Mon 31 Jan 2024 12:00 PM", "31Jan2024", "2024年1月31日", "2024-01-31 12:00 UTC+1", "12 Uhr 30", "KW 5 2024"),
    ],
)
def test_what_looks_like_a_time(text: str) -> None:
    assert footer.is_like_a_time(text)


@pytest.mark.parametrize(
    "text", ["", "Total", "Source", "Total 2024", "6 rows", "mar" * 1000 + "1x", "1" * 1000 + "x", "---", "May", "v1.2"]
)
def test_what_does_not_look_like_a_time(text: str) -> None:
    assert not footer.is_like_a_time(text)
