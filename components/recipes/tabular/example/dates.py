"""Dates as numbers: how long ago, and where in the year, the month, the week and the day."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DATE = pa.timestamp("us")
FIRST_DATE, LAST_DATE = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999, microseconds since 1970
DAY_MICROSECONDS = 86_400_000_000  # microseconds
YEAR_DAYS = 365.2425  # days, of the Gregorian calendar
DATE_PARTS = ("days", "year", "month", "day", "weekday", "year sin", "year cos", "time sin", "time cos")


def in_range(dates: Any) -> Any:
    """Return a boolean array: the date is one of the years 1 to 9999; null where it is missing."""
    count = dates.cast(pa.int64())
    return pc.and_(pc.greater_equal(count, FIRST_DATE), pc.less_equal(count, LAST_DATE))


def parts(dates: Any) -> dict[str, np.ndarray]:
    """Make numbers of dates: `(n,)` float64 each, NaN where the date is missing or out of range.

    The day of the year and the time of day go round, so each is a sine and a cosine.
    """
    valid = pc.if_else(in_range(dates), dates, pa.scalar(None, DATE))

    def plain(values: Any) -> np.ndarray:
        numbers: np.ndarray = values.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
        return numbers

    days = plain(valid.cast(pa.int64())) / DAY_MICROSECONDS
    year = 2 * np.pi * plain(pc.day_of_year(valid)) / YEAR_DAYS
    time = 2 * np.pi * (days - np.floor(days))
    values = (days, plain(pc.year(valid)), plain(pc.month(valid)), plain(pc.day(valid)), plain(pc.day_of_week(valid)))
    return dict(zip(DATE_PARTS, (*values, np.sin(year), np.cos(year), np.sin(time), np.cos(time)), strict=True))
