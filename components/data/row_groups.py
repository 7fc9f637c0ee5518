"""Parts of a Parquet row group, so that memory does not grow with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_ROWS, MAX_BYTES = 65_536, 2**28  # that are read at a time; a row group of no more is read whole

_last: list[tuple[Any, int, Iterator[pa.RecordBatch]]] = []  # the group that was read from last, and how far


def rows_at_a_time(group: pq.RowGroupMetaData) -> int:
    """Return how many rows of a group are read at a time."""
    return int(min(MAX_ROWS, max(1, MAX_BYTES * group.num_rows // max(group.total_byte_size, 1))))


def part(path: Path, group: int, skip: int, rows: int, names: list[str]) -> pa.Table:
    """Read rows of a group, a multiple of `rows_at_a_time` being before them.

    The part behind it goes on from there, so that a group is decoded once, and not once for each of its parts.
    """
    state = path.stat()
    key = (path, state.st_ino, state.st_mtime_ns, group, names)
    last, at, batches = _last.pop() if _last else (None, 0, iter(()))
    if last != key or at > skip:
        at, batches = 0, _batches(path, group, names)
    while at < skip:
        at += len(next(batches))
    parts = [next(batches)]
    while sum(map(len, parts)) < rows:
        parts.append(next(batches))
    _last.append((key, at + rows, batches))
    return pa.Table.from_batches(parts)


def _batches(path: Path, group: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, buffer_size=2**20) as file:  # without a buffer, all of the group's bytes are in memory
        size = rows_at_a_time(file.metadata.row_group(group))
        yield from file.iter_batches(size, row_groups=[group], columns=names, use_threads=False)
