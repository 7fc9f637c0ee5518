"""The checkout that a flow works in: its lock, DVC's repository on it, the flow's child processes."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, conflicts, files
from flows.machinery.process import Children, Running

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass
class Checkout:
    """An opened checkout; `early` is what was started in it before the flow run began, `trust` is register's option."""

    repo: "Repo"
    children: Children
    early: Running | None = None
    trust: bool = False


_opened: list[Checkout] = []  # the one of this process, which holds the lock


@contextmanager
def opened() -> Iterator[Checkout]:
    """Open the checkout of the current folder, for one flow at a time; inside an opened one, yield that.

    Waits for another run that works in it, and says which. Ends the children that still run on leaving.
    Raises SlipwayError where the folder is no DVC repository.
    """
    if _opened:
        try:
            yield _opened[0]
        except BaseException:
            _opened[0].children.end()  # now: Prefect waits for the tasks that wait for them
            raise
        return
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    conflicts.must_be_solved()
    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        repo = Repo()
    except NotDvcRepoError:
        raise SlipwayError(f"{Path.cwd()} is not a DVC repository: run this in the project's root") from None
    with alone(Path(repo.tmp_dir, "slipway.lock")), Children() as children:
        files.sweep(Path(), *(Path(place) for place, *_ in os.walk("build")))  # of processes that were killed
        _opened.append(Checkout(repo, children))
        try:
            yield _opened[0]
        finally:
            _opened.clear()
            repo.close()


@contextmanager
def alone(path: Path, refusal: str = "") -> Iterator[None]:
    """Hold a lock for the block; first wait for the run that holds it, and say which it is.

    With a `refusal` nothing waits: SlipwayError with that text, in which {holder} stands for who holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if refusal:
                raise SlipwayError(refusal.format(holder=holder)) from None
            print(f"another run is using this checkout ({holder}); waiting until it ends", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
