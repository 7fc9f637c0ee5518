"""What somebody changed by hand in a workspace: a run lays its own files there, and keeps the others in git first."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from components import temporary
from components.files import replacing
from flows.machinery import git

NOTE = Path(".dvc/tmp/slipway-laid")  # in a workspace: the tree that a run left there
OWN = (":(exclude)dvc.lock", ":(exclude)data.dvc")  # what runs write
NAMED = 5  # files that are named
IDENTITY = ("-c", "user.name=Slipway", "-c", "user.email=slipway@localhost")


def keep(place: Path) -> None:
    """Keep what differs from what the last run left in a workspace, as a commit with a ref of its own, and say so."""
    before, now = "", ""
    with suppress(OSError):
        before = (place / NOTE).read_text(encoding="utf-8").strip()
    if not before or not (now := _tree(place)):
        return
    changed = git.run("diff-tree", "-r", "-z", "--name-only", before, now, "--", ".", *OWN).split("\0")
    if names := [name for name in changed if name]:
        ref = f"refs/slipway/kept/{place.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        words = ("commit-tree", now, "-p", "HEAD", "-m", f"changed by hand in {place.name}")
        git.run("update-ref", ref, git.run(*IDENTITY, *words, must=True), must=True)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        print(
            f"somebody changed {', '.join(names[:NAMED])}{more} in the workspace of {place.name}: this run has its own "
            f"files there; what they were is kept (`git show {ref}:PATH`)",
            flush=True,
        )


def note(place: Path) -> None:
    """Note what a run leaves in a workspace."""
    if tree := _tree(place):
        with replacing(place / NOTE) as aside:
            aside.write_text(tree, encoding="utf-8")


def _tree(place: Path) -> str:
    """Write the files of a workspace as a tree of git, by an index of its own; empty where there are none."""
    if not (place / ".dvc").is_dir():
        return ""
    common = git.run("rev-parse", "--path-format=absolute", "--git-common-dir")  # it knows no worktree that is pruned
    with temporary.folder() as folder:
        own = {"GIT_DIR": common, "GIT_WORK_TREE": str(place), "GIT_INDEX_FILE": str(folder / "index")}
        for words in (("add", "--all", "."), ("write-tree",)):
            command = ["git", *words]
            done = subprocess.run(command, cwd=place, env=os.environ | own, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()
