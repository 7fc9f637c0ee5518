"""Rows of a query on a database whose watermark column has risen since the last time.

SQLAlchemy, which MLflow brings, speaks to PostgreSQL, MySQL, SQLite and DuckDB where their drivers are installed.
"""

import datetime
import decimal
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, masking
from components.params import Sql

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Dialect -> the driver that is asked for where the address names none: its module, and the package to install.
DRIVERS = {
    "postgresql": ("psycopg", "psycopg[binary]"),
    "mysql": ("pymysql", "pymysql"),
    "mariadb": ("pymysql", "pymysql"),
    "duckdb": ("duckdb_engine", "duckdb-engine"),
}
ORDERED = (int, float, str, decimal.Decimal, datetime.date)  # a datetime is a date


@dataclass
class Fetched:
    """What a query brought: rows below or at the last watermark, rows above it, and the new watermark."""

    late: Path | None
    new: Path | None
    watermark: Any
    rows: int
    unmarked: int  # rows of the query without a watermark, which never come


def fetch(origin: Sql, last: Any, folder: Path, name: str, root: Path) -> Fetched:
    """Write the rows from the last watermark on, and what `lookback` asks for below it, to Parquet files in a folder.

    A file of a database (SQLite, DuckDB) is looked for from `root`. Raises SlipwayError where the database, its driver,
    the query or its watermark cannot be used.
    """
    with _connected(origin, root) as (connection, prepared):
        low = _low(origin, last)
        writers: dict[bool, _Chunks] = {}
        highest, rows = last, 0
        for part in _parts(connection, prepared, origin, low):
            marks = [row[origin.watermark] for row in part]
            if odd := next((mark for mark in marks if not isinstance(mark, ORDERED)), None):
                raise SlipwayError(
                    f"source.watermark: {origin.watermark} is a {type(odd).__name__}: numbers, times and texts rise"
                )
            rows += len(part)
            try:
                top = max(marks)
                highest = top if highest is None else max(highest, top)
                late = [last is not None and mark <= last for mark in marks]
            except TypeError:
                raise _mixed(origin) from None
            for is_late in (True, False):
                if some := [row for row, own in zip(part, late, strict=True) if own == is_late]:
                    place = folder / ("late" if is_late else "new")
                    writers.setdefault(is_late, _Chunks(place, name)).add(some)
        unmarked = _count(connection, prepared, f"{_quoted(prepared, origin)} IS NULL", {})
    done = {is_late: chunks.joined() for is_late, chunks in writers.items()}
    return Fetched(done.get(True), done.get(False), highest, rows, unmarked)


def waiting(origin: Sql, last: Any, root: Path) -> int:
    """Count the rows above the last watermark."""
    with _connected(origin, root) as (connection, prepared):
        if last is None:
            return _count(connection, prepared, "1 = 1", {})
        return _count(connection, prepared, f"{_quoted(prepared, origin)} > :low", {"low": last})


@contextmanager
def _connected(origin: Sql, root: Path) -> Iterator[tuple["Connection", "_Prepared"]]:
    from sqlalchemy import create_engine, exc
    from sqlalchemy.engine import make_url

    if not (address := origin.address()):
        raise SlipwayError(f"source.database: the environment variable {origin.database[1:]} is not set")
    try:
        url = make_url(address)
    except exc.ArgumentError:
        raise SlipwayError(
            f"source.database: {origin.database}: not an address such as postgresql://user:password@host/database"
        ) from None
    dialect = url.get_backend_name()
    module, package = DRIVERS.get(dialect, ("", ""))
    if module and "+" not in url.drivername:
        if not find_spec(module):
            raise _no_driver(dialect, package)
        if dialect != "duckdb":
            url = url.set(drivername=f"{dialect}+{module}")
    if dialect in ("sqlite", "duckdb") and url.database and not url.database.startswith((":", "file:")):
        url = url.set(database=str(root / url.database))
        if not Path(str(url.database)).exists():  # it would be made
            raise SlipwayError(f"source.database: {url.database}: no such file")
    try:
        engine = create_engine(url)
    except (exc.NoSuchModuleError, ImportError):
        raise _no_driver(dialect, package or dialect) from None
    prepared = _Prepared(engine, origin.query.strip().rstrip(";"))
    try:
        with engine.connect() as connection:
            yield connection, prepared
    except exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        hidden = masking.mask(text.replace(url.password, "***") if url.password else text)
        where = url.render_as_string(hide_password=True)
        raise SlipwayError(f"source: {where}: {hidden}") from None
    finally:
        engine.dispose()


def _no_driver(dialect: str, package: str) -> SlipwayError:
    return SlipwayError(
        f"source.database: the driver for {dialect} is not installed: install {package} (add it to pyproject.toml, "
        "then run `make lock`)"
    )


@dataclass
class _Prepared:
    engine: "Engine"
    query: str

    def select(self, what: str, where: str) -> Any:
        """Return a statement on the rows of the query; a colon in the query is no parameter."""
        from sqlalchemy import text

        query = self.query.replace(":", "\\:")
        return text(f"SELECT {what} FROM ({query}) AS source_rows WHERE {where}")  # noqa: S608 - the user's own query


def _quoted(prepared: _Prepared, origin: Sql) -> str:
    return str(prepared.engine.dialect.identifier_preparer.quote(origin.watermark))


def _count(connection: "Connection", prepared: _Prepared, where: str, values: dict[str, Any]) -> int:
    return int(connection.execute(prepared.select("count(*)", where), values).scalar_one())


def _parts(connection: "Connection", prepared: _Prepared, origin: Sql, low: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in order of the watermark, some at a time; from `low` on, where there is one."""
    mark = _quoted(prepared, origin)
    where = f"{mark} IS NOT NULL" if low is None else f"{mark} >= :low"
    streaming = connection.execution_options(stream_results=True, yield_per=origin.chunk_rows)
    found = streaming.execute(prepared.select("*", f"{where} ORDER BY {mark}"), {} if low is None else {"low": low})
    names = list(found.keys())
    if double := next((name for name in names if names.count(name) > 1), None):
        raise SlipwayError(f"source.query: two columns are called {double}: give one another name (AS)")
    if origin.watermark not in names:
        raise SlipwayError(f"source.watermark: the query has no column {origin.watermark} (it has: {', '.join(names)})")
    for part in found.partitions(origin.chunk_rows):
        yield [dict(zip(names, row, strict=True)) for row in part]


def _low(origin: Sql, last: Any) -> Any:
    """Return the watermark from which rows are read: the last one, less `lookback`."""
    if last is None or not origin.lookback:
        return last
    seconds, back = origin.seconds(), origin.lookback
    wrong = SlipwayError(
        f"source.lookback: {back} does not go with the watermark {origin.watermark}, which is {last!r}: a number for "
        "numbers, such as 2 days for times"
    )
    if seconds is None:
        if isinstance(back, str) or not isinstance(last, int | float | decimal.Decimal):
            raise wrong
        return last - decimal.Decimal(str(back)) if isinstance(last, decimal.Decimal) else last - back
    step = datetime.timedelta(seconds=seconds)
    if isinstance(last, datetime.datetime | datetime.date):
        return last - step
    try:  # SQLite has its times as text
        time = datetime.datetime.fromisoformat(last) - step
    except (TypeError, ValueError):
        raise wrong from None
    if len(last) == len("2026-01-31"):
        return time.date().isoformat()
    return time.isoformat("T" if "T" in last else " ")


def _mixed(origin: Sql) -> SlipwayError:
    return SlipwayError(
        f"source.watermark: the values of {origin.watermark} are of several types, and have no order: cast them in the "
        "query"
    )


class _Chunks:
    """Chunks of rows on disk, which become one Parquet file once the types of all are known."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._schemas: list[pa.Schema] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, rows: list[dict[str, Any]]) -> None:
        columns = {name: _array(name, [_plain(name, row[name]) for row in rows]) for name in rows[0]}
        table = pa.table(columns)
        pq.write_table(table, self._folder / f"{len(self._schemas):06d}.chunk")
        self._schemas.append(table.schema)

    def joined(self) -> Path:
        try:
            schema = pa.unify_schemas(self._schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise SlipwayError(f"source.query: {error}; cast the column in the query") from None
        place = self._folder / f"{self._name}.parquet"
        with pq.ParquetWriter(place, schema) as writer:
            for at in range(len(self._schemas)):
                chunk = self._folder / f"{at:06d}.chunk"
                writer.write_table(pq.read_table(chunk).cast(schema))
                chunk.unlink()
        return place


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError):
        kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        raise SlipwayError(
            f"source.query: the column {name} has values of several types ({kinds}): cast it in the query"
        ) from None


def _plain(name: str, value: Any) -> Any:
    """Return a value as Arrow knows it."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, datetime.time | datetime.timedelta | uuid.UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise SlipwayError(f"source.query: the column {name} holds bytes, which are no feature: leave it out")
    return value
