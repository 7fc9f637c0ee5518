"""Times of a series: zones and clocks that are set back, steps that are no number of seconds, and what says so."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import SlipwayError
from components.data import csv_reader, times
from components.recipes.series import example as series
from components.recipes.series.example import calendar
from components.recipes.series.source import latest
from components.stages import ingest as ingest_stage
from components.stages import predict
from tests.recipes.test_series import csv, ingest, whole

BERLIN = "Europe/Berlin"
WIDE: dict[str, Any] = {"history": 12, "horizon": 3}


def written(folder: Path, moments: Any, form: str = "%Y-%m-%d %H:%M", **options: Any) -> Path:
    return csv(folder, *(f"{moment.strftime(form)},{at}" for at, moment in enumerate(moments)), **options)


def hours(start: str, count: int, zone: str = BERLIN) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h", tz=zone)


@pytest.mark.parametrize("zone", [None, BERLIN])
def test_a_day_of_a_clock_is_a_step_of_23_and_25_hours_too(tmp_path: Path, zone: str | None) -> None:
    moments = pd.date_range("2024-01-01", periods=366, freq="D", tz=BERLIN)
    source = ingest(written(tmp_path, moments, "%Y-%m-%dT%H:%M:%S%z"), time_zone=zone, **WIDE)
    assert source.settings["step"] == "day" and not source.skipped
    assert source.settings["time_zone"] == (zone or "UTC")
    found = whole(source)
    assert len(found) == 366 - 15 + 1
    assert str(found["time"][0]) == "2024-01-11 23:00:00"  # in UTC


def test_days_that_were_exported_in_utc_need_the_zone_and_are_told_so(tmp_path: Path) -> None:
    moments = pd.date_range("2024-01-01", periods=200, freq="D", tz=BERLIN).tz_convert("UTC")
    file = written(tmp_path, moments, "%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(SlipwayError, match=r"line 93 \(2024-03-31T22:00:00Z\).*give its --time-zone"):
        ingest(file, **WIDE)
    assert len(whole(ingest(file, time_zone=BERLIN, **WIDE))) == 186


def test_an_hour_that_comes_twice_is_read_by_the_order_of_the_rows(tmp_path: Path) -> None:
    moments = hours("2024-10-26", 72)
    file = written(tmp_path, moments)
    with pytest.raises(SlipwayError, match=r"line 29 \(2024-10-27 02:00\): line 28 has the same time.*--time-zone"):
        ingest(file)
    source = ingest(file, time_zone=BERLIN)
    assert not source.skipped
    labels = whole(source)["label"].to_pylist()
    assert labels[0] == [3, 4] and len(labels) == 68
    backwards = written(tmp_path, moments[::-1])
    labels = whole(ingest(backwards, time_zone=BERLIN))["label"].to_pylist()
    assert labels[0] == [68, 67] and len(labels) == 68


def test_an_hour_that_the_clock_leaves_out_is_no_gap_and_a_time_in_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, hours("2024-03-30", 72))
    assert ingest(file).skipped["a step of time that has no row (a gap in the windows)"] == 1
    assert "if the clock was set forward, give the --time-zone" in capsys.readouterr().out
    assert not ingest(file, time_zone=BERLIN).skipped
    file = written(tmp_path, pd.date_range("2024-03-30", periods=72, freq="h"))
    skipped = ingest(file, time_zone=BERLIN).skipped
    assert sum(skipped.values()) == 1
    assert "does not exist in Europe/Berlin, where the clock is set forward; the first is in line 28" in str(skipped)


@pytest.mark.parametrize("zoned", ["2020-01-04T00:00:00+05:00", "2020-01-04T00:00Z", "2020-01-04 00:00 UTC"])
def test_times_with_a_zone_among_times_without_are_refused(tmp_path: Path, zoned: str) -> None:
    lines = [f"2020-01-0{day} 00:00,{day}" for day in (1, 2, 3, 5, 6, 7)]
    with pytest.raises(
        SlipwayError, match=r"line 8 \(2020-01-04.*line 2 \(2020-01-01 00:00\) one without.*--time-zone"
    ):
        ingest(csv(tmp_path, *lines, f"{zoned},4"))


def test_every_way_to_write_a_zone_is_read(tmp_path: Path) -> None:
    spelled = ["00:00Z", "01:00:00 UTC", "08:00+0600", "04:00 +01", "00:30:00.5-03:30", "06:00+01:00[Europe/Berlin]"]
    found, offsets = times.read(np.array([f"2026-01-01T{text}" for text in spelled], object), None)
    assert (found - offsets).astype("M8[m]").astype(str).tolist() == [
        f"2026-01-01T0{hour}:00" for hour in (0, 1, 2, 3, 4, 5)
    ]
    found, offsets = times.read(np.array(["31.01.2026 10:00 +0100", "31.01.2026 10:00"], object), "%d.%m.%Y %H:%M %z")
    assert str(found[0] - offsets[0]) == "2026-01-31T09:00:00.000000" and np.isnat(found[1])
    for text in ("2026-01", "2026-01-31", "2026-01-31 10:00"):
        assert np.isnat(times.read(np.array([text], object), None)[1][0])


@pytest.mark.parametrize("name", ["europe/berlin", "Europe", "Europe/Berlinn", "../x", ""])
def test_a_zone_that_does_not_exist_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlipwayError, match="is not a time zone, such as Europe/Berlin"):
        ingest(written(tmp_path, hours("2024-01-01", 9)), time_zone=name)
    with pytest.raises(ValueError, match=r"time_zone: .* is not a time zone"):
        series.Params.model_validate({"time_zone": name})


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "+05:30"])
def test_a_parquet_file_brings_its_zone(tmp_path: Path, zone: str) -> None:
    moments = pd.date_range("2024-01-01", periods=366, freq="D", tz=zone)
    table = pa.table({"t": pa.array(moments.to_numpy(), pa.timestamp("us", zone)), "v": pa.array(range(366))})
    pq.write_table(table, tmp_path / "s.parquet")
    source = ingest(tmp_path / "s.parquet", **WIDE)
    assert (source.settings["time_zone"], source.settings["step"]) == (zone, "day")
    assert len(whole(source)) == 352


def test_the_calendar_goes_by_the_clock_of_the_zone() -> None:
    table = pa.table({"time": pa.array([np.datetime64("2024-12-31T23:00", "us"), None, np.datetime64(10**17, "us")])})
    asked = series.Params(step="hour", time_zone=BERLIN)
    year, day = (calendar.encoded(table.slice(0, 1), asked)[0, at : at + 2] for at in (0, 4))
    assert year.tolist() == day.tolist() == [0.0, 1.0]  # midnight of New Year there
    assert str(calendar.local(table["time"], asked)[0]) == "2025-01-01T00:00:00.000000"
    assert np.isnat(calendar.local(table["time"], asked)[1])  # and a time out of range is no crash


CALENDARS = {
    "B": "business day",
    "D": "day",
    "W-WED": "week",
    "MS": "month",
    "ME": "month",
    "BME": "month",
    "BMS": "month",
    "WOM-3FRI": "month",
    "QE": "quarter",
    "BQE": "quarter",
    "YS": "year",
    "BYE": "year",
    "2W": "2 weeks",
    "3h": "3 hours",
    "15min": "15 minutes",
}


@given(
    st.sampled_from(sorted(CALENDARS)),
    st.sampled_from([None, BERLIN, "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_calendar_with_gaps_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, freq: str, zone: str | None, seed: int, with_offset: bool
) -> None:
    """Whatever the kind of step and the zone, each value is as many steps from the first as in the calendar."""
    random = np.random.default_rng(seed)
    daily = freq not in ("3h", "15min")
    turns = ["2021-03-27T12", "2021-04-03T00", "2021-09-04T12", "2021-10-03T00", "2021-10-30T12", "2021-05-15T12"]
    start = np.datetime64("2021-01-01") + random.integers(0, 365) if daily else random.choice(turns)
    moments = pd.date_range(start, periods=60, freq=freq, tz=None if daily else zone)
    if daily and zone:  # midday: of some clocks midnight does not exist
        moments = (moments + pd.Timedelta("12h")).tz_localize(zone)
    shown = moments.tz_localize(None)
    twice = np.flatnonzero(shown.duplicated(keep=False))  # one of two alone is taken for the first
    kept = np.unique(np.concatenate([[0, 1, 2], twice, 3 + random.choice(57, 50, replace=False)]))
    form = "%Y-%m-%d %H:%M" + "%z" * (with_offset and zone is not None)
    lines = [f"{moments[at].strftime(form)},{at}" for at in kept]
    file = csv(tmp_path_factory.mktemp("s"), *lines)
    source = ingest(file, history=2, horizon=1, time_zone=zone)
    assert source.settings["step"] == CALENDARS[freq]
    found = whole(source)
    pairs = {
        (int(known[1]), int(label))
        for known, label in zip(found["history"].to_pylist(), found["label"].to_pylist(), strict=True)
    }
    assert pairs == {(at, at + 1) for at in kept if at >= 1 and at + 1 in kept}
    missing = kept.max() + 1 - len(kept)
    assert source.skipped["a step of time that has no row (a gap in the windows)"] == missing


def test_what_has_no_step_is_told_to_take_the_rows_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(
        tmp_path, pd.date_range("2023-01-01", periods=400, freq=pd.offsets.CustomBusinessDay(weekmask="1111001"))
    )
    with pytest.raises(SlipwayError, match=r"no complete window of 20 .*--step row takes the rows in order"):
        ingest(file, history=20, horizon=5)
    capsys.readouterr()
    ingest(file, history=20, horizon=3)
    assert re.search(r"1\d\d of 5\d\d steps \(day\) have no row.*--step row", capsys.readouterr().out)
    assert len(whole(ingest(file, history=20, horizon=5, step="row"))) == 376
    weekend = written(tmp_path, [*pd.date_range("2023-01-02", periods=30, freq="B"), pd.Timestamp("2023-03-04")])
    with pytest.raises(SlipwayError, match=r"line 32 \(2023-03-04 00:00\) is not a whole number of steps .*--step row"):
        ingest(weekend, step="business day")


def test_what_times_meant_in_training_holds_for_a_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{moment:%d.%m.%Y %H:%M},{at}" for at, moment in enumerate(hours("2024-10-27", 9))]
    asked = ingest(csv(tmp_path, *lines), time_zone=BERLIN, form="%d.%m.%Y %H:%M", season=1).settings
    model = series.Params.model_validate(asked)
    assert (model.time_zone, model.format) == (BERLIN, "%d.%m.%Y %H:%M")
    names, found = latest(tmp_path / "s.csv", model, "t", None, csv_reader.Reading(), None)
    assert names == ["after 27.10.2024 07:00"]  # as the file says it
    assert str(found["time"][0]) == "2024-10-27 06:00:00"
    assert "times without a zone are read as those of Europe/Berlin" in capsys.readouterr().err
    added = ingest(tmp_path / "s.csv", known=model, season=1)
    assert added.settings["time_zone"] == BERLIN and str(whole(added)["time"][0]) == "2024-10-27 00:00:00"
    bare = model.model_copy(update={"time_zone": None, "format": None})
    zoned = written(tmp_path, hours("2024-10-27", 9), "%Y-%m-%dT%H:%M%z")
    with pytest.raises(
        SlipwayError, match=r"line 2 .*the time names its zone, but those that the model was trained on"
    ):
        latest(zoned, bare, "t", None, csv_reader.Reading(), None)


def test_a_model_of_before_the_zone_was_kept_reads_offsets_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.tracking import connection

    old = {"values": ["v"], "group": False, "history": 3, "horizon": 2, "every": 1, "season": 1, "step": "hour"}
    monkeypatch.setattr(connection, "about", lambda _: {"recipe": "series", "params": old})
    file = written(tmp_path, hours("2024-10-27", 4), "%Y-%m-%dT%H:%M%z")
    _, found = predict._latest("models:/sales/1", file, {}, time="t", group=None, form=None, time_zone=None)
    assert str(found["time"][0]) == "2024-10-27 01:00:00"


@pytest.mark.parametrize(("old", "new"), [(BERLIN, None), (None, "UTC")])
def test_a_dataset_does_not_grow_by_times_that_mean_something_else(old: str | None, new: str | None) -> None:
    with pytest.raises(SlipwayError, match="time_zone"):
        ingest_stage._same_clock(series.Params(time_zone=old), {"time_zone": new})
    ingest_stage._same_clock(series.Params(time_zone=old), {"time_zone": old and "UTC"})
