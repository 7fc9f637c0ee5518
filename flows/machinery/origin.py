"""Where the files of a registered version are: its commit in git, its objects in DVC's cache and remotes.

A version's DVC experiment is a commit that holds all that made it, its params.yaml, dvc.lock and code among it: that
alone suffices. Where it is gone, the commit of the checkout and the params.yaml and dvc.lock that the MLflow run keeps
may do instead: `Source.lays` puts these over the commit.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError
from components.masking import mask
from components.reports import difference
from components.tracking import origin
from components.tracking.origin import Origin
from flows.machinery import git

if TYPE_CHECKING:
    from dvc.repo import Repo

KEPT = ("params.yaml", "dvc.lock")  # what the run of a version keeps


@dataclass(frozen=True)
class Source:
    """A commit, the files that are laid over it, and in words where they are from."""

    commit: str
    words: str
    experiment: str = ""
    lays: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        if path in self.lays:
            return self.lays[path]
        return git.content(self.commit, Path(path))

    def lock(self) -> dict[str, Any]:
        """Return dvc.lock's stages."""
        stages: dict[str, Any] = self.yaml("dvc.lock").get("stages") or {}
        return stages

    def outs(self) -> dict[str, str]:
        """Return the digests of what the stages of dvc.lock made, by path."""
        return {path: md5 for paths in difference.digests(self.lock()).values() for path, md5 in paths.items()}

    def yaml(self, path: str) -> dict[str, Any]:
        """Return the content of a YAML file; empty where there is none, or it is no mapping."""
        try:
            content = YAML(typ="safe").load(self.read(path) or b"")
        except YAMLError:
            content = None
        return content if isinstance(content, dict) else {}


def source(made: Origin, *, fetch: bool = True) -> Source:
    """Find what a version was made of; `fetch` asks git's remotes for what is not here.

    Raises SlipwayError that says what was never kept, or is no longer there.
    """
    name = made.tag("dvc_experiment")
    remotes = git.run("remote").split() if fetch else []
    searched = f"this repository{' and its remotes ' + ', '.join(remotes) if remotes else ''}"
    if name and (found := experiment(name, made.commit, remotes)):
        return Source(found, f"DVC experiment {name}", name)
    gone = f"its DVC experiment {name} is not in {searched}" if name else "it has no DVC experiment"
    if not made.commit:
        raise SlipwayError(
            f"{made.uri} cannot be reproduced: {gone}, and it was registered from a folder without a git commit: the "
            "code that made it was never kept"
        )
    named = [commit for commit in (made.commit, made.parent) if commit]
    commit = next((each for each in named if _has(each) or any(_fetched(remote, each) for remote in remotes)), "")
    if not commit:
        raise SlipwayError(
            f"{made.uri} cannot be reproduced: {gone}, and its commit {made.commit[:12]} is neither; "
            "`git fetch` what holds one of them, then try again"
        )
    lays = {path: content for path in KEPT if (content := origin.kept(made, f"project/{path}")) is not None}
    if len(lays) < len(KEPT):
        raise SlipwayError(
            f"{made.uri} cannot be reproduced: {gone}, and its MLflow run keeps no params.yaml and dvc.lock (it was "
            "removed): which settings and data made it is known from nothing else"
        )
    lays["data.dvc"] = _pointer(made)
    lays |= _expectations(made, commit, lays["dvc.lock"])
    changed = made.tag("dirty") == "true" or commit != made.commit
    dirty = ", registered from a checkout with changes" if changed else ""
    words = f"commit {commit[:12]}{dirty}, with the params.yaml and dvc.lock that its MLflow run keeps ({gone})"
    return Source(commit, words, "", lays)


def _expectations(made: Origin, commit: str, lock: bytes) -> dict[str, bytes]:
    """Return the expectations of a model that has a folder of its own, laid where its stages read them."""
    stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
    dependencies = [
        dep for dep in stages.get("validate", {}).get("deps", []) if dep["path"].startswith("expectations/")
    ]
    for dep in dependencies:
        for folder in ("models", "examples"):
            content = Source(commit, "").read(f"{folder}/{made.name}/expectations.yaml")
            if content is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() == dep.get("md5"):
                return {dep["path"]: content}
    return {}


def _pointer(made: Origin) -> bytes:
    digest = made.tag("data")
    if not digest:
        raise SlipwayError(f"{made.uri} cannot be reproduced: it has no tag slipway.data, its data was never versioned")
    return f"outs:\n- md5: {digest}\n  hash: md5\n  path: data\n".encode()


def experiment(name: str, commit: str = "", remotes: Iterable[str] = ()) -> str:
    """Return the commit of an experiment; of several, that commit or the one on it. Fetched where it is not here."""
    found = _refs(git.run("for-each-ref", "--format=%(objectname) %(refname)", f"refs/exps/*/*/{name}"), commit)
    for remote in () if found else remotes:
        listed = git.run("ls-remote", remote, f"refs/exps/*/*/{name}")
        if (there := _refs(listed, commit)) and _fetched(remote, f"+{there[1]}:{there[1]}"):
            return there[0]
    return found[0] if found else ""


def _refs(listed: str, commit: str) -> tuple[str, str] | None:
    """Return digest and name of the experiment that is a commit, or is on it, among those listed; else the first."""
    lines = [(words[0], words[1]) for line in listed.splitlines() if len(words := line.split()) == 2]
    of = f"refs/exps/{commit[:2]}/{commit[2:]}/"
    own = (line for line in lines if commit and (line[0] == commit or line[1].startswith(of)))
    return next(own, lines[0] if lines else None)


def _has(commit: str) -> bool:
    return bool(git.run("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"))


def _fetched(remote: str, ref: str) -> bool:
    try:
        git.run("fetch", "--quiet", "--no-tags", remote, ref, must=True)
    except SlipwayError:
        return False
    return True


@contextmanager
def opened(*, pull: bool = True) -> Iterator["Objects"]:
    """Open DVC's cache and, unless told not to `pull`, remotes of the project."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo()
    except NotDvcRepoError:
        raise SlipwayError(f"{Path.cwd()} is not a DVC repository: run this in the project's root") from None
    with repo:
        yield Objects(repo, pull=pull)


class Objects:
    """Files by their digests: in DVC's cache, brought from its remotes where they are not; of the project's root."""

    def __init__(self, repo: "Repo", *, pull: bool = True) -> None:
        self._repo, self._pull = repo, pull
        self.problems: list[str] = []  # what remotes answered, once each
        logging.getLogger("dvc").setLevel(logging.ERROR)

    def path(self, digest: str) -> Path | None:
        """Return the file of a digest in the cache; None where neither the cache nor a remote has it."""
        self.bring([digest])
        return self._cached(digest)

    def _cached(self, digest: str) -> Path | None:
        path = Path(self._repo.cache.local.oid_to_path(digest))
        return path if digest and path.is_file() else None

    def listing(self, digest: str) -> dict[str, str] | None:
        """Return what a folder of that digest holds: path -> digest, in its order; None where that is not known."""
        path = self.path(digest)
        if path is None:
            return None
        listed = {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_text(encoding="utf-8"))}
        if strange := next((name for name in listed if name.startswith("/") or ".." in Path(name).parts), None):
            raise SlipwayError(f"{path}: the listing of a folder that DVC keeps leads out of it: {strange}")
        return listed

    def bring(self, digests: Iterable[str]) -> list[str]:
        """Fetch what the cache lacks, from each remote in turn, the default one first; return what none has."""
        lacking = [digest for digest in dict.fromkeys(digests) if digest and self._cached(digest) is None]
        for remote in self._remotes() if lacking and self._pull else ():
            self._from(remote, lacking)
            lacking = [digest for digest in lacking if self._cached(digest) is None]
            if not lacking:
                break
        return lacking

    def _remotes(self) -> list[str]:
        config = self._repo.config
        default = config["core"].get("remote")
        return sorted(config["remote"], key=lambda name: (name != default, name))

    def _from(self, remote: str, digests: list[str]) -> None:
        from dvc_data.hashfile.hash_info import HashInfo

        try:
            odb = self._repo.cloud.get_remote_odb(remote, "pull")
            there = [digest for digest in digests if odb.exists(digest)]
            if there:
                self._repo.cloud.pull([HashInfo("md5", digest) for digest in there], remote=remote)
        except Exception as error:  # noqa: BLE001 - a remote's libraries raise anything
            problem = f"DVC remote {remote}: {mask(next(iter(str(error).splitlines()), type(error).__name__))[:200]}"
            if problem not in self.problems:
                self.problems.append(problem)

    def lay(self, digest: str, folder: Path) -> list[str]:
        """Write the file or folder of a digest to a path, which must be new; return what is nowhere, by name.

        Nothing is written where something is missing.
        """
        if not digest.endswith(".dir"):
            found = self.path(digest)
            if found is None:
                return [folder.name]
            _copy(found, folder)
            return []
        listed = self.listing(digest)
        if listed is None:
            return [f"{folder.name}/ ({digest})"]
        lost = set(self.bring(listed.values()))
        if lost:
            return [f"{folder.name}/{name}" for name, md5 in listed.items() if md5 in lost]
        for name, md5 in listed.items():
            _copy(Path(self._repo.cache.local.oid_to_path(md5)), folder / name)
        return []


def _copy(source: Path, target: Path) -> None:
    """Write a copy, sharing the disk's blocks where the file system can."""
    from dvc_objects.fs import system

    share: Any = system.reflink  # untyped
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        share(str(source), str(target))
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)
    target.chmod(0o644)  # the cache's are read-only
