"""A column of numbers with a few words among them is told, with options that read it as numbers."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from components.data import csv_reader
from components.recipes.tabular.example import Params
from components.recipes.tabular.source import mixed, tabular
from tests.data.test_csv_reader import read, written


def text(words: dict[str, int], numbers: list[str] | None = None) -> str:
    """A CSV of 200 rows of which `words` says how many are no numbers, the words last."""
    names = [word for word, count in words.items() for _ in range(count)]
    numbers = numbers or [str(at % 59) for at in range(200 - len(names))]
    return "v;y\n" + "".join(f"{value};{'pn'[at % 2]}\n" for at, value in enumerate([*numbers, *names]))


def told(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("v: ")]


def options(line: str) -> dict[str, Any]:
    """The options that a line proposes, as a shell would pass them on."""
    typed = shlex.split(line.partition("read as categories: ")[2].partition(" reads numbers")[0])
    numbers = [typed[at + 1] for at, word in enumerate(typed) if word == "--number"]
    return {"missing": [word[10:] for word in typed if word.startswith("--missing=")], "number": numbers}


@pytest.mark.parametrize(
    "words",
    [
        {"pending": 30},
        {"<5": 24},
        {"k. A.": 30},
        {"nicht erhoben": 40},
        {"ERROR": 120},
        {"it's": 30, "-x": 21},
        {"a": 25, "b": 24, "c": 23},
    ],
)
def test_numbers_with_words_are_told_and_the_hint_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: dict[str, int]
) -> None:
    source, _ = read(tmp_path, text(words))
    assert source.settings["categorical"] == ["v"]
    (line,) = told(capsys.readouterr().out)
    shown = ", ".join(f"{count} {word!r}" for word, count in words.items())
    numbers = 200 - sum(words.values())
    assert line.startswith(f"v: {numbers} of 200 values are numbers, the others {shown}; read as categories: --missing")
    assert line.endswith("; if the column is categorical, use --category v")
    again, found = read(tmp_path, text(words), **options(line))
    assert again.settings["numeric"] == ["v"]
    assert found["v"].null_count == sum(words.values())
    read(tmp_path, text(words), category=["v"])  # the user has said so
    assert not told(capsys.readouterr().out)[1:]


def test_they_are_told_of_a_typed_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.parquet"
    pd.read_csv(written(tmp_path, text({"<5": 30})), sep=";", dtype=str).to_parquet(path)
    assert tabular(path, ["y"]).settings["categorical"] == ["v"]
    (line,) = told(capsys.readouterr().out)
    assert tabular(path, ["y"], **options(line)).settings["numeric"] == ["v"]


def test_words_after_very_many_numbers_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.recipes.tabular.source.guessing.MAX_VALUES_READ", 10)
    monkeypatch.setattr("components.recipes.tabular.source.telling.MAX_ROWS", 10)
    read(tmp_path, text({"pending": 50}, [f"{at}.5" for at in range(150)]))
    (line,) = told(capsys.readouterr().out)
    assert "150 of 200 values are numbers, the others 50 'pending'" in line
    assert "looks like an id" not in line


def test_many_words_are_counted_and_shown_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, text({f"word {at}": 9 - at for at in range(7)}))
    (line,) = told(capsys.readouterr().out)
    assert "9 'word 0', 8 'word 1', 7 'word 2', 6 'word 3', 5 'word 4' and 2 more words; read as categories" in line
    assert "--missing=WORD for each of these words reads numbers" in line


def test_numbers_with_one_unit_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, text({"pending": 50}, [f"{at % 40},5 km" for at in range(150)]))
    (line,) = told(capsys.readouterr().out)
    again, _ = read(tmp_path, text({"pending": 50}, [f"{at % 40},5 km" for at in range(150)]), **options(line))
    assert again.settings["numeric"] == ["v"]


@pytest.mark.parametrize(
    "values",
    [
        ["red", "blue", "7", "green"],
        ["1a", "2a", "3a", "4a", "5b", "none"],
        ["01067", "04109", "80331", "pending"],  # codes: the zeros would be lost
        ["1", "red", "blue"],
        [f"{at}-{at}" if at % 3 else str(at) for at in range(40)],
    ],
)
def test_categories_are_no_numbers_with_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[str]
) -> None:
    read(tmp_path, text({}, values * 5))
    assert "values are numbers" not in capsys.readouterr().out


def test_what_the_dataset_says_is_categorical_is_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = read(tmp_path, text({"pending": 30}))
    read(tmp_path, text({"pending": 30}), known=Params.model_validate(source.settings))
    assert len(told(capsys.readouterr().out)) == 1


@pytest.mark.parametrize(
    "word", ["#WERT!", "#BEZUG!", "#NV", "#VALEUR!", "#NOMBRE!", "#¡VALOR!", "#¿NOMBRE?", "#VALORE!", "#N/D", "#SAYI!"]
)
def test_what_excel_writes_for_an_error_is_missing_in_any_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    source, found = read(tmp_path, text({word: 30}))
    assert source.settings["numeric"] == ["v"]
    assert found["v"].null_count == 30
    assert told(capsys.readouterr().out) == [f"v: 30 missing values (30 {word!r})"]


def test_the_words_are_counted_over_blocks() -> None:
    seen = mixed.Mixed()
    for _ in range(3):
        seen.add(pa.chunked_array([["1", "2,5", "x", None, "-"]]), csv_reader.Reading())
    assert (seen.numbers, seen.words) == (6, {"x": 3})
