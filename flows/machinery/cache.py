"""What DVC's cache holds and nobody needs, and the experiments that are not kept.

What is needed is read from git, and from the files as they lie there: every digest in any dvc.lock or .dvc file of
what is kept, be it an output, a dependency or code. That is more than DVC would use, and so never too little.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError
from flows.machinery import git

if TYPE_CHECKING:
    from dvc.repo import Repo

PREFIX = "retrain-"  # of the experiments that runs make; all others are somebody's own
DIGEST = re.compile(rb"\bmd5:\s*['\"]?([0-9a-f]{32}(?:\.dir)?)\b")
POINTERS = re.compile(r"(^|/)(dvc\.lock|[^/]+\.dvc)$")
GRACE_SECONDS = 86_400.0  # for what a DVC that somebody started by hand has just put there


@dataclass(frozen=True)
class Experiment:
    """An experiment that a run has made: its name, its ref, and when."""

    name: str
    ref: str
    made: float


def old_experiments(kept: set[str], keep: int, seconds: float) -> list[Experiment]:
    """List the experiments of runs beyond the last `keep` and older than `seconds`, none of the names `kept`."""
    lines = git.run("for-each-ref", "--format=%(refname) %(committerdate:unix)", "refs/exps/", must=True).splitlines()
    found = []
    for ref, made in (line.rsplit(" ", 1) for line in lines):
        name = ref.rpartition("/")[2]
        if re.fullmatch(rf"refs/exps/[0-9a-f]{{2}}/[0-9a-f]{{38,62}}/{PREFIX}\w+", ref):
            found.append(Experiment(name, ref, float(made)))
    found.sort(key=lambda each: each.made, reverse=True)
    return [each for each in found[keep:] if each.name not in kept and time.time() - each.made > seconds]


def remove_experiments(found: Iterable[Experiment]) -> None:
    """Remove experiments; their commits go when git tidies up."""
    orders = "".join(f"delete {each.ref}\n" for each in found)
    if orders:
        git.run("update-ref", "--stdin", must=True, given=orders)
        git.run("-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")


def needed(
    repo: "Repo", dropped: set[str], gone: set[Path], commits: set[str], digests: set[str], seconds: float
) -> set[str]:
    """Return the digests of all objects that are needed.

    By the tips of all branches, tags, stashes, experiments and whatever else git has a name for, but the refs
    `dropped`; by every commit younger than `seconds`; by the .dvc files of all that was ever committed to a branch or
    tag, for data cannot be made again, as outputs of stages can; by `commits`; by the files as they lie in the checkout
    and in each workspace that is not `gone`; and `digests` themselves. Raises SlipwayError where git cannot tell.
    """
    found = set(digests)
    refs = git.run("for-each-ref", "--format=%(refname)", must=True).splitlines()
    revisions = {ref for ref in refs if ref not in dropped}
    trees = [line[9:] for line in git.run("worktree", "list", "--porcelain", must=True).splitlines() if _is_tree(line)]
    since = f"--since={int(time.time() - seconds)}"
    asked = [("--branches", "--tags", "--remotes", "HEAD", since), ("-g", "refs/stash"), ("-g", "HEAD", since)]
    for words in asked:
        revisions |= {*git.run("rev-list", *words).splitlines()}
    for commit in commits:
        if git.run("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
            revisions.add(commit)
    blobs = _committed_data()
    for revision in revisions:
        blobs |= _pointers(revision)
    found |= _read(blobs)
    for tree in [*map(Path, trees), *Path(repo.tmp_dir, "exps").glob("*"), *Path(repo.tmp_dir, "exps").glob("*/*")]:
        if (tree / ".dvc").exists() and tree.resolve() not in gone:
            try:
                found |= _lying(tree)
                for line in git.run("rev-parse", "HEAD", at=tree).splitlines():
                    found |= _read(_pointers(line))
            except FileNotFoundError:
                if tree.exists():  # else somebody has just removed it
                    raise
    return found | _members(repo, found)


def _is_tree(line: str) -> bool:
    return line.startswith("worktree ")


def _pointers(revision: str) -> set[str]:
    """Return the blobs of a revision's dvc.lock and .dvc files, wherever they lie."""
    entries = git.run("ls-tree", "-r", "-z", revision).split("\0")
    if entries == [""]:  # a tag or a ref of something else, or git cannot tell
        if git.run("cat-file", "-t", f"{revision}^{{}}", must=True) != "commit":
            return set()
        entries = git.run("ls-tree", "-r", "-z", revision, must=True).split("\0")
    parts = (entry.partition("\t") for entry in entries if entry)
    return {about.split()[2] for about, _, path in parts if POINTERS.search(path)}


def _committed_data() -> set[str]:
    """Return the blobs of all .dvc files in the history of branches and tags."""
    words = ("--objects", "--branches", "--tags", "--remotes", "HEAD", "--", "*.dvc")
    entries = (line.partition(" ") for line in git.run("rev-list", *words, must=True).splitlines())
    return {blob for blob, _, path in entries if path.endswith(".dvc")}


def _read(blobs: set[str]) -> set[str]:
    """Return the digests in blobs, all read by one process."""
    if not blobs:
        return set()
    text = git.run("cat-file", "--batch", must=True, given="".join(f"{blob}\n" for blob in sorted(blobs)))
    return _digests(text.encode("utf-8", "surrogateescape"))


def _digests(content: bytes) -> set[str]:
    return {found.decode() for found in DIGEST.findall(content)}


def _lying(tree: Path) -> set[str]:
    """Return the digests in the files of a checkout or workspace, committed or not."""
    listed = git.run("ls-files", "-z", "--cached", "--others", "--exclude-standard", at=tree).split("\0")
    paths = [tree / path for path in listed if POINTERS.search(path)]
    paths += [tree / "dvc.lock", *tree.glob("*.dvc"), *(tree / ".dvc" / "tmp").glob("slipway-*")]
    found: set[str] = set()
    for path in paths:
        with suppress(OSError):  # listed and removed, or a folder
            found |= _digests(path.read_bytes())
    return found


def _members(repo: "Repo", digests: set[str]) -> set[str]:
    """Return what the folders among digests hold, as far as the cache has them: one that it lacks is pulled whole."""
    found: set[str] = set()
    for digest in digests:
        path = _place(repo, digest)
        if digest.endswith(".dir") and path.exists():
            try:
                found |= {entry["md5"] for entry in json.loads(path.read_bytes())}
            except (ValueError, KeyError, TypeError):
                raise SlipwayError(
                    f"{path}: damaged, so it is not known which files are needed; remove it and run `dvc fetch`, or "
                    "restore it: nothing of DVC's cache was removed"
                ) from None
    return found


def _folder(repo: "Repo") -> Path:
    return Path(repo.cache.local.path)  # CACHE/files/md5


def _place(repo: "Repo", digest: str) -> Path:
    return _folder(repo) / digest[:2] / digest[2:]


def is_own(repo: "Repo") -> bool:
    """Return whether the cache lies in the project: one elsewhere may be other projects', too."""
    return _folder(repo).resolve().is_relative_to(Path(repo.root_dir).resolve())


def unneeded(repo: "Repo", kept: set[str], grace: float = GRACE_SECONDS) -> list[Path]:
    """List the cache's objects that are not among those kept, the lists of folders first, and what a run was."""
    before = time.time() - grace
    objects = [path for path in _files(_folder(repo)) if path.parent.name + path.name not in kept]
    objects = [path for path in objects if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", path.parent.name + path.name)]
    objects.sort(key=lambda path: not path.name.endswith(".dir"))  # a list without its files would pass for a folder
    gone = {path.parent.name + path.name for path in objects}
    runs = [path for path in _files(Path(repo.cache.local_cache_dir) / "runs") if _digests(path.read_bytes()) & gone]
    return [path for path in [*runs, *objects] if path.lstat().st_mtime < before]


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def remove(repo: "Repo", found: Iterable[Path]) -> None:
    """Remove objects of the cache, and forget what DVC has noted of them."""
    for path in found:
        path.unlink(missing_ok=True)
    with suppress(Exception):  # an index that DVC makes anew
        repo.drop_data_index()
