"""A model of one's own in models/, as a user makes it, runs it and adds to it, in one clone."""

import hashlib
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Clone
from tests.flowing import GIT, command

pytestmark = pytest.mark.e2e
SLIPWAY = ("python", "-m", "slipway")


def write(path: Path, seed: int, rows: int = 300) -> None:
    """Write a table whose label is nearly whether the sum of two columns is positive."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    lines = ["warm,dry,kind,grows"]
    for _ in range(rows):
        warm, dry = draw.gauss(0, 1), draw.gauss(0, 1)
        lines.append(f"{warm:.4f},{dry:.4f},{draw.choice('abc')},{'yes' if warm + dry > draw.gauss(0, 0.2) else 'no'}")
    path.write_text("\n".join(lines), encoding="utf-8")


def state(project: Clone) -> dict[str, str]:
    """Return a digest of every file of the checkout, data/ and build/ included, and what git says of it."""
    left_out = {".git", ".workspaces", ".prefect", "mlartifacts", ".dvc", "__pycache__"}
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in project.path.rglob("*")
        if path.is_file() and not left_out & set(path.parts) and not path.name.startswith("mlflow.db")
    }
    git = [command(project.path, "git", *words.split()) for words in ("status --porcelain", "rev-parse HEAD", "branch")]
    return files | {"git": "\n".join(git), "config": (project.path / ".dvc/config").read_text()}


@pytest.fixture(scope="module")
def made(clone: Callable[[str], Clone]) -> Clone:
    """A clone with a model `plants`, made, run once and committed."""
    project = clone("models")
    write(project.path.parent / "plants.csv", 1)
    (project.path / "below").mkdir()
    said = project.run(*SLIPWAY, "new", "plants", "table", "../plants.csv", "--label", "grows")
    assert "to keep it: git add models/plants && git commit" in said and "slipway run plants" in said
    folder = project.path / "models/plants"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "data.dvc", "expectations.yaml", "params.yaml"
    ]  # fmt: skip
    page = (folder / "README.md").read_text()
    assert "new plants table ../plants.csv --label grows" in page and "300 examples" in page
    settings = folder / "params.yaml"
    assert "images:" not in settings.read_text()  # the root's recipe
    text = re.sub(r"epochs: \d+", "epochs: 3", settings.read_text())
    settings.write_text(re.sub(r"resamples: \d+", "resamples: 100", text).replace("explain: 6", "explain: 0"))
    said = project.run(*SLIPWAY, "run", "plants")
    assert "plants version 1 (new)" in said
    assert command(project.path, "git", "status", "--porcelain", "-uall").split() == [
        word for name in ("README.md", "data.dvc", "dvc.lock", "expectations.yaml", "params.yaml")
        for word in ("??", f"models/plants/{name}")
    ]  # fmt: skip
    command(project.path, "git", "add", "-A")
    command(project.path, "git", "commit", "-qm", "plants", env=GIT)
    return project


def test_a_run_of_a_revision_changes_nothing_in_the_checkout_and_ends_as_an_experiment(made: Clone) -> None:
    for path, text in {"params.yaml": "\n", "data/own.txt": "mine", "build/own.txt": "mine"}.items():
        file = made.path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + text)
    settings = made.path / "models/plants/params.yaml"
    committed = settings.read_text()
    settings.write_text(committed.replace("epochs: 3", "epochs: 900"))
    before = state(made)
    try:
        said = made.run(*SLIPWAY, "run", "plants", "--revision", "HEAD")
    finally:
        assert state(made) == before
        settings.write_text(committed)
        command(made.path, "git", "checkout", "-q", "params.yaml")
    assert "uncommitted changes in models/plants/params.yaml, params.yaml: this run does not have them" in said
    assert "nothing changed" in said and set(re.findall(r"^(?:train|evaluate) +(\w+)", said, re.MULTILINE)) == {
        "unchanged"
    }
    version = made.client().get_model_version_by_alias("plants", "challenger")
    # it is the experiment of the first run, whose commit is the one before: dvc.lock and params.yaml are the same
    names = made.run("dvc", "exp", "list", "--all-commits", "--name-only").split()
    assert version.tags["slipway.dvc_experiment"] in names


def test_dvc_works_in_the_workspace_as_at_the_root(made: Clone) -> None:
    place = Clone(made.path / ".workspaces/plants", made.home)
    assert "up to date" in place.run("dvc", "repro").splitlines()[-1]
    assert "up to date" in place.run("dvc", "status")
    assert "models" not in made.run("dvc", "status")


def test_its_champion_or_challenger_answers_by_its_name_alone(made: Clone) -> None:
    client = made.client()
    client.set_registered_model_alias("plants", "champion", "1")
    said = made.run(*SLIPWAY, "predict", "plants", "../plants.csv")
    assert re.search(r"^0 +(yes|no) ", said, re.MULTILINE)
    assert "did you mean plants@champion?" in made.run(*SLIPWAY, "predict", "plant", "../plants.csv", fails=True)


def test_examples_are_added_to_a_model(made: Clone) -> None:
    write(made.path.parent / "more.csv", 2, rows=50)
    shutil.rmtree(made.path / ".workspaces/plants/data")  # as in a fresh clone: it is not the first data for that
    below = Clone(made.path / "docs", made.home)
    said = below.run(*SLIPWAY, "ingest", "--model", "plants", "table", "../../more.csv", "--label", "grows",
                     PYTHONPATH=str(made.path))  # fmt: skip
    assert "50 are new" in said and "git add models/plants" in said
    place = made.path / ".workspaces/plants"
    assert sorted(path.name for path in (place / "data").iterdir()) == ["more.parquet", "plants.parquet"]
    assert (made.path / "models/plants/data.dvc").read_bytes() == (place / "data.dvc").read_bytes()
    assert command(made.path, "git", "diff", "--name-only") == "models/plants/data.dvc"


def test_mistakes_are_told_and_leave_nothing(made: Clone) -> None:
    before = state(made)
    table = ("table", "../plants.csv", "--label", "grows")
    assert "there is a model models/plants" in made.run(*SLIPWAY, "new", "plants", *table, fails=True)
    assert "there is an example income" in made.run(*SLIPWAY, "new", "income", *table, fails=True)
    said = made.run(*SLIPWAY, "new", "other", "table", "../plants.csv", "--label", "grow", fails=True)
    assert "did you mean grows?" in said or "grow" in said
    assert not (made.path / ".workspaces/other").exists()
    assert "did you mean plants?" in made.run(*SLIPWAY, "run", "plant", fails=True)
    said = made.run(*SLIPWAY, "ingest", "--model", "income", *table, fails=True)
    assert "income is an example" in said
    assert state(made) == before
