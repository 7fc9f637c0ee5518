"""The section `source` of params.yaml: where new data comes from by itself; docs/operations.md describes it."""

import os
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from components.params.base import Section

Text = Annotated[str, Field(min_length=1)]
Lookback = Annotated[int | float | str, Field(union_mode="left_to_right")]
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
DURATION = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(UNITS)})s?")


class From(Section):
    """What all sources have in common."""

    ingest: Text  # what `slipway ingest` is told, but for the file: table --label income
    required: bool = True  # false: a run goes on with the data that it has where the source cannot be reached


class Files(From):
    """A folder or a bucket into which files come."""

    kind: Literal["files"]
    path: Text  # a folder, or s3://, gs://, abfs:// or sftp://; may end in a pattern such as *.csv
    settle: Annotated[float, Field(ge=0)] = 5.0  # seconds for which a file must not have been written


class Sql(From):
    """A query on a database; a column says which of its rows are new."""

    kind: Literal["sql"]
    database: Text  # $NAME, an environment variable with the address; or an address without a password
    query: Text
    watermark: Text  # column that rises with each new row, such as an id or the time of the last change
    lookback: Lookback = 0  # how far below the last watermark rows are read again: a number, or such as 2 days
    chunk_rows: Annotated[int, Field(ge=1)] = 50_000  # rows in memory at a time

    @field_validator("database")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if value.startswith("$"):
            if not value[1:].isidentifier():
                raise ValueError("expected $NAME, the name of an environment variable")
            return value
        if "://" not in value:
            raise ValueError("expected $NAME, an environment variable, or an address such as sqlite:///shop.db")
        try:
            password = urlsplit(value).password
        except ValueError:
            password = None
        if password:  # not shown in the error
            raise ValueError(
                "an address with a password does not belong into a file: put it into an environment variable, and "
                "name that here, such as $SHOP_DATABASE"
            )
        return value

    @field_validator("lookback")
    @classmethod
    def _duration(cls, value: int | float | str) -> int | float | str:
        if (isinstance(value, str) and not DURATION.fullmatch(value)) or (not isinstance(value, str) and value < 0):
            raise ValueError(f"expected a number, or a number and a unit ({', '.join(UNITS)}), such as 2 days")
        return value

    def address(self) -> str:
        """Return the address of the database; empty where its environment variable is not set."""
        return os.environ.get(self.database[1:], "") if self.database.startswith("$") else self.database

    def seconds(self) -> float | None:
        """Return `lookback` in seconds where it is a duration."""
        found = DURATION.fullmatch(self.lookback) if isinstance(self.lookback, str) else None
        return float(found[1]) * UNITS[found[2]] if found else None


class Dvc(From):
    """A file or folder that another DVC repository keeps."""

    kind: Literal["dvc"]
    repo: Text  # its address or folder, as git clone takes it
    path: Text  # in that repository
    revision: str | None = None  # branch, tag or commit; null: its default branch


Origin = Files | Sql | Dvc
