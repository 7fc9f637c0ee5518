"""Reading CSV files as they come, block by block or row by row; csv_values makes numbers and dates of them.

Everything is read as text first, so that 007 stays 007, and a part at a time, so that memory does not grow with the
file: `blocks` of Arrow for tables, `rows` as they stand there for texts of many lines and for what knows its lines.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from components import SlipwayError
from components.data import csv_quotes, csv_start, file_kinds
from components.data.csv_options import (
    AMONG_NUMBERS,
    MAY_BE_MISSING,
    MISSING_WORDS,
    Reading,
    arguments,
    conflicts,
    kept,
    reading,
)
from components.data.csv_start import (
    before,
    before_header,
    delimiter,
    header,
    names,
    separator,
    told,
    unreadable,
    without_mark,
)

__all__ = [  # what reads files needs no other module
    "AMONG_NUMBERS",
    "MAY_BE_MISSING",
    "MISSING_WORDS",
    "Reading",
    "arguments",
    "before_header",
    "blocks",
    "conflicts",
    "delimiter",
    "is_typed",
    "kept",
    "names",
    "reading",
    "rows",
    "separator",
    "told",
    "typed",
    "whole",
    "without_mark",
    "without_words",
]
LONGEST = 64 * 2**20  # characters of a value in `rows`; csv's own limit of 128 Ki is less than a long text
Words = dict[str, Counter[str]]  # of each column


def blocks(file: Path, how: Reading, words: Words | None = None, notes: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a CSV's rows as text, block by block: spaces around values taken off, what stands for missing null.

    `words` counts, by column, what stood for missing, and words that may; `notes` gets what is to be told. Raises
    SlipwayError, naming the line, for a row of too few or too many values, for a quote that does not close, and for a
    byte that is not of the encoding.
    """
    columns = names(file, how)
    skipped = before(file, how) if how.columns else header(file, how)[1]
    try:
        source, mark, checked = file_kinds.content(file), delimiter(file, how), False
        given: Any = csv_start.without_footer(source, how.footer) if how.footer else source
        reader = pa.csv.open_csv(
            given,
            pa.csv.ReadOptions(
                column_names=columns,
                skip_rows=skipped,
                block_size=csv_start.BLOCK_BYTES,
                encoding=how.encoding,
                use_threads=False,
            ),
            pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), null_values=[]),
        )
        for batch in reader:
            if not checked and csv_quotes.has_breaks(batch):
                found = csv_quotes.must_close(file, source, how, mark, skipped)
                checked = True
                if notes is not None:
                    notes += found
            yield without_words(pa.table(batch), how, words, trim=True)
    except (pa.ArrowException, UnicodeError, OSError) as error:
        if "Empty CSV" in str(error):
            return
        raise unreadable(file, how, error) from None


def rows(
    file: Path,
    how: Reading,
    *,
    quotes: bool = True,
    hint: str = "is a quote missing?",
    odd: dict[int, list[str]] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield a CSV's rows as they stand there, each with the line that it ends in; first the header, without spaces.

    A value may take many lines; nothing is taken for missing. Without `quotes` they are plain text. Raises
    SlipwayError, naming the line, for a byte that is not of the encoding, for a quote that is missing, with a `hint`,
    and for a row of more or fewer values than the header. With `odd` such a row is put there by its line, and so is
    an empty line, which else is no row.
    """
    mark, skipped = delimiter(file, how), before(file, how)
    csv.field_size_limit(LONGEST)
    try:
        with file_kinds.content(file).open(encoding=without_mark(how.encoding), newline="") as text:
            for _ in range(skipped):
                next(text, "")
            found = csv.reader(
                text, delimiter=mark, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=True
            )
            head: list[str] = []
            line = skipped
            try:
                for values in found:
                    row = values if head else [name.strip() for name in values]
                    head = head or row
                    begin, line = line + 1, skipped + found.line_num
                    if line > begin and csv_quotes.is_of_rows(row, mark):
                        csv_quotes.tell(file, begin, line)
                    if row and len(row) == len(head):
                        yield line, row
                    elif odd is not None:
                        odd[line] = row
                    elif row:
                        raise SlipwayError(
                            f"{file}: line {line:,} has {len(row)} values, the header {len(head)}; is a "
                            f"quote or a delimiter ({mark!r}) missing or extra?"
                        )
            except csv.Error as error:
                raise SlipwayError(f"{file}: line {skipped + found.line_num:,}: {error}; {hint}") from None
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (UnicodeError, OSError) as error:
        raise unreadable(file, how, error) from None


def is_typed(file: Path) -> bool:
    """Tell whether a file knows the types of its columns; a CSV does not."""
    return file_kinds.kind(file) != "text"


def whole(file: Path, how: Reading, notes: list[str] | None = None) -> pa.Table:
    """Read a CSV as text, as `blocks` does, or a table of typed columns."""
    if is_typed(file):
        empty, *rest = file_kinds.tables(file)
        return pa.concat_tables(rest or [empty])
    empty = pa.schema([(name, pa.string()) for name in names(file, how)]).empty_table()
    return pa.concat_tables([empty, *blocks(file, how, notes=notes)])


def typed(file: Path, how: Reading, words: Words | None = None) -> Iterator[pa.Table]:
    """Yield a table of typed columns, block by block: what stands for missing in text is null, as in `blocks`."""
    for table in file_kinds.tables(file):
        yield without_words(table, how, words)


def without_words(table: pa.Table, how: Reading, words: Words | None = None, *, trim: bool = False) -> pa.Table:
    """Return a table with null in place of the words of text that stand for missing; `trim` takes spaces off all text.

    `words` counts them, gaps as empty text, and those that only may stand for it.
    """
    found = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            found.append(column)
            if words is not None and column.null_count:
                words.setdefault(name, Counter())[""] += column.null_count
            continue
        value = column.cast(pa.string())
        text = pc.utf8_trim_whitespace(value) if trim else pc.ascii_trim_whitespace(value)  # which may be no UTF-8
        if words is not None:
            counted = pa.array(dict.fromkeys([*how.words, *how.missing, *MAY_BE_MISSING]), pa.string())
            for item in pc.value_counts(text.filter(pc.is_in(text, counted))).to_pylist():
                words.setdefault(name, Counter())[item["values"]] += item["counts"]
            if text.null_count:
                words.setdefault(name, Counter())[""] += text.null_count
        missing = pc.is_in(text, pa.array([*how.words, *how.missing], pa.string()))
        found.append(pc.if_else(missing, pa.scalar(None, pa.string()), text if trim else value))
    return pa.table(found, table.column_names)
