"""From rows to windows: the step between them, the calendar that they fill, the histories that are cut from it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.recipes.series.example import Params, columns
from components.recipes.series.example.calendar import UNIT_MONTHS, UNIT_SECONDS, distance
from components.recipes.series.source.reading import Rows, shown
from components.recipes.source import BATCH_ROWS

MAX_VALUES_IN_MEMORY = 4_000_000  # values of windows in memory at a time


@dataclass(frozen=True)
class Part:
    """The series of one group, a row a step of the calendar."""

    group: str
    start: int  # the calendar's step that it begins with
    time: np.ndarray  # (steps,) datetime64[us], NaT where the file leaves a step out
    values: np.ndarray  # (steps, columns) float64


def step(rows: Rows, file: Path) -> str:
    """Find the distance of the times: whole months where no month has two of them, else the most frequent distance."""
    times = np.unique(rows.time)
    if len(times) < 2:
        raise SlipwayError(f"{file}: only one time ({shown(times[0])}); a series needs at least two")
    months = times.astype("datetime64[M]").astype(np.int64)
    apart = np.diff(months)
    if (apart > 0).all() and np.median(np.diff(times)) >= np.timedelta64(28, "D") and _same_day(times):
        size = int(np.gcd.reduce(apart))
        unit = next(unit for unit in reversed(UNIT_MONTHS) if size % UNIT_MONTHS[unit] == 0)
        count = size // UNIT_MONTHS[unit]
    else:
        found, counts = np.unique(np.diff(times).astype(np.int64), return_counts=True)
        size = int(found[counts.argmax()])
        if size % 1_000_000:
            raise SlipwayError(f"{file}: times are {size:,} microseconds apart; the shortest step is one second")
        unit = next(unit for unit in reversed(UNIT_SECONDS) if size // 1_000_000 % UNIT_SECONDS[unit] == 0)
        count = size // 1_000_000 // UNIT_SECONDS[unit]
    return unit if count == 1 else f"{count} {unit}s"


def _same_day(times: np.ndarray) -> bool:
    """Say if all are of one day of the month, or all of its last."""
    days = times.astype("datetime64[D]")
    ends = (days + 1).astype("datetime64[M]") > days.astype("datetime64[M]")
    return bool(ends.all()) or len(np.unique(days - days.astype("datetime64[M]"))) == 1


def positions(rows: Rows, step: str) -> np.ndarray:
    """Return `(n,)` int64: the number of each row's step, counted from the file's first time, for all groups alike."""
    if step == "row":
        return np.asarray(np.unique(rows.time, return_inverse=True)[1])
    months, seconds = distance(step)
    if months:
        count = rows.time.astype("datetime64[M]").astype(np.int64)
        size = months
    else:
        count, size = rows.time.astype(np.int64), seconds * 1_000_000
    position: np.ndarray = (count - count.min()) // size
    rest = (count - count.min()) % size
    if rest.any():
        row = np.flatnonzero(rest)[0]
        raise SlipwayError(
            f"{rows.place(row)} is not a whole number of steps ({step}) after {shown(rows.time.min())}; give the "
            "--step, resample the series, or take the rows in order with --step row"
        )
    if position.max() > 20 * len(rows.time) + 1000:
        last = rows.time.argmax()
        raise SlipwayError(
            f"{rows.place(last)} is {position.max():,} steps ({step}) after {shown(rows.time.min())}, but there are "
            f"{len(rows.time):,} rows: is that time correct? If so, give a longer --step, or --step row"
        )
    return position


def parts(rows: Rows, position: np.ndarray, order: np.ndarray) -> list[Part]:
    """Lay every group's rows on its steps; `order` sorts them by group, then by time."""
    by_time = np.argsort(rows.time, kind="stable")
    step, first = np.unique(position[by_time], return_index=True)
    calendar = dict(zip(step.tolist(), rows.time[by_time][first], strict=True))  # a month has one time for all groups
    found = []
    for code, mine in enumerate(np.split(order, np.flatnonzero(np.diff(rows.group[order])) + 1)):
        start, size = int(position[mine[0]]), int(position[mine[-1]] - position[mine[0]]) + 1
        time = np.full(size, np.datetime64("NaT"), "datetime64[us]")
        values = np.full((size, rows.values.shape[1]), np.nan)
        at = position[mine] - start
        time[at] = [calendar[step] for step in position[mine].tolist()]
        values[at] = rows.values[mine]
        found.append(Part(rows.groups[code], start, time, values))
    return found


def origins(part: Part, history: int, horizon: int, every: int, skipped: Counter[str]) -> np.ndarray:
    """Return the steps `(n,)` of a series that windows can end at; count the gaps and what they leave out."""
    out = np.isnat(part.time)
    gap = np.isnan(part.values)
    skipped["a step of time that has no row (a gap in the windows)"] += int(out.sum())
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
