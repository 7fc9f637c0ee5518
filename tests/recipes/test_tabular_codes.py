"""Codes with leading zeros that another program took for numbers are the dataset's codes, and told."""

from pathlib import Path

import pandas as pd
import pytest

from components.__main__ import main
from components.data import dataset

PARAMS = "name: old\nrecipe: images\n"
CODES = ["01067", "04109", "08056", "80331", "20095"]


def table(codes: list[str], start: int = 0) -> pd.DataFrame:
    rows = range(start, start + 10)
    return pd.DataFrame(
        {"plz": [codes[at % len(codes)] for at in rows], "x": [at + 0.5 for at in rows], "y": list("ab") * 5}
    )


def add(frame: pd.DataFrame, name: str, *more: str) -> None:
    if name.endswith(".csv"):
        frame.to_csv(name, index=False)
    else:
        frame.to_parquet(name)
    assert main(["ingest", "table", name, "--label", "y", *more]) == 0


def categories() -> dict[str, int]:
    found = pd.concat(map(pd.read_parquet, dataset.files(Path("data"))))["plz"].value_counts()
    return {str(name): int(count) for name, count in found.items()}


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("kind", ["csv", "int64", "float64", "text"])
def test_codes_without_their_zeros_are_those_of_the_dataset(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    add(table(CODES), "a.csv", "--replace")
    capsys.readouterr()
    numbers = table(CODES, 100)
    numbers["plz"] = numbers["plz"].astype(int)
    if kind != "int64":
        numbers["plz"] = numbers["plz"].astype("float64" if kind == "float64" else str)
    add(numbers, "b.csv" if kind == "csv" else "b.parquet")
    assert categories() == dict.fromkeys(CODES, 4)
    said = capsys.readouterr().out
    assert "plz: 6 values without the leading zeros that the dataset has, such as '1067': read as '01067'\n" in said
    add(numbers, "again.parquet")  # the same rows: their ids are those of the codes
    assert categories() == dict.fromkeys(CODES, 4)


@pytest.mark.usefixtures("repo")
def test_where_both_are_there_nothing_is_changed_and_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    add(table(["01067", "1067"]), "a.csv", "--replace")
    capsys.readouterr()
    add(table(["1067", "4109"], 100), "b.csv")
    assert categories() == {"01067": 5, "1067": 10, "4109": 5}
    said = capsys.readouterr().out
    assert "plz: 5 values, such as '1067', may have lost leading zeros, but the dataset has '01067' and '1067'" in said


@pytest.mark.usefixtures("repo")
def test_of_clean_files_nothing_is_told_and_the_dataset_is_not_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(table(["red", "07"]), "a.csv", "--replace")
    monkeypatch.setattr("components.stages.ingest._values", lambda *_: pytest.fail("the dataset is read"))
    add(table(["07", "blue"], 100), "b.csv")
    assert categories() == {"red": 5, "07": 10, "blue": 5}
    assert "zeros that" not in capsys.readouterr().out
