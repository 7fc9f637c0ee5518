"""Quotes of a CSV that do not close where they should: Arrow reads on to the next one, over all rows between."""

import csv
import functools
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from components import SlipwayError
from components.data import csv_start
from components.data.csv_options import Reading

DOUBLED = 'one that is part of a value is doubled, and the value in quotes, such as "3"" pipe"'

BREAK = re.compile(r"\r\n|\n|\r")  # of the lines of a CSV; Python's own list has more
MIN_LINES = 2  # of a value that may be rows: two are an address as well


def has_breaks(batch: pa.RecordBatch) -> bool:
    """Tell whether a value of text may hold a line break, as one does that a stray quote made."""
    for column in batch.columns:
        text = column.buffers()[-1]  # a look at all of it at once: this must cost nothing
        content = text.to_pybytes() if text is not None else b""
        if b"\n" in content or b"\r" in content:
            return True
    return False


def must_close(file: Path, source: Path, how: Reading, mark: str, skipped: int) -> list[str]:
    """Raise SlipwayError, naming the lines, where a quote within a value or at its end is not as a CSV has it.

    Returns what is to be told of quotes that fit each other, but not what is between them. `source` is the file's
    content, of which `skipped` lines precede the rows. Read once, however often it is asked.
    """
    status = source.stat()
    encoding = csv_start.without_mark(how.encoding)
    found = _read(source, status.st_mtime_ns, status.st_size, encoding, mark, skipped, how.footer)
    if found.fault:
        begin, line, why = found.fault
        raise SlipwayError(
            f"{file}: line {line:,}: {why}, in a row that begins in line {begin:,}: is a quote missing in these "
            f"lines, or one too many? {DOUBLED}"
        )
    return [_told(file, begin, end) for begin, end in found.rows_in_one]


@functools.cache  # a file may be read more than once
def tell(file: Path, begin: int, end: int) -> None:
    """Print that the value of some lines looks like rows."""
    print(_told(file, begin, end), flush=True)


def _told(file: Path, begin: int, end: int) -> str:
    return (
        f"{file}: lines {begin:,} to {end:,}: a value of these {end - begin + 1:,} lines, of which each looks like a "
        f"row: is a quote missing at its begin, or at its end? {DOUBLED}"
    )


@dataclass
class _Quotes:
    """What a strict look at a file finds."""

    fault: tuple[int, int, str] | None = None  # the line in which the first wrong row begins, that of the fault, what
    rows_in_one: list[tuple[int, int]] = field(default_factory=list)  # first and last line


@functools.lru_cache
def _read(
    source: Path,
    changed: int,  # noqa: ARG001 - the same content, the same answer
    size: int,  # noqa: ARG001
    encoding: str,
    mark: str,
    skipped: int,
    footer: int,
) -> _Quotes:
    csv.field_size_limit(2**31 - 1)
    found = _Quotes()
    with io.TextIOWrapper(csv_start.without_footer(source, footer), encoding, newline="") as text:
        for _ in range(skipped):
            next(text, "")
        rows = csv.reader(text, delimiter=mark, strict=True)
        end = 0
        try:
            for row in rows:
                if rows.line_num > end + 1 and is_of_rows(row, mark):
                    found.rows_in_one.append((skipped + end + 1, skipped + rows.line_num))
                end = rows.line_num
        except csv.Error as error:
            found.fault = skipped + end + 1, skipped + rows.line_num, str(error)
    return found


def is_of_rows(row: list[str], mark: str) -> bool:
    """Tell whether a value holds the end of a row, other rows, and the beginning of one."""
    last = len(row) - 1
    for at, value in enumerate(row if last else []):
        first, *between = [line for line in BREAK.split(value) if line] or [""]
        counts = [line.count(mark) for line in (first, *between)]
        if len(counts) > MIN_LINES and counts == [last - at, *[last] * (len(counts) - 2), at]:
            return True
    return False
