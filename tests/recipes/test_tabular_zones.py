"""Dates of a table that name their zone: told, never mixed with others, and read the same way in a prediction."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.recipes.source import Source
from components.recipes.tabular.example import Params
from components.recipes.tabular.source import tabular
from components.stages import predict

BERLIN = "Europe/Berlin"


def read(folder: Path, *when: str, **options: Any) -> Source:
    file = folder / "t.csv"
    file.write_text("\n".join(["when,x,y", *(f"{text},{at},{'ab'[at % 2]}" for at, text in enumerate(when * 6))]))
    return tabular(file, ["y"], **options)


def dates(source: Source) -> list[str]:
    return [str(time) for time in pa.concat_tables(source.tables)["when"].to_pylist()]


def test_dates_with_a_zone_among_dates_without_are_refused(tmp_path: Path) -> None:
    mixed = ("2026-01-01T00:00:00", "2026-01-01T01:00:00+05:00")
    with pytest.raises(SlipwayError, match=r"row 2 \(2026-.*\) names its zone, row 1 \(2026.*\) does not.*--time-zone"):
        read(tmp_path, *mixed)
    source = read(tmp_path, *mixed, time_zone=BERLIN)
    assert dates(source)[:2] == ["2026-01-01 00:00:00", "2025-12-31 21:00:00"]
    with pytest.raises(SlipwayError, match="is not a time zone"):
        read(tmp_path, *mixed, time_zone="Berlin")


@pytest.mark.parametrize(
    ("zone", "expected"),
    [(None, ["2026-01-01 00:00:00", "2026-07-01 22:00:00"]), (BERLIN, ["2026-01-01 01:00:00", "2026-07-02 00:00:00"])],
)
@pytest.mark.parametrize("winter", ["2026-01-01 00:00 UTC", "2026-01-01T00:00:00Z", "2026-01-01 05:00 +0500"])
def test_every_spelling_of_a_zone_is_a_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], winter: str, zone: str | None, expected: list[str]
) -> None:
    source = read(tmp_path, winter, "2026-07-02 00:00+02", time_zone=zone)
    assert source.settings["dates"] == ["when"] and source.settings["reading"] == {"zones": {"when": zone or "UTC"}}
    assert dates(source)[:2] == expected
    assert ("when: dates in UTC" in capsys.readouterr().out) == (zone is None)


def test_dates_without_a_zone_stay_as_they_are(tmp_path: Path) -> None:
    source = read(tmp_path, "2026-03-29 02:30", "2026-10-25")  # whatever a clock may leave out
    assert source.settings["reading"] == {}
    assert dates(source)[:2] == ["2026-03-29 02:30:00", "2026-10-25 00:00:00"]


def test_a_parquet_file_with_a_zone_is_read_by_the_same_clock(tmp_path: Path) -> None:
    moments = pd.date_range("2026-06-30 22:00", periods=12, freq="D", tz="UTC").tz_convert("Asia/Tokyo")
    table = pa.table(
        {"when": pa.array(moments.to_series().reset_index(drop=True)), "x": list(range(12)), "y": list("ab" * 6)}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert dates(tabular(tmp_path / "t.parquet", ["y"]))[0] == "2026-06-30 22:00:00"
    assert dates(tabular(tmp_path / "t.parquet", ["y"], time_zone=BERLIN))[0] == "2026-07-01 00:00:00"


def test_what_a_zone_meant_holds_for_added_rows_and_for_predictions(tmp_path: Path) -> None:
    zoned, bare = ("2026-07-01T22:00:00Z", "2026-07-02T22:00:00Z"), ("2026-07-02 00:00", "2026-07-03 00:00")
    known = Params.model_validate(read(tmp_path, *zoned, time_zone=BERLIN).settings)
    for when in (zoned, bare):
        assert dates(read(tmp_path, *when, known=known))[0] == "2026-07-02 00:00:00"
    plain = Params.model_validate(read(tmp_path, *bare).settings)
    with pytest.raises(SlipwayError, match=r"row 1 \(2026-07-01T22:00:00Z\) names its zone, but the dates"):
        read(tmp_path, *zoned, known=plain)

    def predicted(params: dict[str, Any], zone: str | None = None) -> Any:
        about = {"recipe": "tabular", "params": params, "inputs": {"when": "datetime", "x": "double", "y": "string"}}
        return predict._read(tmp_path / "t.csv", about, zone)[1]["when"].to_pylist()[0]

    read(tmp_path, *zoned, known=known)
    assert predicted(known.model_dump()) == "2026-07-02T00:00:00.000000"
    assert "name none: give --time-zone" in predicted(plain.model_dump())
    assert predicted(plain.model_dump(), BERLIN) == "2026-07-02T00:00:00.000000"
    assert predicted({}) == zoned[0]  # a model of before this was kept: UTC, as ever


def test_in_a_typed_file_to_predict_zones_mean_what_they_mean_in_text(tmp_path: Path) -> None:
    """Parquet's moments were taken for UTC, whatever the training's dates were."""
    moment = pd.Series(pd.date_range("2026-07-02", periods=1, tz=BERLIN))
    pq.write_table(pa.table({"when": pa.array(moment), "x": [1.0]}), tmp_path / "t.parquet")
    bare = Params.model_validate(read(tmp_path, "2026-07-02 00:00", "2026-07-03 00:00").settings)

    def predicted(params: dict[str, Any], zone: str | None = None) -> Any:
        about = {"recipe": "tabular", "params": params, "inputs": {"when": "datetime", "x": "double"}}
        return predict._read(tmp_path / "t.parquet", about, zone)[1]["when"].to_pylist()[0]

    assert "name none: give --time-zone" in predicted(bare.model_dump())
    assert predicted(bare.model_dump(), BERLIN) == "2026-07-02T00:00:00.000000"
    assert predicted({}) == moment[0]  # a model of before the setting: UTC, as ever
