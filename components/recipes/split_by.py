"""The option --split-by of every ingest: the group or the time of an example, which its dataset keeps beside it."""

import re
import shlex
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components import SlipwayError, listed
from components.data import csv_dates, csv_reader, csv_values, dataset, spelling, splits
from components.files import printable

MAX_LINES = 10  # that are told of groups
MAX_ROWS = 10_000  # first rows in which a group is looked for
SIDES = frozenset(("train", "validation", "test"))
MIN_GROUPS = 10  # different values; fewer are categories
MIN_SHARED = 0.2  # of the rows have their value in common with another
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# What several examples may be of, as the last word of a column's name, and what may follow it.
OWNER = re.compile(
    "(account|applicant|author|batch|borrower|building|case|client|company|customer|device|donor|driver|employee|"
    "episode|family|household|individual|location|lot|machine|member|participant|patient|person|player|pupil|"
    "respondent|sensor|session|site|speaker|student|subject|unit|user|vehicle|vessel|visit|visitor|volunteer)"
    "(s|id|no|nr)?"
)
FRACTION = re.compile(r"[+-]?\d*[.,]\d*[1-9]\d*")
ENDING = re.compile("code|hash|id|key|name|no|nr|num|number|uid|uuid")
ID = re.compile("id|uid|uuid|guid")


@dataclass
class SplitBy:
    """What `--split-by` says: by group or by time, and of which column."""

    by: str
    column: str
    form: str | None = None  # of dates, as strptime knows it; None: ISO 8601
    kind: pa.DataType | None = None  # of times: that of the first ones

    @property
    def setting(self) -> dict[str, str]:
        """What split.by of params.yaml becomes."""
        return {self.by: self.column}

    def read(self, column: Any, where: object, how: csv_reader.Reading | None = None) -> pa.ChunkedArray:
        """Return a column as the dataset keeps it: groups as text, times as dates or numbers.

        Raises SlipwayError for a time that is neither.
        """
        if isinstance(column, pa.Array):
            column = pa.chunked_array([column])
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        how = how or csv_reader.Reading()
        if self.by == "group":
            if pa.types.is_floating(column.type):  # whole numbers that pandas keeps with gaps
                known = pc.if_else(pc.is_finite(column), column, None)
                column = known.cast(pa.int64()) if pc.all(pc.equal(known, pc.round(known))).as_py() else known
            names = csv_values.cast(column, pa.string(), how)
            missing = pc.is_in(pc.utf8_trim_whitespace(names), pa.array([*how.words, *how.missing], pa.string()))
            return pc.if_else(missing, pa.scalar(None, pa.string()), names)
        self.kind = self.kind or self._kind(column, {*how.words, *how.missing})
        try:
            return csv_values.cast(column, self.kind, how, self.form)
        except (ValueError, pa.ArrowException) as error:
            first = column.drop_null()[:100].cast(pa.string()).combine_chunks()
            looks = csv_dates.forms(first) or ["%d.%m.%Y"]
            options = " or ".join(f"--split-by {shlex.quote(f'time={self.column}={form}')}" for form in looks)
            raise SlipwayError(
                f"{where}: column {self.column}: {str(error).splitlines()[0]}; say how its dates are written, such as "
                f"{options}"
            ) from None

    def _kind(self, column: pa.ChunkedArray, missing: Container[str]) -> pa.DataType:
        """Return what times are, by the column's type, or of a text by its first value."""
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return pa.float64()
        texts = column.to_pylist() if pa.types.is_string(kind) else []
        first = next((text for text in texts if text and text.strip() not in missing), None)
        return csv_values.DATE if first is None or self.form or not NUMBER.fullmatch(first.strip()) else pa.float64()


def argument(parser: ArgumentParser, column: str = "COLUMN") -> None:
    """Add the option to a parser; `column` is what a column is called there."""
    text = (
        f"how to split: group={column}, all examples of a patient, machine ... on one side; or time={column}, or "
        f"time={column}=FORMAT, the last ones for the test; the column is kept beside the features (default: by id)"
    )
    parser.add_argument("--split-by", metavar=f"HOW={column}", help=text)


def pattern_argument(parser: ArgumentParser, example: str) -> None:
    """Add the option `--pattern` to a parser."""
    text = f"pattern of the file names, such as {example}, or of the last folders too, such as {{patient}}/{{index}}"
    parser.add_argument("--pattern", metavar="TEXT", help=text)


def parse(
    text: str | None, known: Iterable[str] | None = None, where: object = "", taken: Iterable[str] = ()
) -> SplitBy | None:
    """Read the option's text; None for none.

    Raises SlipwayError where it is something else, where `known`, the columns of `where`, does not have the column, and
    where it is `taken` for something else.
    """
    if text is None:
        return None
    by, _, column = text.partition("=")
    form = None
    if by == "time":
        column, _, form = column.partition("=")
    if by not in ("group", "time") or not column:
        raise SlipwayError(f"--split-by {text}: expected group=COLUMN or time=COLUMN, such as group=patient")
    if column in taken:
        raise SlipwayError(f"--split-by {text}: {column} is the example itself or what is predicted; choose another")
    if column in dataset.RESERVED:
        raise SlipwayError(f"--split-by {text}: a column that is called {column} cannot be split by; rename it")
    there = None if known is None else list(known)
    if there is not None and column not in there:
        raise SlipwayError(f"--split-by {text}: {where} has no {column!r} (there are: {listed(there) or 'none'})")
    return SplitBy(by, column, form or None)


def apart(own: SplitBy | None, features: Iterable[str]) -> list[str]:
    """Return the column of the option, which is no feature unless it is named as one; none for no option."""
    return [own.column] if own is not None and own.column not in features else []


def must_agree(own: SplitBy | None, columns: Iterable[str], by: str | dict[str, str], file: Path) -> None:
    """Raise SlipwayError where a source that is added to a dataset has not what that is split by.

    `columns` are the recipe's, `by` is split.by of params.yaml. The times are read as those of `file`, a dataset's.
    """
    (how, column), *_ = by.items() if isinstance(by, dict) else [(by, "")]
    if (own and own.setting != by) or (not own and column and column not in columns):
        said, do = f"{how}, {column}", f"add --split-by {shlex.quote(f'{how}={column}')}"
        if not column:
            said, do = "id", "leave out --split-by, or start a new dataset with --replace"
        raise SlipwayError(f"the examples of the dataset are split by {said} (split.by in params.yaml): {do}")
    if own and own.column not in columns:
        schema = pq.read_schema(file)
        if own.column not in schema.names:
            raise SlipwayError(f"{file}: column {own.column} is missing (there are: {listed(schema.names)})")
        own.kind = schema.field(own.column).type


def divisible(tables: Iterable[pa.Table], own: SplitBy, name: str) -> Iterator[pa.Table]:
    """Pass on the tables of a new dataset; SlipwayError after them where they have too few groups, or times, to split.

    A row without a group is one by itself; an official split needs none.
    """
    values: set[Any] = set()
    alone, official = 0, set[str]()
    for table in tables:
        column = table[own.column]
        if len(values) < len(SIDES):
            values.update(column.drop_null().unique().to_pylist())
        alone += column.null_count if own.by == "group" else 0
        if "split" in table.column_names:
            official.update(table["split"].drop_null().unique().to_pylist())
        yield table
    free = SIDES - (official if "validation" in official else official - {"train"})  # a share of train becomes it
    if len(values) + alone < len(free) > 1:
        shown = f", {next(iter(values))!s}" if len(values) == 1 else ""
        what = ("group" if own.by == "group" else "time") + "s" * (len(values) != 1)
        raise SlipwayError(
            f"{name}: --split-by {own.by}={own.column}: column {own.column} has only {len(values)} {what}{shown}; "
            f"{' and '.join(sorted(free))} need one each: name another column, or leave out --split-by"
        )


def watched(tables: Iterable[pa.Table], own: SplitBy, name: str, there: Sequence[str]) -> Iterator[pa.Table]:
    """Pass on the tables of a source that is split by group; tell after them what its groups may have wrong.

    That is rows without one, and names that look alike, also like one of those that are `there`, in the dataset.
    """
    counted: Counter[str] = Counter()  # as the split compares them
    for table in tables:
        found = pc.value_counts(table[own.column])
        names = splits.groups(pa.chunked_array([found.field("values")]))
        for each, count in zip(names, found.field("counts").to_pylist(), strict=True):
            counted[each] += count
        yield table
    rows, alone = counted.total(), counted.pop("", 0)
    known = splits.groups(pa.chunked_array([pa.array(there, pa.string())]))
    twins = [alike for alike in spelling.alike([*counted, *known]) if not counted.keys().isdisjoint(alike)]
    lines = [
        f"{own.column} {' and '.join(map(spelling.shown, alike))} look alike, and are {len(alike)} groups, which may "
        "be on different sides; to join them, give them one name in the source"
        for alike in twins
    ]
    if alone:
        print(f"{name}: {alone:,} of {rows:,} rows have no {own.column}: each is split by its id, as a group of one")
    for line in lines[:MAX_LINES]:
        print(f"{name}: {line}")
    if len(lines) > MAX_LINES:
        print(f"... and {len(lines) - MAX_LINES:,} more groups that look alike")


class Pattern:
    """A pattern of file names such as {label}_{speaker}; with slashes, of the folders above them too."""

    def __init__(self, text: str) -> None:
        """Compile it; no field holds what stands between fields. Raises SlipwayError for what is no pattern."""
        parts = re.split(r"\{(\w+)\}", text)  # text, field, text, field, ..., text
        fields, between = parts[1::2], parts[0::2]
        sound = all(field.isidentifier() for field in fields)
        if not fields or "" in between[1:-1] or len(set(fields)) < len(fields) or not sound:
            raise SlipwayError(
                f"--pattern {text}: expected fields with different names and text between them, "
                "such as {label}_{speaker}_{index}"
            )
        joints = "|".join(re.escape(joint) for joint in {*between[1:-1], "/"})
        one = f"(?:(?!{joints}).)+"
        self.fields = fields
        self.folders = text.count("/")
        self.expression = re.compile(
            "".join(f"(?P<{part}>{one})" if at % 2 else re.escape(part) for at, part in enumerate(parts)), re.DOTALL
        )

    def read(self, path: PurePosixPath) -> dict[str, str] | None:
        """Return the fields of a file's path, its suffix left out; None where it does not match."""
        path = PurePosixPath(printable(path))
        parts = path.parent.parts[len(path.parent.parts) - self.folders :] if self.folders else ()
        match = self.expression.fullmatch("/".join([*parts, path.stem]))
        return match.groupdict() if match else None


def alike(tables: Iterable[pa.Table], names: Iterable[str]) -> list[str]:
    """Say which features of a table look like groups, by their names and their first values: a line each.

    Named like what several rows are of, many values, and several rows of a value.
    """
    wanted = [name for name in names if owns(name)]
    counted: dict[str, Counter[Any]] = {name: Counter() for name in wanted}
    rows = 0
    for table in tables if wanted else ():
        part = table.select(wanted).slice(0, MAX_ROWS - rows)
        for name in wanted:
            for item in pc.value_counts(part[name].drop_null()).to_pylist():
                counted[name][item["values"]] += item["counts"]
        rows += len(part)
        if rows >= MAX_ROWS:
            break
    found = (complaint(name, values) for name, values in counted.items())
    return [f"{line}, and the column is no feature then" for line in found if line]


def alike_fields(fields: Sequence[dict[str, str]]) -> list[str]:
    """Say so of what a list, or the names of files, tell of each example."""
    names = [name for name in (fields[0] if fields else ()) if owns(name)]
    return [line for name in names if (line := complaint(name, Counter(row[name] for row in fields)))]


def complaint(name: str, values: Counter[Any]) -> str:
    """Say that a column of these values and their numbers looks like a group; empty if it does not."""
    total = values.total()
    shared = total - sum(count == 1 for count in values.values())
    fraction = any(FRACTION.fullmatch(str(value)) for value in values)
    if len(values) < MIN_GROUPS or shared < MIN_SHARED * total or fraction:
        return ""
    return (
        f"{name}: looks like a group ({len(values):,} different values in {total:,} rows), but the split is by row, so "
        f"that its rows may be on both sides: --split-by {shlex.quote(f'group={name}')} keeps them on one"
    )


def owns(name: str) -> bool:
    """Tell whether a column is named like what several examples are of: patient, customer_id, MachineNo, or any id."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if len(words) > 1 and ID.fullmatch(words[-1]):
        return True
    while len(words) > 1 and ENDING.fullmatch(words[-1]):
        words.pop()
    return bool(words and OWNER.fullmatch(words[-1]))
