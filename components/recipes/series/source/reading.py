"""Rows of a file that hold a time and values."""

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import csv_reader
from components.recipes.source import BATCH_ROWS


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
        return f"{self.file}: {self.word} {self.line[row]} ({name}{shown(self.time[row])})"


def read(
    file: Path,
    time: str,
    value: list[str],
    group: str | None,
    how: csv_reader.Reading,
    form: str | None,
    skipped: Counter[str],
) -> Rows:
    """Read the rows of a CSV or Parquet file; `skipped` counts those without a value. Raises SlipwayError by line."""
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
        raise SlipwayError(f"{file}: line {number} does not have the columns of the header: {text[:80]!r}")
    if not len(timed):
        first = repr(table[time][0].as_py()) if len(when) else "nothing"
        raise SlipwayError(f"{file}: no row has a time in column {time}; its first value is {first}; {_FORM}")
    end = timed[-1] + 1  # a footer has no time, and none comes after it
    if end > len(timed):
        bad = np.flatnonzero(np.isnat(when))[0]
        text = table[time][int(bad)].as_py()
        raise SlipwayError(f"{file}: {word} {line[bad]}: {time} is {text!r}, which is not a time; {_FORM}")
    for number, text in odd.items():
        if number < line[end - 1]:
            raise SlipwayError(f"{file}: line {number} does not have the columns of the header: {text[:80]!r}")
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


_FORM = "expected ISO 8601 (1949-01, 1949-01-31, 1949-01-31 12:00); other formats with, for example, --format %d.%m.%Y"


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
            one = " (there is only one column: give the column delimiter with --delimiter)" if len(has) == 1 else ""
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
        hint = f"; use --missing '{text}' to read it as a gap" if texts else ""
        if texts and how.decimal is None and not np.isinf(_number(text, set(), ",")):
            hint = "; use --decimal , to read it"
        raise SlipwayError(
            f"{file}: {word} {line[odd[0]]}: {name} is {str(text)!r}, which is not a finite number{hint}"
        )
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


def shown(time: Any) -> str:
    """Spell a time without a midnight."""
    return str(time.astype("datetime64[s]")).removesuffix("T00:00:00").replace("T", " ")
