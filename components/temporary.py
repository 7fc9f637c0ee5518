"""Temporary files and folders that name their owner, so that those of a killed process are found and removed.

An owner is a process: its id, its start (ids are used again), and where that id is known (a container has ids of its
own). Nothing of a living process, or of another user, is ever touched.
"""

import functools
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OWNER_PATTERN = r"(\d+)-(\d+)-([0-9a-f]{4})"
ELSEWHERE_SECONDS = 86_400  # after which what a process elsewhere has not touched is taken for abandoned


def owner() -> str:
    """Return what stands for this process in names and records: `PID-START-PLACE`."""
    pid = os.getpid()
    return f"{pid}-{_started(pid) or 0}-{_place()}"


def is_dead(owner: str, touched: float | None = None) -> bool:
    """Return whether the process that an `owner()` stands for has ended.

    Of a process elsewhere (another machine or container) that is not known: its things count as dead a day after
    they were last `touched`, a time as time.time() has it; None where that is not known either.
    """
    found = re.fullmatch(OWNER_PATTERN, owner)
    if not found:
        return False
    pid, start, place = int(found[1]), int(found[2]), found[3]
    if place != _place():
        return touched is not None and time.time() - touched > ELSEWHERE_SECONDS
    return _started(pid) != start


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a new folder, for this user alone, in the system's place for temporary files; removed on leaving.

    Those that killed processes of this user left there are removed first.
    """
    base = Path(tempfile.gettempdir())
    _sweep_base(base)
    with tempfile.TemporaryDirectory(prefix=f"slipway-{owner()}-", dir=base, ignore_cleanup_errors=True) as name:
        yield Path(name)


@functools.cache
def _sweep_base(base: Path) -> None:
    for path in leftovers(base):
        with suppress(OSError):  # another run sweeps at the same time
            remove(path)


def leftovers(base: Path | None = None) -> Iterator[Path]:
    """List what killed processes of this user left in a place for temporary files, by default the system's."""
    for path in (base or Path(tempfile.gettempdir())).glob("slipway-*"):
        found = re.fullmatch(rf"slipway-({OWNER_PATTERN})-\w+", path.name)
        with suppress(OSError):  # another run sweeps at the same time
            if found and path.lstat().st_uid == os.getuid() and is_dead(found[1], last_touched(path)):
                yield path


def last_touched(path: Path) -> float:
    """Return when a file, or anything in a folder, was last written; as time.time()."""
    found = path.lstat().st_mtime
    for place, folders, names in os.walk(path):
        for name in (*folders, *names):
            with suppress(FileNotFoundError):
                found = max(found, Path(place, name).lstat().st_mtime)
    return found


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _started(pid: int) -> int | None:
    """Return when a process started, by no clock that may be set; None where there is no such process."""
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = text.rpartition(b")")[2].split()  # proc(5): from field 3, the state, on; 22 is the start in ticks
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 1000)
    except psutil.Error:
        return None


@functools.cache
def _place() -> str:
    """Return four digits for where this process's id is known: the machine, and on Linux the space of its ids."""
    try:
        ids = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        ids = ""
    return hashlib.sha256(f"{os.uname().nodename} {ids}".encode()).hexdigest()[:4]
