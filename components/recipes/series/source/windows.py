"""From rows to windows: the step between them, the calendar that they fill, the histories that are cut from it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.recipes.series.example import Params, columns
from components.recipes.series.example.calendar import BUSINESS_DAY, UNIT_MONTHS, UNIT_SECONDS, parsed
from components.recipes.series.source.reading import Rows
from components.recipes.source import BATCH_ROWS

NO_ROW = "a step of time that has no row (a gap in the windows)"
MAX_VALUES_IN_MEMORY = 4_000_000  # values of windows in memory at a time


@dataclass(frozen=True)
class Part:
    """The series of one group, a row a step of the calendar."""

    group: str
    start: int  # the calendar's step that it begins with
    row: np.ndarray  # (steps,) int64: of the file's rows, -1 where the file leaves a step out
    time: np.ndarray  # (steps,) datetime64[us], NaT there
    values: np.ndarray  # (steps, columns) float64


def step(rows: Rows, file: Path) -> str:
    """Find the step of the times by what the clock shows.

    Months and their multiples where no month has two times and these are of one day of it, or of its first or last
    (business) day, or at no other regular distance; else the most frequent distance, which of Monday to Friday alone is
    a business day.
    """
    clock, first = np.unique(rows.clock, return_index=True)
    if len(clock) < 2:
        one = f" ({rows.text[first[0]]})" if len(clock) else ""
        raise SlipwayError(f"{file}: only one time{one}; a series needs at least two")
    apart, counts = np.unique(np.diff(clock).astype(np.int64), return_counts=True)
    size = int(apart[counts.argmax()])
    if (months := _months(clock)) and (_same_day(clock) or (apart % size).any()):
        unit = next(unit for unit in reversed(UNIT_MONTHS) if months % UNIT_MONTHS[unit] == 0)
        count = months // UNIT_MONTHS[unit]
    else:
        if size % 1_000_000:
            raise SlipwayError(f"{file}: times are {size:,} microseconds apart; the shortest step is one second")
        seconds = size // 1_000_000
        unit = next(unit for unit in reversed(UNIT_SECONDS) if seconds % UNIT_SECONDS[unit] == 0)
        count = seconds // UNIT_SECONDS[unit]
        if (count, unit) == (1, "day") and _business(clock):
            unit = BUSINESS_DAY
    return unit if count == 1 else f"{count} {unit}s"


def _months(clock: np.ndarray) -> int:
    """Return the months between most times, 0 where they are not about whole months apart; `clock` ascends."""
    months, counts = np.unique(np.diff(clock.astype("datetime64[M]").astype(np.int64)), return_counts=True)
    size = int(np.gcd.reduce(months))
    usual = bool(months.min() > 0 and np.median(np.diff(clock)) >= np.timedelta64(28, "D"))
    return size if usual and months[counts.argmax()] == size else 0


def _same_day(clock: np.ndarray) -> bool:
    """Say if all are of one day of the month, or all of its last, or of its first or last business day."""
    days, months = clock.astype("datetime64[D]"), clock.astype("datetime64[M]")
    first, after = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]")
    candidates = (
        first + (days[0] - first[0]),
        after - 1,
        np.busday_offset(first, 0, roll="forward"),
        np.busday_offset(after, -1, roll="forward"),
    )
    return any(bool((days == candidate).all()) for candidate in candidates)


def _business(clock: np.ndarray) -> bool:
    """Say if all are of Monday to Friday, with a weekend between some of them."""
    days = clock.astype("datetime64[D]")
    weeks = (days.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    return bool(np.is_busday(days).all()) and len(np.unique(weeks)) > 1


def positions(rows: Rows, step: str) -> np.ndarray:
    """Return `(n,)` int64: the number of each row's step, counted from the file's first time, for all groups alike.

    Days and longer steps are those of the clock, whose days may have 23 or 25 hours; shorter ones are of equal length.
    """
    if step == "row":
        return np.asarray(np.unique(rows.time, return_inverse=True)[1])
    count, unit = parsed(step)
    start = rows.time.argmin()
    days = rows.clock.astype("datetime64[D]")
    passed = (rows.clock - days).astype(np.int64)  # microseconds of the day
    rest = np.zeros(len(days), np.int64)
    if unit in UNIT_MONTHS:
        number, count = rows.clock.astype("datetime64[M]").astype(np.int64), count * UNIT_MONTHS[unit]
    elif unit == "week":
        number = (days.astype(np.int64) + 3) // 7
    elif unit == "day":
        number, rest = days.astype(np.int64), passed - passed[start]
    elif unit == BUSINESS_DAY:
        number, rest = np.busday_count("1970-01-01", days), passed - passed[start] + ~np.is_busday(days)
    else:
        number, count = rows.time.astype(np.int64), count * UNIT_SECONDS[unit] * 1_000_000
        if ((number - number[start]) % count).any():  # such as every 6 hours of a clock that is set forward
            of_clock = rows.clock.astype(np.int64)
            number = number if ((of_clock - of_clock[start]) % count).any() else of_clock
    number = number - number.min()
    position: np.ndarray = number // count
    if len(off := np.flatnonzero((number % count != 0) | (rest != 0))):
        raise SlipwayError(
            f"{rows.place(off[0])} is not a whole number of steps ({step}) after {rows.text[start]}; give the --step, "
            "resample the series, or take the rows in order with --step row"
            + ("; if they are days of a place whose clock is set forward and back, give its --time-zone")
            * (unit == "day" and rows.zone in (None, "UTC"))
        )
    if position.max() > 20 * len(rows.time) + 1000:
        last = rows.time.argmax()
        raise SlipwayError(
            f"{rows.place(last)} is {position.max():,} steps ({step}) after {rows.text[start]}, but there are "
            f"{len(rows.time):,} rows: is that time correct? If so, give a longer --step, or --step row"
        )
    return position


def may_be_set_forward(rows: Rows, step: str) -> bool:
    """Say if an hour of a night to Sunday is missing, of a step of an hour or less."""
    clock = np.unique(rows.clock)
    count, unit = (0, "") if step == "row" else parsed(step)
    length = np.timedelta64(count * UNIT_SECONDS.get(unit, 0), "s")
    if not length or length > np.timedelta64(1, "h"):
        return False
    before = clock[:-1][np.diff(clock) == length + np.timedelta64(1, "h")]
    days = before.astype("datetime64[D]")
    return bool(((days.astype(np.int64) % 7 == 3) & (before - days < np.timedelta64(4, "h"))).any())


def parts(rows: Rows, position: np.ndarray, order: np.ndarray) -> list[Part]:
    """Lay every group's rows on its steps; `order` sorts them by group, then by time."""
    by_time = np.argsort(rows.time, kind="stable")
    step, first = np.unique(position[by_time], return_index=True)
    calendar = dict(zip(step.tolist(), rows.time[by_time][first], strict=True))  # a month has one time for all groups
    found = []
    for mine in np.split(order, np.flatnonzero(np.diff(rows.group[order])) + 1):
        start, size = int(position[mine[0]]), int(position[mine[-1]] - position[mine[0]]) + 1
        time = np.full(size, np.datetime64("NaT"), "datetime64[us]")
        row, values = np.full(size, -1), np.full((size, rows.values.shape[1]), np.nan)
        at = position[mine] - start
        row[at] = mine
        time[at] = [calendar[step] for step in position[mine].tolist()]
        values[at] = rows.values[mine]
        found.append(Part(rows.groups[rows.group[mine[0]]], start, row, time, values))
    return found


def origins(part: Part, history: int, horizon: int, every: int, skipped: Counter[str]) -> np.ndarray:
    """Return the steps `(n,)` of a series that windows can end at; count the gaps and what they leave out."""
    out = np.isnat(part.time)
    gap = np.isnan(part.values)
    skipped[NO_ROW] += int(out.sum())
    skipped["an empty value (a gap in the windows)"] += int(gap[~out].sum())
    steps = np.arange(history - 1, len(part.values) - horizon)
    if not len(steps):
        skipped[f"a series shorter than {history + horizon} steps"] += 1
        return steps
    steps = steps[(part.start + steps) % every == 0]
    before = np.concatenate([np.zeros((1, gap.shape[1]), np.int64), gap.cumsum(axis=0)])  # gaps before a step
    reasons = {
        "a value to predict is missing": (before[steps + 1 + horizon] > before[steps + 1]).any(axis=1),
        "no value at the window's last step": gap[steps].all(axis=1),
        "a history without a value": (before[steps + 1] - before[steps + 1 - history] == history).any(axis=1),
    }
    bad = np.zeros(len(steps), bool)
    for reason, found in reasons.items():
        skipped[f"a window: {reason}"] += int((found & ~bad).sum())
        bad |= found
    good: np.ndarray = steps[~bad]
    return good


def windows(parts: list[Part], origins: list[np.ndarray], params: "Params", *, labelled: bool) -> Iterator[pa.Table]:
    """Cut the windows that end at `origins`, some at a time."""
    schema = columns(params)
    size = max(min(BATCH_ROWS, MAX_VALUES_IN_MEMORY // ((params.history + params.horizon) * len(params.values))), 1)
    for part, steps in zip(parts, origins, strict=True):
        for at in range(0, len(steps), size):
            some = steps[at : at + size, None]
            past = part.values[some + np.arange(1 - params.history, 1)]  # (n, history, columns)
            group = [pa.array([part.group] * len(some), pa.string())] if params.group else []
            lists = [_lists(past[:, :, column]) for column in range(len(params.values))]
            table = pa.table([pa.array(part.time[some[:, 0]]), *group, *lists], schema.names)
            if labelled:
                ahead = part.values[some + np.arange(1, params.horizon + 1)].transpose(0, 2, 1).reshape(len(some), -1)
                table = table.append_column("label", pa.array(ahead[:, 0]) if ahead.shape[1] == 1 else _lists(ahead))
            yield table


def _lists(numbers: np.ndarray) -> pa.ListArray:
    """Make a list of each row; NaN becomes a null."""
    offsets = pa.array(np.arange(len(numbers) + 1) * numbers.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(numbers.ravel(), pa.float64(), from_pandas=True))
