"""Tables: CSV and Parquet files, and scikit-learn's breast cancer data."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from components import SlipwayError, listed
from components.data import csv_reader, dataset, file_kinds, lost_zeros, spelling
from components.data.csv_reader import Reading
from components.data.csv_values import DATE
from components.recipes import split_by as splitting
from components.recipes.source import BESIDE, KEY, Command, Source, slug, tell
from components.recipes.tabular.example import Params
from components.recipes.tabular.example import columns as columns_of
from components.recipes.tabular.source import columns, guessing, left_out, mixed, telling
from components.recipes.tabular.source.columns import Types

NAMED = 5  # classes that an error names
SECTION_OF_TYPE = {pa.float64(): "numeric", pa.string(): "categorical", pa.bool_(): "boolean", DATE: "dates"}


def breast_cancer() -> Source:
    """Make scikit-learn's breast cancer table (Wolberg, Street and Mangasarian 1995): 569 rows, 30 numbers."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    names = [slug(name, "_") for name in raw.feature_names]
    table = {name: raw.data[:, index] for index, name in enumerate(names)}
    table["label"] = pa.array([str(raw.target_names[index]) for index in raw.target])
    labels = sorted(str(name) for name in raw.target_names)
    settings = _settings(dict.fromkeys(names, pa.float64()), labels=labels)
    return Source("breast-cancer", "tabular", settings, iter([pa.table(table)]), copies="keep")


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
    split_by: str | None = None,
    key: str | None = None,
    keep: Sequence[str] = (),
    number: Sequence[str] = (),
    known: Params | None = None,
    time_zone: str | None = None,
    beside: Sequence[str] = (),
    **options: Any,
) -> Source:
    """Read a CSV or Parquet file: numbers, categories, booleans and dates, and what is to be predicted.

    Block by block, and more than once: to see what the columns are, and to make examples of them. `test` is a file
    of the same columns, which becomes the split `test`. `known` is the section of the dataset that is added to: its
    columns, and what words, numbers and dates mean, hold for this file, too. Columns `beside` them are no features, and
    come with the examples as they are. Raises SlipwayError for what cannot be read or is no table; each names the
    option that mends it.
    """
    how = csv_reader.reading(options, known.reading.model_dump(exclude_defaults=True) if known else None)
    given = (label, drop, category, date, keep, number, [key] if key else [], beside)
    label, drop, category, date, keep, number, keys, beside = (guessing.asked(file, names) for names in given)
    forms: dict[str, str | None] = {name: form or None for name, _, form in (item.partition("=") for item in date)}
    schema = guessing.schema(file, how, [*label, *drop, *category, *forms, *keep, *number, *keys, *beside])
    if test is not None:
        guessing.schema(test, how, [name for name in schema.names if name not in (*drop, "split")])
    by = splitting.parse(split_by, schema.names, file, taken=label)
    apart = {*drop, *label, *splitting.apart(by, (*category, *forms, *number)), *keys, *beside, "split"}
    own = [name for name in schema.names if name not in apart]
    _key_alone(keys, {*own, *label, *category, *forms, *number, *([by.column] if by else [])})
    own = _allowed(file, own, [*category, *forms, *number, *keep])
    dates = {name: form for name, form in how.dates.items() if name not in forms}  # --date says it anew
    how = replace(how, dates=dates | {name: form for name, form in forms.items() if form})
    said: Types = (
        dict.fromkeys(category, pa.string()) | dict.fromkeys(forms, DATE) | dict.fromkeys(number, pa.float64())
    )
    if known is not None:
        said = {field.name: field.type for field in columns_of(known)}
        left_out.tell_new(name for name in own if name not in said)
        own = [name for name in own if name in said]
    found = columns.find(file, how, schema, own, label, said, [*keep, *said], grown=known is not None)
    if known is not None:
        columns.must_agree(file, how, found, label, said)
    types, words, how = found.types, found.words, columns.with_zones(file, found, time_zone, how if known else None)
    source = Source(
        slug(file_kinds.name(file).stem),
        "tabular",
        {},
        iter(()),
        copies="keep",
        split_by=by,
        key=keys[0] if keys else None,
        groups=splitting.alike(guessing.blocks(file, how), () if by or test or "split" in schema.names else types),
    )
    counted, tested = (
        guessing.label_values(file, how, label),
        guessing.label_values(test, how, label) if test else Counter[str](),
    )
    if _predicts_numbers(file, how, label, counted, task, known):
        renamed = None
        source.settings = _settings(types, targets=label)
        source.others = {"register": {"minimum": {"r2": 0.0}}}
        chosen, other = "a number" if len(label) == 1 else "one number each", "class"
    else:
        renamed = guessing.renamed_labels(file, rename, [*counted, *tested]) | dict.fromkeys(found.no_class)
        labels = _classes(file, label[0], counted, renamed, how, words, grown=known is not None)
        source.settings = _settings(types, labels=labels)
        chosen, other = f"one of {spelling.distinct(labels)} classes", "number"
        others = {new for value in tested if (new := renamed.get(value, value)) is not None} - set(labels)
        if odd := sorted(value for value in others if spelling.joined([value], labels).get(value) not in labels):
            print(f"{test} has labels that {file} does not have: {', '.join(map(repr, odd[:5]))}; see --rename")
    print(f"to predict: {', '.join(label)}, {chosen}{'' if task else f'; if that is wrong, use --task {other}'}")
    telling.tell_sections(schema.names, source.settings, known.labels if known else ())
    classes = {} if renamed is None or found.no_class else dict.fromkeys(label, pa.string())
    telling.tell_missing(words, types | classes, how, label)
    if known is None:
        source.settings["reading"] = csv_reader.kept(how, [*types, *(label if renamed is None else ())])
    left_out.tell_constant(found.seen, (name for name in types if name not in said))
    # of what the user, or the dataset, says is categorical nothing is asked
    apart |= {*category, *mixed.told(file, how, [name for name in found.mixed if name not in said])}
    telling.tell_other(file, how, [name for name in types if name not in apart], source.settings["categorical"])
    files = [(file, "train" if test else None), *([(test, "test")] if test else [])]
    source.tables = _examples(source, files, how, types, label, renamed, beside)
    return source


def _predicts_numbers(
    file: Path,
    how: Reading,
    label: list[str],
    counted: Counter[str],
    task: str | None,
    known: Params | None,
) -> bool:
    """Tell whether numbers are to be predicted, and not classes.

    A dataset that is added to decides where the values may be what it predicts. Raises SlipwayError where it predicts
    the other.
    """
    numbers = guessing.are_numbers(counted, how, label[0])
    can = known is not None and guessing.are_numbers(counted, how, label[0], few=True)
    if known is not None:
        numbers = can if known.targets else numbers and not {*counted} <= {*known.labels}
    numbers = task == "number" or len(label) > 1 or (task is None and numbers)
    if known is None or numbers == bool(known.targets):
        return numbers
    has, other = (f"classes ({listed(known.labels, NAMED)})", "class") if numbers else ("a number", "number")
    may = can if not numbers else len(label) == 1 and guessing.are_classes(counted, len(counted))
    hint = f"; if it is what the dataset predicts, use --task {other}" if may else ""
    raise SlipwayError(
        f"{file}: the existing dataset predicts something else: {has}, where {', '.join(label)} is "
        f"{'a number' if numbers else 'a class'}; {BESIDE}{hint}"
    )


def _classes(
    file: Path,
    label: str,
    counted: Counter[str],
    renamed: dict[str, str | None],
    how: Reading,
    words: csv_reader.Words,
    *,
    grown: bool,
) -> list[str]:
    """Return the classes of a label; SlipwayError where they are too few, or so many that it is no class.

    `grown`: a dataset of classes is added to.
    """
    labels = sorted({new for value in counted if (new := renamed.get(value, value)) is not None})
    least = 1 if grown else 2
    if least <= len(labels) and guessing.are_classes(counted, len(labels)):
        return labels
    if len(labels) >= least:
        count = f"{len(labels):,} different values in {counted.total():,} rows"
        if len(counted) == guessing.MAX_VALUES_READ:  # of which there may be more
            count = f"{len(labels):,} different values or more"
        why = "too many to be classes (at most 50, or a tenth of the rows)"
        why = "each of them once" if len(labels) == counted.total() < guessing.MAX_VALUES_READ else why
        hint = f"; it is a number: {BESIDE}" if grown else "; to predict a number, use --task number"
        raise SlipwayError(
            f"{file}: column {label} has {count}, {why}, like an id or a text: give the column of the classes as "
            f"--label{hint if guessing.are_numbers(counted, how, label, few=True) else ''}"
        )
    why = f"the same in every row that has one ({labels[0]!r})" if labels else "every row's is missing"
    raise SlipwayError(
        f"{file}: column {label} has {len(labels)} distinct value{'s' * (len(labels) != 1)}, but a label needs at "
        f"least {least}: {why}, so there is nothing to learn; give the column of what is to be predicted as --label"
        + "".join(
            f"; {n:,} {word!r} count as missing; to keep them: --not-missing {word}"
            for word, n in words.get(label, Counter[str]()).items()
            if word and word in how.words
        )
    )


def _allowed(file: Path, names: list[str], asked: Sequence[str]) -> list[str]:
    """Return features without id, unless it is asked for; SlipwayError for a name that the dataset itself uses."""
    if "id" in names and "id" not in asked:
        names = [name for name in names if name != "id"]
        print("left out: id (in a dataset, id is the example's own; to have it as a feature, rename the column)")
    if reserved := next((name for name in names if name in dataset.RESERVED), None):
        raise SlipwayError(
            f"{file}: a feature cannot be named {reserved!r}, for a dataset has a column of that name itself; rename "
            f"the column in the file, or leave it out (--drop {reserved})"
        )
    return names


def _key_alone(keys: list[str], parts: set[str]) -> None:
    """Raise SlipwayError for a key of rows that has another part, too, or where a feature is called as it is kept."""
    if key := next((name for name in keys if name in parts), None):
        raise SlipwayError(f"--key {key}: the column that tells rows apart is no label, no feature and no split")
    if keys and KEY in parts:
        raise SlipwayError(f"--key {keys[0]}: the dataset keeps it as {KEY}, but a feature is called so: rename that")


def _examples(
    source: Source,
    files: list[tuple[Path, str | None]],
    how: Reading,
    types: Types,
    label: list[str],
    renamed: dict[str, str | None] | None,
    beside: Sequence[str],
) -> Iterator[pa.Table]:
    """Yield examples, of the types that the dataset has where it is there already; `renamed` None is for numbers."""
    if source.schema is not None:
        types = {field.name: field.type for field in source.schema if field.name not in ("label", *beside)}
    written: dict[str, set[str]] = {name: set() for name, kind in types.items() if kind == pa.string()}
    codes: dict[str, lost_zeros.Codes] = {}
    for file, split in files:
        for block in guessing.blocks(file, how):
            has = set(block.column_names)
            read = {
                name: guessing.cast(file, name, block[name], kind, how) for name, kind in types.items() if name in has
            }
            read |= {name: block[name] for name in beside}
            read |= _with_zeros({name: read[name] for name in written if name in read}, source, codes)
            if renamed is None:
                values = [guessing.cast(file, name, block[name], pa.float64(), how) for name in label]
                read["label"] = values[0] if len(label) == 1 else _lists(values)
            else:
                texts = guessing.cast(file, label[0], block[label[0]], pa.string(), how).to_pylist()
                read["label"] = pa.array([renamed.get(text, text) for text in texts], pa.string())
            if split:
                read["split"] = pa.array([split] * len(block), pa.string())
            elif "split" in block.column_names:
                read["split"] = block["split"].cast(pa.string())
            if (by := source.split_by) and by.column not in read:
                read[by.column] = by.read(block[by.column], file, how)
            if source.key:
                read[KEY] = guessing.cast(file, source.key, block[source.key], pa.string(), how)
            for name, seen in written.items():
                with suppress(UnicodeDecodeError):  # told when the row is read
                    if name in read and len(seen) < guessing.MAX_VALUES_READ:
                        seen.update(read[name].unique().drop_null().to_pylist())
            yield pa.table(read)
    telling.tell_alike(written)
    tell([line for name, known in codes.items() for line in known.told(name, "the dataset")], "columns of such codes")


def _with_zeros(
    read: dict[str, pa.ChunkedArray], source: Source, codes: dict[str, lost_zeros.Codes]
) -> dict[str, pa.ChunkedArray]:
    """Give categories the leading zeros back that the dataset has; `codes` keeps its own, read where one may lack."""
    found = {}
    for name, column in read.items():
        if source.values is not None and lost_zeros.may_lack(column):
            if name not in codes:
                codes[name] = lost_zeros.known(source.values(name))
            found[name] = codes[name].read(column)
    return found


def _lists(numbers: list[pa.ChunkedArray]) -> pa.Array:
    """Put several numbers of a row into a list; none of them may be missing."""
    rows = zip(*(column.to_pylist() for column in numbers), strict=True)
    return pa.array([None if None in row else list(row) for row in rows], pa.list_(pa.float64()))


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a table to a parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV or Parquet file")
    text = "column to predict; repeat it to predict several numbers"
    parser.add_argument("--label", action="append", required=True, metavar="COLUMN", help=text)
    parser.add_argument(
        "--task", choices=["class", "number"], help="what the label is (default: guessed, and reported)"
    )
    parser.add_argument("--test", type=Path, metavar="FILE", help="official test set: a file with the same columns")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="column to leave out; repeatable")
    text = "column to take even if it counts the rows or has no name; repeatable"
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN", help=text)
    text = "column of numeric codes to treat as categories; repeatable"
    parser.add_argument("--category", action="append", default=[], metavar="COLUMN", help=text)
    text = "column to read as numbers, though its values have leading zeros (007); repeatable"
    parser.add_argument("--number", action="append", default=[], metavar="COLUMN", help=text)
    text = "column of dates, with their format unless it is 2026-01-31, such as 'when=%%d.%%m.%%Y'; repeatable"
    parser.add_argument("--date", action="append", default=[], metavar="COLUMN[=FORM]", help=text)
    text = "time zone by whose clock dates are read that name theirs, such as Europe/Berlin (default: UTC)"
    parser.add_argument("--time-zone", metavar="ZONE", help=text)
    text = "new name for a label, such as 1=good or '>50K.=>50K'; repeatable"
    parser.add_argument("--rename", action="append", default=[], metavar="VALUE=NAME", help=text)
    splitting.argument(parser)
    text = "column that tells rows apart, such as a number of an order: no feature; the dataset keeps it, so that "
    text += "a row is known again, however often its content repeats, and a corrected one is told"
    parser.add_argument("--key", metavar="COLUMN", help=text)
    csv_reader.arguments(parser)


SOURCES = {
    "breast-cancer": Command("breast cancer data from scikit-learn: 569 rows of 30 numbers", breast_cancer),
    "table": Command(
        "a table: a CSV or Parquet file with a class or numbers to predict", tabular, arguments, known="tabular"
    ),
}
