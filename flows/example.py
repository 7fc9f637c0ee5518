"""An example of examples/NAME, run in its workspace; its model comes into this checkout's registry."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from components import SlipwayError, near, params, recipes
from components.data import download
from components.files import read_json, write_json
from flows.machinery import models, workspace
from flows.machinery.models import EXAMPLES

DOWNLOADS = workspace.WORKSPACES / "files"  # what was downloaded: a folder per example
INGESTED_FILE = Path(".dvc/tmp/slipway-ingested.json")  # in a workspace: what its data/ was made of


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


names = models.examples


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

    `folder` holds the example's files, or folders in it do; without one they are downloaded. Raises SlipwayError for an
    unknown example and for files that cannot be had.
    """
    example, home = load(name), Path.cwd()
    folder = folder.expanduser().resolve() if folder is not None else None
    with workspace.entered(name) as place:
        made_of = _made_of(example, place)
        known = read_json(INGESTED_FILE) if INGESTED_FILE.exists() else None
        if made_of != known or not Path("data.dvc").exists():
            found = files(name, example, folder, home)
            INGESTED_FILE.unlink(missing_ok=True)
            _ingest(name, example, found)
            write_json(INGESTED_FILE, made_of)
        retrain()
        outcome = read_json(Path("build/register.json"))
        aliases = params.load().register_.aliases
    model = f"models:/{name}@{aliases.champion if outcome['promoted'] else aliases.challenger}"
    print(f"to predict with it: slipway predict {model} FILE; see examples/{name}/README.md")


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


def files(name: str, example: Example, folder: Path | None, home: Path = Path()) -> Path:
    """Return the folder that holds the example's files, checked: in or under `folder`, or the downloads of `home`.

    Those that lie in several folders under it are linked into one.

    Raises SlipwayError that says which files to put where if some are missing.
    """
    if folder is None:
        for file_name, file in example.files.items():
            path = home / DOWNLOADS / name / file_name
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
        return (home / DOWNLOADS / name).resolve()
    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such folder")
    within = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = next((place for place in within if all((place / file).is_file() for file in example.files)), None)
    if found is None:
        found = _gathered(name, example, within, home)
    for file_name, file in example.files.items():
        download.check(found / file_name, file.sha256, file.members)
    return found


def _gathered(name: str, example: Example, within: list[Path], home: Path) -> Path:
    """Link files that lie in several folders into the downloads of `home`; return that folder."""
    places = {file: next((path / file for path in within if (path / file).is_file()), None) for file in example.files}
    if lacking := [file for file, place in places.items() if place is None]:
        raise SlipwayError(f"{within[0]}: no file {lacking[0]}\n{_how(name, example)}")
    folder = (home / DOWNLOADS / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for file, place in places.items():
        assert place is not None  # noqa: S101 - for the type checker
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(place.resolve())
    return folder


def _how(name: str, example: Example) -> str:
    lines = [f"  {file}  from {source.address}" for file, source in example.files.items()]
    return "\n".join([f"put these files into a folder and run: make example NAME={name} FROM=that-folder", *lines])


def _ingest(name: str, example: Example, files: Path) -> None:
    """Make the workspace's dataset anew, by the command line of `ingest`."""
    from components.__main__ import parser
    from components.stages import ingest

    words = [word.replace("{files}", str(files)) for word in example.ingest]
    shutil.rmtree("data", ignore_errors=True)
    Path("data.dvc").unlink(missing_ok=True)
    options = vars(parser().parse_args(["ingest", *words, "--name", name, "--keep-params"]))
    del options["stage"]
    ingest.run(**options)
