"""Where data is unlike other data."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.validation import drift
from tests.validation.test_advice import of, ordinary


def moved(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, str]:
    old, new = (json.loads(json.dumps(drift.described(of({"a.parquet": each})))) for each in (before, now))
    return dict(drift.of_versions(old, new))


def test_a_file_unlike_the_others_is_told() -> None:
    files = {f"{number}.parquet": ordinary().sample(300, random_state=number) for number in range(4)}
    assert drift.of_files(of(files)) == []
    files["3.parquet"] = files["3.parquet"].assign(x=np.nan, score=lambda content: content.score / 10, town="Oslo")
    assert [(file, column) for file, column, _ in drift.of_files(of(files))] == [
        ("3.parquet", "x"),
        ("3.parquet", "score"),
        ("3.parquet", "town"),
    ]


@pytest.mark.parametrize("rows", [100, 300, 800])
def test_other_rows_of_the_same_source_are_no_drift(rows: int) -> None:
    for seed in range(20):
        before, now = (ordinary().sample(rows, replace=True, random_state=each) for each in (seed, seed + 100))
        assert moved(before, now) == {}


def test_a_version_unlike_the_older_one_is_told_column_by_column() -> None:
    before = ordinary()
    now = before.assign(
        x=before.x + 1,
        rain=before.rain.where(before.index % 2 == 0),
        town=np.where(before.index % 4 == 0, "Oslo", before.town),
        flag=before.flag.astype(str),
        extra=1.0,
    ).drop(columns="plan")
    found = moved(before, now)
    assert list(found)[-1] == "town"  # the least far
    assert found.keys() == {"x", "rain", "town", "flag", "extra", "plan"}
    assert found["rain"] == "50 % missing, before 0 %"
    assert found["town"] == "'Oslo' 25 %, before 0 % (distance 0.25 of 1)"
    assert found["x"].startswith("median 0.9649, before -0.03509 (distance 0.4")
    assert found["flag"] == "category values, before boolean"
    assert (found["extra"], found["plan"]) == ("is new", "is gone")


def test_dates_that_move_on_and_texts_are_not_told() -> None:
    days = pd.date_range("2026-01-01", periods=800)
    before = ordinary().assign(day=days)
    now = before.assign(day=days + pd.Timedelta(days=400), note=lambda content: content.note + " more")
    assert moved(before, now) == {}


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(), st.just(0.0)), max_size=200),
    others=st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=200),
)
def test_any_numbers_can_be_held_beside_any_others(values: list[Any], others: list[Any]) -> None:
    before, now = (pd.DataFrame({"x": pd.Series(each, dtype=float)}) for each in (values, others))
    assert moved(before, before) == {}
    assert set(moved(before, now)) <= {"x"}


def test_of_many_columns_the_first_are_named() -> None:
    found = drift.told([(f"c{number}", "is new") for number in range(13)])
    assert len(found) == 11
    assert found[-1] == "and 3 more columns"
    assert drift.told([]) == ["no column has moved"]
