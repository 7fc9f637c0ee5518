"""The state of the workspace as a DVC experiment: a commit under refs/exps that `dvc exp show` lists.

Written with git's plumbing and an index of its own, because `dvc exp save` stashes and detaches the user's
checkout while it works; this touches neither branch, index nor files, whenever it is interrupted.
"""

import ast
import hashlib
import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, temporary

if TYPE_CHECKING:
    from dvc.repo import Repo

# DVC's own for a machine where git knows no name; git's variables and configuration come first.
GIT_IDENTITY = {"NAME": "Slipway", "EMAIL": "slipway@localhost"}


def save(repo: "Repo", prefix: str = "retrain") -> str:
    """Save the workspace as an experiment of the current commit, unless it is one already; return its name.

    The name is made of the content of dvc.lock and of the parameter files, so that the same state has the
    same name. The commit holds what git tracks, as it is now, what DVC's stages read or write outside DVC's cache
    (metrics among them), and the code that their commands import, tracked or not.
    Raises SlipwayError where git has no commit yet.
    """
    root = Path(repo.root_dir)
    params = sorted({dep.fs_path for stage in repo.index.stages for dep in stage.params})
    digest = hashlib.sha256()
    for path in (root / "dvc.lock", *map(Path, params)):
        digest.update(path.read_bytes() if path.exists() else b"")
    name = f"{prefix}-{digest.hexdigest()[:8]}"
    if _git(root, "for-each-ref", f"refs/exps/*/*/{name}"):
        return name
    try:
        head = _git(root, "rev-parse", "--verify", "HEAD")
    except SlipwayError:
        raise SlipwayError("this repository has no commit yet, and an experiment needs one: commit first") from None
    with temporary.folder() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index")), "GIT_LITERAL_PATHSPECS": "1"}
        _git(root, "read-tree", head, env=env)
        _git(root, "add", "--update", ".", env=env)
        files, folders = _parts(repo, root, params)
        _git(root, "add", "--force", "--", *files, env=env)
        if folders:  # without what git ignores in them, such as bytecode
            _git(root, "add", "--", *folders, env=env)
        if others := unknown(repo, env):
            _git(root, "add", "--", *others, env=env)
        tree = _git(root, "write-tree", env=env)
    commit = _git(root, "commit-tree", tree, "-p", head, "-m", f"dvc: {name}", env=_identity(root))
    _git(root, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
    return name


def commit(repo: "Repo", name: str) -> str:
    """Return the commit of a saved experiment; of several of that name, the one on the commit that is checked out."""
    root = Path(repo.root_dir)
    head = _git(root, "rev-parse", "HEAD")
    lines = _git(root, "for-each-ref", "--format=%(objectname) %(refname)", f"refs/exps/*/*/{name}").splitlines()
    of_head = f"refs/exps/{head[:2]}/{head[2:]}/"
    return next((line for line in lines if of_head in line), lines[0]).split()[0]


def _parts(repo: "Repo", root: Path, params: list[str]) -> tuple[list[str], list[str]]:
    """List the files and folders that stages read or write and DVC's cache does not keep."""
    from dvc.repo.metrics.show import _collect_top_level_metrics

    kept = {out.fs_path for out in repo.index.outs if out.use_cache}
    read = {dep.fs_path for stage in repo.index.stages for dep in stage.deps}
    written = {out.fs_path for out in repo.index.outs} | set(_collect_top_level_metrics(repo))
    pointers = {stage.path for stage in repo.index.stages}  # data.dvc: git may not know it at a workspace's root
    paths = [
        path
        for path in sorted({root / name for name in ("dvc.lock", *pointers, *params, *read, *written)})
        if path.is_relative_to(root) and not any(str(parent) in kept for parent in (path, *path.parents))
    ]
    return [str(path) for path in paths if path.is_file()], [str(path) for path in paths if path.is_dir()]


def unknown(repo: "Repo", env: dict[str, str] | None = None) -> list[str]:
    """Return what the stages' commands read or import that git neither knows nor ignores: paths from the root.

    Imports are followed as far as they are written in the project's Python files. `env` may name another index.
    """
    root = Path(repo.root_dir)
    options = ("-z", "--others", "--exclude-standard", "--directory", "--no-empty-directory")
    try:
        others = [path for path in _git(root, "ls-files", *options, env=env).split("\0") if path]
    except SlipwayError:  # no git here
        return []
    if not others:
        return []
    made = {Path(out.fs_path) for out in repo.index.outs}
    read = {Path(dep.fs_path) for stage in repo.index.stages for dep in stage.deps}
    needed = [path for path in read if not made & {path, *path.parents}]
    if any("/" in path or path.endswith(".py") for path in others):  # no other file in the root can be imported
        needed += _imported(root, [*needed, *_named(repo, root)])
    found = {other for other in others if any((root / other).is_relative_to(path) for path in needed)}
    found |= {str(path.relative_to(root)) for path in needed for other in others if root / other in path.parents}
    return sorted(path for path in found if not found & {f"{parent}/" for parent in Path(path).parents})


def told(repo: "Repo") -> str:
    """Say what git does not know of what a run needs; empty where it knows all."""
    if not (new := unknown(repo)):
        return ""
    return (
        f"note: git does not know {', '.join(new)}: the experiment of this run will hold it; your commits and "
        f"`dvc exp run --temp` will not until you run `git add {shlex.join(new)}`"
    )


def _named(repo: "Repo", root: Path) -> list[Path]:
    """List the modules that commands name: of `python -m components train` it is components/."""
    words = [word for stage in repo.index.stages for word in re.split(r"[\s;&|]+", str(stage.cmd or ""))]
    return [root / word.split(".")[0] for flag, word in itertools.pairwise(words) if flag == "-m"]


def _imported(root: Path, waiting: list[Path]) -> list[Path]:
    """List the packages and modules, in the root itself, that hold these paths, and those that they import."""
    found: list[Path] = []
    while waiting:
        path = waiting.pop()
        while path.parent != root and (path.parent / "__init__.py").exists():
            path = path.parent
        files = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
        if path in found or not files or not path.exists():
            continue
        found.append(path)
        names = {name for file in files for name in _imports(file)}
        waiting += [place for name in names for place in (root / name, root / f"{name}.py") if place.exists()]
    return found


def _imports(file: Path) -> set[str]:
    """Return the names of the packages and modules that a Python file imports; none of one that is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):
        return set()
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.split(".")[0] for name in names if name}


def _identity(root: Path) -> dict[str, str]:
    """Return variables for what git does not know of its user."""
    known = {
        key: _git(root, "config", "--default", "", f"user.{key.lower()}") or value
        for key, value in GIT_IDENTITY.items()
    }
    return {
        f"GIT_{role}_{key}": os.environ.get(f"GIT_{role}_{key}") or value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in known.items()
    }


def _git(root: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(["git", *arguments], check=False, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SlipwayError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
