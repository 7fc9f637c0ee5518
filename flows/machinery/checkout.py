"""The checkout that a flow works in: its lock, DVC's repository on it, the flow's child processes."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, conflicts, files, locks
from flows.machinery import aftermath
from flows.machinery.process import Children, Running

if TYPE_CHECKING:
    from dvc.repo import Repo

WAITING = "another run is using this checkout ({holder}); waiting until it ends"


@dataclass
class First:
    """A stage that began before the flow run; `started` and `ended` as time.perf_counter() has them."""

    name: str
    running: Running
    started: float = field(default_factory=time.perf_counter)
    ended: float = 0.0

    def __post_init__(self) -> None:
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()

    def _wait(self) -> None:
        self.running.wait()
        self.ended = time.perf_counter()

    def seconds(self) -> float:
        """Wait for its end; return how long it took, whenever its words are read."""
        self._watch.join()
        return self.ended - self.started


@dataclass
class Checkout:
    """An opened checkout; `trust` is register's option.

    `early` is what was started in it before the flow run began, to register; `first` the first stage, where that was.
    `began` is when the checkout was opened, as time.time() has
    it, `flow_run` the id of Prefect's run in it, `experiment` the name of the experiment that it saved.
    """

    repo: "Repo"
    children: Children
    early: Running | None = None
    first: First | None = None
    trust: bool = False
    began: float = field(default_factory=time.time)
    flow_run: str = ""
    experiment: str = ""


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
        aftermath.repair(repo)
        _opened.append(Checkout(repo, children))
        try:
            yield _opened[0]
        finally:
            _opened.clear()
            repo.close()
