"""Booleans and times of requests."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.serving import loose

COLUMNS = pa.schema([("b", pa.bool_()), ("t", pa.timestamp("us")), ("x", pa.float64())])
NOON = datetime.datetime(2021, 5, 6, 12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False, None], [True, False, None]),
        ([np.bool_(True), 1, 0.0], [True, True, False]),
        (["true", "FALSE", "1"], [True, False, True]),
        ([None, float("nan"), pd.NA], [None] * 3),
        (["", " false ", "0"], [None, False, False]),
    ],
)
def test_booleans(values: list[Any], expected: list[bool | None]) -> None:
    found, problems = loose.taken(pd.DataFrame({"b": pd.Series(values, dtype=object)}), COLUMNS)
    assert found["b"].to_pylist() == expected
    assert not problems


@pytest.mark.parametrize(
    "value",
    [
        "2021-05-06T12:00:00",
        "2021-05-06 12:00",
        "2021-05-06T14:00:00+02:00",
        "2021-05-06T12:00:00Z",
        NOON,
        NOON.replace(tzinfo=datetime.UTC),
        pd.Timestamp(NOON),
        pd.Timestamp(NOON, tz="UTC").tz_convert("Asia/Tokyo"),
        np.datetime64("2021-05-06T12:00:00", "ns"),
    ],
)
def test_times(value: Any) -> None:
    found, problems = loose.taken(pd.DataFrame({"t": [value, None, "", pd.NaT]}), COLUMNS)
    assert found["t"].to_pylist() == [NOON, None, None, None]
    assert not problems
    found, _ = loose.taken(pd.DataFrame({"t": pd.to_datetime(pd.Series([value]))}), COLUMNS)
    assert found["t"].to_pylist() == [NOON]


def test_dates_and_what_is_neither() -> None:
    frame = pd.DataFrame({"b": [True, "perhaps", 2, None], "t": [datetime.date(2021, 5, 6), "soon", None, 7], "x": 1.0})
    found, problems = loose.taken(frame, COLUMNS)
    assert found["t"].to_pylist() == [datetime.datetime(2021, 5, 6), None, None, None]
    assert found["b"].to_pylist() == [True, None, None, None]
    assert set(found) == {"b", "t"}
    assert problems == {
        1: "b: 'perhaps' is not true or false",
        2: "b: '2' is not true or false",
        3: "t: '7' is not a time in ISO 8601",
    }
