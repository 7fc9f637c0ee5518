"""What the flows ask of git."""

import subprocess
from pathlib import Path

from components import SlipwayError


def run(*arguments: str, at: Path = Path(), must: bool = False, given: str | None = None) -> str:
    """Return what git prints; `must`: SlipwayError where it fails, else an empty text. `given` is its input."""
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]  # a hook is for what people do
    done = subprocess.run(
        command, check=False, cwd=at, capture_output=True, input=given, encoding="utf-8", errors="surrogateescape"
    )
    if done.returncode and must:
        raise SlipwayError(f"git {arguments[0]}: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout.strip("\n")


def commit(revision: str) -> str:
    """Return the commit that a revision stands for; SlipwayError where there is none."""
    found = "" if revision.startswith("-") else run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not found and not run("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        raise SlipwayError("this repository has no commit yet, and a workspace needs one: commit first")
    if not found:
        raise SlipwayError(f"{revision!r} is no revision of this repository; `git log` and `git branch` list them")
    return found


def holds(revision: str, path: Path) -> bool:
    """Return whether a revision has this file."""
    return bool(run("rev-parse", "--verify", "--quiet", f"{commit(revision)}:{path.as_posix()}"))


def content(revision: str, path: Path) -> bytes | None:
    """Return the content of a revision's file; None where it has none of that name."""
    done = subprocess.run(["git", "show", f"{revision}:{path.as_posix()}"], check=False, capture_output=True)
    return None if done.returncode else done.stdout


def listed(folder: Path, *paths: str) -> set[str]:
    """Return the files that git tracks or could track in a folder, as they lie there."""
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    return {path for path in run(*words, at=folder).split("\0") if path and (folder / path).is_file()}


def uncommitted(*new: str) -> list[str]:
    """Return the tracked files that differ from HEAD, and those in the folders `new` that git does not know yet."""
    changed = run("diff", "--name-only", "-z", "HEAD", "--").split("\0")
    others = run("ls-files", "-z", "--others", "--exclude-standard", "--", *new).split("\0")
    return sorted({path for path in (*changed, *others) if path})
