"""Expectations held against a table: in one go, and each column's different values once."""

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from components.validation import suite

DAY = datetime.datetime(2020, 1, 1)
TABLE = pa.table(
    {
        "x": pa.array([1.0, 5.0, math.nan, None, 5.0, -0.0, 0.0, 9.0] * 3),
        "every": pa.array([float(at) for at in range(24)]),
        "whole": pa.array([1, 2, None, 2] * 6),
        "colour": pa.array(["red", "green", None, "red", "", "grün"] * 4),
        "member": pa.array([True, None, False] * 8),
        "copy": pa.array([0, 0, 0, 1] * 6),
        "since": pa.array([DAY, None, DAY.replace(year=2031)] * 8, pa.timestamp("us")),
        "nothing": pa.nulls(24, pa.string()),
    }
)
EXPECTED: list[tuple[str, dict[str, Any]]] = [
    ("column_values_to_be_between", {"column": "x", "min_value": 0, "max_value": 6, "mostly": 0.5}),
    ("column_values_to_not_be_null", {"column": "x"}),
    ("column_values_to_be_null", {"column": "x"}),
    ("column_values_to_be_between", {"column": "every", "max_value": 20}),
    ("column_values_to_be_between", {"column": "whole", "max_value": 1}),
    ("column_values_to_be_in_set", {"column": "colour", "value_set": ["red", "green"]}),
    ("column_values_to_not_be_in_set", {"column": "colour", "value_set": ["red"]}),
    ("column_value_lengths_to_be_between", {"column": "colour", "min_value": 1}),
    ("column_values_to_match_regex", {"column": "colour", "regex": "^r"}),
    ("column_values_to_not_be_null", {"column": "colour"}),
    ("column_values_to_be_in_set", {"column": "member", "value_set": [True]}),
    ("column_values_to_not_be_null", {"column": "member"}),
    ("column_values_to_be_in_set", {"column": "copy", "value_set": [0]}),
    ("column_values_to_be_between", {"column": "since", "max_value": datetime.datetime(2030, 1, 1)}),
    ("column_values_to_not_be_null", {"column": "nothing"}),
    ("column_values_to_be_in_set", {"column": "nothing", "value_set": ["a"]}),
    ("column_pair_values_a_to_be_greater_than_b", {"column_A": "x", "column_B": "whole"}),
    (
        "column_values_to_be_between",
        {"column": "x", "max_value": 2, "row_condition": 'colour=="red"', "condition_parser": "pandas"},
    ),
]


def test_each_different_value_once_is_as_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"type": f"expect_{kind}", "kwargs": kwargs} for kind, kwargs in EXPECTED]
    YAML().dump({"examples": entries}, tmp_path / "expectations.yaml")
    read = suite.read(tmp_path / "expectations.yaml", {"examples": TABLE.column_names}, {})
    found = []
    for rows in (1, len(TABLE) + 1):
        monkeypatch.setattr(suite, "MANY_ROWS", rows)
        found.append(suite.outcomes("a.parquet", TABLE, read))
    for (kind, kwargs), once, every in zip(EXPECTED, *found, strict=True):
        assert once == every, (kind, kwargs)
    assert any(outcome["rows"] for outcome in found[0])


@pytest.mark.parametrize(("seed", "most"), [(1, 20_000), (3, 2)])
def test_parts_that_know_of_earlier_ones_are_as_each_by_itself(
    seed: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"type": f"expect_{kind}", "kwargs": kwargs} for kind, kwargs in EXPECTED]
    YAML().dump({"examples": entries}, tmp_path / "expectations.yaml")
    read = suite.read(tmp_path / "expectations.yaml", {"examples": TABLE.column_names}, {})
    monkeypatch.setattr(suite, "MOST_JUDGED", most)
    random = np.random.default_rng(seed)
    judged: dict[tuple[str, bool], suite.Judged] = {}
    for rows in (9, 40, 40):
        part = TABLE.take(random.integers(0, random.integers(1, 25), rows))
        monkeypatch.setattr(suite, "MANY_ROWS", 1)
        found = suite.outcomes("a.parquet", part, read, judged)
        monkeypatch.setattr(suite, "MANY_ROWS", len(part) + 1)
        assert found == suite.outcomes("a.parquet", part, read)
    assert any(len(known.values) for known in judged.values())


def test_a_column_of_many_rows_is_held_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "copy", "value_set": [0]}}
    YAML().dump({"examples": [wanted]}, tmp_path / "expectations.yaml")
    read = suite.read(tmp_path / "expectations.yaml", {"examples": TABLE.column_names}, {})
    monkeypatch.setattr(suite, "MANY_ROWS", 1)
    seen: list[int] = []
    held = suite._held

    def watched(name: str, table: pa.Table, mine: list[suite.Entry]) -> list[suite.Outcome]:
        seen.append(len(table))
        return held(name, table, mine)

    monkeypatch.setattr(suite, "_held", watched)
    judged: dict[tuple[str, bool], suite.Judged] = {}
    assert suite.outcomes("a.parquet", TABLE, read, judged)[0]["rows"] == [3, 7, 11, 15, 19, 23]
    assert suite.outcomes("a.parquet", TABLE[:8], read, judged)[0]["rows"] == [3, 7]
    assert seen == [2]  # of the first part; the second has no other values
