"""What is known of the columns of a dataset: exact counts and ranges of all rows, and a random sample of the rows.

In one pass, with flat memory, part by part: what is known of two parts adds up (`merged`), and can be kept (`packed`).
The sample is a bottom-k one (Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"): uniform, without
replacement, and of the same rows for all columns. The same files give the same profile.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.streams import stream

SAMPLE_ROWS = 20_000  # of all files together, at most
SAMPLE_CELLS = 4_000_000  # rows times columns: a table may have thousands of columns
FEWEST_ROWS = 1000  # of the sample of a very wide table
MAX_VALUES = 1000  # different values of a column that are counted; of one with more, those that came first
MAX_TEXT = 1000  # characters of a text that the sample keeps
KEY, FILE, ROW = "<key>", "<file>", "<row>"  # columns of the sample beside the dataset's

Kind = Literal["number", "category", "boolean", "date"]


@dataclass
class Column:
    """What all rows of a column say."""

    name: str
    kind: Kind
    rows: int = 0
    missing: int = 0
    low: float | None = None  # of numbers and dates (microseconds since 1970); of infinite ones nothing is known
    high: float | None = None
    whole: bool = True  # every number is a whole one
    zeros: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # of categories and booleans
    more: bool = False  # there are other values, which `counts` does not have

    @property
    def there(self) -> int:
        """The rows that have a value."""
        return self.rows - self.missing

    @property
    def gaps(self) -> float:
        """The share of the rows without a value."""
        return self.missing / max(self.rows, 1)

    def add(self, values: pa.ChunkedArray) -> None:
        """Look at the next rows."""
        self.rows += len(values)
        if self.kind in ("number", "date"):
            self._add_numbers(values)
            return
        self.missing += values.null_count
        counted = pc.value_counts(values)  # in the order in which they come
        for value, count in zip(*(part.to_pylist() for part in counted.flatten()), strict=True):
            if value is not None:
                self._count(_text(value), count)

    def _add_numbers(self, values: pa.ChunkedArray) -> None:
        numbers = plain(values)
        self.missing += int(np.isnan(numbers).sum())
        there = numbers[np.isfinite(numbers)]
        if not len(there):
            return
        low, high = float(there.min()), float(there.max())
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self.whole = self.whole and bool((np.floor(there) == there).all())
        self.zeros += int(np.count_nonzero(there == 0))

    def _count(self, value: str, count: int) -> None:
        if value in self.counts or len(self.counts) < MAX_VALUES:
            self.counts[value] = self.counts.get(value, 0) + count
        else:
            self.more = True

    def merge(self, other: "Column") -> None:
        """Take in what is known of other rows."""
        self.rows += other.rows
        self.missing += other.missing
        for name, pick in (("low", min), ("high", max)):
            both = [value for value in (getattr(self, name), getattr(other, name)) if value is not None]
            setattr(self, name, pick(both) if both else None)
        self.whole = self.whole and other.whole
        self.zeros += other.zeros
        for value, count in other.counts.items():
            self._count(value, count)
        self.more = self.more or other.more


@dataclass
class Profile:
    """What is known of a dataset, or of a part of it."""

    columns: dict[str, Column] = field(default_factory=dict)
    rows: int = 0
    files: dict[str, dict[str, Column]] = field(default_factory=dict)  # the same of each file
    _parts: list[pa.Table] = field(default_factory=list)
    _limit: float = 1.0

    def add(self, table: pa.Table, file: str, start: int) -> None:
        """Look at rows of a file, from row `start` on."""
        own = self.files.setdefault(file, {})
        for name in table.column_names:
            if (kind := kind_of(table.schema.field(name).type)) is None:
                continue
            column = Column(name, kind)
            column.add(table[name])
            for known in (self.columns, own):
                known.setdefault(name, Column(name, kind)).merge(column)
        self.rows += len(table)
        # by the place alone, whatever the seed: what is drafted and shown of a dataset does not depend on a training
        keys = stream(0, "rows of the profile", zlib.crc32(file.encode()), start).random(len(table))
        rows = np.flatnonzero(keys <= self._limit)
        names = [name for name in table.column_names if name in self.columns]
        picked = table.select(names).take(pa.array(rows))
        for at, name in enumerate(names):
            if kind_of(picked.schema.field(name).type) == "category":
                picked = picked.set_column(at, name, pc.utf8_slice_codeunits(picked[name], 0, MAX_TEXT))
        beside = {KEY: keys[rows], FILE: pa.array([file] * len(rows), pa.string()), ROW: rows + start}
        for name, values in beside.items():
            picked = picked.append_column(name, pa.array(values))
        self._parts.append(picked.combine_chunks())
        self._cut()

    def merge(self, other: "Profile") -> None:
        """Take in what is known of other rows."""
        self.rows += other.rows
        pairs = [(self.columns, other.columns)]
        pairs += [(self.files.setdefault(name, {}), columns) for name, columns in other.files.items()]
        for known, columns in pairs:
            for name, column in columns.items():
                known.setdefault(name, Column(name, column.kind)).merge(column)
        self._parts += [part for part in other._parts if len(part)]
        self._cut()

    def _cut(self) -> None:
        size = min(SAMPLE_ROWS, max(FEWEST_ROWS, SAMPLE_CELLS // max(len(self.columns), 1)))
        if sum(map(len, self._parts)) > 2 * size:
            self._settle(size)

    def _settle(self, size: int) -> None:
        table = pa.concat_tables(self._parts)
        keys = table[KEY].to_numpy()
        if len(keys) > size:
            self._limit = float(np.partition(keys, size - 1)[size - 1])
            table = table.filter(pa.array(keys <= self._limit))
        self._parts = [table.combine_chunks()]

    @property
    def sample(self) -> pa.Table:
        """A random sample of the rows, in the order of the files: all of them where they are few."""
        if not self._parts:
            return pa.table({})
        self._settle(min(SAMPLE_ROWS, max(FEWEST_ROWS, SAMPLE_CELLS // max(len(self.columns), 1))))
        return self._parts[0].sort_by([(FILE, "ascending"), (ROW, "ascending")])

    def packed(self) -> pa.Buffer:
        """Return it as bytes, from which `unpacked` makes it again."""
        sample = self.sample
        files = {name: [asdict(column) for column in columns.values()] for name, columns in self.files.items()}
        sink = pa.BufferOutputStream()
        schema = sample.schema.with_metadata({"files": json.dumps(files)})
        with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(sample.cast(schema))
        return sink.getvalue()


def unpacked(content: bytes) -> Profile:
    """Make a profile again of what `packed` returned."""
    table = pa.ipc.open_stream(content).read_all()
    files = json.loads((table.schema.metadata or {})[b"files"])
    found = Profile(_parts=[table.replace_schema_metadata(None)])
    for name, listed in files.items():
        found.files[name] = {each["name"]: Column(**each) for each in listed}
        for column in found.files[name].values():
            found.columns.setdefault(column.name, Column(column.name, column.kind)).merge(column)
    found.rows = sum(max((column.rows for column in columns.values()), default=0) for columns in found.files.values())
    return found


def of(tables: Iterable[tuple[pa.Table, str, int]]) -> Profile:
    """Return the profile of tables, each with the file it is of and the first row it has of that."""
    found = Profile()
    for table, file, start in tables:
        found.add(table, file, start)
    return found


def kind_of(kind: pa.DataType) -> Kind | None:
    """Return what a column of this type has; None for one of lists or bytes."""
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_timestamp(kind):
        return "date"
    return "category" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def plain(values: Any) -> np.ndarray:
    """Return numbers, dates (microseconds since 1970) or booleans as `(n,)` float64; NaN where one is missing."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    found: np.ndarray = values.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return found


def ordered(counts: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield values and their counts, the most frequent first."""
    yield from sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
