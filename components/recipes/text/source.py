"""Texts: a CSV, TSV, JSON Lines or Parquet file, class folders of text files, class files of lines."""

import codecs
import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import csv_reader, dataset
from components.recipes.source import BATCH_ROWS, SPLIT_FOLDERS, Command, Source, slug

Row = tuple[str | None, str | None, str | None]  # text, label, split
ROW_FIELDS = 3  # of a Row


def text(
    path: Path,
    text: str | None = None,
    label: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    rename: list[str] | None = None,
    *,
    lines: bool = False,
    no_quotes: bool = False,
) -> Source:
    """Read texts and labels: a file with named columns, or a folder of classes.

    A column `split` is the official split; so are folders called train, validation and test. Raises SlipwayError
    for a file that is not what it is said to be, with its line, and its byte where the encoding is wrong.
    """
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise SlipwayError(f"--encoding {encoding}: unknown encoding; try utf-8, gb18030 or cp1252") from None
    if path.is_dir():
        skipped: Counter[str] = Counter()
        rows = _class_files(path, encoding, skipped) if lines else _class_folders(path, encoding, skipped)
    elif path.is_file():
        if text is None or label is None or lines:
            raise SlipwayError(f"{path}: say which columns to read: --text COLUMN --label COLUMN")
        skipped = Counter()
        rows = _file(path, [text, label, "split"], encoding, delimiter, no_quotes=no_quotes)
    else:
        raise SlipwayError(f"{path}: no such file or folder")
    counts = Counter(value for _, value, _ in rows())  # a first reading: the labels, and all that may be wrong
    names = _renames(path, rename or [], {value for value in counts if value is not None})
    labels = sorted({names.get(value, value) for value in counts if value is not None})
    if not labels:
        raise SlipwayError(f"{path}: no example with a label")
    if len(labels) > max(50, counts.total() // 10):
        raise SlipwayError(f"{path}: {len(labels):,} different labels in {counts.total():,} examples; is {label} one?")

    def tables() -> Iterator[pa.Table]:
        source = iter(rows())
        while part := list(islice(source, BATCH_ROWS)):
            columns = list(zip(*part, strict=True))
            found = [names.get(value, value) if value is not None else None for value in columns[1]]
            try:
                yield pa.table(
                    {
                        name: pa.array(values, pa.string())
                        for name, values in zip(
                            ("text", "label", "split"), (columns[0], found, columns[2]), strict=True
                        )
                    }
                )
            except UnicodeEncodeError as error:  # "\ud800" in JSON
                raise SlipwayError(
                    f"{path}: a text has half a surrogate pair, which is not a character: {error}"
                ) from None

    copies: Literal["keep", "drop"] = "keep" if path.is_file() else "drop"  # rows repeat by right, documents by mistake
    return Source(slug(path.resolve().stem), "text", {"labels": labels}, tables(), skipped, copies=copies)


def _renames(path: Path, rename: list[str], labels: set[str]) -> dict[str, str]:
    names = {}
    for item in rename:
        old, equals, new = item.partition("=")
        if not equals or not new:
            raise SlipwayError(f"--rename {item}: write OLD=NEW, such as 1=positive")
        if old not in labels:
            raise SlipwayError(f"--rename {item}: {path} has no label {old!r} (there are: {_few(labels)})")
        names[old] = new
    return names


def _few(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")


def _file(
    path: Path, columns: list[str], encoding: str, delimiter: str | None, *, no_quotes: bool
) -> Callable[[], Iterator[Row]]:
    """A reader of the columns text, label and (where there is one) split of a file of any kind."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return lambda: _parquet(path, columns)
    _must_decode(path, encoding)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return lambda: _json_lines(path, columns, encoding)
    mark = delimiter or ("\t" if suffix in (".tsv", ".tab") else ",")
    mark = {"\\t": "\t", "tab": "\t"}.get(mark, mark)
    if len(mark) != 1:
        raise SlipwayError(f"--delimiter {mark}: expected one character, or tab")
    return lambda: _csv(path, columns, encoding, mark, no_quotes=no_quotes)


def _must_decode(path: Path, encoding: str) -> None:
    """Raise SlipwayError naming the first byte that is not of the encoding, and its line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = lines = 0
    with path.open("rb") as file:
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
    how = csv_reader.Reading(delimiter=mark, encoding=encoding)
    rows = csv_reader.rows(path, how, quotes=not no_quotes, hint="if quotes are plain text, use --no-quotes")
    _, header = next(rows, (0, []))
    places = _places(path, columns, header, f"; the delimiter read was {mark!r}: use --delimiter for another one")
    for _, row in rows:
        yield _row([row[at] if at is not None else None for at in places])


def _places(path: Path, columns: list[str], names: list[str], hint: str = "") -> list[int | None]:
    """Where the columns stand; the last, `split`, may be missing."""
    for name in columns[:2]:
        if name not in names:
            raise SlipwayError(f"{path}: no column {name!r} (there are: {_few(names)}){hint}")
    return [names.index(name) if name in names else None for name in columns]


def _row(values: list[str | None]) -> Row:
    """Text as it is; an empty label or split is a missing one."""
    return values[0], values[1] or None, values[2] or None


def _json_lines(path: Path, columns: list[str], encoding: str) -> Iterator[Row]:
    with path.open(encoding=csv_reader.without_mark(encoding), newline="\n") as file:
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


def _parquet(path: Path, columns: list[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            places = _places(path, columns, names)
            kind = file.schema_arrow.field(columns[0]).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
                raise SlipwayError(f"{path}: column {columns[0]} is {kind}, not text")
            wanted = [name for name, at in zip(columns, places, strict=True) if at is not None]
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                parts = [batch.column(name).cast(pa.string()).to_pylist() for name in wanted]
                parts += [[None] * len(batch)] * (ROW_FIELDS - len(wanted))
                yield from map(_row, map(list, zip(*parts, strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise SlipwayError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    except UnicodeDecodeError as error:
        raise SlipwayError(f"{path}: column {columns[0]} contains bytes that are not UTF-8: {error}") from None


def _class_folders(folder: Path, encoding: str, skipped: Counter[str]) -> Callable[[], Iterator[Row]]:
    """FOLDER/LABEL/*.txt, or FOLDER/{train,validation,test}/LABEL/*.txt: a file an example."""
    tops = _below(folder, Path.is_dir)
    official = [top for top in tops if top.name.lower() in SPLIT_FOLDERS]
    if official and len(official) < len(tops):
        other = next(top.name for top in tops if top not in official)
        raise SlipwayError(f"{folder}: {official[0].name}/ is a split but {other}/ is not; do not mix the two")
    found: list[tuple[Path, str, str | None]] = []
    for label, split in (
        [(label, SPLIT_FOLDERS[top.name.lower()]) for top in tops for label in _below(top, Path.is_dir)]
        if official
        else [(label, None) for label in tops]
    ):
        for path in sorted(label.rglob("*")):
            if path.is_file() and not path.name.startswith(".") and not dataset.is_junk(path.relative_to(label)):
                if path.suffix.lower() in (".txt", ".text"):
                    found.append((path, label.name, split))
                else:
                    skipped[f"not a text file ({path.suffix or path.name})"] += 1
    if loose := len(_below(folder, Path.is_file)):
        skipped["not in a class folder"] = loose
    if not found:
        raise SlipwayError(
            f"{folder}: no text files in class folders; expected {folder}/LABEL/*.txt, or with --lines one file per "
            "class, with one example per line"
        )

    def rows() -> Iterator[Row]:
        for path, label, split in found:
            _must_decode(path, encoding)
            yield path.read_text(csv_reader.without_mark(encoding)).strip(), label, split

    return rows


def _class_files(folder: Path, encoding: str, skipped: Counter[str]) -> Callable[[], Iterator[Row]]:
    """FOLDER/LABEL.txt, or NAME.LABEL of one NAME: a line per example, without the spaces around it; no empty ones."""
    files = _below(folder, Path.is_file)
    stems = Counter(path.stem for path in files if path.suffix not in (".txt", ""))
    found = []
    for path in files:
        if path.suffix == ".txt":
            found.append((path, path.stem))
        elif stems[path.stem] > 1:
            found.append((path, path.suffix[1:]))
        else:
            skipped[f"not a class file ({path.name})"] += 1
    if not found:
        raise SlipwayError(f"{folder}: no class files; expected one file per class, LABEL.txt or NAME.LABEL")

    def rows() -> Iterator[Row]:
        for path, label in found:
            _must_decode(path, encoding)
            with path.open(encoding=csv_reader.without_mark(encoding)) as file:
                yield from ((line.strip(), label, None) for line in file if line.strip())

    return rows


def _below(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    found = (path for path in folder.iterdir() if kind(path) and not path.name.startswith("."))
    return sorted(path for path in found if not dataset.is_junk(path.name))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="FILE_OR_FOLDER", help="table, or folder of text files")
    parser.add_argument("--text", metavar="COLUMN", help="column with the text")
    parser.add_argument("--label", metavar="COLUMN", help="column to predict")
    parser.add_argument(
        "--lines",
        action="store_true",
        help="the folder has one file per class, LABEL.txt or NAME.LABEL, with one example per line",
    )
    parser.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="text encoding, such as gb18030 (default: %(default)s)",
    )
    parser.add_argument(
        "--delimiter", metavar="CHARACTER", help="column delimiter of a CSV (default: a comma; a tab for .tsv)"
    )
    parser.add_argument("--no-quotes", action="store_true", help="treat quotes in a CSV as plain text")
    help_text = "new name for a label, such as 1=positive; repeatable"
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help=help_text)


SOURCES = {
    "text": Command(
        "texts: a CSV, TSV, JSON Lines or Parquet file; FOLDER/LABEL/*.txt; or with --lines FOLDER/LABEL.txt",
        text,
        _arguments,
    )
}
