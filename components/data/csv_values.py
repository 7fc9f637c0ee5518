"""What the text of a column stands for: numbers, booleans and dates of many spellings."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from components.data.csv_reader import MISSING_WORDS, Reading

DATE = pa.timestamp("us")
ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$"
ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
EXACT = 2**53  # whole numbers beyond it are not exact in float64
NEARLY = 0.9  # of a column's values: that many numbers, and the others are mistakes or stand for missing


@dataclass
class Kind:
    """What the values of a column look like."""

    count: int = 0  # that are not missing
    matches: Counter[str] = field(default_factory=Counter)  # of each pattern
    odd: dict[str, tuple[int, str]] = field(default_factory=dict)  # the first that does not match: its row, itself


def patterns(how: Reading) -> dict[str, str]:
    """Return regular expressions of values: number, comma (a number with a decimal comma), grouped, date, truth."""
    number = r"^[+-]?(\d+(D\d*)?|D\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
    if how.thousands:
        number += rf"|^[+-]?\d{{1,3}}({re.escape(how.thousands)}\d{{3}})+(D\d*)?$"
    found = {"number": number.replace("D", re.escape(how.decimal or "."))}
    if how.decimal is None:
        found["comma"] = number.replace("D", ",")
    if how.thousands is None:
        found["grouped"] = r"^[+-]?(\d{1,3}(,\d{3})+(\.\d*)?|\d{1,3}(\.\d{3})+,\d*|\d{1,3}([ '\x{00A0}]\d{3})+)$"
    return found | {"date": ISO, "truth": r"^(?i:true|false)$"}


def look(tables: Iterator[pa.Table], how: Reading) -> dict[str, Kind]:
    """Find what the values of each column look like, in one pass."""
    found: dict[str, Kind] = {}
    start = 1
    for table in tables:
        for name in table.column_names:
            kind = found.setdefault(name, Kind())
            kind.count += len(table) - table[name].null_count
            for pattern, expression in patterns(how).items():
                same = pc.match_substring_regex(table[name], expression)
                kind.matches[pattern] += pc.sum(same).as_py() or 0
                if pattern not in kind.odd and (at := pc.index(same, value=False).as_py()) >= 0:
                    kind.odd[pattern] = (start + at, table[name][at].as_py())
        start += len(table)
    return found


def cast(column: pa.ChunkedArray, wanted: pa.DataType, how: Reading, form: str | None = None) -> pa.ChunkedArray:
    """Turn text into numbers, booleans or dates (`form` as in strptime), other types into the one wanted.

    Raises ValueError with the value that cannot be one.
    """
    has = column.type
    if pa.types.is_dictionary(has):
        column, has = column.cast(has.value_type), has.value_type
    if not (pa.types.is_string(has) or pa.types.is_large_string(has)):
        if pa.types.is_timestamp(has) and wanted == DATE:
            zone = has.tz
            return column.cast(pa.timestamp("us", zone), safe=False).cast(DATE)
        if (pa.types.is_integer(has) or pa.types.is_decimal(has)) and wanted == pa.float64():
            _exact(column)
        return column.cast(wanted)
    if wanted != pa.string():  # a word that is a value in text is none among numbers
        column = pc.if_else(pc.is_in(column, pa.array(MISSING_WORDS, has)), pa.scalar(None, has), column)
    if wanted == pa.float64():
        column = _plain(column, how)
    elif wanted == pa.bool_():
        column = pc.utf8_lower(column)
    elif wanted == DATE:
        return _dates(column, form)
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        noun = {pa.float64(): "number", pa.bool_(): "boolean (true or false)"}.get(wanted, str(wanted))
        raise ValueError(f"{_first(column, wanted)!r} is not a {noun}") from None


def _plain(column: pa.ChunkedArray, how: Reading) -> pa.ChunkedArray:
    """Write numbers as the cast reads them."""
    if how.thousands:
        grouped = pc.match_substring_regex(column, rf"^[+-]?\d{{1,3}}({re.escape(how.thousands)}\d{{3}})+(\D\d*)?$")
        column = pc.if_else(grouped, pc.replace_substring(column, how.thousands, ""), column)
    if how.decimal == ",":
        dotted = pc.match_substring(column, ".")
        column = pc.if_else(dotted, column, pc.replace_substring(column, ",", "."))
        if odd := next((text for text, no in zip(column.to_pylist(), dotted.to_pylist(), strict=True) if no), None):
            raise ValueError(f"{odd!r} is not a number with a decimal comma")
    _exact(column.filter(pc.match_substring_regex(column, r"^[+-]?\d{16,}$")))
    return column


def _exact(column: pa.ChunkedArray) -> None:
    large = next((value for value in column.to_pylist() if value is not None and abs(int(value)) > EXACT), None)
    if large is not None:
        raise ValueError(f"{large} is too large to be represented exactly")


def _dates(column: pa.ChunkedArray, form: str | None) -> pa.ChunkedArray:
    """Read dates; those with a zone in universal time."""
    if form:
        read = pc.strptime(column, format=form, unit="us", error_is_null=True)
        if read.null_count > column.null_count:
            odd = column.filter(pc.and_(read.is_null(), column.is_valid()))[0].as_py()
            raise ValueError(f"{odd!r} is not a date of the form {form}")
        return read.cast(DATE)
    column = pc.replace_substring_regex(column, r"(\.\d{6})\d+", r"\1")
    zoned = pc.match_substring_regex(column, ZONE)
    none = pa.scalar(None, pa.string())
    try:
        with_zone = pc.if_else(zoned, column, none).cast(pa.timestamp("us", "UTC")).cast(DATE)
        return pc.coalesce(with_zone, pc.if_else(zoned, none, column).cast(DATE))
    except pa.ArrowInvalid:
        raise ValueError(f"{_first(column, DATE)!r} is not a date such as 2026-01-31") from None


def _first(column: pa.ChunkedArray, wanted: pa.DataType) -> str:
    """Return the first value that cannot be cast."""
    for value in column.drop_null().to_pylist():
        try:
            pa.array([re.sub(ZONE, "", value) if wanted == DATE else value]).cast(wanted)
        except pa.ArrowInvalid:
            return str(value)
    return ""
