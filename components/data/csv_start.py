"""The first lines of a CSV: what precedes the header, the header, what stands between columns."""

import codecs
import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import IO

from components import SlipwayError
from components.data import file_kinds, spelling
from components.data.csv_options import Reading

BLOCK_BYTES = 2**25  # bytes of text in memory at a time; no row may be longer
DELIMITERS = (",", ";", "\t", "|")
SEPARATOR = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's first line
NUMBER = re.compile(r"[-+$(]?\d")  # the beginning of a number or date
LINES = 50  # that are looked at
CHECKED = 1024  # bytes of a file that cannot be decoded, in which to look whether it is text at all
NO_TEXT = re.compile(rb"[\x04-\x08\x0e-\x19]")  # control characters but for those that delimit lines and columns
MIN_COLUMNS = 3  # of a table in which a line with one value, and empty ones, is a title


def names(file: Path, how: Reading) -> tuple[str, ...]:
    """Return the names of the columns, `Unnamed: 2` for the third if it has none, as pandas calls it.

    Raises SlipwayError for a file that is empty, or has a name twice.
    """
    cells = how.columns or [spelling.plain(name) for name in header(file, how)[0]]
    found = tuple(name or f"Unnamed: {at}" for at, name in enumerate(cells))
    if twice := next((name for name, count in Counter(found).items() if count > 1), None):
        raise SlipwayError(f"{file}: two columns are named {twice!r}; rename one of them in the first line")
    return found


def delimiter(file: Path, how: Reading) -> str:
    """Return what stands between columns: the character that cuts the first lines most evenly into most parts."""
    if how.delimiter:
        return how.delimiter
    if found := separator(file, how):
        return found
    lines = start(file, how)
    scores = []
    for character in DELIMITERS:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=character) if row)
        parts, rows = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        scores.append((rows if parts > 1 else 0, parts, -DELIMITERS.index(character)))
    return DELIMITERS[-max(scores)[2]]


def separator(file: Path, how: Reading) -> str | None:
    """Return the delimiter that the first line names, as Excel writes it: sep=; - None where it does not."""
    found = SEPARATOR.fullmatch(start(file, how)[0])
    return found[1] if found else None


def without_mark(encoding: str) -> str:
    """Return the same encoding, a byte-order mark at the start left out."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def without_footer(source: Path, lines: int) -> IO[bytes]:
    """Open a file's content, so many of its last lines left out."""
    if not lines:
        return source.open("rb")
    return io.BytesIO(b"".join(source.read_bytes().rstrip().splitlines(keepends=True)[:-lines]))


def start(file: Path, how: Reading) -> list[str]:
    """Return the first lines, for a look at them; SlipwayError for what is no file, empty, or not of the encoding."""
    csv.field_size_limit(2**31 - 1)  # who reads on has a limit
    try:
        with file_kinds.content(file).open(encoding=without_mark(how.encoding), newline="") as text:
            found = [line for _, line in zip(range(LINES), text, strict=False)]
    except (UnicodeError, OSError) as error:
        raise unreadable(file, how, error) from None
    if not any(line.strip() for line in found):
        raise SlipwayError(f"{file}: the file is empty")
    return found


def header(file: Path, how: Reading) -> tuple[list[str], int]:
    """Return the cells of the first line after those `before`, and how many lines there are up to its end."""
    skipped = before(file, how)
    rows = csv.reader(start(file, how)[skipped:], delimiter=delimiter(file, how), skipinitialspace=True)
    for row in rows:
        if row:
            return row, skipped + rows.line_num
    raise SlipwayError(f"{file}: the file is empty")


def before(file: Path, how: Reading) -> int:
    """Return how many lines precede the header (or, where there is none, the first row).

    Those that `how` says; else Excel's `sep=;`, comments, and titles, which lack most columns of what follows.
    """
    if how.skip is not None:
        return how.skip
    lines = start(file, how)
    first = int(bool(SEPARATOR.fullmatch(lines[0])))
    if how.columns:
        return first
    rows = csv.reader(lines[first:], delimiter=delimiter(file, how), skipinitialspace=True)
    found, begin = [], first
    for row in rows:
        found.append((begin, row))
        begin = first + rows.line_num
    widths = Counter(len(row) for _, row in found if len(row) > 1)
    width = max(widths, key=lambda size: (widths[size], size), default=1)
    for at, (line, row) in enumerate(found[:-1]):
        rest = [later for _, later in found[at + 1 :] if sum(map(bool, later)) > 1]
        following = rest[0] if rest else []
        if row and not _is_title(row, following, width) and not _is_above_header(row, found[at + 1 :], width):
            return line
    return first


def before_header(file: Path, how: Reading, name: str) -> int:
    """Return how many lines precede the first one with a cell of that name; 0 where none has it."""
    rows = csv.reader(start(file, how), delimiter=delimiter(file, how), skipinitialspace=True)
    begin = 0
    for row in rows:
        if name in map(spelling.plain, row):
            return begin
        begin = rows.line_num
    return 0


def _is_title(row: list[str], following: list[str], width: int) -> bool:
    """Tell whether a line is no header of a table of so many columns."""
    full = sum(bool(cell.strip()) for cell in row)
    if row[0].lstrip().startswith("#"):  # a comment, or a header such as #id,name
        above_data = any(re.search(r"\d", cell) for cell in following) and not "".join(following[:1]).startswith("#")
        return len(row) != width or not above_data
    names = not following or not all(re.search(r"\d", cell) for cell in following)  # a header follows, no data
    short = (len(row) == 1 < width or len(row) <= width - 2) and names
    return short or full == 0 or (full == 1 and width >= MIN_COLUMNS and sum(map(bool, following)) >= width - 1)


def _is_above_header(row: list[str], after: list[tuple[int, list[str]]], width: int) -> bool:
    """Tell whether a line with delimiters is a title: of another width than the table, or an empty line follows it.

    The line after it is then a header, all of it different words, above data with numbers or dates.
    """
    apart = bool(after) and not any(cell.strip() for cell in after[0][1])
    rest = [[cell.strip() for cell in later] for _, later in after if any(cell.strip() for cell in later)]
    if (len(row) == width and not apart) or len(rest) < 2 or len(rest[0]) != width:
        return False
    header, *data = rest
    words = len(set(header)) == width and all(header) and not any(NUMBER.match(cell) for cell in header)
    return words and any(NUMBER.match(cell) for later in data for cell in later)


def told(file: Path, how: Reading) -> list[str]:
    """Say which lines before the header are left out, if any with text are."""
    count = before(file, how)
    texts = [line.strip() for line in start(file, how)[:count] if line.strip()]
    if not texts or how.skip is not None or (len(texts) == 1 and SEPARATOR.fullmatch(texts[0])):
        return []
    plural = "lines" if count > 1 else "line"
    return [f"{file}: left out {count} {plural} before the header: {texts[0][:60]!r}; --skip 0 keeps what is there"]


def unreadable(file: Path, how: Reading, error: Exception) -> SlipwayError:
    """Say why a file cannot be read, and where it is not of its encoding."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, UnicodeError) or "UTF8" in text:
        with file_kinds.content(file).open("rb") as content:
            if content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return SlipwayError(f"{file}: cannot be read as UTF-8, it looks like UTF-16: use --encoding utf-16")
            content.seek(0)
            if NO_TEXT.search(first := content.read(CHECKED)):
                return SlipwayError(
                    f"{file}: is no text file: its first bytes are {first[:4].hex(' ')}; a table is text, such as CSV, "
                    "or Parquet"
                )
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
        row, wanted, got, begin = found.groups()
        return SlipwayError(
            f"{file}: cannot be read: line {row} has {got} values, but {wanted} are expected: {begin[:100]!r}; "
            "fix the line, give another --delimiter, or leave out lines that are not data: --skip 1 before the header, "
            "--footer 1 at the end"
        )
    if "straddling" in text:
        text = f"a line of more than {BLOCK_BYTES // 2**20} MB; is a closing quote missing?"
    return SlipwayError(f"{file}: cannot be read: {text}")
