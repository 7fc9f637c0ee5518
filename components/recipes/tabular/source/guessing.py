"""What the columns of a table are."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError, listed
from components.data import csv_reader, csv_values, file_kinds, spelling
from components.data.csv_reader import Reading
from components.data.csv_values import DATE, NEARLY, Kind

MAX_CLASSES = 10  # different whole numbers at most: classes, unless --task number
MAX_VALUES_READ = 10_000  # different values to predict that are looked at


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
            hint = spelling.twin(name, schema.names) or _header(file, how, name)
            raise SlipwayError(f"{file}: no column {name!r} (there are: {listed(schema.names)}){hint}")
    if len(schema.names) == 1:
        hint = "" if csv_reader.is_typed(file) else ": give the column delimiter, such as --delimiter ';'"
        raise SlipwayError(f"{file}: there is only one column, {schema.names[0]!r}{hint}")
    return schema


def _header(file: Path, how: Reading, name: str) -> str:
    """Say what helps where a column is not in the header: if a line below has it, which lines precede it."""
    if how.columns or csv_reader.is_typed(file):
        return ""
    if lines := csv_reader.before_header(file, how, name):
        return f"; line {lines + 1} has it: --skip {lines} takes that as the header"
    return "; if lines precede the header, use --skip N; if there is no header, --columns A,B,C"


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


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column of a typed file is of text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def date_or_text(file: Path, name: str, how: Reading, kind: Kind) -> pa.DataType:
    """Return the type of a column of text that may be one of dates, as `guessed_type`; JSON has numbers of its own."""
    return guessed_type(file, name, how, replace(kind, matches=Counter(date=kind.matches["date"])))


def guessed_type(file: Path, name: str, how: Reading, kind: Kind) -> pa.DataType:
    """Return the type of a CSV's column: that of all its values; `how` knows which are numbers with marks or units.

    Whole numbers with zeros before them, such as post codes, are codes and stay text.
    Raises SlipwayError where nearly all of them, but not all, are numbers or dates: a mistake, or a text that stands
    for missing, must not make categories of them.
    """
    found = {"written": (pa.float64(), "numbers"), "date": (DATE, "dates"), "truth": (pa.bool_(), "booleans")}
    if name in how.numbers:
        return pa.float64()
    if kind.matches["number"] == kind.count > 0:
        return pa.string() if kind.padded else pa.float64()
    for pattern, (wanted, noun) in found.items():
        share = kind.matches[pattern] / kind.count if kind.count else 0.0
        if share == 1 and pattern != "written":
            return wanted
        if NEARLY <= share < 1 and pattern != "truth":
            row, text = kind.odd[pattern]
            mended = spelling.untypable(text) or f"if that means a missing value, use --missing={text[:50]!r}"
            raise SlipwayError(
                f"{file}: column {name}: {kind.matches[pattern]:,} of {kind.count:,} values are {noun}, but row {row} "
                f"has {text[:50]!r}; {mended}; if the column is categorical, use --category {name}"
            )
    return pa.string()


def blocks(file: Path, how: Reading) -> Iterator[pa.Table]:
    """Yield the rows of a file, block by block."""
    return csv_reader.typed(file, how) if csv_reader.is_typed(file) else csv_reader.blocks(file, how)


def label_values(file: Path, how: Reading, label: Iterable[str]) -> Counter[str]:
    """Count the values to predict, as text; of more than MAX_VALUES_READ different ones the first."""
    found: Counter[str] = Counter()
    for block in blocks(file, how):
        for name in label:
            for item in pc.value_counts(cast(file, name, block[name], pa.string(), how)).to_pylist():
                if item["values"] is not None and (item["values"] in found or len(found) < MAX_VALUES_READ):
                    found[item["values"]] += item["counts"]
    return found


def are_numbers(counted: Counter[str], how: Reading, name: str, *, few: bool = False) -> bool:
    """Tell whether the values to predict are numbers and not classes: more than MAX_CLASSES, or fractions; no codes.

    `few`: as few as there are.
    """
    if any(re.fullmatch(csv_values.PADDED, value) for value in counted):
        return False
    words = (*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS)
    values = pa.chunked_array([pa.array([value for value in counted if value not in words], pa.string())])
    try:
        numbers = csv_values.cast(values, pa.float64(), how, name=name)
    except ValueError:
        return False
    return few or len(values) > MAX_CLASSES or pc.any(pc.not_equal(pc.floor(numbers), numbers)).as_py() or False


def are_classes(counted: Counter[str], labels: int) -> bool:
    """Tell whether so many labels are few enough to be classes: at most 50, or a tenth of the rows."""
    return labels <= max(50, counted.total() // 10)


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


def cast(file: Path, name: str, column: pa.ChunkedArray, wanted: pa.DataType, how: Reading) -> pa.ChunkedArray:
    """Cast a column; SlipwayError names the value that cannot be, and the options that help."""
    try:
        return csv_values.cast(column, wanted, how, how.dates.get(name), name)
    except (ValueError, pa.ArrowException) as error:
        why = str(error).splitlines()[0]
        mended = spelling.untypable(why) or "if that means a missing value, use --missing TEXT"
        raise SlipwayError(
            f"{file}: column {name}: {why}; {mended}; to read the column as categories, --category {name}; to leave "
            f"it out, --drop {name}"
        ) from None
