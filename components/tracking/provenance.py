"""Where a result comes from: the commit, the data, the experiment, the packages."""

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components import surroundings

COMMIT, DIRTY, PARENT = "mlflow.source.git.commit", "slipway.dirty", "slipway.parent"  # tags
VERSIONS = "slipway.versions"  # tag of a run: of Python, the packages and the system
SAVED = "SLIPWAY_COMMIT"  # environment variable: the commit of the experiment that a flow saved of the checkout
PACKAGES = ("tensorflow", "keras", "onnxruntime", "numpy", "mlflow", "dvc", "prefect")


def git(*arguments: str) -> str:
    """Return what git prints; empty where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def commit() -> dict[str, str]:
    """Return the commit, and whether files differ from it; not data.dvc and dvc.lock: the version has those itself."""
    found = git("rev-parse", "HEAD")
    if not found:
        return {}
    own = ("-z", "--", ".", ":(exclude)data.dvc", ":(exclude)dvc.lock")
    changed = git("diff", "--name-only", "HEAD", *own) + git("ls-files", "--others", "--exclude-standard", *own)
    paths = list(filter(None, changed.split("\0")))
    if paths and surroundings.root() != Path.cwd():  # a workspace: a model's own files lie at the root's places
        held = {line.split()[2] for line in git("ls-tree", "-r", "HEAD").splitlines()}
        paths = [path for path in paths if git("hash-object", "--", path) not in held]
    return {COMMIT: found, DIRTY: "true" if paths else "false"}


def exact(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags by which a run of a dirty checkout names the commit that holds what it was made with.

    That is the commit of the experiment that `slipway run` saved; the one that was checked out is then the parent.
    Empty where the run's commit is exact already, or no experiment was saved.
    """
    saved = os.environ.get(SAVED, "")
    if not saved or tags.get(DIRTY) != "true":
        return {}
    return {COMMIT: saved, PARENT: tags[COMMIT], DIRTY: "false"}


def _yaml(path: Path) -> dict[str, Any]:
    return (YAML(typ="safe").load(path) or {}) if path.exists() else {}


def lock() -> dict[str, Any]:
    """Return dvc.lock's stages: which data, settings and code made the outputs that lie there."""
    stages: dict[str, Any] = _yaml(Path("dvc.lock")).get("stages", {})
    return stages


def tracked_data() -> str:
    """Return the digest of the folder data/ in data.dvc: 36 characters, or empty."""
    outputs = _yaml(Path("data.dvc")).get("outs", [])
    return str(outputs[0].get("md5", "")) if outputs else ""


def used_data() -> str:
    """Return the digest of the data that the last `dvc repro` used, by dvc.lock; else that of data.dvc."""
    dependencies = lock().get("validate", {}).get("deps", [])
    found = (str(entry.get("md5", "")) for entry in dependencies if entry.get("path") == "data")
    return next(found, "") or tracked_data()


def experiment() -> dict[str, str]:
    """Return the name that `dvc exp run` gave what runs now."""
    name = os.environ.get("DVC_EXP_NAME", "")
    return {"slipway.dvc_experiment": name} if name else {}


def tags() -> dict[str, str]:
    """Return the tags of a run: commit, data, experiment, user and versions."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return {
        "mlflow.user": user,
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.type": "PROJECT",
        "slipway.data": used_data(),
        VERSIONS: ", ".join(
            [
                f"python {platform.python_version()}",
                *(f"{name} {text}" for name in PACKAGES if (text := version(name))),
                f"system {platform.system()} {platform.machine()}",
            ]
        ),
        **commit(),
        **experiment(),
    }


def versions(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what a run was made with, by its tags: the version of `python`, of each package, and the `system`.

    Also of a run of an older Slipway, which has a tag for each.
    """
    old = {key.removeprefix("version."): text for key, text in tags.items() if key.startswith("version.")}
    pairs = (entry.partition(" ") for entry in tags.get(VERSIONS, "").split(", ") if entry)
    return old | {name: text for name, _, text in pairs}


def version(package: str) -> str:
    """Return the version of an installed package, or nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
