"""What the text of a column stands for: numbers, booleans and dates of many spellings."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from components.data import csv_numbers, times
from components.data.csv_reader import AMONG_NUMBERS, MISSING_WORDS, Reading

DATE = pa.timestamp("us")
DAY = r"\d{4}-\d{2}-\d{2}"
OFFSET = r" ?(Z|UTC|GMT|[+-]\d{2}:?\d{2})"
HOURS = r"[+-]\d{2}"  # a short offset; only behind a time of day
ISO = rf"^{DAY}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?({HOURS})?)?({OFFSET})?$"
ZONED = rf"^{DAY}(({OFFSET})|[T ][\d:.]+({HOURS}|{OFFSET}))$"
PADDED = r"^0\d+$"
CODED = r"^(\+\d+|\d+[eE]\d+)$"  # a number to a computer, but maybe a phone number, or a code such as 1E5
NEARLY = 0.9  # of a column's values: that many numbers, and the others are mistakes or stand for missing


@dataclass
class Kind:
    """What the values of a column look like."""

    count: int = 0  # that are not missing
    matches: Counter[str] = field(default_factory=Counter)  # of each pattern
    odd: dict[str, tuple[int, str]] = field(default_factory=dict)  # the first that does not match: its row, itself
    zoned: tuple[int, str] | None = None  # the first date that names its zone
    grouped: bool = True  # 23.456 or 760, so far
    dotted: bool = False  # some of them 23.456
    padded: int = 0  # whole numbers with a zero before them, such as 07387
    first_padded: str = ""
    coded: bool = True  # all like CODED, so far
    first_coded: str = ""


def patterns(how: Reading) -> dict[str, str]:
    """Return regular expressions of values: number (plain), written (as people write numbers), date, truth."""
    point = re.escape(how.decimal or ".")
    number = rf"^[+-]?(\d+({point}\d*)?|{point}\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
    return {
        "number": number,
        "written": csv_numbers.anything(csv_numbers.marks(how.decimal, how.thousands)),
        "date": ISO,
        "zoned": ZONED,
        "truth": r"^(?i:true|false)$",
    }


def look(tables: Iterator[pa.Table], how: Reading) -> dict[str, Kind]:
    """Find what the values of each column look like, in one pass."""
    found: dict[str, Kind] = {}
    start = 1
    expressions = patterns(how)
    for table in tables:
        for name in table.column_names:
            kind = found.setdefault(name, Kind())
            count = len(table) - table[name].null_count
            kind.count += count
            for pattern, expression in expressions.items():
                same = pc.match_substring_regex(table[name], expression)
                matches = pc.sum(same).as_py() or 0
                kind.matches[pattern] += matches
                if pattern == "zoned" and matches and kind.zoned is None:
                    at = pc.index(same, value=True).as_py()
                    kind.zoned = (start + at, table[name][at].as_py())
                if pattern not in kind.odd and (at := pc.index(same, value=False).as_py()) >= 0:
                    kind.odd[pattern] = (start + at, table[name][at].as_py())
                if pattern == "number" and matches == count > 0:  # all of them: no other look, which costs more
                    _digits(kind, table[name])
                    kind.matches["written"] += count
                    for other in ("date", "zoned", "truth"):
                        kind.odd.setdefault(other, _first_value(table[name], start))
                    break
        start += len(table)
    return found


def _digits(kind: Kind, column: pa.ChunkedArray) -> None:
    """Look at how the digits of numbers are written."""
    zeros = pc.match_substring_regex(column, PADDED)
    if count := pc.sum(zeros).as_py() or 0:
        kind.first_padded = kind.first_padded or column[pc.index(zeros, value=True).as_py()].as_py()
        kind.padded += count
    if kind.coded:
        parts = (column.slice(0, 100), column)  # a few spare most columns the rest
        kind.coded = all(pc.all(pc.match_substring_regex(part, CODED)).as_py() is not False for part in parts)
        kind.first_coded = kind.first_coded or next(iter(column.drop_null().slice(0, 1).to_pylist()), "")
    for part in (column.slice(0, 100), column) if kind.grouped else ():  # a few spare most columns the rest
        if pc.all(pc.match_substring_regex(part, csv_numbers.GROUPED)).as_py() is False:
            kind.grouped = False
            return
    kind.dotted = kind.dotted or bool(kind.grouped and pc.any(pc.match_substring(column, ".")).as_py())


def is_plain(kind: Kind) -> bool:
    """Tell whether all values of a column are numbers, dates or booleans: no words."""
    return kind.count > 0 and any(kind.matches[pattern] == kind.count for pattern in ("number", "date", "truth"))


def _first_value(column: pa.ChunkedArray, start: int) -> tuple[int, str]:
    at = pc.index(column.is_valid(), value=True).as_py()
    return start + at, column[at].as_py()


def cast(
    column: pa.ChunkedArray, wanted: pa.DataType, how: Reading, form: str | None = None, name: str = ""
) -> pa.ChunkedArray:
    """Turn text into numbers, booleans or dates (`form` as in strptime), other types into the one wanted.

    `name` is the column's: its numbers may be written in a style of their own. Raises ValueError with the value that
    cannot be one.
    """
    has = column.type
    if pa.types.is_dictionary(has):
        column, has = column.cast(has.value_type), has.value_type
    if not (pa.types.is_string(has) or pa.types.is_large_string(has)):
        if pa.types.is_timestamp(has) and wanted == DATE:
            read = column.cast(pa.timestamp("us", has.tz), safe=False).cast(DATE)
            return read if has.tz is None else _clock(read, how.zones.get(name))
        if (pa.types.is_integer(has) or pa.types.is_decimal(has)) and wanted == pa.float64():
            csv_numbers.exact(column)
        return column.cast(wanted)
    if wanted != pa.string():  # a word that is a value in text is none among numbers
        column = pc.if_else(
            pc.is_in(column, pa.array([*MISSING_WORDS, *AMONG_NUMBERS], has)), pa.scalar(None, has), column
        )
    if wanted == pa.float64():
        return csv_numbers.cast(column.cast(pa.string()), how.style(name))
    if wanted == pa.bool_():
        column = pc.utf8_lower(column)
    elif wanted == DATE:
        return _dates(column, form, how.zones.get(name))
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        noun = "boolean (true or false)" if wanted == pa.bool_() else str(wanted)
        raise ValueError(f"{_first(column, wanted)!r} is not a {noun}") from None


def _dates(column: pa.ChunkedArray, form: str | None, zone: str | None) -> pa.ChunkedArray:
    """Read dates; those that name their zone by the clock of another one, or in universal time."""
    if form:
        read = pc.strptime(column, format=form, unit="us", error_is_null=True)
        if read.null_count > column.null_count:
            odd = column.filter(pc.and_(read.is_null(), column.is_valid()))[0].as_py()
            raise ValueError(f"{odd!r} is not a date of the form {form}")
        return read.cast(DATE)
    column = pc.replace_substring_regex(column, r"(\.\d{6})\d+", r"\1")
    column = pc.replace_substring_regex(column, r" ?(UTC|GMT)$", "Z")
    zoned = pc.match_substring_regex(column, ZONED)
    column = pc.if_else(zoned, pc.replace_substring_regex(column, r" ([+-][\d:]+)$", r"\1"), column)
    none = pa.scalar(None, pa.string())
    try:
        with_zone = pc.if_else(zoned, column, none).cast(pa.timestamp("us", "UTC")).cast(DATE)
        return pc.coalesce(_clock(with_zone, zone), pc.if_else(zoned, none, column).cast(DATE))
    except pa.ArrowInvalid:
        raise ValueError(f"{_first(column, DATE)!r} is not a date such as 2026-01-31") from None


def _clock(times_in_utc: pa.ChunkedArray, zone: str | None) -> pa.ChunkedArray:
    """Return what the clock of a zone shows at times in UTC."""
    if zone in (None, "UTC"):
        return times_in_utc
    known = times_in_utc.combine_chunks()
    shown = times.shown_by(times.zone(zone), known.fill_null(0).to_numpy(zero_copy_only=False))
    return pa.chunked_array([pa.array(shown, DATE, mask=known.is_null().to_numpy(zero_copy_only=False))])


def by_clock(column: pa.ChunkedArray, zone: str | None) -> pa.ChunkedArray:
    """Write dates that name their zone by the clock of another one; where none is known, they say so, behind HINT."""
    zoned = pc.match_substring_regex(column, ZONED).fill_null(fill_value=False)
    if not pc.any(zoned).as_py():
        return column
    if zone is None:
        why = "names its zone, but the dates of the training data name none: give --time-zone"
        return pc.if_else(zoned, pc.binary_join_element_wise(column, why, csv_numbers.HINT), column)
    try:
        read = _dates(pc.if_else(zoned, column, pa.scalar(None, pa.string())), None, zone)
    except ValueError:  # such as February 30th: an error of its row
        return column
    return pc.coalesce(pc.strftime(read, format="%Y-%m-%dT%H:%M:%S"), column)


def spelled(column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Write dates of a form in ISO 8601; what is not one of this form says so, behind HINT."""
    read = pc.strptime(column, format=form, unit="us", error_is_null=True)
    hint = pc.binary_join_element_wise(column, f"is not a date of the form {form}", csv_numbers.HINT)
    return pc.coalesce(pc.strftime(read, format="%Y-%m-%dT%H:%M:%S"), hint)


def _first(column: pa.ChunkedArray, wanted: pa.DataType) -> str:
    """Return the first value that cannot be cast."""
    for value in column.drop_null().to_pylist():
        try:
            pa.array([re.sub(rf"({OFFSET})$", "", value) if wanted == DATE else value]).cast(wanted)
        except pa.ArrowInvalid:
            return str(value)
    return ""
