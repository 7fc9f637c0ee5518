"""What the columns of a table are, and what is told of it."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data import csv_reader, csv_values, file_kinds, spelling
from components.data.csv_reader import Reading
from components.data.csv_values import DATE, NEARLY, Kind
from components.recipes.source import tell

MAX_CLASSES = 10  # different whole numbers at most: classes, unless --task number
MAX_VALUES_READ = 10_000  # different values to predict that are looked at, and first rows
ID = re.compile(r"(?i)(^|[_ -])(id|uuid|guid|key|number|nr|no)$|[a-z]I[dD]$")  # of a column's name
MIN_ID_ROWS = 50  # rows that tell an id from categories
DATE_FORMS = [
    day + time
    for time in ("", " %H:%M", " %H:%M:%S")
    for day in ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y-%m-%d", "%d.%m.%y", "%m/%d/%y")
]


DATE_DIGITS = {"%d": r"(0?[1-9]|[12]\d|3[01])", "%m": r"(0?[1-9]|1[0-2])", "%Y": r"\d{4}", "%y": r"\d{2}"}
DATE_DIGITS |= {"%H": r"([01]?\d|2[0-3])", "%M": r"[0-5]\d", "%S": r"[0-5]\d"}


def asked(file: Path, names: Iterable[str]) -> list[str]:
    """Return names of columns as the header has them: of a CSV in plain spelling."""
    return list(names) if csv_reader.is_typed(file) else [spelling.plain(name) for name in names]


def schema(file: Path, how: Reading, asked: Iterable[str]) -> pa.Schema:
    """Return the columns of a file, of a CSV as text; SlipwayError where one that is asked for is not there."""
    if csv_reader.is_typed(file):
        schema = next(file_kinds.tables(file)).schema
    else:
        schema = pa.schema([(name, pa.string()) for name in csv_reader.names(file, how)])
    for name in asked:
        if name not in schema.names:
            header = (
                ""
                if how.columns
                else "; if lines precede the header, use --skip N; if there is no header, --columns A,B,C"
            )
            raise SlipwayError(f"{file}: no column {name!r} (there are: {', '.join(schema.names)}){header}")
    if len(schema.names) == 1:
        raise SlipwayError(
            f"{file}: there is only one column, {schema.names[0]!r}: give the column delimiter, such as --delimiter ';'"
        )
    return schema


def stored_type(file: Path, column: pa.Field) -> pa.DataType:
    """Return the type that a column of a Parquet file becomes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return DATE
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pa.string()
    raise SlipwayError(
        f"{file}: column {column.name} is {column.type}, which is not a number, text, boolean or date; "
        f"leave it out with --drop {column.name}"
    )


def guessed_type(file: Path, name: str, how: Reading, kind: Kind) -> pa.DataType:
    """Return the type of a CSV's column: that of all its values; `how` knows which are numbers with marks or units.

    Raises SlipwayError where nearly all of them, but not all, are numbers or dates: a mistake, or a text that stands
    for missing, must not make categories of them.
    """
    found = {"written": (pa.float64(), "numbers"), "date": (DATE, "dates"), "truth": (pa.bool_(), "booleans")}
    if name in how.numbers or kind.matches["number"] == kind.count > 0:
        return pa.float64()
    for pattern, (wanted, noun) in found.items():
        share = kind.matches[pattern] / kind.count if kind.count else 0.0
        if share == 1 and pattern != "written":
            return wanted
        if NEARLY <= share < 1 and pattern != "truth":
            row, text = kind.odd[pattern]
            raise SlipwayError(
                f"{file}: column {name}: {kind.matches[pattern]:,} of {kind.count:,} values are {noun}, but row {row} "
                f"has {text[:50]!r}; if that means a missing value, use --missing={text[:50]!r}; if the column is "
                f"categorical, use --category {name}"
            )
    return pa.string()


def blocks(file: Path, how: Reading) -> Iterator[pa.Table]:
    """Yield the rows of a file, block by block."""
    return file_kinds.tables(file) if csv_reader.is_typed(file) else csv_reader.blocks(file, how)


def label_values(file: Path, how: Reading, label: Iterable[str]) -> Counter[str]:
    """Count the values to predict, as text; of more than MAX_VALUES_READ different ones the first."""
    found: Counter[str] = Counter()
    for block in blocks(file, how):
        for name in label:
            for item in pc.value_counts(cast(file, name, block[name], pa.string(), how)).to_pylist():
                if item["values"] is not None and (item["values"] in found or len(found) < MAX_VALUES_READ):
                    found[item["values"]] += item["counts"]
    return found


def are_numbers(counted: Counter[str], how: Reading, name: str) -> bool:
    """Tell whether the values to predict are numbers and not classes: more than MAX_CLASSES, or fractions."""
    words = (*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS)
    values = pa.chunked_array([pa.array([value for value in counted if value not in words], pa.string())])
    try:
        numbers = csv_values.cast(values, pa.float64(), how, name=name)
    except ValueError:
        return False
    return len(values) > MAX_CLASSES or pc.any(pc.not_equal(pc.floor(numbers), numbers)).as_py() or False


def renamed_labels(file: Path, rename: Iterable[str], values: list[str]) -> dict[str, str | None]:
    """Return the new names of labels; a label may have an equals sign itself."""
    found: dict[str, str | None] = {}
    for item in rename:
        cuts = [at for at, character in enumerate(item) if character == "=" and item[:at].strip() in values]
        if not cuts:
            raise SlipwayError(
                f"--rename {item!r}: {file} has no such label (there are: {', '.join(sorted(values)[:20])})"
            )
        found[item[: cuts[-1]].strip()] = item[cuts[-1] + 1 :].strip()
    return found


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


def tell_missing(words: csv_reader.Words, types: dict[str, pa.DataType], how: Reading, classes: dict[str, str]) -> None:
    """Tell which columns have words in place of values, and what they count as; `classes` are labels of text."""
    lines = []
    noun = {name: "category" for name, kind in types.items() if kind == pa.string()} | classes
    for name, found in words.items():
        taken = {word: count for word, count in found.items() if name not in noun or word in how.words}
        kept = {word: count for word, count in found.items() if word in csv_reader.AMONG_NUMBERS and word not in taken}
        if taken:
            count = sum(taken.values())
            options = " ".join(f"--not-missing {shlex.quote(word)}" for word in taken)
            lines.append(
                f"{name}: {'1 missing value was' if count == 1 else f'{count:,} missing values were'} "
                f"{' or '.join(map(repr, taken))}{f'; {options} keeps them' if name in noun else ''}"
            )
        if kept:
            count = sum(kept.values())
            values = (
                "1 value counts as a {}, which is" if count == 1 else f"{count:,} values count as a {{}}, which are"
            )
            options = " ".join(f"--missing={shlex.quote(word)}" for word in kept)
            lines.append(
                f"{name}: {values.format(noun[name])} {' or '.join(map(repr, kept))}; if that means a missing value, "
                f"use {options}"
            )
    tell(lines, "columns with such words")


def tell_other(file: Path, how: Reading, names: list[str], categories: list[str]) -> None:
    """Tell which columns look like an id, and which categories like dates, by the first rows."""
    names = [name for name in names if name in categories or ID.search(name)]
    parts: list[pa.Table] = []
    for block in blocks(file, how) if names else ():
        parts.append(block.select(names)[: MAX_VALUES_READ - sum(map(len, parts))])
        if sum(map(len, parts)) >= MAX_VALUES_READ:
            break
    lines = []
    for name in names:
        column = pa.concat_tables(parts)[name]
        values = column.drop_null() if name not in categories else csv_values.cast(column, pa.string(), how).drop_null()
        different = values.unique()
        drop = f"--drop {shlex.quote(name)}"
        if name not in categories:
            if len(values) >= MIN_ID_ROWS and len(different) == len(values):
                lines.append(f"{name}: looks like an id (no value stands twice), read as numbers: {drop} leaves it out")
        elif forms := [form for form in DATE_FORMS if _fits(different, form)]:
            dates = " or ".join(f"--date '{name}={form}'" for form in forms)
            lines.append(
                f"{name}: looks like dates, read as categories: {dates} reads it as dates, {drop} leaves it out"
            )
        elif len(values) >= MIN_ID_ROWS and len(different) > len(values) / 2:
            lines.append(
                f"{name}: looks like an id or a date ({len(different):,} different values in {len(values):,} rows), "
                f"read as categories: {drop} leaves it out, --date '{name}=FORM' reads it as dates"
            )
    tell(lines, "such columns")


def _fits(values: pa.Array, form: str) -> bool:
    """Tell whether all values, and there is one, look like dates of a form; strptime takes 23 for the year 23."""
    expression = re.sub("%[a-zA-Z]", lambda found: DATE_DIGITS[found[0]], form.replace(".", r"\."))
    return len(values) > 0 and bool(pc.all(pc.match_substring_regex(values, f"^{expression}$")).as_py())


def cast(file: Path, name: str, column: pa.ChunkedArray, wanted: pa.DataType, how: Reading) -> pa.ChunkedArray:
    """Cast a column; SlipwayError names the value that cannot be, and the options that help."""
    try:
        return csv_values.cast(column, wanted, how, how.dates.get(name), name)
    except (ValueError, pa.ArrowException) as error:
        raise SlipwayError(
            f"{file}: column {name}: {str(error).splitlines()[0]}; if that means a missing value, use --missing TEXT; "
            f"to read the column as categories, --category {name}; to leave it out, --drop {name}"
        ) from None
