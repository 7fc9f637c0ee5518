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
    return dict(drift.of_versions(old, new)[1])


def added(before: pd.DataFrame, more: pd.DataFrame) -> tuple[str, dict[str, str]]:
    files = {"a.parquet": before}, {"a.parquet": before, "b.parquet": more}
    old, new = (json.loads(json.dumps(drift.described(of(each)))) for each in files)
    rows, found = drift.of_versions(old, new)
    return rows, dict(found)


def test_a_file_unlike_the_others_is_told() -> None:
    files = {f"{number}.parquet": ordinary().sample(300, random_state=number) for number in range(4)}
    assert drift.of_files(of(files)) == []
    files["3.parquet"] = files["3.parquet"].assign(x=np.nan, score=lambda content: content.score / 10, town="Oslo")
    assert [(file, column) for file, column, _ in drift.of_files(of(files))] == [
        ("3.parquet", "x"),
        ("3.parquet", "score"),
        ("3.parquet", "town"),
    ]
    days = {name: each.assign(day=pd.Timestamp(f"2026-01-0{at}")) for at, (name, each) in enumerate(files.items(), 1)}
    assert "day" not in {column for _, column, _ in drift.of_files(of(days))}
    files["2.parquet"] = files["2.parquet"].assign(town="Bern")
    assert [(file, column) for file, column, _ in drift.of_files(of(files))] == [
        ("2.parquet", "town"),
        ("3.parquet", "x"),
        ("3.parquet", "score"),
        ("3.parquet", "town"),
    ]


@given(seed=st.integers(0, 1000), files=st.integers(2, 5), kinds=st.integers(1, 60))
def test_each_file_is_as_far_from_the_others_as_they_all_together_are(seed: int, files: int, kinds: int) -> None:
    random = np.random.default_rng(seed)
    parts = {str(n): random.integers(0, kinds, random.integers(40, 90)).astype(float) for n in range(files)}
    for name, (distance, noise) in drift._apart(parts).items():
        one, two = (
            np.sort(np.concatenate([v for n, v in parts.items() if (n == name) == own])) for own in (True, False)
        )
        expected = drift._steps(one, two, len(one), len(two)) if min(len(one), len(two)) >= 50 else (0.0, 1.0)
        assert (distance, noise) == pytest.approx(expected)


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


@pytest.mark.parametrize("share", [0.25, 0.1])
def test_of_a_dataset_that_grows_what_was_added_is_held_beside_the_rest(share: float) -> None:
    """In the whole of it a month that is one of many would not be seen."""
    random = np.random.default_rng(1)

    def month(rows: int) -> pd.DataFrame:
        return ordinary().sample(rows, replace=True, random_state=int(random.integers(1 << 30))).reset_index(drop=True)

    size = 4000
    for _ in range(5):
        assert added(month(size), month(int(share * size)))[1] == {}
    other = month(int(share * size))
    other = other.assign(
        x=other.x + 1, rain=other.rain.where(other.index % 2 == 0), town=np.where(other.index % 2, "Rome", other.town)
    )
    rows, found = added(month(size), other)
    assert rows == f"the {len(other):,} rows that were added beside the 4,000"
    assert found.keys() == {"x", "rain", "town"}
    assert found["rain"].startswith("5") and found["rain"].endswith("% missing, before 0 %")
    assert found["town"].startswith("'Rome' 6")
    median = float(found["x"].split()[1].rstrip(","))
    assert median == pytest.approx(other.x.median(), abs=0.2)


def test_where_a_file_was_replaced_all_rows_are_compared() -> None:
    before = of({"a.parquet": ordinary(), "b.parquet": ordinary().assign(x=1.0)})
    now = of({"a.parquet": ordinary(), "b.parquet": ordinary().assign(x=5.0), "c.parquet": ordinary()})
    rows, found = drift.of_versions(drift.described(before), drift.described(now))
    assert rows == "2,400 rows beside 1,600"
    assert "x" in dict(found)


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
