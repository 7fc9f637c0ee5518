"""Reading CSV files as they come: delimiters, encodings, missing values; csv_values makes numbers and dates of them.

Everything is read as text first, so that 007 stays 007, and a part at a time, so that memory does not grow with the
file: `blocks` of Arrow for tables, `rows` as they stand there for texts of many lines and for what knows its lines.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import csv_numbers
from components.data.csv_numbers import BLANKS, Style
from components.files import file_or_text

LONGEST = 64 * 2**20  # characters of a value in `rows`; csv's own limit of 128 Ki is less than a long text
BLOCK_BYTES = 2**25  # bytes of text in memory at a time; no row may be longer
DELIMITERS = (",", ";", "\t", "|")
# What databases, spreadsheets and pandas write for a missing value.
MISSING_WORDS = (
    *("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "-nan", "null", "NULL", "Null", "(null)", "None", r"\N", "<NA>"),
    *("NaT", "#N/A", "#N/A N/A", "#NA", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "1.#QNAN"),
)
# Signs of it only where all other values are numbers, dates or booleans; among words they are values.
AMONG_NUMBERS = ("-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "?", "na", "n.a.", "N.A.")
Words = dict[str, Counter[str]]  # of each column


@dataclass(frozen=True)
class Reading:
    """How the text of a CSV is to be read."""

    columns: tuple[str, ...] = ()  # of a file without a header
    delimiter: str | None = None  # None: guessed
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()  # beside `words`
    words: tuple[str, ...] = MISSING_WORDS  # that stand for a missing value; but in text all of MISSING_WORDS do
    decimal: str | None = None  # None: what a column makes sense with
    thousands: str | None = None
    numbers: dict[str, Style] = field(default_factory=dict)  # columns that are written otherwise
    dates: dict[str, str] = field(default_factory=dict)  # column -> format, as in strptime
    footer: int = 0  # last lines that are no data

    def style(self, column: str) -> Style:
        """Say how the numbers of a column are written."""
        return self.numbers.get(column) or Style(self.decimal or ".", self.thousands or "")


def arguments(parser: Any) -> None:
    """Add the options of `Reading` to a parser, or to a group of one."""
    text = "column names, if the file has no header; or a file with one name per line"
    parser.add_argument("--columns", type=file_or_text, metavar="A,B,C", help=text)
    parser.add_argument("--delimiter", metavar="CHARACTER", help="column delimiter (default: guessed)")
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="text encoding, such as latin-1 (default: utf-8)"
    )
    text = (
        "text that also means a missing value, such as unknown (besides empty, NA, NULL, NaN, #N/A and the like, and, "
        "in columns of numbers, dates or booleans, - . and ?); repeatable"
    )
    parser.add_argument("--missing", action="append", default=[], metavar="TEXT", help=text)
    text = "word such as NA that is an ordinary value in text columns; repeatable"
    parser.add_argument("--not-missing", action="append", default=[], metavar="TEXT", help=text)
    text = "decimal mark (default: guessed by ingest, column by column, and reported)"
    parser.add_argument("--decimal", choices=[".", ","], help=text)
    text = "thousands separator, such as ','; a blank stands for all kinds of blanks (default: guessed by ingest)"
    parser.add_argument("--thousands", metavar="CHARACTER", help=text)
    parser.add_argument(
        "--footer",
        type=int,
        default=0,
        metavar="N",
        help="number of lines to ignore at the end of the file (default: 0)",
    )


def reading(options: dict[str, Any], known: Mapping[str, Any] | None = None) -> Reading:
    """Take the options of `Reading` out of those of a command; what they leave open is as the dataset's is `known`.

    Raises SlipwayError for an option that cannot be.
    """
    known = known or {}
    named = options.pop("columns", None)
    columns: tuple[str, ...] = ()
    if named:
        file = Path(file_or_text(named))
        lines = file.read_text(encoding="utf-8-sig").split("\n") if file.is_absolute() else named.split(",")
        columns = tuple(filter(None, (name.strip() for name in lines)))
    taken = {
        name: options.pop(name)
        for name in ("delimiter", "encoding", "decimal", "thousands", "footer")
        if name in options
    }
    if taken.get("delimiter") == "\\t":
        taken["delimiter"] = "\t"
    if len(taken.get("delimiter") or ",") != 1:
        raise SlipwayError(f"--delimiter {taken['delimiter']!r}: expected one character")
    if taken.get("thousands") and taken["thousands"] in BLANKS:
        taken["thousands"] = " "
    mark = taken.get("thousands") or "_"
    if len(mark) != 1 or mark.isalnum() or mark == taken.get("decimal"):
        raise SlipwayError(
            f"--thousands {mark!r}: expected one character, no digit or letter, and not the decimal mark"
        )
    try:
        codecs.lookup(taken.get("encoding", "utf-8"))
    except LookupError:
        raise SlipwayError(
            f"--encoding {taken['encoding']}: unknown encoding; try utf-8, latin-1, cp1252 or utf-16"
        ) from None
    kept = options.pop("not_missing", ())
    if odd := [word for word in kept if word not in MISSING_WORDS[1:]]:
        raise SlipwayError(
            f"--not-missing {odd[0]!r}: is not a word that means a missing value; these are: "
            f"{', '.join(MISSING_WORDS[1:])}"
        )
    words = tuple(word for word in MISSING_WORDS if word not in {*kept, *known.get("not_missing", ())})
    missing = dict.fromkeys([*known.get("missing", ()), *options.pop("missing", ())])
    marks = {name: taken[name] for name in ("decimal", "thousands") if taken.get(name)}
    numbers = {name: replace(csv_numbers.style(text), **marks) for name, text in known.get("numbers", {}).items()}
    taken |= {name: known[name] for name in ("decimal", "thousands") if known.get(name) and name not in marks}
    return Reading(columns, missing=tuple(missing), words=words, numbers=numbers, dates=known.get("dates", {}), **taken)


def kept(how: Reading, columns: Iterable[str]) -> dict[str, Any]:
    """Return what `reading` takes as known: what words, and numbers and dates of some columns, mean. Plain JSON."""
    names = set(columns)
    found = {
        "missing": list(how.missing),
        "not_missing": [word for word in MISSING_WORDS if word not in how.words],
        "decimal": how.decimal,
        "thousands": how.thousands,
        "numbers": {name: str(own) for name, own in how.numbers.items() if name in names},
        "dates": {name: form for name, form in how.dates.items() if name in names},
    }
    return {name: value for name, value in found.items() if value}


def conflicts(how: Reading, known: Mapping[str, Any]) -> list[str]:
    """Say where options of a file go against how the dataset was read."""
    own = kept(how, [])
    return [
        f"--{name.replace('_', '-')} is {own[name]!r} here, but {known.get(name, 'not given')!r} for the training data"
        for name in ("missing", "not_missing", "decimal", "thousands")
        if own.get(name, known.get(name)) != known.get(name)
    ]


def names(file: Path, how: Reading) -> tuple[str, ...]:
    """Return the names of the columns, `Unnamed: 2` for the third if it has none, as pandas calls it.

    Raises SlipwayError for a file that is empty, or has a name twice.
    """
    header = how.columns or [name.strip() for name in _header(file, how)[0]]
    found = tuple(name or f"Unnamed: {at}" for at, name in enumerate(header))
    if twice := next((name for name, count in Counter(found).items() if count > 1), None):
        raise SlipwayError(f"{file}: two columns are named {twice!r}; rename one of them in the first line")
    return found


def delimiter(file: Path, how: Reading) -> str:
    """Return what stands between columns: the character that cuts the first lines most evenly into most parts."""
    if how.delimiter:
        return how.delimiter
    lines = _start(file, how)
    scores = []
    for character in DELIMITERS:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=character) if row)
        parts, rows = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        scores.append((rows if parts > 1 else 0, parts, -DELIMITERS.index(character)))
    return DELIMITERS[-max(scores)[2]]


def without_mark(encoding: str) -> str:
    """Return the same encoding, a byte-order mark at the start left out."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _start(file: Path, how: Reading, lines: int = 50) -> list[str]:
    """Return the first lines, for a look at them; SlipwayError for what is no file, empty, or not of the encoding."""
    csv.field_size_limit(2**31 - 1)  # who reads on has a limit
    try:
        with file.open(encoding=without_mark(how.encoding), newline="") as text:
            found = [line for _, line in zip(range(lines), text, strict=False)]
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (UnicodeError, OSError) as error:
        raise unreadable(file, how, error) from None
    if not any(line.strip() for line in found):
        raise SlipwayError(f"{file}: the file is empty")
    return found


def _header(file: Path, how: Reading) -> tuple[list[str], int]:
    """Return the cells of the first line that has any, and how many lines they take up."""
    rows = csv.reader(_start(file, how), delimiter=delimiter(file, how), skipinitialspace=True)
    for row in rows:
        if row:
            return row, rows.line_num
    raise SlipwayError(f"{file}: the file is empty")


def unreadable(file: Path, how: Reading, error: Exception) -> SlipwayError:
    """Say why a file cannot be read, and where it is not of its encoding."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, UnicodeError) or "UTF8" in text:
        with file.open("rb") as content:
            if content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return SlipwayError(f"{file}: cannot be read as UTF-8, it looks like UTF-16: use --encoding utf-16")
            content.seek(0)
            for number, line in enumerate(content, 1):
                try:
                    line.decode(how.encoding)
                except UnicodeError as wrong:
                    at = getattr(wrong, "start", 0)
                    return SlipwayError(
                        f"{file}: line {number}, byte {at + 1} ({line[at : at + 1].hex() or 'none'}) is not "
                        f"{how.encoding}; give the encoding of the file, such as --encoding cp1252 (Windows) or latin-1"
                    )
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", text):
        row, wanted, got, start = found.groups()
        return SlipwayError(
            f"{file}: cannot be read: line {row} has {got} values, but {wanted} are expected: {start[:100]!r}; "
            "fix the line, give another --delimiter, or skip lines at the end that are not data: --footer 1"
        )
    if "straddling" in text:
        text = f"a line of more than {BLOCK_BYTES // 2**20} MB; is a closing quote missing?"
    return SlipwayError(f"{file}: cannot be read: {text}")


def blocks(file: Path, how: Reading, words: Words | None = None) -> Iterator[pa.Table]:
    """Yield a CSV's rows as text, block by block: spaces around values taken off, what stands for missing null.

    `words` counts, by column, the words that stood for missing, unless --missing names them. Raises SlipwayError,
    naming the line, for a row of too few or too many values and for a byte that is not of the encoding.
    """
    columns = names(file, how)
    skipped = 0 if how.columns else _header(file, how)[1]
    try:
        source: Any = file
        if how.footer:
            lines = file.read_bytes().rstrip().splitlines(keepends=True)
            source = io.BytesIO(b"".join(lines[: -how.footer]))
        reader = pa.csv.open_csv(
            source,
            pa.csv.ReadOptions(
                column_names=columns,
                skip_rows=skipped,
                block_size=BLOCK_BYTES,
                encoding=how.encoding,
                use_threads=False,
            ),
            pa.csv.ParseOptions(delimiter=delimiter(file, how), newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), null_values=[]),
        )
        for batch in reader:
            yield _clean(pa.table(batch), how, words)
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
    odd: dict[int, str] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield a CSV's rows as they stand there, each with the line that it ends in; first the header, without spaces.

    A value may take many lines; nothing is taken for missing. Without `quotes` they are plain text. Raises
    SlipwayError, naming the line, for a byte that is not of the encoding, for a quote that is missing, with a `hint`,
    and for a row of more or fewer values than the header. With `odd` such a row is put there by its line, and so is
    an empty line, which else is no row.
    """
    mark = delimiter(file, how)
    csv.field_size_limit(LONGEST)
    try:
        with file.open(encoding=without_mark(how.encoding), newline="") as text:
            found = csv.reader(
                text, delimiter=mark, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=True
            )
            header: list[str] = []
            try:
                for values in found:
                    row = values if header else [name.strip() for name in values]
                    header = header or row
                    if row and len(row) == len(header):
                        yield found.line_num, row
                    elif odd is not None:
                        odd[found.line_num] = mark.join(row)
                    elif row:
                        raise SlipwayError(
                            f"{file}: line {found.line_num:,} has {len(row)} values, the header {len(header)}; is a "
                            f"quote or a delimiter ({mark!r}) missing or extra?"
                        )
            except csv.Error as error:
                raise SlipwayError(f"{file}: line {found.line_num:,}: {error}; {hint}") from None
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (UnicodeError, OSError) as error:
        raise unreadable(file, how, error) from None


def is_typed(file: Path) -> bool:
    """Tell whether a file knows the types of its columns; a CSV does not."""
    return file.suffix.lower() == ".parquet"


def whole(file: Path, how: Reading) -> pa.Table:
    """Read a CSV as text, as `blocks` does, or a Parquet file with its types."""
    if is_typed(file):
        empty, *rest = parquet(file)
        return pa.concat_tables(rest or [empty])
    empty = pa.schema([(name, pa.string()) for name in names(file, how)]).empty_table()
    return pa.concat_tables([empty, *blocks(file, how)])


def parquet(file: Path) -> Iterator[pa.Table]:
    """Yield a Parquet file with its types, block by block; first a table of no rows."""
    try:
        with pq.ParquetFile(file) as content:
            yield content.schema_arrow.empty_table()
            yield from (pa.table(batch) for batch in content.iter_batches(65_536))
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SlipwayError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def _clean(table: pa.Table, how: Reading, words: Words | None) -> pa.Table:
    missing = pa.array([*how.words, *how.missing], pa.string())
    counted = pa.array([word for word in how.words if word and word not in how.missing], pa.string())
    found = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        text = pc.utf8_trim_whitespace(column)
        if words is not None:
            for item in pc.value_counts(text.filter(pc.is_in(text, counted))).to_pylist():
                words.setdefault(name, Counter())[item["values"]] += item["counts"]
        found.append(pc.if_else(pc.is_in(text, missing), pa.scalar(None, pa.string()), text))
    return pa.table(found, table.column_names)
