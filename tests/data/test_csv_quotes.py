"""Stray quotes in a CSV, which make one value of all rows between; line breaks that are quoted well."""

from pathlib import Path

import pyarrow as pa
import pytest

from components import SlipwayError
from components.data import csv_reader
from components.data.csv_reader import Reading
from components.recipes.tabular.source import tabular
from components.stages import predict

ROWS = [f"item {row},{row % 7},{'ab'[row % 2]}" for row in range(300)]


def table(folder: Path, changed: dict[int, str], end: str = "\n") -> Path:
    file = folder / "t.csv"
    lines = [changed.get(at, row) for at, row in enumerate(ROWS)]
    file.write_text(end.join(["name,x,label", *lines, ""]), newline="")
    return file


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {20: '"item 20,5,a', 280: '"item 280,5,a'},
            r"line 282: ',' expected after '\"'.* begins in line 22: .*doub",
        ),
        ({20: 'item 20,5,"a', 280: 'item 280,5,"a'}, r"line 282: ',' expected after '\"'.* begins in line 22"),
        ({20: 'item 20,5,"a'}, r"line 30.: unexpected end of data, in a row that begins in line 22"),
    ],
    ids=["first column", "label", "never closed"],
)
def test_a_stray_quote_swallows_no_rows(tmp_path: Path, changed: dict[int, str], message: str, end: str) -> None:
    """Arrow reads all rows up to the next quote as one value, and 300 rows became 40."""
    file = table(tmp_path, changed, end)
    with pytest.raises(SlipwayError, match=message):
        tabular(file, ["label"])
    with pytest.raises(SlipwayError, match=message):
        csv_reader.whole(file, Reading())  # as `predict` does


def test_line_breaks_in_quotes_are_part_of_a_value(tmp_path: Path) -> None:
    file = table(tmp_path, {3: '"item\n""3"", of two\r\nlines",3,b', 4: '"a","4"," b"', 5: 'say "hi",5,a'})
    assert csv_reader.whole(file, Reading())["name"][3].as_py() == 'item\n"3", of two\r\nlines'
    found = pa.concat_tables(tabular(file, ["label"]).tables)
    assert len(found) == 300 and found["name"][5].as_py() == 'say "hi"'


def test_a_footer_and_lines_before_the_header_are_not_looked_at(tmp_path: Path) -> None:
    file = table(tmp_path, {3: '"item\n3",3,b'})
    file.write_text('made by "x\n' + file.read_text() + 'total,300,"of x\n')
    assert len(csv_reader.whole(file, Reading(skip=1, footer=1))) == 300
    with pytest.raises(SlipwayError, match=r"line 304: .* begins in line 304"):
        csv_reader.whole(file, Reading(skip=1))


def test_two_stray_quotes_that_fit_each_other_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No rule of CSV is broken, but a value of rows is hardly meant."""
    file = table(tmp_path, {20: 'item 20,5,"a', 22: 'item 22,5,a"', 30: '"item\n30",5,a'})
    expected = f"{file}: lines 22 to 24: a value of these 3 lines, of which each looks like a row: is a quote missing"
    tabular(file, ["label"])
    said = capsys.readouterr().out
    assert said.count("looks like a row") == 1 and expected in said
    predict._read(file, {"recipe": "tabular", "params": {}, "inputs": {"x": "double"}})
    assert f"note: {expected}" in capsys.readouterr().err
    told: list[str] = []
    assert len(csv_reader.whole(file, Reading(), told)) == 298 and told[0].startswith(expected)


def test_texts_of_several_lines_are_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = '"one, two\n, and\nthree, four",5,a'
    tabular(table(tmp_path, {20: lines, 21: '"a\nb\nc",5,a'}), ["label"])
    assert "looks like a row" not in capsys.readouterr().out


def test_rows_read_one_by_one_tell_of_quotes_that_fit_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As texts and series are read. A blank line is no row; what only Python takes for the end of a line is none."""
    file = tmp_path / "texts.csv"
    file.write_text('text,y\none,p\n"two,p\nthree,q\n\nfour\u2028five,q\nsix",q\nseven,p\n', encoding="utf-8")
    for _ in range(2):  # told once
        assert len(list(csv_reader.rows(file, csv_reader.Reading()))) == 4
    assert (
        capsys.readouterr().out.count(f"{file}: lines 3 to 7: a value of these 5 lines, of which each looks like") == 1
    )
    file.write_text('text,y\n"a poem\nin lines\nwithout a comma",p\n')
    list(csv_reader.rows(file, csv_reader.Reading()))
    assert not capsys.readouterr().out
