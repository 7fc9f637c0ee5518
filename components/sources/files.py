"""Files that come into a folder or a bucket: which are new, which are still being written, their content here.

fsspec reads local folders at once; s3://, gs://, abfs:// and sftp:// where the package of their driver is installed.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components import SlipwayError
from components.data import dataset, versions
from components.params import Dvc, Files
from components.sources.taken import Taken

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".download", ".filepart", ".writing", ".uploading", ".lock")
DRIVERS = {  # scheme -> the package to install
    "s3": "dvc-s3",
    "s3a": "dvc-s3",
    "gs": "dvc-gs",
    "gcs": "dvc-gs",
    "abfs": "dvc-azure",
    "abfss": "dvc-azure",
    "az": "dvc-azure",
    "adl": "dvc-azure",
    "sftp": "dvc-ssh",  # which brings sshfs, and DVC's driver for remotes
    "ssh": "dvc-ssh",
}
MAGIC = "*?["  # of a pattern
STAMPS = ("ETag", "etag", "md5", "content_hash", "mtime", "LastModified", "last_modified", "updated")
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Found:
    """A file as its store lists it."""

    name: str  # within the source
    path: str  # in its file system
    size: int
    stamp: str
    written: float | None  # seconds since 1970; None where the store does not say


@dataclass
class Listing:
    """What lies in a source: files that are new or changed, and those that are left for the next time, with why."""

    system: "AbstractFileSystem"
    new: list[Found] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)  # the names of all
    revision: str = ""  # of another DVC repository


def listing(origin: Files | Dvc, taken: Taken, root: Path) -> Listing:
    """List what is new in a source; paths of this machine are those from `root`.

    Raises SlipwayError where it cannot be reached, or its driver is not installed.
    """
    if isinstance(origin, Dvc):
        repo = origin.repo
        if "://" not in repo and ":" not in repo and not Path(repo).is_absolute():
            repo = str(root / repo)
        system, revision = versions.other_repository(repo, origin.revision)
        base, settle = "/" + origin.path.strip("/"), 0.0
    else:
        system, base = _opened(origin.path, root)
        revision, settle = "", origin.settle
    found = Listing(system, revision=revision)
    now = time.time()
    for file in _files(system, base, origin):
        found.there.add(file.name)
        before = taken.files.get(file.name)
        if before is not None and (before.size, before.stamp) == (file.size, file.stamp):
            continue
        if file.name.lower().endswith(UNFINISHED):
            found.left[file.name] = "its name says that it is not complete"
        elif file.written is not None and abs(now - file.written) < settle:
            found.left[file.name] = f"written {max(0.0, now - file.written):.0f} seconds ago (source.settle)"
        else:
            found.new.append(file)
    return found


def _opened(path: str, root: Path) -> tuple["AbstractFileSystem", str]:
    from fsspec.core import url_to_fs

    scheme = urlsplit(path).scheme if "://" in path else ""
    try:
        system, base = url_to_fs(path if scheme else str(root / Path(path).expanduser()))
    except ImportError as error:
        package = DRIVERS.get(scheme, "")
        how = f"install {package} (add it to pyproject.toml, then run `make lock`)" if package else str(error)
        raise SlipwayError(f"source.path: {path}: the driver for {scheme}:// is not installed: {how}") from None
    except ValueError as error:
        raise SlipwayError(f"source.path: {path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        raise SlipwayError(f"source.path: {path}: cannot be reached: {_short(error)}") from None
    return system, str(base)


def _files(system: "AbstractFileSystem", path: str, origin: Files | Dvc) -> list[Found]:
    """List the files below a path, in order of their names; hidden ones and junk are none."""
    steps = path.split("/")
    magic = next((at for at, step in enumerate(steps) if any(sign in step for sign in MAGIC)), len(steps))
    base, pattern = "/".join(steps[:magic]), "/".join(steps[magic:])
    try:
        system.invalidate_cache()
        if system.isfile(base):
            listed = {base: system.info(base)}
            base = base.rpartition("/")[0]
        else:
            if not system.isdir(base or "/"):
                where = "" if base == origin.path else f" ({base})"  # a relative path is one of the project's root
                raise SlipwayError(f"source.path: {origin.path}: no such folder{where}")
            listed = system.find(base or "/", detail=True)
    except SlipwayError:
        raise
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        raise SlipwayError(f"source.path: {origin.path}: cannot be reached: {_short(error)}") from None
    found = []
    for full, info in sorted(listed.items()):
        name = full.removeprefix(base).lstrip("/")
        hidden = any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        if hidden or dataset.is_junk(name) or (pattern and not fnmatchcase(name, pattern)):
            continue
        if isinstance(origin, Dvc) and name.endswith(".dvc"):
            continue
        info = {**info.get("dvc_info", {}), **info}  # noqa: PLW2901
        stamp = next((str(info[key]) for key in STAMPS if info.get(key) is not None), "")
        written = next((_seconds(info[key]) for key in TIMES if info.get(key) is not None), None)
        found.append(Found(name, full, int(info.get("size") or 0), stamp, written))
    return found


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, date) else None


def fetched(listed: Listing, file: Found, folder: Path) -> tuple[Path, str] | None:
    """Copy a file into a folder, under its name; return it with the SHA-256 of its content.

    None where it changed meanwhile, or has gone: it is left for the next time. Raises SlipwayError where its store
    cannot be reached.
    """
    place = folder / file.name
    place.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    size = 0
    try:
        with listed.system.open(file.path, "rb") as source, place.open("wb") as target:
            while block := source.read(2**20):
                digest.update(block)
                size += len(block)
                target.write(block)
        if not listed.revision:
            listed.system.invalidate_cache()
            now = listed.system.info(file.path)
            stamp = next((str(now[key]) for key in STAMPS if now.get(key) is not None), "")
            if (int(now.get("size") or 0), stamp) != (file.size, file.stamp) or size != file.size:
                place.unlink()
                return None
    except FileNotFoundError:
        place.unlink(missing_ok=True)
        return None
    except PermissionError as error:
        raise SlipwayError(f"{file.path}: may not be read: {_short(error)}") from None
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        raise SlipwayError(f"{file.path}: cannot be read: {_short(error)}") from None
    return place, digest.hexdigest()


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def size(files: Iterable[Found]) -> str:
    """Return the bytes of files, in MB."""
    return f"{sum(file.size for file in files) / 1e6:,.1f} MB"
