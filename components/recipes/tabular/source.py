"""Tables: CSV and Parquet files, and scikit-learn's breast cancer data."""

import re
import shlex
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data import csv_reader, csv_values, dataset
from components.data.csv_reader import Reading
from components.data.csv_values import DATE, NEARLY, Kind
from components.recipes.source import Command, Source, slug, tell

MAX_CLASSES = 10  # different whole numbers at most: classes, unless --task number
MAX_VALUES_READ = 10_000  # different values to predict that are looked at, and first rows
MIN_ID_ROWS = 50  # rows that tell an id from categories
DATE_FORMS = [
    day + time
    for time in ("", " %H:%M", " %H:%M:%S")
    for day in ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y-%m-%d", "%d.%m.%y", "%m/%d/%y")
]
DATE_DIGITS = {"%d": r"(0?[1-9]|[12]\d|3[01])", "%m": r"(0?[1-9]|1[0-2])", "%Y": r"\d{4}", "%y": r"\d{2}"}
DATE_DIGITS |= {"%H": r"([01]?\d|2[0-3])", "%M": r"[0-5]\d", "%S": r"[0-5]\d"}
SECTION_OF_TYPE = {pa.float64(): "numeric", pa.string(): "categorical", pa.bool_(): "boolean", DATE: "dates"}
Types = dict[str, pa.DataType]


def breast_cancer() -> Source:
    """Make scikit-learn's breast cancer table (Wolberg, Street and Mangasarian 1995): 569 rows, 30 numbers."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    names = [slug(name, "_") for name in raw.feature_names]
    columns = {name: raw.data[:, index] for index, name in enumerate(names)}
    columns["label"] = pa.array([str(raw.target_names[index]) for index in raw.target])
    labels = sorted(str(name) for name in raw.target_names)
    settings = _settings(dict.fromkeys(names, pa.float64()), labels=labels)
    return Source("breast-cancer", "tabular", settings, iter([pa.table(columns)]))


def _settings(types: Types, labels: list[str] | None = None, targets: list[str] | None = None) -> dict[str, Any]:
    sections = {
        section: [name for name, kind in types.items() if kind == own] for own, section in SECTION_OF_TYPE.items()
    }
    return {**sections, "labels": labels or [], "targets": targets or []}


def tabular(
    file: Path,
    label: list[str],
    test: Path | None = None,
    task: Literal["class", "number"] | None = None,
    drop: Sequence[str] = (),
    category: Sequence[str] = (),
    date: Sequence[str] = (),
    rename: Sequence[str] = (),
    **options: Any,
) -> Source:
    """Read a CSV or Parquet file: numbers, categories, booleans and dates, and what is to be predicted.

    Block by block, and more than once: to see what the columns are, and to make examples of them. `test` is a file
    of the same columns, which becomes the split `test`. Raises SlipwayError for what cannot be read or is no table;
    each names the option that mends it.
    """
    how = csv_reader.reading(options)
    forms: dict[str, str | None] = {name: form or None for name, _, form in (item.partition("=") for item in date)}
    asked = [*label, *drop, *category, *forms]
    schema = _schema(file, how, asked)
    if test is not None:
        _schema(test, how, [name for name in schema.names if name not in (*drop, "split")])
    own = [name for name in schema.names if name not in (*drop, *label, "split")]
    if reserved := next((name for name in own if name in dataset.RESERVED), None):
        raise SlipwayError(f"{file}: a column may not be called {reserved!r}; leave it out (--drop {reserved})")
    words: csv_reader.Words = {}
    types: Types = dict.fromkeys(category, pa.string()) | dict.fromkeys(forms, DATE)
    if file.suffix == ".parquet":
        types = {name: types.get(name) or _stored(file, schema.field(name)) for name in own}
    else:
        kinds = csv_values.look(csv_reader.blocks(file, replace(how, words=csv_reader.MISSING_WORDS), words), how)
        if not kinds:
            raise SlipwayError(f"{file}: there are no rows below the header")
        comma = csv_reader.delimiter(file, how) != "," and any(_with_comma(kind) for kind in kinds.values())
        how = replace(how, decimal=how.decimal or ("," if comma else "."))
        types = {name: types.get(name) or _type(file, name, how, kinds[name], comma=comma) for name in own}
    source = Source(slug(file.stem), "tabular", {}, iter(()))
    counted, tested = _values(file, how, label), _values(test, how, label) if test else Counter[str]()
    if task == "number" or len(label) > 1 or (task is None and _are_numbers(counted, how)):
        renamed = None
        source.settings = _settings(types, targets=label)
        source.others = {"register": {"minimum": {"r2": 0.0}}}
        chosen, other = "a number" if len(label) == 1 else "a number each", "class"
    else:
        renamed = _renamed(file, rename, [*counted, *tested])
        labels = sorted({renamed.get(value, value) for value in counted})
        if len(labels) < 2 or len(labels) > max(50, counted.total() // 10):
            lost = words.get(label[0], Counter[str]())
            raise SlipwayError(
                f"{file}: column {label[0]} has {len(labels)} different values; a label needs 2 or more classes; to "
                "predict a number: --task number"
                + "".join(
                    f"; {n:,} {word!r} count as missing: --not-missing {word}"
                    for word, n in lost.items()
                    if word in how.words
                )
            )
        source.settings = _settings(types, labels=labels)
        chosen, other = f"one of {len(labels)} classes", "number"
        if odd := sorted({renamed.get(value, value) for value in tested} - set(labels)):
            print(f"{test} has labels that {file} has not: {', '.join(map(repr, odd[:5]))}; see --rename")
    print(f"to predict: {', '.join(label)}, {chosen}{'' if task else f'; if that is wrong: --task {other}'}")
    for section, names in source.settings.items():
        if names:
            print(f"{section}: {', '.join(names[:20])}{f' and {len(names) - 20} more' if len(names) > 20 else ''}")
    texts = source.settings["categorical"]
    _tell_missing(words, [*texts, *(label if renamed is not None else [])], how)
    _tell_other(file, how, [name for name in texts if name not in category])
    files = [(file, "train" if test else None), *([(test, "test")] if test else [])]
    source.tables = _examples(source, files, how, types, forms, label, renamed)
    return source


def _schema(file: Path, how: Reading, asked: Iterable[str]) -> pa.Schema:
    """Return the columns of a file, of a CSV as text; SlipwayError where one that is asked for is not there."""
    if file.suffix == ".parquet":
        schema = next(csv_reader.parquet(file)).schema
    else:
        schema = pa.schema([(name, pa.string()) for name in csv_reader.names(file, how)])
    for name in asked:
        if name not in schema.names:
            header = "" if how.columns else "; a file without a header: --columns A,B,C"
            raise SlipwayError(f"{file}: no column {name!r} (there are: {', '.join(schema.names)}){header}")
    if len(schema.names) == 1:
        raise SlipwayError(
            f"{file}: there is one column only, {schema.names[0]!r}: name what stands between columns, such as "
            "--delimiter ';'"
        )
    return schema


def _stored(file: Path, column: pa.Field) -> pa.DataType:
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
        f"{file}: column {column.name} is {column.type}, neither number, text, boolean nor date; --drop {column.name}"
    )


def _type(file: Path, name: str, how: Reading, kind: Kind, *, comma: bool) -> pa.DataType:
    """Return the type of a CSV's column: that of all its values.

    Raises SlipwayError where nearly all of them, but not all, are numbers or dates: a mistake, or a text that stands
    for missing, must not make categories of them.
    """
    found = {"number": (pa.float64(), "numbers"), "date": (DATE, "dates"), "truth": (pa.bool_(), "booleans")}
    for pattern, (wanted, noun) in found.items():
        key = "comma" if comma and pattern == "number" else pattern
        share = kind.matches[key] / kind.count if kind.count else 0.0
        if share == 1:
            return wanted
        if share >= NEARLY and pattern != "truth":
            row, text = kind.odd[key]
            raise SlipwayError(
                f"{file}: column {name}: {kind.matches[key]:,} of {kind.count:,} values are {noun}, row {row} has "
                f"{text[:50]!r}; where that stands for no value: --missing {text[:50]!r}; where the column is one of "
                f"categories: --category {name}"
            )
    if how.thousands is None and kind.count and kind.matches["grouped"] / kind.count >= NEARLY:
        text = kind.odd["number"][1]
        raise SlipwayError(
            f"{file}: column {name}: {text[:50]!r} looks like a number with thousands apart: --thousands CHARACTER "
            f"(and --decimal); where the column is one of categories: --category {name}"
        )
    return pa.string()


def _with_comma(kind: Kind) -> bool:
    """Tell whether a column's values are numbers only with a decimal comma; 1,234 may be either."""
    return kind.matches["comma"] == kind.count > max(kind.matches["number"], kind.matches["grouped"])


def _blocks(file: Path, how: Reading) -> Iterator[pa.Table]:
    return csv_reader.parquet(file) if file.suffix == ".parquet" else csv_reader.blocks(file, how)


def _values(file: Path, how: Reading, label: Iterable[str]) -> Counter[str]:
    """Count the values to predict, as text; of more than MAX_VALUES_READ different ones the first."""
    found: Counter[str] = Counter()
    for block in _blocks(file, how):
        for name in label:
            for item in pc.value_counts(_cast(file, name, block[name], pa.string(), how)).to_pylist():
                if item["values"] is not None and (item["values"] in found or len(found) < MAX_VALUES_READ):
                    found[item["values"]] += item["counts"]
    return found


def _are_numbers(counted: Counter[str], how: Reading) -> bool:
    """Tell whether the values to predict are numbers and not classes: more than MAX_CLASSES, or fractions."""
    number, whole = re.compile(csv_values.patterns(how)["number"]), re.compile(r"[+-]?\d+")
    values = [value for value in counted if value not in csv_reader.MISSING_WORDS]  # a class, if any
    if not values or not all(number.fullmatch(value) for value in values):
        return False
    return len(values) > MAX_CLASSES or not all(whole.fullmatch(value) for value in values)


def _renamed(file: Path, rename: Iterable[str], values: list[str]) -> dict[str, str]:
    """Return the new names of labels; a label may have an equals sign itself."""
    found = {}
    for item in rename:
        cuts = [at for at, character in enumerate(item) if character == "=" and item[:at].strip() in values]
        if not cuts:
            raise SlipwayError(
                f"--rename {item!r}: {file} has no such label (there are: {', '.join(sorted(values)[:20])})"
            )
        found[item[: cuts[-1]].strip()] = item[cuts[-1] + 1 :].strip()
    return found


def _tell_missing(words: csv_reader.Words, names: list[str], how: Reading) -> None:
    """Tell which columns of text have missing values that stood there as a word."""
    lines = []
    for name in names:
        found = {word: count for word, count in words.get(name, Counter[str]()).items() if word in how.words}
        if found:
            shown = " or ".join(map(repr, found))
            options = " ".join(f"--not-missing {word}" for word in found)
            values = (
                "1 missing value was" if sum(found.values()) == 1 else f"{sum(found.values()):,} missing values were"
            )
            lines.append(f"{name}: {values} {shown}; {options} keeps them")
    tell(lines, "columns with such missing values")


def _tell_other(file: Path, how: Reading, names: list[str]) -> None:
    """Tell which categories look like dates, or like an id, by the first rows."""
    parts: list[pa.Table] = []
    for block in _blocks(file, how) if names else ():
        parts.append(block.select(names)[: MAX_VALUES_READ - sum(map(len, parts))])
        if sum(map(len, parts)) >= MAX_VALUES_READ:
            break
    lines = []
    for name in names:
        values = csv_values.cast(pa.concat_tables(parts)[name], pa.string(), how).drop_null()
        different = values.unique()
        drop = f"--drop {shlex.quote(name)}"
        if forms := [form for form in DATE_FORMS if _fits(different, form)]:
            dates = " or ".join(f"--date '{name}={form}'" for form in forms)
            lines.append(
                f"{name}: looks like dates, taken for categories: {dates} makes dates of it, {drop} leaves it out"
            )
        elif len(values) >= MIN_ID_ROWS and len(different) > len(values) / 2:
            lines.append(
                f"{name}: looks like an id or a date ({len(different):,} different values in {len(values):,} rows), "
                f"taken for categories: {drop} leaves it out, --date '{name}=FORM' makes dates of it"
            )
    tell(lines, "columns of that kind")


def _fits(values: pa.Array, form: str) -> bool:
    """Tell whether all values, and there is one, look like dates of a form; strptime takes 23 for the year 23."""
    expression = re.sub("%[a-zA-Z]", lambda found: DATE_DIGITS[found[0]], form.replace(".", r"\."))
    return len(values) > 0 and bool(pc.all(pc.match_substring_regex(values, f"^{expression}$")).as_py())


def _examples(
    source: Source,
    files: list[tuple[Path, str | None]],
    how: Reading,
    types: Types,
    forms: dict[str, str | None],
    label: list[str],
    renamed: dict[str, str] | None,
) -> Iterator[pa.Table]:
    """Yield examples, of the types that the dataset has where it is there already; `renamed` None is for numbers."""
    if source.schema is not None:
        types = {field.name: field.type for field in source.schema if field.name != "label"}
        listed = pa.types.is_list(source.schema.field("label").type)
        if (renamed is None) != (listed or source.schema.field("label").type == pa.float64()):
            raise SlipwayError(
                f"{files[0][0]}: the dataset predicts otherwise: --task {'class' if renamed is None else 'number'}"
            )
    for file, split in files:
        for block in _blocks(file, how):
            columns = {
                name: _cast(file, name, block[name], kind, how, forms.get(name))
                for name, kind in types.items()
                if name in block.column_names
            }
            if renamed is None:
                numbers = [_cast(file, name, block[name], pa.float64(), how) for name in label]
                columns["label"] = numbers[0] if len(label) == 1 else _lists(numbers)
            else:
                texts = _cast(file, label[0], block[label[0]], pa.string(), how).to_pylist()
                columns["label"] = pa.array([renamed.get(text, text) for text in texts], pa.string())
            if split:
                columns["split"] = pa.array([split] * len(block), pa.string())
            elif "split" in block.column_names:
                columns["split"] = block["split"].cast(pa.string())
            yield pa.table(columns)


def _lists(numbers: list[pa.ChunkedArray]) -> pa.Array:
    """Put several numbers of a row into a list; none of them may be missing."""
    rows = zip(*(column.to_pylist() for column in numbers), strict=True)
    return pa.array([None if None in row else list(row) for row in rows], pa.list_(pa.float64()))


def _cast(
    file: Path, name: str, column: pa.ChunkedArray, wanted: pa.DataType, how: Reading, form: str | None = None
) -> pa.ChunkedArray:
    try:
        return csv_values.cast(column, wanted, how, form)
    except (ValueError, pa.ArrowException) as error:
        raise SlipwayError(
            f"{file}: column {name}: {str(error).splitlines()[0]}; if that stands for no value: --missing TEXT; to "
            f"take the column for categories: --category {name}; to leave it out: --drop {name}"
        ) from None


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV or Parquet file")
    text = "column to predict; repeat it to predict several numbers"
    parser.add_argument("--label", action="append", required=True, metavar="COLUMN", help=text)
    parser.add_argument("--task", choices=["class", "number"], help="kind of the label (default: guessed, and told)")
    parser.add_argument("--test", type=Path, metavar="FILE", help="official test set: a file of the same columns")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="column to leave out; repeatable")
    text = "column of numbers that are codes, to be taken for categories; repeatable"
    parser.add_argument("--category", action="append", default=[], metavar="COLUMN", help=text)
    text = "column of dates of another form than 2026-01-31, such as 'when=%%d.%%m.%%Y'; repeatable"
    parser.add_argument("--date", action="append", default=[], metavar="COLUMN[=FORM]", help=text)
    text = "another name for a label, such as 1=good or '>50K.=>50K'; repeatable"
    parser.add_argument("--rename", action="append", default=[], metavar="VALUE=NAME", help=text)
    csv_reader.arguments(parser)


SOURCES = {
    "breast-cancer": Command("569 rows of 30 numbers, from scikit-learn", breast_cancer),
    "table": Command("a CSV or Parquet file: a class or numbers to predict", tabular, _arguments),
}
