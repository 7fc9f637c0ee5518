"""Series: a CSV or Parquet file with a time and values in each row, cut into windows."""

import re
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError, listed
from components.data import csv_reader, file_kinds, times
from components.data.csv_numbers import Style
from components.recipes import split_by as splitting
from components.recipes.series.example import Params
from components.recipes.series.example.calendar import BUSINESS_DAY, parsed
from components.recipes.series.source import reading, windows
from components.recipes.source import Command, Source, slug, tell

SEASON_OF_STEP = {
    "second": 60,
    "minute": 60,
    "hour": 24,
    "day": 7,
    "week": 52,
    BUSINESS_DAY: 5,
    "month": 12,
    "quarter": 4,
}
MANY_GAPS = 0.05  # of the steps: so many of them are no accident, and expectations/series.yaml stops at a tenth


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
    time_zone: str | None = None,
    split_by: str | None = None,
    known: Params | None = None,
    there: Sequence[str] = (),
    **options: Any,
) -> Source:
    """Read a file and cut it into windows; `step` is found in the times where it is None.

    `time_zone` is that of times without one, and of the calendar: a day is one of its days. `known` is the section of
    the dataset that is added to: what its words and numbers mean holds for this file, too; `there` are its groups.

    Steps that a regular series leaves out, and empty values, are gaps: a gap in the history stays one, an origin
    without any value and a label with a gap make no example. Raises SlipwayError, naming the line, for a time or a
    value that cannot be read, two rows of one time, times off the regular steps, and a file too short for a window.
    """
    for name, number in (("history", history), ("horizon", horizon), ("every", every), ("season", season or 1)):
        if number < 1:
            raise SlipwayError(f"--{name} is {number}; expected a number of steps, 1 or more")
    skipped: Counter[str] = Counter()
    names = [time, *value, *([group] if group is not None else [])]
    by = _split_by(split_by, time, group)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SlipwayError(f"column {twice[0]} is named twice")
    how = csv_reader.reading(options, known.reading.model_dump(exclude_defaults=True) if known else None)
    for line in [] if csv_reader.is_typed(file) else csv_reader.told(file, how):
        print(line)
    if known is not None:
        form = form or known.format
        time_zone = time_zone or (known.time_zone if known.time_zone != "UTC" else None)
    form = _form(form)
    settled = known is not None
    rows = reading.read(
        file, time, value, group, how, form, skipped, time_zone, guess=True, settled=settled, known=there
    )
    tell([f"{file}: {line}" for line in rows.told], "such names")
    plain = Style(how.decimal or ".", how.thousands or "")
    how = replace(how, numbers={name: own for name, own in rows.styles.items() if own != plain})
    if step not in (None, "row"):
        try:
            parsed(step)
        except ValueError as error:
            raise SlipwayError(f"--step: {error}; or row, to take the rows in order") from None
    step = windows.step(rows, file) if step is None else step
    parts = _ordered(rows, step)
    if season is None:
        season = SEASON_OF_STEP.get(step, 1)
        season = season if season <= history else 1
    if season > history:
        raise SlipwayError(f"--season {season} is longer than the history of {history} steps; use a longer --history")
    origins = [windows.origins(part, history, horizon, every, skipped) for part in parts]
    skipped = +skipped  # without those that are 0
    without = [part for part, found in zip(parts, origins, strict=True) if not len(found)]
    hints = [*_without_windows(without, len(parts)), *_hints(rows, parts, step, skipped)]
    if not any(len(found) for found in origins):
        longest = max(len(part.values) for part in parts)
        raise SlipwayError(
            f"{file}: no complete window of {history} + {horizon} steps (history and horizon): the longest series "
            f"has {longest:,} steps ({step}){''.join(f'; {n:,} left out: {why}' for why, n in sorted(skipped.items()))}"
            + "".join(f"; {hint}" for hint in hints)
        )
    if rows.zone == "UTC" and time_zone is None:
        hints.insert(0, "the model's calendar is in UTC: --time-zone, such as Europe/Berlin, makes it local")
    tell([f"{file}: {hint}" for hint in hints], "hints")
    settings = {
        "values": value,
        "group": group is not None,
        "history": history,
        "horizon": horizon,
        "every": every,
        "season": season,
        "step": None if step == "row" else step,
        "time_zone": rows.zone,
        "format": form,
        **({} if known else {"reading": csv_reader.kept(how, value)}),
    }
    tables = windows.windows(parts, origins, Params.model_validate(settings), labelled=True)
    gates = {"maximum": {"mase": 1.0}}
    if by is not None and by.by == "group":  # MASE needs a history in training, which a series held out has not
        gates = {"minimum": {"r2": 0.0}}
    return Source(
        slug(file_kinds.name(file).stem), "series", settings, tables, skipped, {"register": gates}, split_by=by
    )


def _split_by(text: str | None, time: str, group: str | None) -> splitting.SplitBy | None:
    """Read --split-by: by time, as series are by default, or whole series on one side; by their columns' names here."""
    by = splitting.parse(text)
    if by is None:
        return None
    own = {("time", time): "time", ("group", group): "group"}.get((by.by, by.column))
    if own is None:
        raise SlipwayError(
            f"--split-by {text}: a series can be split by time={time}, as it is by default"
            + (f", or by group={group}, whole series on one side" if group else "")
        )
    return splitting.SplitBy(by.by, own)


def _form(given: str | None) -> str | None:
    """Return a format of times as strptime takes it; None for ISO 8601."""
    return None if given is None or re.fullmatch(r"(?i)iso[ _-]?(8601)?", given) else given


def _hints(rows: reading.Rows, parts: list[windows.Part], step: str, skipped: Counter[str]) -> list[str]:
    """Say what helps where the file leaves out steps of time."""
    steps, gaps = sum(len(part.row) for part in parts), skipped[windows.NO_ROW]
    hints = []
    if rows.zone is None and windows.may_be_set_forward(rows, step):
        hints.append("an hour of a night to Sunday is missing: if the clock was set forward, give the --time-zone")
    if gaps > MANY_GAPS * steps:
        hints.append(
            f"{gaps:,} of {steps:,} steps ({step}) have no row, as in a series without weekends, nights or holidays: "
            "--step row takes the rows in order, without gaps; or give a longer --step"
        )
    return hints


def _without_windows(none: list[windows.Part], of: int) -> list[str]:
    """Name the series that a dataset gets nothing of."""
    if len(none) in (0, of):  # if it is of all of them, there is an error
        return []
    names = listed(f"{part.group!r} (rows: {(part.row >= 0).sum():,})" for part in none)
    return [f"{len(none):,} of {of:,} series have no window, so that the dataset gets nothing of them: {names}"]


def latest(
    file: Path,
    params: Params,
    time: str,
    group: str | None,
    how: csv_reader.Reading,
    form: str | None,
    time_zone: str | None = None,
    trained: Sequence[str] = (),
) -> tuple[list[str], pa.Table]:
    """Cut the last window of each group, for a forecast of what the file does not know yet: its names, the windows.

    `params` are the model's: its columns, history and step, and what its files' times meant; `trained` are the groups
    that it was trained on.
    A window ends at the last step that has a value. Tells what it leaves out of the file. Raises SlipwayError as
    `series` does, and where a series is shorter than a history.
    """
    if (group is None) == params.group:
        hint = (
            "several series: give their column with --group" if params.group else "a single series: leave out --group"
        )
        raise SlipwayError(f"the model predicts {hint}")
    zone = time_zone or params.time_zone
    form = _form(form or params.format)
    skipped: Counter[str] = Counter()
    rows = reading.read(file, time, params.values, group, how, form, skipped, zone, known=trained)
    _tell_forecast(file, rows, skipped, trained)
    rows = _like_the_model_s(rows, params.time_zone, time_zone)
    if params.time_zone and time_zone is None and np.isnat(times.read(rows.text[:1], form)[1][0]):
        told = f"{file}: times without a zone are read as those of {params.time_zone} (series.time_zone)"
        print(told, file=sys.stderr)
    parts = _ordered(rows, params.step or "row")
    ends = [np.flatnonzero(~np.isnan(part.values).all(axis=1))[-1:] for part in parts]
    for part, end in zip(parts, ends, strict=True):
        known = int(end[0]) + 1 if len(end) else 0
        if known < params.history:
            name = f"{part.group} has " if params.group else ""
            raise SlipwayError(f"{file}: {name}{known:,} steps; the model needs {params.history:,}")
    table = pa.concat_tables(windows.windows(parts, ends, params, labelled=False))
    after = [rows.text[part.row[end[0]]] for part, end in zip(parts, ends, strict=True)]
    names = table["group"].to_pylist() if params.group else [""] * len(after)
    return [f"{name} after {time}".strip() for name, time in zip(names, after, strict=True)], table


def _tell_forecast(file: Path, rows: reading.Rows, skipped: Counter[str], trained: Sequence[str]) -> None:
    """Say what a forecast leaves out of a file, and which of its series the model does not know."""
    lines = [f"skipped {count:,}: {why}" for why, count in (+skipped).items()] + rows.told
    if trained and (unseen := [name for name in rows.groups if name not in {*trained}]):
        lines.append(
            f"{len(unseen):,} of {len(rows.groups):,} series are new to the model: {listed(map(repr, unseen))}"
        )
    with redirect_stdout(sys.stderr):  # the forecast is on stdout
        tell([f"{file}: {line}" for line in lines], "such lines")


def _like_the_model_s(rows: reading.Rows, trained: str | None, asked: str | None) -> reading.Rows:
    """Return rows whose times mean what they meant in training; SlipwayError where that is not known."""
    if trained is None and rows.zone is not None:
        if asked is None:
            raise SlipwayError(
                f"{rows.place(0)}: the time names its zone, but those that the model was trained on name none: give "
                "the --time-zone of their place, such as Europe/Berlin"
            )
        return replace(rows, time=rows.clock, zone=None)
    return rows


def _ordered(rows: reading.Rows, step: str) -> list[windows.Part]:
    """Lay the rows of each group on their steps; SlipwayError for two rows of one time."""
    position = windows.positions(rows, step)
    order = np.lexsort((position, rows.group))
    same = (np.diff(position[order]) == 0) & (np.diff(rows.group[order]) == 0)
    if same.any():
        first, second = order[np.flatnonzero(same)[0] :][:2]
        raise SlipwayError(
            f"{rows.place(second)}: {rows.word} {rows.line[first]} has the same time; remove one of them, or, if "
            "these are several series, name the column that tells them apart: --group COLUMN"
            + "; if the clock was set back then, give the --time-zone, such as Europe/Berlin"
            * (rows.zone is None)
        )
    return windows.parts(rows, position, order)


def _arguments(parser: ArgumentParser) -> None:
    steps = "time between two rows: day, '10 minutes' ...; or row, to take the rows in order (default: detected)"
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV or Parquet file")
    parser.add_argument("--time", required=True, metavar="COLUMN", help="column with the time")
    parser.add_argument(
        "--value", action="append", required=True, metavar="COLUMN", help="column to predict; repeatable"
    )
    parser.add_argument("--group", metavar="COLUMN", help="column that says which series a row belongs to")
    text = "group=COLUMN, the column of --group: whole series on one side (default: by time, the last for the test)"
    parser.add_argument("--split-by", metavar="group=COLUMN", help=text)
    parser.add_argument("--history", type=int, required=True, metavar="STEPS", help="length of the known history")
    parser.add_argument("--horizon", type=int, required=True, metavar="STEPS", help="number of steps to predict")
    parser.add_argument(
        "--season",
        type=int,
        metavar="STEPS",
        help="length of a season (default: depends on the step: 12 months, 7 days ...)",
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
        help="text that also means a missing value, such as unknown (besides empty, NA, NULL, -, ? ...); repeatable",
    )
    parser.add_argument("--delimiter", metavar="CHARACTER", help="column delimiter (default: guessed)")
    text = "decimal mark (default: guessed, and reported)"
    parser.add_argument("--decimal", choices=[".", ","], help=text)
    text = "thousands separator, such as ','; a blank stands for all kinds of blanks (default: guessed, and reported)"
    parser.add_argument("--thousands", metavar="CHARACTER", help=text)
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="text encoding, such as latin-1 (default: utf-8)"
    )
    parser.add_argument(
        "--format",
        dest="form",
        metavar="FORMAT",
        help="format of the time, such as %%d.%%m.%%Y; or iso (default: ISO 8601)",
    )
    text = "time zone of times that name none, and of the days and hours, such as Europe/Berlin; or +01:00"
    parser.add_argument("--time-zone", metavar="ZONE", help=text)


SOURCES = {
    "series": Command(
        "a time series: a CSV or Parquet file with a time and values in each row",
        series,
        _arguments,
        known="series",
        groups="group",
    ),
}
