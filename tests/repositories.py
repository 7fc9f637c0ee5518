"""DVC repositories for tests, in a tenth of the time that it takes to initialise one and to open it again and again."""

import atexit
import contextlib
import functools
import logging
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile import state

KEPT = 4  # databases that stay open

State = state.State
_open: dict[str, tuple[int, Any]] = {}


def blank(path: Path, git: bool = True) -> None:
    """Make a folder a DVC repository, of git or of none, by a copy of one; what is there stays."""
    logging.getLogger("dvc").setLevel(logging.WARNING)  # its handler may hold the closed stdout of an earlier test
    shutil.copytree(_template(git), path, copy_function=_copy, dirs_exist_ok=True)


def _copy(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy(source, target)


@functools.cache
def _template(git: bool) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if git:
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        for sample in (folder / ".git/hooks").iterdir():
            sample.unlink()
    with contextlib.redirect_stdout(None):
        Repo.init(str(folder), no_scm=not git).close()
    return folder


def _kept(root_dir: str | None = None, tmp_dir: str | None = None, ignore: Any = None) -> Any:
    """Give a repository the open databases that it had the last time: DVC's own, which it opens in 150 statements."""
    if tmp_dir is None:
        return State(root_dir, tmp_dir, ignore)
    file = Path(tmp_dir, "links/cache.db")
    number, found = _open.pop(tmp_dir, (0, None))
    if found is None or not file.exists() or file.stat().st_ino != number:
        found = State(root_dir, tmp_dir, ignore)
        setattr(found, "close", lambda: None)  # noqa: B010 - for the type checker: a method
    found.ignore = ignore
    _open[tmp_dir] = (file.stat().st_ino, found)
    while len(_open) > KEPT:
        _, oldest = _open.pop(next(iter(_open)))
        State.close(oldest)
    return found


state.State = _kept  # type: ignore[assignment, misc]
