"""What an ingest tells of a table: its columns, what is missing, what looks like something else."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.data import csv_dates, csv_reader, csv_values, dataset, spelling
from components.data.csv_reader import Reading
from components.data.csv_values import NEARLY
from components.recipes.source import tell, told_missing
from components.recipes.tabular.source import guessing

MAX_ROWS = 10_000  # first rows that are looked at
ID = re.compile(r"(?i)(^|[_ -])(id|uuid|guid|key|number|nr|no)$|[a-z]I[dD]$")  # of a column's name
MIN_ID_ROWS = 50  # rows that tell an id from categories
MAX_NAMES = 20  # of columns in a line
DURATION = r"^\s*-?\d{1,4}:[0-5]\d(:[0-5]\d([.,]\d+)?)?\s*$"  # as in 2:15:41 or 08:30


def tell_sections(columns: Iterable[str], settings: dict[str, list[str]], known: Sequence[str] = ()) -> None:
    """Tell the columns of each kind, and what is predicted; labels in the spelling of `known` ones of a dataset.

    And of all `columns` that one named split is none of the features.
    """
    if "split" in columns:
        print("official split of each row: the column split, which is no feature; if it is not: --drop split")
    joins = spelling.joined(settings["labels"], known)
    labels = spelling.ordered({joins.get(label, label) for label in settings["labels"]})
    for section, names in (settings | {"labels": labels}).items():
        if names:
            print(f"{section}: {', '.join(names[:20])}{f' and {len(names) - 20} more' if len(names) > 20 else ''}")


def tell_alike(written: dict[str, set[str]]) -> None:
    """Tell the categories of each column that look alike: which of them the model takes for one (recipes/tabular)."""
    lines = []
    for name, values in written.items():
        for group in spelling.alike(sorted(values)):
            one = len({spelling.whole(spelling.plain(value)) for value in group}) == 1
            listed = " and ".join(map(spelling.shown, group))
            lines.append(
                f"{name}: {listed} {'are read as one category' if one else 'look alike, and are different categories'}"
            )
    tell(lines, "such categories")


def tell_missing(words: csv_reader.Words, types: dict[str, pa.DataType], how: Reading, label: Iterable[str]) -> None:
    """Tell how many values of each column are missing, and what stood there; words that may mean it among values.

    `types` are those of the features and, where it is one of classes, of the label.
    """
    lines, empty, odd = [], [], []
    for name in dict.fromkeys((*types, *label)):
        found = words.get(name, Counter())
        noun = ("class" if name in label else "category") if types.get(name) == pa.string() else ""
        gone = (*how.words, *how.missing, *(() if noun else (*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS)))
        taken = {word: count for word, count in found.items() if word in gone and count}
        if list(taken) == [""]:
            empty.append(f"{name} {taken['']:,}")
        elif taken:
            keep = " ".join(f"--not-missing {shlex.quote(word)}" for word in taken if word in how.words and word)
            lines.append(told_missing(name, taken) + (f"; {keep} keeps them" if noun and keep else ""))
        odd_words = (*csv_reader.AMONG_NUMBERS, *csv_reader.MAY_BE_MISSING)
        if kept := {word: count for word, count in found.items() if noun and word in odd_words and word not in gone}:
            parts = ", ".join(f"{count:,} {word!r}" for word, count in kept.items())
            options = " ".join(f"--missing={shlex.quote(word)}" for word in kept)
            odd.append(
                f"{name}: {parts} {'counts' if sum(kept.values()) == 1 else 'count'} as a {noun}; if that means a "
                f"missing value, use {options}"
            )
    if empty:
        more = f" and {len(empty) - MAX_NAMES:,} more columns" if len(empty) > MAX_NAMES else ""
        print(f"missing values (empty): {', '.join(empty[:MAX_NAMES])}{more}")
    tell(lines, "columns with words for missing values")
    tell(odd, "columns with such words")


def tell_padded(columns: dict[str, csv_values.Kind], types: dict[str, pa.DataType]) -> None:
    """Tell which columns have whole numbers with zeros before them, and whether the zeros stay."""
    lines = []
    for name, kind in columns.items():
        if kind.padded and name in types:
            values = (
                f"{kind.padded:,} value{'s' * (kind.padded != 1)} with leading zeros, such as {kind.first_padded!r}"
            )
            if types[name] == pa.string():
                lines.append(f"{name}: {values}: read as categories; --number {shlex.quote(name)} reads numbers")
            else:
                lines.append(f"{name}: {values}: read as numbers, without the zeros")
    tell(lines, "columns with leading zeros")


def tell_coded(columns: dict[str, csv_values.Kind]) -> None:
    """Tell which columns are read as numbers, though all values have a plus or an exponent, as codes have."""
    lines = []
    for name, kind in columns.items():
        if kind.coded and kind.matches["number"] == kind.count > 0:
            lines.append(
                f"{name}: all values are written as {kind.first_coded!r} is, like codes or phone numbers; read as "
                f"numbers, {float(kind.first_coded):.15g}: --category {shlex.quote(name)} keeps them as written"
            )
    tell(lines, "such columns")


def tell_other(file: Path, how: Reading, names: list[str], categories: list[str]) -> None:
    """Tell which columns look like an id, and which categories like dates, by the first rows."""
    names = [name for name in names if name in categories or ID.search(name)]
    parts: list[pa.Table] = []
    for block in guessing.blocks(file, how) if names else ():
        parts.append(block.select(names)[: MAX_ROWS - sum(map(len, parts))])
        if sum(map(len, parts)) >= MAX_ROWS:
            break
    lines = []
    for name in names:
        column = pa.concat_tables(parts)[name]
        values = column.drop_null() if name not in categories else csv_values.cast(column, pa.string(), how).drop_null()
        different = values.unique()
        if not dataset.is_text(different):
            continue  # told when the row is read
        drop = f"--drop {shlex.quote(name)}"
        if name not in categories:
            if len(values) >= MIN_ID_ROWS and len(different) == len(values):
                lines.append(f"{name}: looks like an id (no value stands twice), read as numbers: {drop} leaves it out")
        elif forms := csv_dates.forms(different):
            dates = " or ".join(f"--date '{name}={form}'" for form in forms)
            lines.append(
                f"{name}: looks like dates, read as categories: {dates} reads it as dates, {drop} leaves it out"
            )
        elif csv_dates.share(different) >= NEARLY:
            lines.append(_several(name, csv_dates.several(different)))
        elif len(different) and pc.mean(_are_durations(different)).as_py() >= NEARLY:
            lines.append(
                f"{name}: looks like durations or times of day, such as {different[0].as_py()!r}, read as categories: "
                f"write them as numbers, such as seconds, or {drop} leaves it out"
            )
        elif len(values) >= MIN_ID_ROWS and len(different) > len(values) / 2:
            lines.append(
                f"{name}: looks like an id or a date ({len(different):,} different values in {len(values):,} rows), "
                f"read as categories: {drop} leaves it out, --date '{name}=FORM' reads it as dates"
            )
    tell(lines, "such columns")


def _are_durations(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.match_substring_regex(values, DURATION).cast(pa.int8())


def _several(name: str, found: dict[str, str]) -> str:
    """Say that a column has dates of several formats, or a few values that are none."""
    dates = " and ".join(f"{value!r} ({form})" for form, value in found.items() if form)
    none = f", but {found['']!r} is none" if "" in found else ""
    if len([form for form in found if form]) > 1:
        return (
            f"{name}: dates of several formats, such as {dates}{none}; read as categories: write all of them alike, "
            f"--drop {shlex.quote(name)} leaves it out"
        )
    return (
        f"{name}: nearly all values look like dates, such as {dates}{none}; read as categories: use "
        f"--missing={shlex.quote(found.get('', ''))} and --date {shlex.quote(f'{name}={next(iter(found))}')}"
    )
