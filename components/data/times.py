"""Times as files write them: by the clock of a place, with or without its offset from UTC."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from components import SlipwayError, near

OFFSET = r"[+-](?:[01]\d|2[0-3]):?[0-5]\d"
# What the clock shows, and then the zone. A bare +01 follows a time of day, for 2026-01 is a month; Java writes
# +01:00[Europe/Berlin].
CLOCK = r"\d(?::\d{2}(?:[.,]\d+)?|T\d{2}|T\d{4,6})(?:\s?[AP]M)?"
WITH_ZONE = (
    rf"^(?:(?P<named>.*\d)\s*(?:Z|UTC|GMT)(?:\[[\w/]+\])?"
    rf"|(?P<local>.*{CLOCK})\s*(?P<offset>{OFFSET}|[+-][01]\d)(?:\[[\w/]+\])?"
    rf"|(?P<day>\d{{4}}-\d{{2}}-\d{{2}})\s*(?P<day_offset>{OFFSET}))$"
)
NONE = np.timedelta64("NaT", "us")


def zone(name: str) -> tzinfo:
    """Return the zone of a name such as Europe/Berlin, UTC or +01:00; SlipwayError for one that does not exist."""
    if re.fullmatch(OFFSET, name):
        return timezone(_offset(name))
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: Europe is a folder
        known = {one.lower(): one for one in available_timezones() if "/" in one}
        same = known.get(name.lower())
        hint = f"; did you mean {same}?" if same else f"; {near(name, known.values())}".rstrip("; ")
        raise SlipwayError(f"{name!r} is not a time zone, such as Europe/Berlin, UTC or +01:00{hint}") from None


def _offset(text: str) -> timedelta:
    minutes = int(text[1:3]) * 60 + int(text[-2:] if len(text) > 3 else 0)
    return timedelta(minutes=-minutes if text[0] == "-" else minutes)


def read(texts: np.ndarray, form: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Read times `(n,)` of ISO 8601, or of a form as in strptime.

    Returns what the clock shows, datetime64[us], NaT for what is not a time, and the offset from UTC, timedelta64[us],
    NaT where a time names none.
    """
    import pandas as pd

    offsets = np.full(len(texts), NONE)
    local = pd.Series(texts, dtype="object")
    if form is None or form.rstrip().lower().endswith("%z"):
        found = local.str.extract(WITH_ZONE, flags=re.IGNORECASE).astype("object")
        named = found["named"].notna().to_numpy()
        offsets[named] = np.timedelta64(0, "us")
        each = found["offset"].fillna(found["day_offset"])
        for text in each.dropna().unique():
            offsets[(each == text).to_numpy()] = np.timedelta64(_offset(text))
        parts = found["named"].fillna(found["local"]).fillna(found["day"])
        local = parts.fillna(local) if form is None else parts.fillna("")
        form = form and form.rstrip()[:-2].rstrip()
    clock = pd.to_datetime(local, format=form or "ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    clock = clock.mask(local.isin(["now", "today"]))  # which pandas reads off its own clock, in any format
    return np.asarray(clock.to_numpy(), "datetime64[us]"), offsets


def to_utc(clock: np.ndarray, place: tzinfo, group: np.ndarray) -> np.ndarray:
    """Turn what the clock of a place shows `(n,)` into UTC; NaT for an hour that the clock leaves out.

    Of an hour that comes twice the first row is the first one and the second the second: in the order of the rows of a
    group, where these follow each other in time. A time that stands once is the first of the two, unless only the
    second is a whole number of steps after the row before.
    """
    import pandas as pd

    times = pd.DatetimeIndex(clock)  # none of them NaT

    def read(first: np.ndarray) -> np.ndarray:
        found = times.tz_localize(place, ambiguous=first, nonexistent="NaT").tz_convert("UTC").tz_localize(None)
        return np.asarray(found.to_numpy(), "datetime64[us]")

    first = np.ones(len(clock), bool)
    early = read(first)
    apart = read(~first) - early
    twice = np.flatnonzero(apart > np.timedelta64(0, "us"))
    if not len(twice):
        return early
    for code in np.unique(group[twice]):
        rows = np.flatnonzero(group == code)
        if len(rows) > 1 and clock[rows[0]] > clock[rows[-1]]:  # the latest first
            rows = rows[::-1]
        first[rows] = _first(clock[rows], np.isin(rows, twice), apart[rows])
    return read(first)


def _first(clock: np.ndarray, twice: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Say of each time `(n,)` of a group whether it is the first of those that come twice, `apart` from each other."""
    distance = np.diff(clock, prepend=clock[:1])
    again = np.concatenate([[False], twice[:-1]]) & twice & (distance < np.timedelta64(3, "h"))
    back = (distance <= np.timedelta64(0, "us")) & (np.arange(len(clock)) > 0)
    if (back & ~again).any():  # not in order, but where the clock is set back
        order = np.argsort(clock, kind="stable")
        first = np.ones(len(clock), bool)
        first[order[1:]] = clock[order[1:]] != clock[order[:-1]]
        return first
    starts = np.maximum.accumulate(np.where(again, 0, np.arange(len(clock))))  # of the hour that each is in
    turns = np.cumsum(back)
    sizes, counts = np.unique(distance[1:].astype(np.int64), return_counts=True)
    step = np.timedelta64(max(int(sizes[counts.argmax()]), 1) if len(sizes) else 1, "us")
    none = np.timedelta64(0, "us")
    late = twice & ~again & (distance % step != none) & ((distance + np.where(twice, apart, none)) % step == none)
    return np.asarray((turns == turns[starts]) & ~late[starts])


def shown_by(place: tzinfo, times: np.ndarray) -> np.ndarray:
    """Return what a place's clock shows at times in UTC `(n,)`, datetime64[us]; NaT and years that are none stay."""
    import pandas as pd

    found = np.array(times, "datetime64[us]")
    good = (found > np.datetime64("0001-01-03", "us")) & (found < np.datetime64("9999-12-30", "us"))
    local = pd.DatetimeIndex(found[good]).tz_localize("UTC").tz_convert(place).tz_localize(None)
    found[good] = local.to_numpy()
    return found
