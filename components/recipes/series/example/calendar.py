"""The calendar of a series: the step between two times, and the cycles of a year, a week and a day."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.data import times

if TYPE_CHECKING:
    from components.recipes.series.example import Params


UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}  # seconds
BUSINESS_DAY = "business day"  # Monday to Friday
UNIT_MONTHS = {"month": 1, "quarter": 3, "year": 12}
UNITS = (*UNIT_SECONDS, BUSINESS_DAY, *UNIT_MONTHS)
STEP_PATTERN = re.compile(rf"(?:([1-9]\d{{0,5}}) )?({'|'.join(UNITS)})s?")


def parsed(step: str) -> tuple[int, str]:
    """Read a step such as `month` or `10 minutes`: how many of which unit; ValueError for anything else."""
    found = STEP_PATTERN.fullmatch(step)
    if not found:
        raise ValueError(f"step is {step!r}; expected {', '.join(UNITS)}, or a multiple such as '10 minutes'")
    return int(found[1] or 1), found[2]


def seconds(step: str) -> float:
    """Return how long a step is in seconds: a month has 30 days."""
    count, unit = parsed(step)
    return count * (UNIT_SECONDS.get(unit) or UNIT_MONTHS.get(unit, 1 / 30) * 30 * UNIT_SECONDS["day"])


def cycles(params: "Params") -> list[str]:
    """Name the calendar's cycles that a step is shorter than."""
    if params.step is None:
        return []
    length = seconds(params.step)
    lengths = {"year": 360 * UNIT_SECONDS["day"], "week": UNIT_SECONDS["week"], "day": UNIT_SECONDS["day"]}
    return [name for name, whole in lengths.items() if length < whole]


def local(time: Any, params: "Params") -> np.ndarray:
    """Return what the clock of the series' place shows at times `(n,)`, datetime64[us]; NaT for none."""
    found = time.to_numpy().astype("datetime64[us]")
    return found if params.time_zone is None else times.shown_by(times.zone(params.time_zone), found)


def encoded(table: pa.Table, params: "Params") -> np.ndarray:
    """Return `(n, 2 * cycles)` float32: sine and cosine of how much of the year, week and day has passed."""
    if table["time"].null_count:
        raise ValueError("time is missing")
    time = local(table["time"], params)
    year, day = time.astype("datetime64[Y]"), time.astype("datetime64[D]")
    passed = (time - day) / np.timedelta64(1, "D")
    parts = {
        "year": (time - year) / ((year + 1).astype("datetime64[us]") - year),
        "week": ((day.astype(np.int64) + 3) % 7 + passed) / 7,  # 1970-01-01 was a Thursday
        "day": passed,
    }
    angles = [2 * np.pi * parts[name] for name in cycles(params)]
    return np.stack([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1).astype(np.float32)
