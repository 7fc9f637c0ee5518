"""Columns that no model may learn from: those that count the rows, and those without a name."""

import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.recipes.source import tell

MIN_ROWS = 20  # rows that tell a counter, unless its name does
# as pandas, Arrow and R call them
NAMELESS = re.compile(r"Unnamed: ?\d+(\.\d+)*(_level_\d+)?|__index_level_\d+__|\.\.\.\d+")
INDEX = re.compile(rf"{NAMELESS.pattern}|index|level_\d+|(?i:row|row_?(id|nr|no|num|number)|no|nr|#)")


@dataclass
class Seen:
    """What is known of a column, table by table."""

    rows: int = 0
    counts: bool = True  # 0, 1, 2 ... or 1, 2, 3 ...
    rises: bool = True  # whole numbers, each larger than the one before
    same: bool = True  # one value throughout, without a gap
    empty: bool = True
    first: Any = None
    last: int | None = None

    def add(self, column: pa.ChunkedArray) -> None:
        """Look at the next rows."""
        if not len(column):
            return
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if self.rows == 0:
            self.first = column[0]
        self.empty = self.empty and column.null_count == len(column)
        self.same = (
            self.same
            and column.null_count == 0
            and column[-1].equals(self.first)
            and bool(pc.all(pc.equal(column, self.first)).as_py())
        )
        kind = column.type
        if self.rises and (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            self._count(column)
        else:
            self.counts = self.rises = False
        self.rows += len(column)

    def _count(self, column: pa.ChunkedArray) -> None:
        try:  # a look at the first two spares most columns the rest
            two = column.slice(0, 2).cast(pa.int64()).to_pylist()
            self.rises = column.null_count == 0 and two == sorted(set(two))
            numbers = column.cast(pa.int64()).combine_chunks() if self.rises else None
        except pa.ArrowException:
            numbers = None
        if numbers is None:
            self.counts = self.rises = False
            return
        before = self.last
        steps = pc.subtract(numbers.slice(1), numbers.slice(0, len(numbers) - 1))
        self.rises = pc.all(pc.greater(steps, 0)).as_py() is not False and (
            before is None or numbers[0].as_py() > before
        )
        ones = pc.all(pc.equal(steps, 1)).as_py() is not False
        origin = numbers[0].as_py() in (0, 1) if before is None else numbers[0].as_py() == before + 1
        self.counts = self.counts and ones and origin
        self.last = numbers[-1].as_py()


def watched(tables: Iterable[pa.Table], found: dict[str, Seen]) -> Iterator[pa.Table]:
    """Pass tables on; `found` gets what they say of each column."""
    for table in tables:
        for name in table.column_names:
            found.setdefault(name, Seen()).add(table[name])
        yield table


def chosen(seen: dict[str, Seen], names: Iterable[str], keep: Collection[str]) -> list[str]:
    """Return the columns among these that are left out, and tell why; `keep` are never."""
    lines, found = [], []
    for name in names:
        column = seen.get(name, Seen())
        if name in keep or column.rows == 0:
            continue
        option = f"--keep {shlex.quote(name)} keeps it"
        if NAMELESS.fullmatch(name):
            why = "is empty and has no name" if column.empty else "has no name, like an index that pandas wrote"
        elif column.counts and column.rows >= (2 if INDEX.fullmatch(name) else MIN_ROWS):
            why = "counts the rows"
        elif column.rises and column.rows > 1 and re.fullmatch(r"index|level_\d+", name):
            why = "is an index that rises from row to row"
        else:
            continue
        found.append(name)
        lines.append(f"left out: {name} ({why}; {option})")
    tell(lines, "columns left out")
    return found


def tell_new(names: Iterable[str]) -> None:
    """Tell which columns of a file the dataset that it is added to does not have."""
    if new := list(names):
        shown = ", ".join(new[:20]) + (f" and {len(new) - 20} more" if len(new) > 20 else "")
        print(f"left out: {shown} (the dataset does not have {'it' if len(new) == 1 else 'them'})")


def tell_constant(seen: dict[str, Seen], names: Iterable[str]) -> None:
    """Tell which columns say nothing, or nothing of new rows: one value throughout, or none, or one that only rises."""
    lines = []
    for name in names:
        column = seen.get(name, Seen())
        drop = f"--drop {shlex.quote(name)} leaves it out"
        if column.rows > 1 and column.empty:
            lines.append(f"{name}: every value is missing; {drop}")
        elif column.rows > 1 and column.same:
            lines.append(
                f"{name}: has the same value in every row ({column.first.cast(pa.string()).as_py()[:50]!r}); {drop}"
            )
        elif column.rises and column.rows >= MIN_ROWS:
            lines.append(f"{name}: rises from row to row, like a counter or an id; {drop}")
    tell(lines, "columns without information")
