"""The checkout that a flow works in: its lock, DVC's repository on it, the flow's child processes."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, conflicts, files, locks
from flows.machinery.process import Children, Running

if TYPE_CHECKING:
    from dvc.repo import Repo

DVC_ASIDE = re.compile(r"\.[\w-]{22}\.tmp")  # what DVC is writing: dvc_objects.fs.utils.tmp_fname
ABANDONED_SECONDS = 3600.0  # that such a file was not written to: the DVC that made it was killed
WAITING = "another run is using this checkout ({holder}); waiting until it ends"


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
    with locks.alone(Path(repo.tmp_dir, "slipway.lock"), WAITING) as held, Children() as children:
        if not (held or repo.config["core"].get("hardlink_lock")):
            raise SlipwayError(
                f"{repo.tmp_dir}: its file system has no locks, and DVC needs them: `rm -f .dvc/tmp/*lock; dvc config "
                "--local core.hardlink_lock true` lets it do without, or move the project to a local disk"
            )
        files.sweep(Path(), *(Path(place) for place, *_ in os.walk("build")))  # of processes that were killed
        _sweep_cache(Path(repo.cache.local.path))
        _keep_whole(Path(repo.tmp_dir))
        _opened.append(Checkout(repo, children))
        try:
            yield _opened[0]
        finally:
            _opened.clear()
            repo.close()


def _sweep_cache(cache: Path) -> None:
    """Remove what DVCs that were killed left half written in the cache: nothing else ever would."""
    for place, _, names in os.walk(cache):
        for path in (Path(place, name) for name in names if DVC_ASIDE.fullmatch(name)):
            with suppress(OSError):  # of another user, or just finished
                if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


def _keep_whole(room: Path) -> None:
    """Keep a copy of what DVC writes in place; use it where a DVC that was killed left a file cut short.

    Stages that are then missing in dvc.lock come back from DVC's cache, without being run.
    """
    for path in (Path("dvc.lock"), Path("data.dvc")):
        copy = room / f"slipway-{path.name}"
        content = path.read_bytes() if path.exists() else b"\n"
        if not content.endswith(b"\n") and copy.exists():
            with files.replacing(path) as aside:
                aside.write_bytes(copy.read_bytes())
            print(f"{path} was cut short by a DVC that was killed; its last whole version is restored", flush=True)
        elif path.exists() and content.endswith(b"\n") and (not copy.exists() or copy.read_bytes() != content):
            with files.replacing(copy) as aside:
                aside.write_bytes(content)
