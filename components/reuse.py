"""What a stage has found of parts of single files, kept so that only new files are worked through again.

A result lies in .stage_cache/MODEL/STAGE/, in the project's root, so that workspaces share it. Its name is a digest of
all that it depends on: the file's content, the settings, the code of components/ that the stage and the recipe import,
the versions of the libraries. So a result is used where all of that is the same, or not at all. What cannot be read is
made anew, and what cannot be kept is only told: the stage's own results never depend on it.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import files, shipped, surroundings

FOLDER = ".stage_cache"
PACKAGES = ("great-expectations", "numpy", "pandas", "pillow", "pyarrow", "scipy", "soundfile", "tokenizers")
DIGEST_BYTES = hashlib.sha256().digest_size
FREE_BYTES = 2e9  # of the disk that are left to the stage's own results
FEW_ROWS, FEW_BYTES = 20_000, 10e6  # that one process works through in the time that others take to start
LOADED = time.time()  # code that was written later is not what runs here
CLOCK_SECONDS = 2.0  # by which the times of files may lag behind the clock


@dataclass(frozen=True)
class Store:
    """Where a stage keeps results, and what all of them depend on; without a folder nothing is kept."""

    folder: Path | None
    shared: str = ""


@dataclass(frozen=True)
class Source:
    """A file of the dataset: the digest of its content, and how the file looked when that was taken."""

    path: Path
    digest: str
    state: tuple[int, ...]


@dataclass(frozen=True)
class Slot:
    """The place of one result."""

    path: Path
    source: Source


@contextmanager
def store(stage: str, recipe: str, name: str, settings: Any, gigabytes: float, more: Iterable[str]) -> Iterator[Store]:
    """Yield the store of a stage for the model `name`; on leaving, it is cut down to `gigabytes`.

    `settings` are what all results depend on, `more` the packages that the recipe names beside PACKAGES.
    """
    folder = surroundings.root() / FOLDER / name / stage
    with suppress(OSError):  # `put` will tell
        files.sweep(folder)  # what killed runs left
    if not gigabytes or os.environ.get(surroundings.REUSE) == "0":
        yield Store(None)
        return
    began = time.time() - CLOCK_SECONDS
    paths = shipped.stage(stage, recipe)
    if max(path.stat().st_mtime for path in paths) > LOADED:
        print("the code was changed after this run began: nothing is reused or kept", flush=True)
        yield Store(None)
        return
    code = [(path.relative_to(shipped.PACKAGE).as_posix(), files.sha256(path)) for path in paths]
    machine = (sys.version, platform.machine(), np.show_config(mode="dicts")["SIMD Extensions"])
    versions = [(package, _version(package)) for package in sorted({*PACKAGES, *more})]
    try:
        yield Store(folder, digest(recipe, settings, code, machine, versions))
    finally:
        _cut(folder, gigabytes * 1e9, began)


def digest(*values: Any) -> str:
    """Hash plain values and arrays: 64 hex digits."""
    plain = [
        (value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest())
        if isinstance(value, np.ndarray)
        else value
        for value in values
    ]
    return hashlib.sha256(repr(plain).encode("utf-8", "surrogatepass")).hexdigest()


def sources(kept: Store, paths: Iterable[Path]) -> dict[Path, Source]:
    """Take the digests of files; none where nothing is kept."""
    return {} if kept.folder is None else {path: Source(path, files.sha256(path), _state(path)) for path in paths}


def slot(kept: Store, source: Source | None, *what: Any) -> Slot | None:
    """Return the place of a result about a file that depends on `what`; None where nothing is kept."""
    if kept.folder is None or source is None:
        return None
    return Slot(kept.folder / digest(kept.shared, source.digest, *what), source)


def workload(rows: int, paths: Iterable[Path]) -> int:
    """Return the rows of files that are to be worked through; 0 where starting other processes would cost more."""
    return rows if rows > FEW_ROWS or sum(path.stat().st_size for path in {*paths}) > FEW_BYTES else 0


def has(place: Slot | None) -> bool:
    """Return whether there is a result; `get` may still find it damaged."""
    return place is not None and os.path.exists(place.path)  # noqa: PTH110 - false too where it cannot be looked at


def get(place: Slot | None) -> bytes | None:
    """Read a result; None where there is none. One that is damaged is told and removed."""
    if place is None:
        return None
    try:
        content = place.path.read_bytes()
        os.utime(place.path)  # when it was used last
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _tell(f"{place.path.parent}: what is kept there cannot be read ({error.strerror}), so it is made anew")
        return None
    if content[:DIGEST_BYTES] == _seal(place.path, content[DIGEST_BYTES:]):
        return content[DIGEST_BYTES:]
    print(f"{place.path}: damaged, so it is made anew", flush=True)
    place.path.unlink(missing_ok=True)
    return None


def put(place: Slot | None, content: bytes | pa.Buffer) -> None:
    """Keep a result, whole or not at all; where that fails, or the file has changed meanwhile, it is not kept."""
    if place is None or _state(place.source.path) != place.source.state:
        return
    try:
        place.path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(place.path.parent).free < FREE_BYTES + len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with files.beside(place.path) as aside:
            with aside.open("wb") as file:
                file.write(_seal(place.path, content))
                file.write(content)
            files.sync(aside)
            aside.replace(place.path)
    except OSError as error:
        _tell(f"{place.path.parent}: nothing more is kept there ({error.strerror}): the next run does this work again")


def entries(folder: Path) -> list[Path]:
    """List the results under a folder."""
    return [path for path in folder.rglob("*") if re.fullmatch("[0-9a-f]{64}", path.name) and path.is_file()]


def _seal(path: Path, content: bytes | pa.Buffer) -> bytes:
    seal = hashlib.sha256(path.name.encode())
    seal.update(content)
    return seal.digest()


def _state(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@cache
def _tell(text: str) -> None:
    print(text, flush=True)  # once, not for each result


def _cut(folder: Path, limit: float, began: float) -> None:
    """Remove results until the rest takes no more than `limit` bytes.

    First those that this run did not use, the oldest first; then the last ones of this run, so that the next finds the
    first ones again.
    """
    found = []
    for path in entries(folder):
        with suppress(FileNotFoundError):  # another run cuts at the same time
            about = path.stat()
            found.append((about.st_mtime >= began, about.st_mtime, about.st_size, path))
    found.sort(key=lambda each: (each[0], -each[1] if each[0] else each[1]))
    over = sum(size for _, _, size, _ in found) - limit
    lost = 0
    for used, _, size, path in found:
        if over <= 0:
            break
        path.unlink(missing_ok=True)
        over -= size
        lost += used
    if lost:
        print(
            f"{folder}: clean.keep_gb ({limit / 1e9:g}) is too little for the dataset: {lost:,} of "
            f"{sum(used for used, *_ in found):,} results are not kept, and made anew by the next run"
        )
