"""Numbers as people write them, and the words that stand for none: what `ingest table` makes of a column."""

import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError
from components.data import csv_numbers
from components.data.csv_numbers import Style
from components.data.csv_reader import AMONG_NUMBERS, MISSING_WORDS
from tests.data.test_csv_reader import read


def file_of(values: list[str], other: list[str] | None = None, mark: str = ",") -> str:
    """Write a CSV of the column x, one that says nothing, and a label."""
    others = other or ["k"] * len(values)
    rows = [f'"{x}"{mark}{z}{mark}{"ab"[at % 2]}' for at, (x, z) in enumerate(zip(values, others, strict=True))]
    return "\n".join([f"x{mark}z{mark}y", *rows, ""])


READ: dict[str, tuple[list[str], list[float]]] = {
    "percent": (["62%", "7 %", "0.5%"], [62, 7, 0.5]),
    "dollars": (["$1,234.50", "$ 2", "-$3.25", "$-4", "($5.00)"], [1234.5, 2, -3.25, -4, -5]),
    "euros after": (["1.234,50 €", "12,00 €", "-3 €"], [1234.5, 12, -3]),
    "euros before": (["EUR 5", "EUR 1,234,567.5"], [5, 1234567.5]),
    "dollars of a country": (["US$5", "US$ 6.5"], [5, 6.5]),
    "thousands of commas": (["1,234,567", "1,234", "12"], [1234567, 1234, 12]),
    "thousands of commas, and fractions": (["1,234", "0.5"], [1234, 0.5]),
    "thousands of lakhs": (["12,34,567", "5"], [1234567, 5]),
    "thousands of dots": (["1.234.567", "1.234", "12"], [1234567, 1234, 12]),
    "thousands of blanks": (["1 234,5", "12 345 678", "1"], [1234.5, 12345678, 1]),
    "blanks that do not break": (["1\u00a0234,5", "1\u202f234", "9"], [1234.5, 1234, 9]),
    "apostrophes": (["1'234.5", "1\u2019000", "9"], [1234.5, 1000, 9]),
    "a decimal comma in quotes": (["0,5", "1,25"], [0.5, 1.25]),
    "another minus": (["\u22125.5", "3", "\u20132"], [-5.5, 3, -2]),
    "brackets": (["(1,234)", "5.5", "(2)"], [-1234, 5.5, -2]),
    "minus at the end": (["123-", "5", "1.5-"], [-123, 5, -1.5]),
    "kilograms": (["12 kg", "3.5kg"], [12, 3.5]),
    "per hour": (["120 km/h", "80 km/h"], [120, 80]),
    "square metres": (["50 m²", "61.5 m²"], [50, 61.5]),
    "degrees": (["-3 °C", "21.5 °C"], [-3, 21.5]),
    "a word": (["36 months", "60 months"], [36, 60]),
    "exponents": (["1e3", "-2.5E-1"], [1000, -0.25]),
    "points at the end": (["12.", "3.5 ", "1,234."], [12, 3.5, 1234]),
}


@pytest.mark.parametrize("name", READ)
def test_numbers_are_read_as_people_write_them_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    values, expected = READ[name]
    for mark in ",;":
        if mark == ";" and name == "brackets":
            continue  # (1,234) may be a fraction there
        source, found = read(tmp_path, file_of(values, mark=mark))
        assert source.settings["numeric"] == ["x"]
        assert found["x"].to_pylist() == expected
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("x: read as numbers, ")]
        assert len(said) == (name != "exponents")


def test_a_label_with_a_unit_is_a_number(tmp_path: Path) -> None:
    rows = "".join(f'{at % 7},"{at},5 kg"\n' for at in range(30))
    source, found = read(tmp_path, f"x,y\n{rows}")
    assert source.settings["targets"] == ["y"]
    assert found["label"].to_pylist() == [at + 0.5 for at in range(30)]


REFUSED: dict[str, tuple[list[str], str, str]] = {
    "percent and not": (["62%", "0.45", "7%"], ",", "different units: row 1 has '62%', but row 2 has '0.45'"),
    "two currencies": (["$5", "5 €", "$6"], ",", "different units: row 1 has '\\$5', but row 2 has '5 €'"),
    "two units": (["5 kg", "300 g", "6 kg"], ",", "different units: row 1 has '5 kg', but row 2 has '300 g'"),
    "nearly all of a unit": (["5 Stk"] * 19 + ["5"], ",", "different units: row 1 has '5 Stk', but row 20 has '5'"),
    "two spellings": (["1,234.5", "1.234,5"], ",", "are not all written with .*: row \\d has '1.\\d{3}.5'"),
    "a fraction, or thousands": (["1,234", "5,678"], ";", "'1,234' looks like a number with thousands .*--thousands"),
    "money, in thousands or not": (["1.234 €", "5.678 €"], ";", "'1.234 €' looks like a number with thousands"),
    "a unit in two cases": (["5 km", "7 KM"], ",", "different units: row 1 has '5 km', but row 2 has '7 KM'"),
    "a price": (["5.-", "7.50"], ",", "'5.-' is not a number"),
    "nearly all": (["$5"] * 19 + ["none"], ",", "19 of 20 values are numbers, but row 20 has 'none'.*--missing"),
    "not exact": (["9,007,199,254,740,993", "1"], ",", "9007199254740993 is too large to be represented exactly"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mixture_is_refused_with_its_rows(tmp_path: Path, name: str) -> None:
    values, mark, expected = REFUSED[name]
    with pytest.raises(SlipwayError, match=f"column x: .*{expected}"):
        read(tmp_path, file_of(values, mark=mark))


def test_thousands_of_dots_beside_a_decimal_comma_are_thousands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ("760", "5.678", "1500"):
        _, found = read(tmp_path, file_of(["0,5", "1,25"], ["1.234", value], mark=";"))
        assert found["z"].to_pylist() == [1234, float(value.replace(".", ""))]
        assert "z: read as numbers, '1.234' as 1234, for other columns have a decimal comma" in capsys.readouterr().out
    with pytest.raises(SlipwayError, match=r"column z: '1\.234' looks like .*: use --thousands \. or --decimal \."):
        read(tmp_path, file_of(["0,5", "1,25"], ["1.234", "5.678"]))  # separated by commas
    _, found = read(tmp_path, file_of(["0,5", "1,25"], ["1.234", "5.6"], mark=";"))  # a machine's column
    assert found.select(["x", "z"]).to_pydict() == {"x": [0.5, 1.25], "z": [1.234, 5.6]}
    _, found = read(tmp_path, file_of(["0,5", "1,25"], ["1.234", "5.678"], mark=";"), thousands=".", decimal=",")
    assert found["z"].to_pylist() == [1234, 5678]


@pytest.mark.parametrize(
    "values",
    [
        ["1a", "1b", "2a"],
        ["A1", "B2", "C3"],
        ["1.2.3", "10.0.1"],
        ["10.0.0.1", "192.168.0.1"],
        ["030 123", "089 456"],
        ["18-24", "25-34"],
        ["1st", "2nd", "3rd"],
        ["12:30", "7:15"],
        ["+49 170 12", "030/12"],
        ["31.12.2023", "1.2.2024"],
        ["0,123", "00,5x"],
        ["1. < HS Grad", *["2. HS Grad", "3. College"] * 20],  # numbered, as in many a survey
        ["2. Married"] * 3,
    ],
)
def test_what_only_looks_like_numbers_stays_text(tmp_path: Path, values: list[str]) -> None:
    source, found = read(tmp_path, file_of(values))
    assert source.settings["categorical"] == ["x", "z"]
    assert found["x"].to_pylist() == values


def test_codes_that_look_like_units_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, file_of(["1a", "2b"]))
    said = capsys.readouterr().out
    assert "x: numbers with different units (row 1 has '1a', row 2 has '2b'), read as categories" in said


@pytest.mark.parametrize(
    "values", [["1st", "2nd", "3rd", "11th"], ["1st"] * 10, ["21ST"] * 19 + ["4"], ["10th", "22nd", "103rd", "112th"]]
)
def test_ordinals_have_no_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[str]) -> None:
    source, found = read(tmp_path, file_of(values))
    assert source.settings["categorical"] == ["x", "z"]
    assert found["x"].to_pylist() == values
    said = capsys.readouterr().out
    assert f"x: ordinals such as {values[0]!r}, read as categories" in said
    assert "unit" not in said


def test_what_is_no_ordinal_has_a_unit(tmp_path: Path) -> None:
    source, found = read(tmp_path, file_of(["11st", "12st", "9st"]))  # stones
    assert source.settings["numeric"] == ["x"]
    assert found["x"].to_pylist() == [11, 12, 9]


@given(
    number=st.one_of(
        st.integers(-(10**12), 10**12).map(float),
        st.decimals(-(10**6), 10**6, places=2).map(float),
        st.decimals(-(10**6), 10**6, places=3).map(float),
    ),
    decimal=st.sampled_from(".,"),
    thousands=st.sampled_from(["", ",", ".", " ", "\u00a0", "\u202f", "'", "\u2019"]),
    unit=st.sampled_from([("", ""), ("$", ""), ("EUR ", ""), ("", " €"), ("", "%"), ("", " km/h"), ("US$ ", "")]),
    sign=st.sampled_from(["-{}", "\u2212{}", "({})", "{}-", "- {}"]),
)
def test_a_number_in_any_style_is_read_back(
    number: float, decimal: str, thousands: str, unit: tuple[str, str], sign: str
) -> None:
    if thousands == decimal:
        thousands = ""
    text = f"{abs(number):,.3f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
    text = f"{unit[0]}{text}{unit[1]}"
    text = sign.format(text) if number < 0 else text
    kind = {"\u00a0": " ", "\u202f": " ", "\u2019": "'"}.get(thousands, thousands)
    style = Style(decimal, kind, unit[0].strip(), unit[1].strip())
    column = pa.chunked_array([[text, None]])
    assert csv_numbers.cast(column, style).to_pylist() == [number, None]
    assert [float(csv_numbers.spelled(column, style)[0].as_py())] == [number]
    assert csv_numbers.style(str(style)) == style  # as params.yaml holds it
    written = csv_numbers.look([pa.table({"x": column})], csv_numbers.MARKS)["x"]
    assert written.fits[decimal, kind] == 1
    assert set(written.units) == {(style.before, style.after)}


@given(st.text(max_size=12))
def test_no_text_is_a_number_by_accident(text: str) -> None:
    """What Python does not take for a number, and has no mark, is none."""
    column = pa.chunked_array([[text]])
    try:
        (found,) = csv_numbers.cast(column, Style()).to_pylist()
    except ValueError:
        return
    plain = text.strip().translate(dict.fromkeys(map(ord, csv_numbers.MINUS), "-")).strip("()")
    plain = f"-{plain[:-1]}" if plain.endswith("-") else plain
    assert found == pytest.approx(float(plain.replace(" ", "")), nan_ok=True) or -found == float(plain.replace(" ", ""))


def test_a_word_for_missing_is_none_among_numbers_dates_and_booleans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sorted({*MISSING_WORDS, *AMONG_NUMBERS} - {""})
    cells = [(f"{at}.5", f"2020-01-{at % 28 + 1:02}", ("true", "false")[at % 2], f"w{at % 3}") for at in range(50)]
    rows = [f"{','.join(cell)},{'ab'[at % 2]}" for at, cell in enumerate(cells)]
    rows += [f"{word},{word},{word},{word},{label}" for word in words for label in "ab"]
    source, found = read(tmp_path, "\n".join(["n,d,t,c,y", *rows, ""]))
    kinds = {key: source.settings[key] for key in ("numeric", "dates", "boolean", "categorical", "labels")}
    assert kinds == {"numeric": ["n"], "dates": ["d"], "boolean": ["t"], "categorical": ["c"], "labels": ["a", "b"]}
    assert [found[name].null_count for name in "ndt"] == [2 * len(words)] * 3
    kept = [word for word in words if word in AMONG_NUMBERS]
    assert set(found["c"].to_pylist()) - {None} == {"w0", "w1", "w2", *kept}
    said = capsys.readouterr().out.splitlines()
    for name in "ndtc":
        (line,) = [line for line in said if line.startswith(f"{name}: ") and "missing values (" in line]
        assert all(repr(word) in line for word in words if name != "c" or word not in kept)
        assert ("--not-missing '#N/A'" in line) == (name == "c")
    (line,) = [line for line in said if line.startswith("c: ") and "count as a category" in line]
    assert all(f"--missing={shlex.quote(word)}" in line for word in kept)


def test_a_label_has_no_class_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("NULL", "-", "#N/A"):
        source, found = read(tmp_path, "x,y\n" + f"1.5,10\n2.5,20\n3.5,30\n4.5,{word}\n" * 5)
        assert source.settings["labels"] == ["10", "20", "30"]
        assert found["label"].null_count == 5
        assert f"y: 5 missing values (5 {word!r})" in capsys.readouterr().out
    source, _ = read(tmp_path, "x,y\n" + "1.5,good\n2.5,bad\n3.5,-\n" * 5)
    assert source.settings["labels"] == ["-", "bad", "good"]
    assert "y: 5 '-' count as a class; if that means a missing value, use --missing=-" in capsys.readouterr().out


def test_the_word_of_a_styled_column_is_missing(tmp_path: Path) -> None:
    _, found = read(tmp_path, file_of(["$1,234.50", "NULL", "$3", "-"]))
    assert found["x"].to_pylist() == [1234.5, None, 3.0, None]
