"""Booleans, times and files as requests hold them: MLflow's own conversion would change them, or refuse all rows."""

import datetime
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import pandas

TRUTHS = {"true": True, "false": False, "1": True, "0": False}
DATE = pa.timestamp("us")


def taken(frame: "pandas.DataFrame", columns: pa.Schema) -> tuple[dict[str, pa.Array], dict[int, str]]:
    """Return the booleans, times and files of a DataFrame, and by row what is none.

    A boolean is true or false, 1 or 0, or the text of these; a time is a datetime or ISO 8601 text, in UTC where it
    has an offset, as at an ingest. None, NaN, NaT and an empty text are missing; so is a file without a byte, since
    MLflow's server takes no null in its place.
    """
    found: dict[str, pa.Array] = {}
    problems: dict[int, str] = {}
    for field in columns:
        if field.name not in frame.columns:
            continue
        if field.type == pa.binary():
            contents = frame[field.name].tolist()
            found[field.name] = pa.array(
                [None if _is_missing(each) or not each else each for each in contents], pa.binary()
            )
        if not (pa.types.is_boolean(field.type) or field.type == DATE):
            continue
        read, noun = (_truth, "true or false") if pa.types.is_boolean(field.type) else (_time, "a time in ISO 8601")
        values = []
        for row, value in enumerate(frame[field.name].tolist()):
            try:
                values.append(None if _is_missing(value) else read(value))
            except (ValueError, KeyError, TypeError, OverflowError):
                values.append(None)
                problems.setdefault(row, f"{field.name}: {str(value)[:100]!r} is not {noun}")
        found[field.name] = pa.array(values, field.type)
    return found, problems


def _is_missing(value: Any) -> bool:
    nat = type(value).__name__ in ("NaTType", "NAType")
    return value is None or nat or (isinstance(value, float) and math.isnan(value)) or value == ""


def _truth(value: Any) -> bool:
    return TRUTHS[str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()]


def _time(value: Any) -> datetime.datetime:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    elif not isinstance(value, datetime.datetime):
        raise TypeError
    time: datetime.datetime = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    return time.astimezone(datetime.UTC).replace(tzinfo=None) if time.tzinfo else time
