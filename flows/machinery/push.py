"""The flow's push: its experiment, with data and outputs, to the remotes, where DVC's exp.auto_push is on.

What could not be pushed never fails a run. It is noted, in .dvc/tmp/slipway-push/NAME, and the next run pushes it.
"""

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components import files
from components.masking import mask
from components.tracking import connection
from flows.machinery import git, stages
from flows.machinery.checkout import Checkout
from flows.machinery.process import guarded
from flows.machinery.stages import Outcome, TaskError

if TYPE_CHECKING:
    from dvc.repo import Repo

NOT_PUSHED = "not pushed"


def run(work: Checkout) -> list[Outcome]:
    """Push this run's experiment, and those that earlier runs could not push, as a task of the flow run that calls.

    No outcome where DVC's exp.auto_push is off.
    """
    if not wanted(work.repo):
        return []
    notes: list[str] = []
    task = stages.submit("push", partial(_push, work, notes), description="push the experiment and its data")
    return [replace(outcome, note="\n".join(notes)) for outcome in stages.outcomes({"push": task})]


def wanted(repo: "Repo") -> bool:
    """Tell whether experiments are pushed."""
    from dvc.env import DVC_EXP_AUTO_PUSH
    from dvc.utils import env2bool

    return bool(env2bool(DVC_EXP_AUTO_PUSH, repo.config["exp"].get("auto_push", False)))


def _push(work: Checkout, notes: list[str]) -> str:
    """Push what waits; return what was done. `notes` gets what the summary is to say."""
    try:
        left, why, done = _all(work)
    except OSError as error:  # such as a disk that is full
        left, why, done = [work.experiment], f"{error.filename}: {error.strerror}", False
    if left:
        notes.append(f"not pushed: {', '.join(left)}: {why}; the next run tries again")
        print(f"warning: {notes[0]}", flush=True)
        return NOT_PUSHED
    return "pushed" if done else "unchanged"


def _all(work: Checkout) -> tuple[list[str], str, bool]:
    """Push this run's experiment, then those that wait; return which are left, why, and whether any was pushed."""
    git_remote = _git_remote(work.repo)
    to, why = _destination(work.repo, git_remote)
    marks = connection.root() / ".dvc" / "tmp" / "slipway-push"
    marks.mkdir(parents=True, exist_ok=True)
    own = marks / work.experiment
    if not own.exists() or own.read_text(encoding="utf-8") != to:
        _mark(own, "")
    waiting = [own] if not own.read_text(encoding="utf-8") else []
    waiting += [mark for mark in _marks(marks) if mark != own and not mark.read_text(encoding="utf-8")]
    if why:
        return [mark.name for mark in waiting], why, False
    left: list[str] = []
    for mark in waiting:
        if left == [own.name]:  # the remote is away: the others need not find that, too
            left += [other.name for other in waiting[1:]]
            break
        print(f"push: {mark.name} to {to}", flush=True)
        command = guarded(str(Path(__file__).with_name("upload.py")), mark.name, git_remote)
        try:
            stages.follow("push", work.children.start(command), work.children)
        except TaskError as error:
            if work.children.ended:
                raise
            left.append(mark.name)
            why = why or str(error).removeprefix("push: ").removeprefix("error: ")
        else:
            _mark(mark, to)
    return left, why, len(left) < len(waiting)


def _mark(path: Path, to: str) -> None:
    """Note where an experiment has been pushed to; empty: it waits for that."""
    with files.replacing(path) as aside:
        aside.write_text(to, encoding="utf-8")


def _marks(folder: Path) -> list[Path]:
    """List what is noted, the oldest first; what is noted of experiments that are gone is removed, and told."""
    there = set(git.run("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").splitlines())
    found = []
    for mark in sorted(folder.glob("[!.]*"), key=lambda path: (path.stat().st_mtime, path.name)):
        if mark.name in there:
            found.append(mark)
            continue
        with suppress(FileNotFoundError):  # another run of another model does the same
            if not mark.read_text(encoding="utf-8"):
                print(f"warning: the experiment {mark.name} was removed before it could be pushed", flush=True)
            mark.unlink()
    return found


def _git_remote(repo: "Repo") -> str:
    from dvc.env import DVC_EXP_GIT_REMOTE

    return str(os.environ.get(DVC_EXP_GIT_REMOTE) or repo.config["exp"].get("git_remote") or "origin")


def _destination(repo: "Repo", git_remote: str) -> tuple[str, str]:
    """Return in words where a push goes, and what is wrong with that; nothing is, if that is empty."""
    name = repo.config["core"].get("remote")
    remote = repo.config["remote"].get(name, {})
    to = mask(f"DVC remote {name} ({remote.get('url', '')}) and git remote {git_remote} ({_address(git_remote)})")
    if not remote:
        return to, "DVC has no default remote; `dvc remote add --default NAME URL` sets one"
    url = str(remote.get("url", ""))
    if Path(url).is_absolute() and Path(url).resolve().is_relative_to(connection.root().resolve()):
        return to, (
            f"DVC's default remote {name} is a folder of this project itself ({url}); `dvc remote add --default NAME "
            "URL` sets another one"
        )
    if not _address(git_remote):
        return to, f"git has no remote {git_remote}; `dvc config --local exp.git_remote NAME` names another one"
    return to, ""


def _address(git_remote: str) -> str:
    return git.run("remote", "get-url", git_remote)
