"""Rows of a file that hold a time and values."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError, listed
from components.data import csv_dates, csv_reader, file_kinds, spelling, times
from components.data.csv_numbers import Style
from components.recipes.series.source import footer, numbers
from components.recipes.series.source import groups as naming
from components.recipes.source import BATCH_ROWS

FIRST = 100  # rows that are looked at for the format of their times


@dataclass(frozen=True)
class Rows:
    """The rows of a file that hold a time, in its order."""

    file: Path
    line: np.ndarray  # (n,) int64: of the file, for messages
    text: np.ndarray  # (n,) of text: the time as the file writes it, for messages
    time: np.ndarray  # (n,) datetime64[us]: in UTC, or without a zone as the file says
    clock: np.ndarray  # (n,) datetime64[us]: what the clock showed there
    zone: str | None  # of the clock, "UTC" where the file gives offsets and no zone is named, None: none is known
    values: np.ndarray  # (n, columns) float64, NaN where one is missing
    group: np.ndarray  # (n,) int64: an index into groups
    groups: list[str]
    word: str  # what `line` counts
    styles: dict[str, Style]  # how the numbers of each column are written
    told: list[str]  # of the names of groups: which were joined, which look alike

    def place(self, row: Any) -> str:
        """Name a row: where it stands, and what it is."""
        name = f"{self.groups[self.group[row]]}, " if self.groups != [""] else ""
        return f"{self.file}: {self.word} {self.line[row]} ({name}{self.text[row]})"


def read(
    file: Path,
    time: str,
    value: list[str],
    group: str | None,
    how: csv_reader.Reading,
    form: str | None,
    skipped: Counter[str],
    zone: str | None = None,
    *,
    guess: bool = False,
    settled: bool = False,
    known: Sequence[str] = (),
) -> Rows:
    """Read the rows of a CSV or Parquet file; `skipped` counts those without a value.

    `zone` is that of times that name none; `guess` how numbers are written where `how` does not say it, unless that is
    `settled`; `known` the groups that the dataset or the model has. Raises SlipwayError by line, also for times with a
    zone among others.
    """
    names = [time, *value, *([group] if group is not None else [])]
    odd: list[footer.Line] = []
    if csv_reader.is_typed(file):
        table, word = _typed(file, names), "row"
        line = np.arange(len(table))
    else:
        table, line, odd, blank = _csv(file, names, how)
        skipped["a blank line"] += blank
        word = "line"
    empty = np.logical_and.reduce([_texts(table[name]) == "" for name in names])
    skipped["a blank line"] += int(empty.sum())
    table, line = table.filter(pa.array(~empty)), line[~empty]
    when, offsets, stored = _times(table[time], form)
    timed = np.flatnonzero(~np.isnat(when))
    if odd and not len(timed):
        raise _other_columns(file, odd[0])
    if not len(timed):
        first = repr(table[time][0].as_py()) if len(when) else "nothing"
        raise SlipwayError(
            f"{file}: no row has a time in column {time}; its first value is {first}; {_tried(table[time], form)}"
        )
    end = timed[-1] + 1  # a footer has no time, and none comes after it
    if end > len(timed):
        bad = int(np.flatnonzero(np.isnat(when))[0])
        raise _no_time(f"{file}: {word} {line[bad]}", table[time].slice(bad, 1), time, form, len(timed))
    if odd and odd[0].number < line[end - 1]:
        raise _other_columns(file, odd[0])
    for bad, rest in enumerate(_behind(table.slice(end), line[end:], time, value), int(end)):
        if footer.is_row(rest):
            raise _no_time(f"{file}: {word} {line[bad]}", table[time].slice(bad, 1), time, form, len(timed))
        odd.append(rest)
    _leave_out(file, sorted(odd, key=lambda rest: rest.number), time, word, skipped)
    table, line = table.slice(0, end), line[:end]
    found_values = [
        numbers.read(file, table[name], name, line, word, how, guess=guess, settled=settled) for name in value
    ]
    values = np.stack([column for column, _ in found_values], axis=1)
    styles = {name: own for name, (_, own) in zip(value, found_values, strict=True)}
    codes, groups = np.zeros(end, np.int64), [""]
    told: list[str] = []
    if group is not None:
        if not (named := _texts(table[group]) != "").all():
            raise SlipwayError(f"{file}: {word} {line[named.argmin()]}: {group} is empty")
        codes, groups, told = naming.read(table[group], known)
    rows = Rows(
        file, line, _written(table[time]), when[:end], when[:end], None, values, codes, groups, word, styles, told
    )
    return _placed(rows, offsets[:end], stored if zone is None else zone, skipped)


def _written(column: pa.ChunkedArray) -> np.ndarray:
    """Return times as a file writes them, or as close to it as its type is."""
    if pa.types.is_timestamp(column.type):
        whole = column.cast(pa.timestamp("us")) if column.type.tz is None else column
        texts = [str(time).removesuffix(" 00:00:00") if time is not None else "" for time in whole.to_pylist()]
        return np.array(texts, object)
    return _texts(column)


def _placed(rows: Rows, offsets: np.ndarray, zone: str | None, skipped: Counter[str]) -> Rows:
    """Give each row its time in UTC, and what the clock of the zone showed then."""
    with_zone = ~np.isnat(offsets)
    if with_zone.any() and not with_zone.all() and zone is None:
        has, none = np.flatnonzero(with_zone)[0], np.flatnonzero(~with_zone)[0]
        raise SlipwayError(
            f"{rows.place(has)} has a time with a zone, {rows.word} {rows.line[none]} ({rows.text[none]}) one without: "
            "write all of them with it, or none; or give the --time-zone of those without, such as Europe/Berlin"
        )
    if zone is None and not with_zone.any():
        return rows
    place = times.zone("UTC" if zone is None else zone)
    utc = rows.time - np.where(with_zone, offsets, np.timedelta64(0, "us"))
    bare = np.flatnonzero(~with_zone)
    if len(bare):
        utc[bare] = times.to_utc(rows.time[bare], place, rows.group[bare])
    there = ~np.isnat(utc)
    if not there.all():
        first = np.flatnonzero(~there)[0]
        skipped[
            f"a time that does not exist in {zone}, where the clock is set forward; the first is in {rows.word} "
            f"{rows.line[first]} ({rows.text[first]})"
        ] += int((~there).sum())
    # UTC says nothing of the place: the clock is then the one that the file writes
    clock = rows.time if place.utcoffset(None) == timedelta(0) else times.shown_by(place, utc)
    parts = {name: getattr(rows, name)[there] for name in ("line", "text", "values", "group")}
    return replace(rows, time=utc[there], clock=clock[there], zone=zone or "UTC", **parts)


def _tried(column: pa.ChunkedArray, form: str | None) -> str:
    """Say which format of times was tried, and which one the first values look like."""
    tried = f"it was read as {form}" if form else "expected ISO 8601 (1949-01, 1949-01-31, 1949-01-31 12:00)"
    texts = [text for text in _texts(column.slice(0, FIRST)) if text]
    looks = [like for like in csv_dates.forms(pa.array(texts, pa.string()), months=True) if like != form]
    if looks:
        return f"{tried}; it looks like {' or '.join(f'--format {shlex.quote(like)}' for like in looks)}"
    return f"{tried}; other formats with, for example, --format %d.%m.%Y" + ("; ISO 8601: --format iso" if form else "")


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as stripped text `(n,)`, empty where it is missing."""
    return np.array([text.strip() for text in column.cast(pa.string()).fill_null("").to_pylist()], object)


def _csv(file: Path, names: list[str], how: csv_reader.Reading) -> tuple[pa.Table, np.ndarray, list[footer.Line], int]:
    """Read columns of a CSV, the time first, as the text that they are.

    Returns them, the line of each row, the lines of other columns than the header's, and how many are blank.
    """
    odd: dict[int, list[str]] = {}
    rows = csv_reader.rows(file, how, odd=odd)
    _, header = next(rows, (0, []))
    _must_have(file, header, names)
    parts, lines = [pa.schema([(name, pa.string()) for name in names]).empty_table()], []
    while some := list(islice(rows, BATCH_ROWS)):
        lines += [line for line, _ in some]
        parts.append(pa.table([pa.array([row[header.index(name)] for _, row in some]) for name in names], names))
    at = header.index(names[0])
    others = [
        _other(number, [text.strip() for text in row], at) for number, row in odd.items() if any(map(str.strip, row))
    ]
    return pa.concat_tables(parts), np.array(lines, np.int64), others, len(odd) - len(others)


def _other(number: int, row: list[str], at: int) -> footer.Line:
    """Return a line of other columns than the header's; `at` is that of the time."""
    return footer.Line(number, row[at] if at < len(row) else "", row[:at] + row[at + 1 :])


def _behind(table: pa.Table, line: np.ndarray, time: str, value: list[str]) -> list[footer.Line]:
    """Return the rows behind the last time as the text that they are."""
    texts = zip(*(_texts(table[name]) for name in (time, *value)), strict=True)
    return [footer.Line(int(number), first, others) for number, (first, *others) in zip(line, texts, strict=True)]


def _leave_out(file: Path, lines: list[footer.Line], time: str, word: str, skipped: Counter[str]) -> None:
    """Count the lines of a footer; SlipwayError for one that is rather a row of the series."""
    for rest in lines:
        if footer.is_row(rest):
            raise _other_columns(file, rest)
    footer.must_be_few(lines, f"{file}: {word}", time)
    if lines:
        first = f"the first is {word} {lines[0].number} ({str(lines[0])[:60]!r})"
        skipped[f"a line at the end without a time; {first}"] += len(lines)


def _other_columns(file: Path, line: footer.Line) -> SlipwayError:
    return SlipwayError(f"{file}: line {line.number} does not have the columns of the header: {str(line)[:80]!r}")


def _no_time(where: str, cell: pa.ChunkedArray, time: str, form: str | None, others: int) -> SlipwayError:
    """Say that a cell is not a time, though `others` are."""
    return SlipwayError(
        f"{where}: {time} is {cell[0].as_py()!r}, which is not a time; {_tried(cell, form)}; as {others:,} others "
        "were read so, write all of them in one format; if this is not a row of the series, remove it"
    )


def _typed(file: Path, names: list[str]) -> pa.Table:
    empty, *rest = file_kinds.tables(file)
    _must_have(file, empty.column_names, names)
    return pa.concat_tables([part.select(names) for part in rest or [empty]])


def _must_have(file: Path, has: list[str], names: list[str]) -> None:
    for name in names:
        if name not in has:
            one = " (there is only one column: give the column delimiter with --delimiter)" if len(has) == 1 else ""
            raise SlipwayError(
                f"{file}: no column {name!r} (there are: {listed(has)}){spelling.twin(name, has) or one}"
            )


def _times(column: pa.ChunkedArray, form: str | None) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Return what the clock shows `(n,)` and its offset from UTC, as times.read does; and a Parquet file's zone."""
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return *times.read(_texts(column), form), None
    stored = getattr(column.type, "tz", None)
    utc = np.asarray(column.cast(pa.timestamp("us", stored), safe=False).to_numpy(), "datetime64[us]")
    if stored is None:
        return utc, np.full(len(utc), times.NONE), None
    clock = times.shown_by(times.zone(stored), utc)
    return clock, clock - utc, stored
