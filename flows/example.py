"""An example of examples/NAME, run in a workspace of its own; its model comes into this checkout's registry.

The workspace is a git worktree in .workspaces/NAME: this checkout's files as they are now, the example's
params.yaml and expectations in place of ours, DVC's cache shared. So nothing of the checkout is touched, what a
stage has done once it never does again, and the workspace's DVC experiments are seen from here.
"""

import filecmp
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from components import SlipwayError, locks, near, params, recipes
from components.data import download
from components.files import read_json, write_json
from components.tracking import connection
from flows.machinery import checkout

EXAMPLES = Path("examples")
WORKSPACES = Path(".workspaces")
DOWNLOADS = WORKSPACES / "files"  # what was downloaded: a folder per example
INGESTED_FILE = Path(".dvc/tmp/slipway-ingested.json")  # in a workspace: what its data/ was made of
WORKSPACE_FILES = ("params.yaml", "data.dvc", "dvc.lock")  # a workspace's own, beside the expectations


class Part(BaseModel):
    """A part of example.yaml: immutable, exact types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class File(Part):
    """Where a file comes from, and the digest of its content (see download.digest)."""

    address: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    members: str = ""  # of an archive: the members that the digest is of


class Goal(Part):
    """What the model should reach on the test split; `classical_plus` is a distance from the classical baseline."""

    metric: str
    better: Literal["higher", "lower"] = "higher"
    limit: float | None = None
    classical_plus: float | None = None


class Example(Part):
    """All of example.yaml."""

    title: str
    ingest: list[str]  # the words after `slipway ingest`; {files} is the folder of the files
    files: dict[str, File] = {}
    goals: list[Goal] = []
    hold_out: str = ""  # a column, such as the speaker: bench/quality.py holds each of its values out in turn


def names() -> list[str]:
    """Return the names of all examples."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/example.yaml"))


def load(name: str) -> Example:
    """Read the example.yaml of an example; SlipwayError names the nearest one and lists all there are."""
    path = EXAMPLES / name / "example.yaml"
    if name not in names():
        hint = near(name, names())
        raise SlipwayError(f"no example {name!r}{hint and f'; {hint}'}\n{listed()}")
    try:
        return Example.model_validate(YAML(typ="safe").load(path))
    except ValidationError as error:
        detail = error.errors()[0]
        raise SlipwayError(f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None


def listed() -> str:
    """Return a line for each example."""
    found = names()
    width = max(map(len, found), default=0)
    lines = [f"  {name.ljust(width)}  {load(name).title}" for name in found]
    return "\n".join(["examples; run one with `slipway example NAME` or `make example NAME=...`:", *lines])


def run(name: str, folder: Path | None, retrain: Callable[[], object]) -> None:
    """Make or reuse the example's workspace, ingest its data there and call `retrain` there.

    `folder` holds the example's files, or a folder in it does; without one they are downloaded. Leaves the
    process in the workspace. Raises SlipwayError for an unknown example and for files that cannot be had.
    """
    example, home = load(name), Path.cwd()
    if connection.root() != home:
        raise SlipwayError(f"{home} is the workspace of an example: run this in {connection.root()} instead")
    folder = folder.expanduser().resolve() if folder is not None else None
    place = home / WORKSPACES / name
    place.parent.mkdir(exist_ok=True)
    with locks.alone(place.with_suffix(".lock"), checkout.WAITING):
        with locks.alone(place.with_name(".lock"), checkout.WAITING):  # what several examples must not do at once
            _prepare(name, place)
        made_of = _made_of(example, place)
        known = read_json(place / INGESTED_FILE) if (place / INGESTED_FILE).exists() else None
        if made_of != known or not (place / "data.dvc").exists():
            found = files(name, example, folder)
            (place / INGESTED_FILE).unlink(missing_ok=True)
            _ingest(name, example, found, place)
            write_json(place / INGESTED_FILE, made_of)
        os.environ.setdefault("MLFLOW_TRACKING_URI", connection.uri())  # MLflow's own code would look in the workspace
        os.chdir(place)
        retrain()
    outcome = read_json(Path("build/register.json"))
    alias = "champion" if "champion" in outcome["aliases"] else "challenger"
    model = f"models:/{name}@{alias}"
    print(f"to predict with it: slipway predict {model} FILE; see examples/{name}/README.md")


def _prepare(name: str, place: Path) -> None:
    """Bring a workspace to the state of the checkout, with the example's settings and expectations."""
    commit = _git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not commit:
        raise SlipwayError("this repository has no commit yet, and the workspace of an example needs one: commit first")
    if not _is_worktree(place):
        _git("worktree", "repair", str(place))  # the checkout may have been moved
    if not _is_worktree(place):
        if place.exists():
            shutil.rmtree(place)  # half made
        _git("worktree", "add", "--force", "--detach", "--no-checkout", str(place), "HEAD", must=True)
    index = _git("rev-parse", "--path-format=absolute", "--git-path", "index", at=place)
    if not Path(index).exists() or _git("rev-parse", "HEAD", at=place) != commit:
        Path(f"{index}.lock").unlink(missing_ok=True)  # of a run that was killed: nobody else works here
        _git("reset", "--quiet", commit, at=place, must=True)
    settings = params.load(EXAMPLES / name / "params.yaml")
    own = {path: EXAMPLES / name / path for path in ("params.yaml",)}
    own[f"expectations/{settings.recipe}.yaml"] = EXAMPLES / name / "expectations.yaml"
    _mirror(place, {*WORKSPACE_FILES, *own})
    for path, source in own.items():
        _copy(source, place / path)
    if not (place / INGESTED_FILE).exists():
        for path in ("data.dvc", "dvc.lock"):
            (place / path).unlink(missing_ok=True)  # of the checkout's own dataset
    _share_cache(place)
    if "MLFLOW_TRACKING_URI" not in os.environ and not Path("mlflow.db").exists():
        connection.check()  # makes the store: two that begin at the same time would both do it


def _is_worktree(place: Path) -> bool:
    return (place / ".git").is_file() and _git("rev-parse", "--show-toplevel", at=place) == str(place.resolve())


def _mirror(place: Path, own: set[str]) -> None:
    """Copy what git tracks or could track here and is not the workspace's own; remove what is here no longer."""
    ours, theirs = _listed(Path()), _listed(place)
    for path in sorted(ours - own):
        _copy(Path(path), place / path)
    for path in sorted(theirs - ours - own):
        (place / path).unlink(missing_ok=True)


def _listed(folder: Path) -> set[str]:
    found = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", at=folder).split("\0")
    return {path for path in found if path and (folder / path).is_file()}


def _copy(source: Path, target: Path) -> None:
    """Copy a file, mode included, unless it is there already: DVC hashes anew what was written anew."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _share_cache(place: Path) -> None:
    from dvc.repo import Repo

    with Repo() as repo:
        cache = Path(repo.cache.local.path)
    if cache.is_relative_to(Path.cwd()):  # the checkout may be moved
        cache = Path(os.path.relpath(cache, place / ".dvc"))
    text = f"[cache]\n    dir = {cache}\n"
    config = place / ".dvc" / "config.local"
    if not config.exists() or config.read_text(encoding="utf-8") != text:
        config.write_text(text, encoding="utf-8")


def _made_of(example: Example, place: Path) -> dict[str, str]:
    """Return what the dataset depends on: the example's words and files, the recipe's columns, the code that reads."""
    settings = params.load(place / "params.yaml")
    columns = str(recipes.schema(recipes.load(settings.recipe), settings.task))
    code = [place / "components/stages/ingest.py", place / "components/recipes/source.py"]
    recipe = place / "components/recipes" / settings.recipe
    code += [*recipe.glob("source.py"), *recipe.glob("source/**/*.py")]  # one file, or a folder
    code += (place / "components/data").glob("*.py")
    read = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(code))).hexdigest()
    files = json.dumps({name: file.sha256 for name, file in example.files.items()})
    return {"ingest": json.dumps(example.ingest), "files": files, "columns": columns, "code": read}


def files(name: str, example: Example, folder: Path | None) -> Path:
    """Return the folder that holds the example's files, checked: in or under `folder`, or the downloads.

    Raises SlipwayError that says which files to put where if some are missing.
    """
    if folder is None:
        for file_name, file in example.files.items():
            path = DOWNLOADS / name / file_name
            try:
                if path.exists():
                    download.check(path, file.sha256, file.members)
                    continue
            except SlipwayError:
                pass  # of an older example.yaml: fetched anew
            try:
                download.fetch(file.address, path, file.sha256, file.members)
            except SlipwayError as error:
                raise SlipwayError(f"{error}\n{_how(name, example)}") from None
        return (DOWNLOADS / name).resolve()
    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such folder")
    within = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = next((place for place in within if all((place / file).is_file() for file in example.files)), None)
    if found is None:
        lacking = next(file for file in example.files if not (folder / file).is_file())
        raise SlipwayError(f"{folder}: no file {lacking}\n{_how(name, example)}")
    for file_name, file in example.files.items():
        download.check(found / file_name, file.sha256, file.members)
    return found


def _how(name: str, example: Example) -> str:
    lines = [f"  {file}  from {source.address}" for file, source in example.files.items()]
    return "\n".join([f"put these files into a folder and run: make example NAME={name} FROM=that-folder", *lines])


def _ingest(name: str, example: Example, files: Path, place: Path) -> None:
    """Make the workspace's dataset anew, by the command line of `ingest`."""
    from components.__main__ import parser
    from components.stages import ingest

    words = [word.replace("{files}", str(files)) for word in example.ingest]
    with _inside(place):
        shutil.rmtree("data", ignore_errors=True)
        Path("data.dvc").unlink(missing_ok=True)
        options = vars(parser().parse_args(["ingest", *words, "--name", name, "--keep-params"]))
        del options["stage"]
        ingest.run(**options)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _git(*arguments: str, at: Path = Path(), must: bool = False) -> str:
    """Return what git prints; `must`: SlipwayError where it fails, else an empty text."""
    done = subprocess.run(["git", *arguments], check=False, cwd=at, capture_output=True, text=True)
    if done.returncode and must:
        raise SlipwayError(f"git {arguments[0]}: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout.strip("\n")
