"""Texts from a CSV, TSV, JSON Lines or Parquet file, row by row."""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from components import SlipwayError
from components.data import csv_reader, file_kinds, spelling

Row = tuple[str | None, str | None, str | None, str | None]  # text, label, split, group or time
SPLIT = 2  # place of the split in a Row


def few(names: Iterable[str]) -> str:
    """Return some of the names."""
    found = sorted(names)
    return ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")


def file(
    path: Path, columns: list[str], encoding: str, delimiter: str | None, *, no_quotes: bool
) -> Callable[[], Iterator[Row]]:
    """Return a reader of a file of any kind: of its columns text, label, split (if there is one) and what follows."""
    kind = file_kinds.kind(path)
    if kind not in ("text", "json lines"):
        return lambda: _typed(path, columns)
    must_decode(path, encoding)
    if kind == "json lines":
        return lambda: _json_lines(path, columns, encoding)
    mark = _mark(path, encoding, delimiter)
    return lambda: _csv(path, columns, encoding, mark, no_quotes=no_quotes)


def _mark(path: Path, encoding: str, delimiter: str | None) -> str:
    usual = "\t" if file_kinds.name(path).suffix.lower() in (".tsv", ".tab") else ","
    mark = delimiter or csv_reader.separator(path, csv_reader.Reading(encoding=encoding)) or usual
    mark = {"\\t": "\t", "tab": "\t"}.get(mark, mark)
    if len(mark) != 1:
        raise SlipwayError(f"--delimiter {mark}: expected one character, or tab")
    return mark


def _rows(path: Path, encoding: str, mark: str, *, no_quotes: bool) -> Iterator[tuple[int, list[str]]]:
    how = csv_reader.Reading(delimiter=mark, encoding=encoding)
    return csv_reader.rows(path, how, quotes=not no_quotes, hint="if quotes are plain text, use --no-quotes")


def must_decode(path: Path, encoding: str) -> None:
    """Raise SlipwayError naming the first byte that is not of the encoding, and its line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = lines = 0
    with file_kinds.content(path).open("rb") as file:
        while True:
            data = file.read(2**20)
            held = len(decoder.getstate()[0])
            try:
                decoded = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line = lines + error.object[: error.start].decode(encoding, "ignore").count("\n") + 1
                raise SlipwayError(
                    f"{path}: not {encoding}: byte {read - held + error.start:,} "
                    f"(0x{error.object[error.start]:02x}), in line {line:,}; use the right --encoding, such as cp1252"
                ) from None
            except UnicodeError as error:  # UTF-16 without its mark
                raise SlipwayError(f"{path}: not {encoding}: {error}; use the right --encoding") from None
            if not data:
                return
            read += len(data)
            lines += decoded.count("\n")


def _csv(path: Path, columns: list[str], encoding: str, mark: str, *, no_quotes: bool) -> Iterator[Row]:
    rows = _rows(path, encoding, mark, no_quotes=no_quotes)
    _, header = next(rows, (0, []))
    places = _places(path, columns, header, f"; the delimiter read was {mark!r}: use --delimiter for another one")
    for _, row in rows:
        yield _row([row[at] if at is not None else None for at in places])


def _places(path: Path, columns: list[str], names: list[str], hint: str = "") -> list[int | None]:
    """Where the columns stand; the third, `split`, may be missing."""
    for at, name in enumerate(columns):
        if at != SPLIT and name not in names:
            raise SlipwayError(
                f"{path}: no column {name!r} (there are: {few(names)}){spelling.twin(name, names) or hint}"
            )
    return [names.index(name) if name in names else None for name in columns]


def _row(values: list[str | None]) -> Row:
    """Text as it is; whatever else is empty is missing."""
    label, split, *more = (value or None for value in values[1:])
    return values[0], label, split, more[0] if more else None


def _json_lines(path: Path, columns: list[str], encoding: str) -> Iterator[Row]:
    with file_kinds.content(path).open(encoding=csv_reader.without_mark(encoding), newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise SlipwayError(f"{path}: line {number:,} is not JSON: {error}; expected one per line") from None
            if not isinstance(record, dict):
                raise SlipwayError(f"{path}: line {number:,} is not an object; expected {{{columns[0]!r}: ...}}")
            places = _places(path, columns, list(record), f" in line {number:,}")
            values = [record[name] if at is not None else None for name, at in zip(columns, places, strict=True)]
            if not isinstance(values[0], str | None):
                raise SlipwayError(f"{path}: line {number:,}: {columns[0]!r} is {type(values[0]).__name__}, not text")
            yield _row([values[0], *map(_plain, values[1:])])


def _plain(value: Any) -> str | None:
    """A label as text, as Arrow writes it too."""
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _typed(path: Path, columns: list[str]) -> Iterator[Row]:
    found = file_kinds.tables(path)
    schema = next(found).schema
    places = _places(path, columns, schema.names)
    kind = schema.field(columns[0]).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise SlipwayError(f"{path}: column {columns[0]} is {kind}, not text")
    wanted = [name for name, at in zip(columns, places, strict=True) if at is not None]
    try:
        for part in found:
            there = {name: part[name].cast(pa.string()).to_pylist() for name in wanted}
            parts = [there.get(name, [None] * len(part)) for name in columns]
            yield from map(_row, map(list, zip(*parts, strict=True)))
    except pa.ArrowException as error:
        raise SlipwayError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    except UnicodeDecodeError as error:
        raise SlipwayError(f"{path}: column {columns[0]} contains bytes that are not UTF-8: {error}") from None


def names(path: Path, encoding: str, delimiter: str | None, *, no_quotes: bool) -> list[str]:
    """Return the names of a file's columns; of JSON Lines those of its first object."""
    kind = file_kinds.kind(path)
    if kind not in ("text", "json lines"):
        return list(next(file_kinds.tables(path)).column_names)
    if kind == "json lines":
        with file_kinds.content(path).open(encoding=csv_reader.without_mark(encoding)) as file:
            return list(json.loads(next(line for line in file if line.strip())))
    return list(next(_rows(path, encoding, _mark(path, encoding, delimiter), no_quotes=no_quotes), (0, []))[1])
