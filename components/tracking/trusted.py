"""Registered versions whose code may run here: all of it is as it was registered, and the loader is the one we ship.

MLflow runs whatever code a version names. Who can write to the place of the artifacts is not who may register: the
digest of all files is a tag of the version, which lies in MLflow's database.
"""

import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, shipped, temporary
from components.tracking import connection

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TAG = "slipway.files"  # of a version and of its logged model: `digest` of what was registered
LOADER_TAG = "slipway.trusted"  # of a version: its loader, where the user has said to trust it
LOADERS = (  # ours, and those of versions that were registered before a model's package had a name of its own
    rf"{shipped.PREFIX}[0-9a-f]{{32}}\.{re.escape(shipped.LOADER)}",
    r"components\.serving(\.onnx_model)?",
)
ADDED = "registered_model_meta"  # by MLflow, where it downloads a version


def digest(folder: Path) -> str:
    """Return the digest of every file of an MLflow model, names included: 64 hex digits.

    Raises SlipwayError for a link, which may lead to what is not the model's.
    """
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise SlipwayError(f"{path.relative_to(folder)} is a link: a model consists of files")
        if path.is_file():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            content.update(f"{path.relative_to(folder).as_posix()}\0{found}\0".encode())
    return content.hexdigest()


def adopt(version: "ModelVersion") -> "ModelVersion":
    """Take a version that is not as it was registered, or not ours, as it lies there now: its tags then say so."""
    with temporary.folder() as folder:
        place = _downloaded(version, folder)
        if problem := _problem(place, version.tags):
            name = f"models:/{version.name}/{version.version}"
            print(f"warning: {name} is trusted from now on, as --trust says, though {problem}", file=sys.stderr)
            for key, value in {TAG: digest(place), LOADER_TAG: _loader(place)}.items():
                connection.client().set_model_version_tag(version.name, version.version, key, value)
    return connection.client().get_model_version(version.name, version.version)


def fetch(uri: str, folder: Path, *, trust: bool = False) -> Path:
    """Download models:/NAME/VERSION into `folder`; return where it lies.

    Raises SlipwayError where it is not what was registered, or not by us; with `trust` that is a warning.
    """
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    with connection.plainly(f"read {uri}"):
        version = connection.client().get_model_version(name, number)
        place = _downloaded(version, folder)
    problem = _problem(place, version.tags)
    if problem and not trust:
        raise SlipwayError(f"{uri} is not loaded: {problem}; to run its code all the same, use --trust")
    if problem:
        print(f"warning: {uri} is loaded, as --trust says, though {problem}", file=sys.stderr)
    return place


def _downloaded(version: "ModelVersion", folder: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    source = connection.client().get_model_version_download_uri(version.name, version.version)
    with connection.announced():
        place = Path(download_artifacts(source, dst_path=str(folder), tracking_uri=connection.uri()))
    (place / ADDED).unlink(missing_ok=True)
    for path in list(place.rglob("__pycache__")):  # Python would run it in place of the source
        shutil.rmtree(path)
    return place


def _loader(place: Path) -> str:
    from mlflow.models import Model

    return str(Model.load(place).flavors.get("python_function", {}).get("loader_module"))


def _problem(place: Path, tags: dict[str, str]) -> str:
    """Say why a version is not to be loaded; empty where nothing is wrong."""
    if TAG not in tags:
        return (
            f"it has no tag {TAG}, so that nobody knows which code it was registered with (by Slipway 0.1, or others)"
        )
    if digest(place) != tags[TAG]:
        return f"its files are not those that were registered (their digest is not that of its tag {TAG})"
    loader = _loader(place)
    if not any(re.fullmatch(pattern, loader) for pattern in LOADERS) and loader != tags.get(LOADER_TAG):
        return f"its loader {loader} is none of Slipway's"
    return ""
