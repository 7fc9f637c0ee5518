"""Tables from JSON: an object per line, or an array of objects. A column for each name, in order of appearance.

Dates stay the text that they are, as those of a CSV do: JSON has no type for them, and Arrow, which finds them, forgets
their zones. Arrow reads lines; an array, and what it cannot read or would change, is read record by record.
"""

import functools
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from components import SlipwayError
from components.data.csv_numbers import EXACT

EXAMPLE = '{"x": 1.5, "label": "a"}'
SPACE = re.compile(r"\s*")
MAX_DIGITS = 76  # of a whole number that Arrow can hold
NOUNS = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
Records = list[tuple[str, dict[str, Any]]]  # each with its place


class _TwiceError(ValueError):
    """An object has a name twice."""


def table(file: Path, source: Path, *, array: bool) -> pa.Table:
    """Read a file whose content is in `source`; SlipwayError names the record, or the line, of what is no table."""
    if not array:
        try:
            found = _by_arrow(source)
        except pa.ArrowException:
            pass  # below, the error knows its line
        else:
            if not _may_differ(found):
                return found
    return _joined(file, list(_records(file, source, array=array)))


def _by_arrow(source: Path) -> pa.Table:
    status = source.stat()
    names, dates = _columns(source, status.st_mtime_ns, status.st_size)
    schema = pa.schema([(name, pa.string()) for name in dates])
    return pa.json.read_json(source, parse_options=pa.json.ParseOptions(explicit_schema=schema)).select(names)


@functools.lru_cache
def _columns(source: Path, changed: int, size: int) -> tuple[list[str], list[str]]:  # noqa: ARG001 - the same content
    """Return the columns of a file, and those that Arrow takes for dates."""
    schema = pa.json.read_json(source).schema
    return schema.names, [field.name for field in schema if pa.types.is_timestamp(field.type)]


def _may_differ(found: pa.Table) -> bool:
    """Tell whether Arrow may have read something else than there is: null for an object, a fraction for a number."""
    if all(column.null_count for column in found.columns):
        gaps = [column.is_null() for column in found.columns]
        if not gaps or pc.any(functools.reduce(pc.and_, gaps)).as_py():
            return True
    doubles = [column for column in found.columns if pa.types.is_float64(column.type)]
    return any(pc.any(pc.greater_equal(pc.abs(column), float(EXACT))).as_py() for column in doubles)


def _records(file: Path, source: Path, *, array: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield objects, each with its place; SlipwayError for what is none."""
    try:
        text = source.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SlipwayError(f"{file}: byte {error.start + 1} is not UTF-8: write the file as UTF-8") from None
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    at = _next(text, 0)
    at, line, number = _next(text, at + 1) if array else at, 1 + text.count("\n", 0, at), 0
    while array or at < len(text):
        if array and not number and text[at : at + 1] == "]":
            break
        number += 1
        place = f"record {number:,}" if array else f"line {line:,}"
        try:
            record, end = decoder.raw_decode(text, at)
            after = _next(text, end)
            if array and text[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected a comma, or ] at the end", text, after)
            if array and text[after] == "]" and (rest := _next(text, after + 1)) < len(text):
                raise json.JSONDecodeError("there is more behind the ] of the array", text, rest)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno:,}, column {error.colno}"
            raise SlipwayError(f"{file}: {where}: is not JSON: {error.msg}") from None
        except _TwiceError as error:
            raise SlipwayError(f"{file}: {place}: two values are named {str(error)!r}: rename one of them") from None
        except (ValueError, RecursionError) as error:  # digits, or brackets, without end
            raise SlipwayError(f"{file}: {place}: cannot be read: {error}") from None
        if not isinstance(record, dict):
            hint = "; an array of objects belongs into a file named .json" if isinstance(record, list) else ""
            raise SlipwayError(
                f"{file}: {place}: expected an object such as {EXAMPLE}, found {json.dumps(record)[:50]}"
                + ("" if array else hint)
            )
        yield place, record
        if array and text[after] == "]":
            break
        after = _next(text, after + 1) if array else after
        line += text.count("\n", at, after)
        at = after


def _next(text: str, at: int) -> int:
    """Return where the next character stands that is no blank."""
    found = SPACE.match(text, at)
    return found.end() if found else at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _joined(file: Path, records: Records) -> pa.Table:
    """Make a table of records; SlipwayError for a column whose values are not of one type."""
    if not records:
        raise SlipwayError(f"{file}: there are no records: expected objects such as {EXAMPLE}")
    names = list(dict.fromkeys(name for _, record in records for name in record))
    if not names:
        raise SlipwayError(f"{file}: the records are empty: expected objects such as {EXAMPLE}")
    return pa.table([_column(file, name, records) for name in names], names)


def _column(file: Path, name: str, records: Records) -> pa.Array:
    there = [(place, value) for place, record in records if (value := record.get(name)) is not None]
    for place, value in there:
        if NOUNS[type(value)] != NOUNS[type(there[0][1])]:
            first, other = there[0]
            raise SlipwayError(
                f"{file}: {place}: column {name} is {_shown(value)}, but {first} has {_shown(other)}: write all values "
                "as one type, null where one is missing"
            )
    values = [record.get(name) for _, record in records]
    whole = bool(there) and all(type(value) is int for _, value in there)
    digits = max(len(str(abs(value))) for _, value in there) if whole else 0
    for place, value in there:
        if type(value) is int and (digits > MAX_DIGITS or (not whole and not _is_exact(value))):
            raise SlipwayError(
                f"{file}: {place}: column {name} is {str(value)[:100]}, which is too large to be represented exactly: "
                "write the column as text"
            )
    try:
        if whole and any(not -(2**63) <= value < 2**63 for _, value in there):  # which float64 would make one of many
            wide = [None if value is None else Decimal(value) for value in values]
            return pa.array(wide, pa.decimal128(38, 0) if digits <= 38 else pa.decimal256(MAX_DIGITS, 0))
        if any(type(value) is float for _, value in there):
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        return pa.array(values)
    except UnicodeEncodeError:
        place = next(place for place, value in there if not _is_text(str(value)))
        raise SlipwayError(f"{file}: {place}: column {name} has half a surrogate pair, which is no text") from None
    except (pa.ArrowException, TypeError, OverflowError) as error:  # of lists and objects
        raise SlipwayError(f"{file}: column {name} cannot be read: {str(error).splitlines()[0]}") from None


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text[:50] + (f", {NOUNS[type(value)]}" if not isinstance(value, list | dict) else "")


def _is_exact(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _is_text(value: str) -> bool:
    try:
        return bool(value.encode()) or not value
    except UnicodeEncodeError:
        return False
