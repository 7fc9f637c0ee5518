"""What a file is by its first bytes, whatever it is called, and its content without compression."""

import atexit
import bz2
import contextlib
import functools
import gzip
import lzma
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, temporary
from components.data import json_records

Kind = Literal["text", "parquet", "feather", "json lines", "json"]
PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
SHEET = "is {}: save the sheet as CSV (in Excel: File, Save As, CSV UTF-8; in LibreOffice: Save As, Text CSV)"
REFUSED = {
    b"\xd0\xcf\x11\xe0": SHEET.format("an Excel workbook (.xls)"),
    b"%PDF": "is a PDF document, not a table: export the table as CSV",
    b"SQLite format 3": "is an SQLite database: export the table as CSV, such as with sqlite3 -csv -header",
    b"\x89HDF": "is an HDF5 file: write it as Parquet, such as with pandas",
    b"\x28\xb5\x2f\xfd": "is compressed with Zstandard: unpack it first (unzstd)",
    b"FEA1": "is a Feather file of the old version 1: write it as Parquet, such as with pandas",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"Rar!": "is a RAR archive: unpack it first",
    b"<stata_dta>": "is a Stata file: write it as CSV or Parquet, such as with pandas",
    b"version https://git-lfs.github.com/spec/": "is a pointer of Git LFS, not the data: get that with git lfs pull",
    b"$FL2": "is an SPSS file: write it as CSV or Parquet, such as with pandas",
}
MARKUP = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
ZIP, TAR, TAR_AT = b"PK\x03\x04", b"ustar", 257
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
TABLE_SUFFIXES = (
    ".csv",
    ".tsv",
    ".tab",
    ".parquet",
    ".feather",
    ".arrow",
    ".xlsx",
    ".xlsm",
    ".xls",
    ".ods",
    *JSON_SUFFIXES,
)


def name(file: Path) -> Path:
    """Return a file's name without the suffix of its compression, .gz and the like."""
    return Path(file.stem) if file.suffix.lower() in SUFFIXES else Path(file.name)


def kind(file: Path) -> Kind:
    """Return what a file's content is, unpacked where it is compressed; `text` is a CSV, or any other text.

    Raises SlipwayError for a file that is not there, and for one that is not read: a workbook, an archive of several
    files ... says what it is and what to do.
    """
    with _opened(content(file), file) as source:
        head = source.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "feather"
    if MARKUP.match(head):
        raise SlipwayError(f"{file}: is a web page or XML, not a table: export the table as CSV")
    start, suffix = head.removeprefix(b"\xef\xbb\xbf").lstrip(), name(file).suffix.lower()
    if suffix == ".json" and start.startswith(b"["):
        return "json"
    return "json lines" if suffix in JSON_SUFFIXES or start.startswith(b'{"') else "text"


def content(file: Path) -> Path:
    """Return a file with the content of this one, unpacked where it is compressed; see `kind` for what it raises."""
    found = file
    while True:
        with _opened(found, file) as source:
            head = source.read(512)
        for magic, why in REFUSED.items():
            if head.startswith(magic):
                raise SlipwayError(f"{file}: {why}")
        if head[TAR_AT:].startswith(TAR):
            raise SlipwayError(f"{file}: is a tar archive: unpack it first")
        if not head.startswith((ZIP, *PACKED)):
            return found if _is_text(str(found)) else _named(found.absolute())
        status = found.stat()
        found = _unpacked(found.absolute(), status.st_mtime_ns, status.st_size)


def _is_text(path: str) -> bool:
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


@functools.cache
def _named(file: Path) -> Path:
    """Return a link to a file whose path is not UTF-8, which Arrow cannot open."""
    place = Path(_folder(), f"{len(list(_folder().iterdir()))}{name(file).suffix.lower()}")
    place.symlink_to(file)
    return place


@functools.lru_cache
def _unpacked(file: Path, changed: int, size: int) -> Path:  # noqa: ARG001 - the same content, the same file
    """Unpack a file into a temporary one that stays until this process ends."""
    place = Path(_folder(), f"{len(list(_folder().iterdir()))}{name(file).suffix.lower()}")
    try:
        with _unpacking(file) as source, place.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, RuntimeError) as error:
        place.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SlipwayError(f"{file}: cannot be unpacked: {error or type(error).__name__}") from None
    return place


@contextlib.contextmanager
def _unpacking(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as source:
        head = source.read(8)
    if not head.startswith(ZIP):
        (opener,) = (opener for magic, opener in PACKED.items() if head.startswith(magic))
        with opener(file) as unpacked:
            yield unpacked
        return
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise SlipwayError(f"{file}: {SHEET.format('an Excel or LibreOffice workbook')}")
        files = [item for item in names if not item.endswith("/") and not item.startswith("__MACOSX/")]
        files = [item for item in files if not Path(item).name.startswith(".")]
        if len(files) != 1:
            shown = ", ".join(map(repr, files[:10])) or "none"
            raise SlipwayError(
                f"{file}: expected one file in it, found {len(files)} ({shown}): unpack the one you mean"
            )
        with archive.open(files[0]) as unpacked:
            yield unpacked


@functools.cache
def _folder() -> Path:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(temporary.folder())


def _opened(file: Path, named: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise SlipwayError(f"{named}: no such file") from None
    except IsADirectoryError:
        hint = "`ingest images`, `text` and `audio` read folders"
        raise SlipwayError(f"{named}: is a folder, not a file; {hint}") from None


def tables(file: Path) -> Iterator[pa.Table]:
    """Yield a table of typed columns (Parquet, Feather, JSON), block by block; first a table of no rows."""
    what, source = kind(file), content(file)
    try:
        if what == "parquet":
            with pq.ParquetFile(source) as found:
                yield _start(file, found.schema_arrow)
                yield from (pa.table(batch) for batch in found.iter_batches(65_536))
            return
        if what == "feather":
            with pa.ipc.open_file(source) as blocks:
                yield _start(file, blocks.schema)
                yield from (pa.table(blocks.get_batch(at)) for at in range(blocks.num_record_batches))
            return
        whole = json_records.table(file, source, array=what == "json")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SlipwayError(f"{file}: cannot be read: {(str(error).splitlines() or ['not a table'])[0]}") from None
    yield whole.schema.empty_table()
    yield whole


def _start(file: Path, schema: pa.Schema) -> pa.Table:
    """Return a table of no rows; SlipwayError where a name does not say which column is meant."""
    if twice := next((name for name, count in Counter(schema.names).items() if count > 1), None):
        raise SlipwayError(f"{file}: two columns are named {twice!r}; rename one of them")
    return schema.empty_table()
