"""Quotes of a CSV that do not close where they should: Arrow reads on to the next one, over all rows between."""

import csv
import functools
import io
from pathlib import Path

import pyarrow as pa

from components import SlipwayError
from components.data import csv_start
from components.data.csv_options import Reading

DOUBLED = 'one that is part of a value is doubled, and the value in quotes, such as "3"" pipe"'


def has_breaks(batch: pa.RecordBatch) -> bool:
    """Tell whether a value of text may hold a line break, as one does that a stray quote made."""
    for column in batch.columns:
        text = column.buffers()[-1]  # a look at all of it at once: this must cost nothing
        content = text.to_pybytes() if text is not None else b""
        if b"\n" in content or b"\r" in content:
            return True
    return False


def must_close(file: Path, source: Path, how: Reading, mark: str, skipped: int) -> None:
    """Raise SlipwayError, naming the lines, where a quote within a value or at its end is not as a CSV has it.

    `source` is the file's content, of which `skipped` lines precede the rows. Read once, however often it is asked.
    """
    status = source.stat()
    encoding = csv_start.without_mark(how.encoding)
    if found := _fault(source, status.st_mtime_ns, status.st_size, encoding, mark, skipped, how.footer):
        begin, line, why = found
        raise SlipwayError(
            f"{file}: line {line:,}: {why}, in a row that begins in line {begin:,}: is a quote missing in these "
            f"lines, or one too many? {DOUBLED}"
        )


@functools.lru_cache
def _fault(
    source: Path,
    changed: int,  # noqa: ARG001 - the same content, the same answer
    size: int,  # noqa: ARG001
    encoding: str,
    mark: str,
    skipped: int,
    footer: int,
) -> tuple[int, int, str] | None:
    """Return the line in which the first wrong row begins, that of the fault, and what it is."""
    csv.field_size_limit(2**31 - 1)
    with io.TextIOWrapper(csv_start.without_footer(source, footer), encoding, newline="") as text:
        for _ in range(skipped):
            next(text, "")
        rows = csv.reader(text, delimiter=mark, strict=True)
        begin = skipped + 1
        try:
            for _ in rows:
                begin = skipped + rows.line_num + 1
        except csv.Error as error:
            return begin, skipped + rows.line_num, str(error)
    return None
