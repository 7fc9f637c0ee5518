"""Texts: a CSV, TSV, JSON Lines or Parquet file, class folders of text files, class files of lines."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from components import SlipwayError
from components.data import csv_options, file_kinds
from components.recipes import split_by as splitting
from components.recipes.source import BATCH_ROWS, Command, Source, slug
from components.recipes.text.source import folders, tables
from components.recipes.text.source.tables import Row, few

NO_TEXTS = frozenset(csv_options.MISSING_WORDS) - {""}
TAKEN = ("text",)  # columns of a dataset that is no group


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
    pattern: str | None = None,
    split_by: str | None = None,
) -> Source:
    """Read texts and labels: a file with named columns, or a folder of classes.

    A column `split` is the official split; so are folders called train, validation and test. `split_by` names a
    column of the file, or a field of `pattern`, which the names of files in folders must match. Raises SlipwayError
    for a file that is not what it is said to be, with its line, and its byte where the encoding is wrong.
    """
    csv_options.must_be_encoding(encoding)
    skipped: Counter[str] = Counter()
    if pattern is not None and (lines or not path.is_dir()):
        raise SlipwayError(f"{path}: --pattern is for folders with a file per text")
    if path.is_dir():
        told = splitting.Pattern(pattern) if pattern else None
        by = splitting.parse(split_by, told.fields if told else [], f"--pattern {pattern or ''}".strip(), TAKEN)
        if lines:
            rows = folders.class_files(path, encoding, skipped)
        else:
            rows = folders.class_folders(path, encoding, skipped, told, by.column if by else None)
    elif path.is_file():
        if text is None or label is None or lines:
            raise SlipwayError(f"{path}: say which columns to read: --text COLUMN --label COLUMN")
        read = partial(tables.file, path, encoding=encoding, delimiter=delimiter, no_quotes=no_quotes)
        by = splitting.parse(split_by, taken={*TAKEN, text, label})
        rows = read([text, label, "split", *([by.column] if by else [])])
    else:
        raise SlipwayError(f"{path}: no such file or folder")
    counts = _counted(rows())  # a first reading: the labels, and all that may be wrong
    renamed = _renames(path, rename or [], {value for value in counts if value is not None})
    labels = sorted({renamed.get(value, value) for value in counts if value is not None})
    if not labels:
        raise SlipwayError(f"{path}: no example with a label")
    if len(labels) > max(50, counts.total() // 10):
        raise SlipwayError(f"{path}: {len(labels):,} different labels in {counts.total():,} examples; is {label} one?")

    def examples() -> Iterator[pa.Table]:
        source = iter(rows())
        while part := list(islice(source, BATCH_ROWS)):
            columns = list(zip(*part, strict=True))
            found = [renamed.get(value, value) if value is not None else None for value in columns[1]]
            try:
                named = {"text": columns[0], "label": found, "split": columns[2]}
                table = pa.table({name: pa.array(values, pa.string()) for name, values in named.items()})
                if by is not None:
                    table = table.append_column(by.column, by.read(pa.array(columns[3], pa.string()), path))
                yield table
            except UnicodeEncodeError as error:  # "\ud800" in JSON
                raise SlipwayError(
                    f"{path}: a text has half a surrogate pair, which is not a character: {error}"
                ) from None

    copies: Literal["keep", "drop"] = "keep" if path.is_file() else "drop"  # rows repeat by right, documents by mistake
    source = Source(
        slug(file_kinds.name(path.resolve()).stem if path.is_file() else path.resolve().stem),
        "text",
        {"labels": labels},
        examples(),
        skipped,
        copies=copies,
    )
    source.split_by = by
    if by is None and text is not None and label is not None and path.is_file():
        names = tables.names(path, encoding, delimiter, no_quotes=no_quotes)
        source.groups = [] if "split" in names else _groups(read, text, label, names=names)
    return source


def _counted(rows: Iterator[Row]) -> Counter[str | None]:
    """Count the labels; tells which labels and texts would be missing values in a table."""
    labels: Counter[str | None] = Counter()
    texts: Counter[str | None] = Counter()
    for text, label, *_ in rows:
        labels[label] += 1
        if text in NO_TEXTS:
            texts[text] += 1
    for which, there in (("label", labels), ("text", texts)):
        for word in filter(NO_TEXTS.__contains__, there):
            print(
                f"{which} {word!r}: {there[word]:,} examples have it, and keep it, though it often means a missing "
                "value; if it does, leave these out of the file"
            )
    return labels


def _groups(read: Callable[[list[str]], Callable[[], Iterator[Row]]], *known: str, names: list[str]) -> list[str]:
    """Say which other columns of a file look like groups, by its first rows."""
    lines = []
    for name in (name for name in names if name not in known and splitting.owns(name)):
        values = Counter(group for *_, group in islice(read([*known, "split", name])(), splitting.MAX_ROWS) if group)
        lines += [line] if (line := splitting.complaint(name, values)) else []
    return lines


def _renames(path: Path, rename: list[str], labels: set[str]) -> dict[str, str]:
    names = {}
    for item in rename:
        old, equals, new = item.partition("=")
        if not equals or not new:
            raise SlipwayError(f"--rename {item}: write OLD=NEW, such as 1=positive")
        if old not in labels:
            raise SlipwayError(f"--rename {item}: {path} has no label {old!r} (there are: {few(labels)})")
        names[old] = new
    return names


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
    splitting.pattern_argument(parser, "{author}_{number}")
    splitting.argument(parser)
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
