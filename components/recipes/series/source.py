"""Series: a CSV or Parquet file with a time and values in each row, cut into windows."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import csv_reader
from components.recipes.series.example import UNIT_MONTHS, UNIT_SECONDS, Params, columns, distance
from components.recipes.source import BATCH_ROWS, Command, Source, slug

MAX_VALUES_IN_MEMORY = 4_000_000  # values of windows in memory at a time
SEASON_OF_STEP = {"second": 60, "minute": 60, "hour": 24, "day": 7, "week": 52, "month": 12, "quarter": 4}


@dataclass(frozen=True)
class Rows:
    """The rows of a file that hold a time, in its order."""

    file: Path
    line: np.ndarray  # (n,) int64: of the file, for messages
    time: np.ndarray  # (n,) datetime64[us]
    values: np.ndarray  # (n, columns) float64, NaN where one is missing
    group: np.ndarray  # (n,) int64: an index into groups
    groups: list[str]
    word: str  # what `line` counts

    def place(self, row: Any) -> str:
        """Name a row: where it stands, and what it is."""
        name = f"{self.groups[self.group[row]]}, " if self.groups != [""] else ""
        return f"{self.file}: {self.word} {self.line[row]} ({name}{_text(self.time[row])})"


@dataclass(frozen=True)
class Part:
    """The series of one group, a row a step of the calendar."""

    group: str
    start: int  # the calendar's step that it begins with
    time: np.ndarray  # (steps,) datetime64[us], NaT where the file leaves a step out
    values: np.ndarray  # (steps, columns) float64


def series(
    file: Path,
    time: str,
    value: list[str],
    group: str | None,
    history: int,
    horizon: int,
    season: int | None,
    step: str | None,
    every: int,
    form: str | None,
    **options: Any,
) -> Source:
    """Read a file and cut it into windows; `step` is found in the times where it is None.

    Steps that a regular series leaves out, and empty values, are gaps: a gap in the history stays one, an origin
    without any value and a label with a gap make no example. Raises SlipwayError, naming the line, for a time or a
    value that cannot be read, two rows of one time, times off the regular steps, and a file too short for a window.
    """
    for name, number in (("history", history), ("horizon", horizon), ("every", every), ("season", season or 1)):
        if number < 1:
            raise SlipwayError(f"--{name} is {number}; it is a number of steps, 1 or more")
    skipped: Counter[str] = Counter()
    names = [time, *value, *([group] if group is not None else [])]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SlipwayError(f"column {twice[0]} is named twice")
    rows = _read(file, time, value, group, csv_reader.reading(options), form, skipped)
    if step not in (None, "row"):
        try:
            distance(step)
        except ValueError as error:
            raise SlipwayError(f"--step: {error}; or row: as the rows follow each other") from None
    step = _step(rows, file) if step is None else step
    parts = _ordered(rows, step)
    if season is None:
        season = SEASON_OF_STEP.get(step, 1)
        season = season if season <= history else 1
    if season > history:
        raise SlipwayError(
            f"--season {season} is more than a history of {history} steps shows; take a longer --history"
        )
    origins = [_origins(part, history, horizon, every, skipped) for part in parts]
    skipped = +skipped  # without those that are 0
    if not any(len(found) for found in origins):
        longest = max(len(part.values) for part in parts)
        raise SlipwayError(
            f"{file}: no whole window of {history} + {horizon} steps (history and horizon) in it: the longest series "
            f"has {longest:,} steps ({step}){''.join(f'; {n:,} left out: {why}' for why, n in sorted(skipped.items()))}"
        )
    settings = {
        "values": value,
        "group": group is not None,
        "history": history,
        "horizon": horizon,
        "every": every,
        "season": season,
        "step": None if step == "row" else step,
    }
    windows = _windows(parts, origins, Params.model_validate(settings), labelled=True)
    return Source(slug(file.stem), "series", settings, windows, skipped, {"register": {"maximum": {"mase": 1.0}}})


def latest(
    file: Path, params: Params, time: str, group: str | None, how: csv_reader.Reading, form: str | None
) -> tuple[list[str], pa.Table]:
    """Cut the last window of each group, for a forecast of what the file does not know yet: its names, the windows.

    `params` are the model's: its columns, history and step. A window ends at the last step that has a value. Raises
    SlipwayError as `series` does, and where a series is shorter than a history.
    """
    if (group is None) == params.group:
        hint = "several series, so name their column: --group" if params.group else "one series, so leave out --group"
        raise SlipwayError(f"the model is of {hint}")
    rows = _read(file, time, params.values, group, how, form, Counter())
    parts = _ordered(rows, params.step or "row")
    ends = [np.flatnonzero(~np.isnan(part.values).all(axis=1))[-1:] for part in parts]
    for part, end in zip(parts, ends, strict=True):
        known = int(end[0]) + 1 if len(end) else 0
        if known < params.history:
            name = f"{part.group} has " if params.group else ""
            raise SlipwayError(f"{file}: {name}{known:,} steps; the model looks at {params.history:,}")
    table = pa.concat_tables(_windows(parts, ends, params, labelled=False))
    after = [_text(np.datetime64(time, "us")) for time in table["time"].to_pylist()]
    groups = table["group"].to_pylist() if params.group else [""] * len(after)
    return [f"{name} after {time}".strip() for name, time in zip(groups, after, strict=True)], table


def _ordered(rows: Rows, step: str) -> list[Part]:
    """Lay the rows of each group on their steps; SlipwayError for two rows of one time."""
    position = _positions(rows, step)
    order = np.lexsort((position, rows.group))
    same = (np.diff(position[order]) == 0) & (np.diff(rows.group[order]) == 0)
    if same.any():
        first, second = order[np.flatnonzero(same)[0] :][:2]
        raise SlipwayError(f"{rows.place(second)}: {rows.word} {rows.line[first]} is of the same time; one must go")
    return _parts(rows, position, order)


def _read(
    file: Path,
    time: str,
    value: list[str],
    group: str | None,
    how: csv_reader.Reading,
    form: str | None,
    skipped: Counter[str],
) -> Rows:
    names = [time, *value, *([group] if group is not None else [])]
    odd: dict[int, str] = {}
    if file.suffix == ".parquet":
        table, word = _parquet(file, names), "row"
        line = np.arange(len(table))
    else:
        table, line, found = _csv(file, names, how)
        odd = {number: text for number, text in found.items() if text.strip()}
        skipped["a blank line"] += len(found) - len(odd)
        word = "line"
    empty = np.logical_and.reduce([_texts(table[name]) == "" for name in names])
    skipped["a blank line"] += int(empty.sum())
    table, line = table.filter(pa.array(~empty)), line[~empty]
    when = _times(table[time], form)
    timed = np.flatnonzero(~np.isnat(when))
    if odd and not len(timed):
        number, text = next(iter(odd.items()))
        raise SlipwayError(f"{file}: line {number} has other columns than the header: {text[:80]!r}")
    if not len(timed):
        first = repr(table[time][0].as_py()) if len(when) else "nothing"
        raise SlipwayError(f"{file}: no row has a time in column {time}; it begins with {first}; {_FORM}")
    end = timed[-1] + 1  # a footer has no time, and none comes after it
    if end > len(timed):
        bad = np.flatnonzero(np.isnat(when))[0]
        text = table[time][int(bad)].as_py()
        raise SlipwayError(f"{file}: {word} {line[bad]}: {time} is {text!r}, no time; {_FORM}")
    for number, text in odd.items():
        if number < line[end - 1]:
            raise SlipwayError(f"{file}: line {number} has other columns than the header: {text[:80]!r}")
    skipped["a line at the end without a time"] += len(odd) + len(when) - end
    table, line, when = table.slice(0, end), line[:end], when[:end]
    values = np.stack([_numbers(file, table[name], name, line, word, how) for name in value], axis=1)
    if group is None:
        return Rows(file, line, when, values, np.zeros(end, np.int64), [""], word)
    codes = table[group].cast(pa.string()).combine_chunks().dictionary_encode()
    if table[group].null_count or "" in codes.dictionary.to_pylist():
        empty = next(row for row, text in enumerate(table[group].to_pylist()) if not text)
        raise SlipwayError(f"{file}: {word} {line[empty]}: {group} is empty")
    return Rows(file, line, when, values, codes.indices.to_numpy().astype(np.int64), codes.dictionary.to_pylist(), word)


_FORM = "ISO 8601 is read (1949-01, 1949-01-31, 1949-01-31 12:00), other forms with --format, such as --format %d.%m.%Y"


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as stripped text `(n,)`, empty where it is missing."""
    return np.array([text.strip() for text in column.cast(pa.string()).fill_null("").to_pylist()], object)


def _csv(file: Path, names: list[str], how: csv_reader.Reading) -> tuple[pa.Table, np.ndarray, dict[int, str]]:
    """Read columns of a CSV as the text that they are, the line of each row, and the lines of other columns."""
    odd: dict[int, str] = {}
    rows = csv_reader.rows(file, how, odd=odd)
    _, header = next(rows, (0, []))
    _must_have(file, header, names)
    parts, lines = [pa.schema([(name, pa.string()) for name in names]).empty_table()], []
    while some := list(islice(rows, BATCH_ROWS)):
        lines += [line for line, _ in some]
        parts.append(pa.table([pa.array([row[header.index(name)] for _, row in some]) for name in names], names))
    return pa.concat_tables(parts), np.array(lines, np.int64), odd


def _parquet(file: Path, names: list[str]) -> pa.Table:
    try:
        _must_have(file, pq.read_schema(file).names, names)
        return pq.read_table(file, columns=names)
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SlipwayError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def _must_have(file: Path, has: list[str], names: list[str]) -> None:
    for name in names:
        if name not in has:
            one = " (one column only: what stands between columns is --delimiter)" if len(has) == 1 else ""
            raise SlipwayError(f"{file}: no column {name!r} (there are: {', '.join(has)}){one}")


def _times(column: pa.ChunkedArray, form: str | None) -> np.ndarray:
    """Return `(n,)` datetime64[us], in UTC where a time names its zone; NaT for what is no time."""
    import pandas as pd

    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        stamps = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)))
        return np.asarray(stamps.to_numpy(), "datetime64[us]")
    found = pd.to_datetime(pd.Series(_texts(column)), format=form or "ISO8601", errors="coerce", utc=True)
    return np.asarray(found.dt.tz_localize(None).to_numpy(), "datetime64[us]")


def _numbers(
    file: Path, column: pa.ChunkedArray, name: str, line: np.ndarray, word: str, how: csv_reader.Reading
) -> np.ndarray:
    """Return `(n,)` float64, NaN where a value is missing; SlipwayError for what is no finite number."""
    if not pa.types.is_string(column.type):
        try:
            found: np.ndarray = column.cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise SlipwayError(f"{file}: column {name}: {str(error).splitlines()[0]}") from None
        texts: list[Any] = []
    else:
        texts = list(_texts(column))
        missing = {*how.words, *how.missing}
        found = np.array([_number(text, missing, how.decimal or ".") for text in texts], np.float64)
    if len(odd := np.flatnonzero(np.isinf(found))):
        text = texts[odd[0]] if texts else found[odd[0]]
        hint = f"; --missing '{text}' makes it a gap" if texts else ""
        if texts and how.decimal is None and not np.isinf(_number(text, set(), ",")):
            hint = "; --decimal , reads it"
        raise SlipwayError(f"{file}: {word} {line[odd[0]]}: {name} is {str(text)!r}, no finite number{hint}")
    return found


def _number(text: str, missing: set[str], decimal: str) -> float:
    """Read a number; NaN for one that is missing, infinity for anything else."""
    if text in missing:
        return np.nan
    if decimal != ".":
        text = "" if "." in text else text.replace(decimal, ".")
    try:
        return np.inf if "_" in text or np.isnan(number := float(text)) else number
    except ValueError:
        return np.inf


def _step(rows: Rows, file: Path) -> str:
    """Find the distance of the times: whole months where no month has two of them, else the most frequent distance."""
    times = np.unique(rows.time)
    if len(times) < 2:
        raise SlipwayError(f"{file}: only one time ({_text(times[0])}); a series has more")
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
            raise SlipwayError(f"{file}: times stand {size:,} microseconds apart; whole seconds are the shortest step")
        unit = next(unit for unit in reversed(UNIT_SECONDS) if size // 1_000_000 % UNIT_SECONDS[unit] == 0)
        count = size // 1_000_000 // UNIT_SECONDS[unit]
    return unit if count == 1 else f"{count} {unit}s"


def _same_day(times: np.ndarray) -> bool:
    """Say if all are of one day of the month, or all of its last."""
    days = times.astype("datetime64[D]")
    ends = (days + 1).astype("datetime64[M]") > days.astype("datetime64[M]")
    return bool(ends.all()) or len(np.unique(days - days.astype("datetime64[M]"))) == 1


def _positions(rows: Rows, step: str) -> np.ndarray:
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
            f"{rows.place(row)} is not a whole number of steps ({step}) after {_text(rows.time.min())}; name the "
            "--step, resample the series, or take the rows as they follow each other: --step row"
        )
    if position.max() > 20 * len(rows.time) + 1000:
        last = rows.time.argmax()
        raise SlipwayError(
            f"{rows.place(last)} is {position.max():,} steps ({step}) after {_text(rows.time.min())}, but there are "
            f"{len(rows.time):,} rows: is that time right? Else name a longer --step, or --step row"
        )
    return position


def _text(time: Any) -> str:
    """Spell a time without a midnight."""
    return str(time.astype("datetime64[s]")).removesuffix("T00:00:00").replace("T", " ")


def _parts(rows: Rows, position: np.ndarray, order: np.ndarray) -> list[Part]:
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


def _origins(part: Part, history: int, horizon: int, every: int, skipped: Counter[str]) -> np.ndarray:
    """Return the steps `(n,)` of a series that windows can end at; count the gaps and what they leave out."""
    out = np.isnat(part.time)
    gap = np.isnan(part.values)
    skipped["a step of time that has no row (a gap in the windows)"] += int(out.sum())
    skipped["an empty value (a gap in the windows)"] += int(gap[~out].sum())
    steps = np.arange(history - 1, len(part.values) - horizon)
    if not len(steps):
        skipped[f"a series of under {history + horizon} steps"] += 1
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


def _windows(parts: list[Part], origins: list[np.ndarray], params: Params, *, labelled: bool) -> Iterator[pa.Table]:
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


def _arguments(parser: ArgumentParser) -> None:
    steps = "distance of two rows: day, '10 minutes' ..., or row, as they follow each other (default: found)"
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV or Parquet file")
    parser.add_argument("--time", required=True, metavar="COLUMN", help="column with the time")
    parser.add_argument(
        "--value", action="append", required=True, metavar="COLUMN", help="column to predict; repeatable"
    )
    parser.add_argument("--group", metavar="COLUMN", help="column that tells several series apart")
    parser.add_argument(
        "--history", type=int, required=True, metavar="STEPS", help="length of the history that is known"
    )
    parser.add_argument("--horizon", type=int, required=True, metavar="STEPS", help="how many steps are predicted")
    parser.add_argument(
        "--season", type=int, metavar="STEPS", help="length of a period (default: by the step, 12 months, 7 days ...)"
    )
    parser.add_argument("--step", metavar="STEP", help=steps)
    parser.add_argument(
        "--every", type=int, default=1, metavar="STEPS", help="distance from one window to the next (default: 1)"
    )
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="TEXT",
        help="text that stands for a missing value, such as '?'; repeatable",
    )
    parser.add_argument("--delimiter", metavar="CHARACTER", help="delimiter of the columns (default: guessed)")
    parser.add_argument("--decimal", choices=[".", ","], help="decimal mark of numbers (default: .)")
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="encoding of the text, such as latin-1 (default: utf-8)"
    )
    parser.add_argument(
        "--format", dest="form", metavar="FORMAT", help="format of the time, such as %%d.%%m.%%Y (default: ISO 8601)"
    )


SOURCES = {
    "series": Command("a CSV or Parquet file with a time and values in each row", series, _arguments),
}
