"""The dataset: a folder of Parquet files, a row per example.

Columns: `id` (the hash of the example's own columns, and of a copy its number: components/data/copies.py), those of
the recipe, `label`, where the data has an official one `split`, and what else an ingest kept, such as a group to split
by: no part of an example. The functions take `columns` as recipes.schema gives them: the recipe's and `label`.
Every reader goes chunk by chunk, a Parquet row group or a part of one at a time, so that memory does not grow with the
data.
"""

import fnmatch
import hashlib
import math
import os
import re
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice, pairwise, starmap
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import row_groups

Item = TypeVar("Item")
Result = TypeVar("Result")
SPLITS = ("train", "validation", "test")
RESERVED = {"id": pa.string(), "label": pa.string(), "split": pa.string()}
HASHED, HASHED_ROWS = 64, 4096  # columns and rows that are hashed in one go, so that memory does not grow with them
SHORT = 64  # bytes of a text, on average, up to which a column is hashed with others
KEY_DIGITS = 32  # of an id: the hash, which the copies of an example share
ID = rf"^[0-9a-f]{{{KEY_DIGITS}}}(-([2-9]|[1-9][0-9]+))?$"  # as a regular expression
JUNK = (  # names of what systems and programs leave in folders; .dvcignore has the same
    ".DS_Store",
    ".localized",
    "Icon[!!-~]",
    "._*",
    "__MACOSX",
    ".AppleDouble",
    ".LSOverride",
    ".apdisk",
    ".com.apple.*",
    ".VolumeIcon.icns",
    ".DocumentRevisions-V100",
    ".Spotlight-V100",
    ".TemporaryItems",
    ".Trashes",
    ".Trash-*",
    ".fseventsd",
    "Thumbs.db",
    "ehthumbs*.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
    "#recycle",
    ".@__thumb",
    ".directory",
    ".goutputstream-*",
    ".nfs*",
    ".fuse_hidden*",
    "lost+found",
    ".dropbox",
    ".dropbox.*",
    ".stfolder",
    ".stversions",
    ".syncthing.*",
    ".sync_*.db",
    ".gitignore",
    ".gitattributes",
    ".gitkeep",
    ".keep",
    ".idea",
    ".vscode",
    ".ipynb_checkpoints",
    "__pycache__",
    "_SUCCESS",
    "_committed_[0-9]*",
    "_started_[0-9]*",
    ".*.crc",
    "~$*",
    ".~lock.*",
    ".*.swp",
    ".*.swo",
    ".#*",
    "#*#",
    "*~",
)
IS_JUNK = re.compile("|".join(map(fnmatch.translate, JUNK)), re.IGNORECASE)
ANEW = "put the setting in params.yaml back, or ingest anew (`slipway ingest ... --replace`)"  # of what is in a column
SOURCE = ".source.json"  # ending of hidden files beside the Parquet files: what an update took (components/sources)
AHEAD = 64  # results of worker processes that may wait for the one that asks for them
MIN_PARALLEL_ROWS = 5000  # rows under which starting worker processes costs more than it brings


@dataclass(frozen=True)
class Chunk:
    """A row group of a file, or a part of a large one: `rows` examples from row `start` of the file."""

    path: Path
    group: int
    start: int
    rows: int
    skip: int = 0  # rows of the group before it


def is_junk(path: PurePath | str) -> bool:
    """Tell whether a file is no data, or lies in such a folder: what systems and programs leave, in any letter case."""
    return any(IS_JUNK.match(name) for name in PurePath(path).parts)


def files(folder: Path) -> list[Path]:
    """Return the dataset's Parquet files in order of their names.

    Raises SlipwayError for a missing or empty folder and for anything else that lies in it, but for junk.
    """
    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such dataset; `dvc pull` fetches it, `slipway ingest` makes one")
    found = sorted(path for path in folder.iterdir() if not (path.name.endswith(SOURCE) or is_junk(path.name)))
    for path in found:
        if path.suffix != ".parquet" or not path.is_file():
            raise SlipwayError(f"{path}: a dataset may contain only Parquet files; move this one elsewhere")
    if not found:
        raise SlipwayError(f"{folder}: the dataset is empty; add data with `slipway ingest`")
    return found


def chunks(folder: Path, columns: pa.Schema) -> list[Chunk]:
    """List all chunks of the dataset; checks every file's columns and their types first."""
    found = []
    for path in files(folder):
        with _open(path, columns) as file:
            start = 0
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                size = row_groups.rows_at_a_time(about)
                found += [
                    Chunk(path, group, start + skip, min(size, about.num_rows - skip), skip)
                    for skip in range(0, max(about.num_rows, 1), size)
                ]
                start += about.num_rows
    return found


def read(chunk: Chunk, columns: pa.Schema, only: Iterable[str] | None = None) -> pa.Table:
    """Read a chunk as a table of id, the recipe's columns, label and split (null where none is given).

    `only` names the columns wanted; one that is none of the recipe's comes as it is stored. Raises SlipwayError where
    the file is damaged or lacks a column, and where text is not UTF-8.
    """
    with _open(chunk.path, columns) as file:
        wanted = list(only) if only is not None else [field.name for field in stored(columns)]
        has = dict.fromkeys(file.schema_arrow.names)  # thousands, maybe: no search through a list
        there = [name for name in wanted if name in has]
        if lacking := [name for name in wanted if name not in has and name != "split"]:
            more = f"(there are: {', '.join(has)}); an ingest with --split-by keeps one beside the features"
            raise SlipwayError(f"{chunk.path}: column {lacking[0]} is missing {more}")
        try:
            if chunk.rows == file.metadata.row_group(chunk.group).num_rows:
                table = file.read_row_group(chunk.group, columns=there, use_threads=False)
            else:
                table = row_groups.part(chunk.path, chunk.group, chunk.skip, chunk.rows, there)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(chunk.path, error) from None
    if "split" in wanted and "split" not in there:
        table = table.append_column("split", pa.nulls(chunk.rows, pa.string()))
    kinds = _types(columns)
    types = pa.schema([(field.name, kinds.get(field.name) or _decoded(field.type)) for field in table.schema])
    try:
        table = table.cast(types).combine_chunks()
    except pa.ArrowException as error:
        raise SlipwayError(f"{chunk.path}: {error}; ingest the file again, or change the column") from None
    for name in table.column_names:
        if not is_text(table[name]):  # Parquet and Arrow let any bytes pass for text, Python does not
            row = next(row for row in range(len(table)) if not is_text(table[name].take(pa.array([row]))))
            raise SlipwayError(
                f"{chunk.path}: row {chunk.start + row}: {name} is not UTF-8 text; write the file again from text "
                "that was decoded correctly"
            )
    return table


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether all text of a column is UTF-8, which Parquet and Arrow do not check."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def stored(columns: pa.Schema) -> pa.Schema:
    """Return all columns as a dataset's files have them: id, the recipe's, label and split."""
    own = [field for field in columns if field.name not in RESERVED]
    return pa.schema(
        [pa.field("id", pa.string()), *own, pa.field("label", _types(columns)["label"]), pa.field("split", pa.string())]
    )


def _types(columns: pa.Schema) -> dict[str, pa.DataType]:
    return RESERVED | dict(zip(columns.names, columns.types, strict=True))


def _open(path: Path, columns: pa.Schema) -> pq.ParquetFile:
    try:
        state = path.stat()
        file = pq.ParquetFile(path, metadata=_footer(path, state.st_ino, state.st_size, state.st_mtime_ns))
    except FileNotFoundError:
        raise SlipwayError(f"{path}: the file has disappeared; `dvc checkout` restores the dataset") from None
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    has = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    for name, wanted in _types(columns).items():
        if name not in has:
            if name == "split":
                continue
            hint = "`slipway ingest` writes it" if name == "id" else f"{ANEW} files that have it"
            raise SlipwayError(f"{path}: column {name} is missing (there are: {', '.join(has)}); {hint}")
        if not _fits(has[name], wanted):
            raise SlipwayError(f"{path}: column {name} is {has[name]}, expected {wanted}; {ANEW} the files")
    return file


@lru_cache(maxsize=1)
def _footer(path: Path, *state: int) -> pq.FileMetaData:  # noqa: ARG001 - of another state the file is another
    """Read what a file says of itself: once for all of its chunks, for of many row groups that takes as long as one."""
    return pq.read_metadata(path)


def _damaged(path: Path, error: Exception) -> SlipwayError:
    cause = str(error).splitlines()[0]
    return SlipwayError(
        f"{path}: not a complete Parquet file ({cause}); restore it with `dvc checkout`, or ingest it again"
    )


def _fits(has: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(has):
        has = has.value_type
    same: list[Callable[[pa.DataType], bool]] = [
        lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
        lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    ]
    if _listed(has) and _listed(wanted):
        return _fits(has.value_type, wanted.value_type)
    return bool(has == wanted or pa.types.is_null(has) or any(kind(has) and kind(wanted) for kind in same))


def _listed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def set_aside(quarantine: Path) -> dict[str, list[int]]:
    """Return file name -> rows that validate set aside."""
    found: dict[str, list[int]] = {}
    with pq.ParquetFile(quarantine) as file:  # pq.read_table would import pyarrow.dataset
        listed = file.read(["file", "row"])
    for name, row in zip(listed["file"].to_pylist(), listed["row"].to_pylist(), strict=True):
        found.setdefault(name, []).append(row)
    return found


def contents(arrays: Path, *splits: str) -> np.ndarray:
    """Return the digest of the content of each encoded example of these splits, `(n,)` bytes: what copies share."""
    return np.concatenate([np.load(arrays / name / "id.npy") for name in splits]).astype(f"S{KEY_DIGITS}")


def ids(table: pa.Table, columns: pa.Schema) -> list[str]:
    """Hash each example's own columns: KEY_DIGITS hex digits of SHA-256, the same wherever and whenever it is read.

    Values are hashed with their column's name, type and length, so that no two examples run together, and
    in the order of the names, so that the order of the columns does not matter. Raises UnicodeDecodeError where text is
    not UTF-8.
    """
    names = sorted(name for name in columns.names if name not in RESERVED)
    found: list[str] = []
    for start in range(0, len(table), HASHED_ROWS):
        part = table.slice(start, HASHED_ROWS)
        digests: list[Any] = []
        values = ((name, part[name].cast(columns.field(name).type)) for name in names)
        for short, run in groupby(values, lambda value: _is_short(value[1])):
            while some := list(islice(run, HASHED)):
                pieces = [(hashlib.sha256(name.encode()).digest(), column) for name, column in some]
                for rows in [_joined(pieces)] if short else starmap(_pieces, pieces):
                    if not digests:
                        digests = list(map(hashlib.sha256, rows))
                    else:
                        for digest, row in zip(digests, rows, strict=True):
                            digest.update(row)
        digests = digests or [hashlib.sha256()] * len(part)
        found += [digest.hexdigest()[:KEY_DIGITS] for digest in digests]
    return found


def _is_short(column: pa.ChunkedArray) -> bool:
    """Tell whether the values of a column are hashed all in one go: plain ones, and texts that are short."""
    kind = column.type
    if pa.types.is_string(kind):
        return bool(column.nbytes <= SHORT * len(column))
    return kind in (pa.float32(), pa.float64(), pa.bool_()) or pa.types.is_timestamp(kind)


def _joined(pieces: list[tuple[bytes, pa.ChunkedArray]]) -> Iterator[memoryview]:
    """Yield what is hashed of each row, as _bytes has the values of these columns."""
    empty = pa.scalar(b"", pa.binary())
    rows = pc.binary_join_element_wise(*(part for prefix, column in pieces for part in _parts(prefix, column)), empty)
    _, ends, data = rows.buffers()
    whole, at = memoryview(data), np.frombuffer(ends, np.int32)[: len(rows) + 1].tolist()
    return (whole[start:end] for start, end in pairwise(at))


def _parts(prefix: bytes, column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """Yield binary arrays that together are what is hashed of a column: of texts the length and what they say."""
    values = column.combine_chunks()
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False) + 0.0  # no -0.0
        numbers[np.isnan(numbers)] = np.nan  # one NaN
        yield _fixed(prefix + b"f", numbers.astype("<f8"), values.is_valid(), prefix + b"n")
        return
    if pa.types.is_boolean(values.type):
        values = pc.if_else(values, "True", "False")
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64()).cast(pa.string())
    elif not is_text(values):
        values.to_pylist()  # raises UnicodeDecodeError, as a long text does
    lengths = pc.binary_length(values).fill_null(0).to_numpy().astype("<i8")
    yield _fixed(prefix + b"b", lengths, values.is_valid(), prefix + b"n")
    yield values.cast(pa.binary()).fill_null(b"")


def _fixed(front: bytes, numbers: np.ndarray, there: pa.Array, otherwise: bytes) -> pa.Array:
    """Return the bytes of numbers behind the same `front`; `otherwise` where there is none."""
    rows = np.empty(len(numbers), [("front", f"V{len(front)}"), ("number", numbers.dtype)])
    rows["front"], rows["number"] = np.void(front), numbers
    ends = np.arange(len(rows) + 1, dtype=np.int32) * rows.dtype.itemsize
    array = pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(ends), pa.py_buffer(rows)])
    return pc.if_else(there, array, pa.scalar(otherwise, pa.binary()))


def _pieces(prefix: bytes, column: pa.ChunkedArray) -> Iterator[bytes]:
    """Yield what is hashed of each value of a column."""
    return (prefix + _bytes(value) for value in _plain(column))


def _plain(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Python values; a time as its number, for Python has none before year 1 or after 9999."""
    return list((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())


def _bytes(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, float):
        value = math.nan if math.isnan(value) else value + 0.0  # one NaN, and -0.0 is 0.0
        return b"f" + struct.pack("<d", value)
    if isinstance(value, list):  # of numbers: one NaN, no -0.0, and a gap is NaN
        numbers = np.array(value, np.float64) + 0.0
        numbers[np.isnan(numbers)] = np.nan
        return b"l" + struct.pack("<q", len(numbers)) + numbers.astype("<f8").tobytes()
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return b"b" + struct.pack("<q", len(data)) + data


def parallel(function: Callable[[Item], Result], items: list[Item], rows: int) -> Generator[Result, None, None]:
    """Yield `function(item)` in order, in a process a core where `rows` makes that worth while.

    The processes work through no more than AHEAD items that nobody has asked for, so that memory does not grow.
    Close it (contextlib.closing) where an error may end the loop, or the rest is computed all the same.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if rows < MIN_PARALLEL_ROWS or cores < 2 or len(items) < 2:
        yield from map(function, items)
        return
    # spawn: a forked copy of a process with threads (Arrow's, BLAS's) may hang
    with ProcessPoolExecutor(min(cores, len(items)), mp_context=get_context("spawn")) as pool:
        try:
            waiting: deque[Future[Result]] = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write(tables: Iterable[pa.Table], folder: Path, name: str, size: int = 128 * 2**20) -> list[Path]:
    """Write tables as `name.parquet`, or `name-00000.parquet` and so on where they exceed `size` bytes.

    Each row group holds at most 4096 rows. Returns the files; `folder` must be new or empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces: list[Path] = []
    writer: pq.ParquetWriter | None = None
    filled = 0
    try:
        for table in tables:
            for part in (table.slice(at, 4096) for at in range(0, len(table), 4096)):
                if writer is None or filled >= size:
                    if writer is not None:
                        writer.close()
                    pieces.append(folder / f"{name}-{len(pieces):05d}.parquet")
                    # the columns are ids and encoded bytes: a dictionary would only cost
                    writer = pq.ParquetWriter(pieces[-1], part.schema, compression="zstd", use_dictionary=["label"])
                    filled = 0
                writer.write_table(part)
                filled += part.nbytes
    finally:
        if writer is not None:
            writer.close()
    if len(pieces) == 1:
        pieces = [pieces[0].rename(folder / f"{name}.parquet")]
    return pieces
