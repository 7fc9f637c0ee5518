"""Locks between processes of a project: files in .dvc/tmp, which no other user and no other project has."""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from components import SlipwayError

# What flock(2) fails with where a file system has no locks: some network and container file systems.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def alone(path: Path, waiting: str, refusal: str = "") -> Iterator[bool]:
    """Hold a lock for the block; first wait for the process that holds it, and say so.

    In `waiting` and `refusal`, {holder} stands for who holds it. With a `refusal` nothing waits: SlipwayError with that
    text. Yields whether there is a lock: where the file system has none, a warning says so and the block runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        held = _locked(file, path, waiting, refusal)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield held
        finally:
            file.truncate(0)


def _locked(file: IO[str], path: Path, waiting: str, refusal: str) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        if refusal:
            raise SlipwayError(refusal.format(holder=holder)) from None
        print(waiting.format(holder=holder), flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        print(
            f"warning: {path.parent}: its file system has no locks ({os.strerror(error.errno)}), so nothing keeps two "
            "commands apart here: start one at a time",
            file=sys.stderr,
        )
        return False
    return True


def holder(path: Path) -> str:
    """Say who holds a lock, as `alone` writes it; empty where nobody does, or the file system has no locks."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except OSError:
        pass
    return ""


def place(root: Path, name: str) -> Path:
    """Return the lock file of a name in a project: in .dvc/tmp, hidden in the folder itself where there is no DVC."""
    return root / ".dvc" / "tmp" / f"slipway-{name}.lock" if (root / ".dvc").is_dir() else root / f".{name}.lock"
