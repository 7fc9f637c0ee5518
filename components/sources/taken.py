"""What an update took of a source: a hidden file .NAME.source.json beside the Parquet file with the rows.

It gets into the dataset with the rows, in one step, and DVC keeps both in one version: a version of the data knows what
it was made of, and whoever goes back to an older one goes back to its watermark, too. What is known but brought no rows
(a file that is set aside, or that has nothing new) stays in .dvc/tmp until the next rows come.
"""

import datetime
import decimal
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.data import dataset, versions
from components.files import read_json, write_json
from components.params import Origin

LOCAL = "slipway-source.json"


@dataclass(frozen=True)
class File:
    """A file that was looked at: what it was, and what became of it; `why` of one that is set aside."""

    size: int
    stamp: str  # its time or the store's tag of its content
    sha256: str
    outcome: Literal["taken", "aside"]
    why: str = ""
    rows: int | None = None  # of one that was taken by itself; None where an earlier version of Slipway took it


@dataclass
class Taken:
    """What a dataset has of a source."""

    files: dict[str, File] = field(default_factory=dict)  # by their names within the source
    watermark: Any = None
    revision: str = ""  # of another DVC repository
    turn: int = 0  # how many updates brought rows before
    labels: list[str] = field(default_factory=list)  # that rows of the source may have
    pending: dict[str, File] = field(default_factory=dict)  # those of `files` that no version of the data knows yet


def identity(origin: Origin) -> str:
    """Return what a source is, in a line: another one has other files, and another watermark."""
    if origin.kind == "sql":
        return f"sql {origin.database} {' '.join(origin.query.split())} {origin.watermark}"
    where = f"{origin.repo} " if origin.kind == "dvc" else ""
    return f"{origin.kind} {where}{origin.path}"


def read(data: Path, origin: Origin, *, retry: bool = False) -> Taken:
    """Return what the dataset in a folder has of a source; with `retry`, files that were set aside count as new.

    So they do where `ingest` says something else than it did then.
    """
    found = Taken()
    parts = [read_json(path) for path in data.glob(f".*{dataset.SOURCE}")]
    found.turn = len(parts)
    parts.sort(key=lambda part: part["turn"])
    with suppress(OSError, ValueError, KeyError, TypeError):
        local = read_json(_local(data))
        if local["version"] == versions.recorded(data):
            parts.append(local)
    for part in parts:
        if part["source"] != identity(origin):
            continue
        files = {name: File(**values) for name, values in part.get("files", {}).items()}
        if retry or part["ingest"] != origin.ingest:
            files = {name: file for name, file in files.items() if file.outcome != "aside"}
        found.files |= files
        if "version" in part:
            found.pending = files
        found.labels = list(dict.fromkeys((*found.labels, *part.get("labels", ()))))
        mark = decoded(part["watermark"]) if "watermark" in part else None
        if mark is not None and (found.watermark is None or mark > found.watermark):
            found.watermark = mark
        found.revision = part.get("revision", found.revision)
    return found


def text(origin: Origin, taken: Taken) -> str:
    """Return the content of the hidden file for what was taken now."""
    return json.dumps(_plain(origin, taken), indent=1, ensure_ascii=False) + "\n"


def keep(data: Path, origin: Origin, taken: Taken) -> None:
    """Keep, beside the data version that is there now, what is known of files that brought no rows."""
    if _local(data).parents[1].is_dir():
        write_json(_local(data), {**_plain(origin, taken), "version": versions.recorded(data)})


def _plain(origin: Origin, taken: Taken) -> dict[str, Any]:
    found: dict[str, Any] = {"source": identity(origin), "ingest": origin.ingest, "turn": taken.turn}
    if taken.files:
        found["files"] = {name: asdict(file) for name, file in sorted(taken.files.items())}
    if taken.watermark is not None:
        found["watermark"] = encoded(taken.watermark)
    if taken.labels:
        found["labels"] = taken.labels
    if taken.revision:
        found["revision"] = taken.revision
    return found


def _local(data: Path) -> Path:
    return data.resolve().parent / ".dvc" / "tmp" / LOCAL


def encoded(value: Any) -> Any:
    """Return a watermark as JSON can hold it: numbers and texts as they are, times with their type."""
    if isinstance(value, datetime.datetime | datetime.date):
        return {type(value).__name__: value.isoformat()}
    return {"Decimal": str(value)} if isinstance(value, decimal.Decimal) else value


def decoded(value: Any) -> Any:
    """Return the watermark that `encoded` wrote."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "Decimal":
        return decimal.Decimal(content)
    return (datetime.datetime if kind == "datetime" else datetime.date).fromisoformat(content)
