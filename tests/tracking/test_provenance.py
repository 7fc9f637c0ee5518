"""Which commit a result is said to be of, and whether files differed from it."""

import platform
from pathlib import Path

import pytest

from components.tracking import provenance
from tests.flowing import GIT, command


def dirty() -> str:
    return provenance.commit()["slipway.dirty"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a model of the root and one of its own."""
    monkeypatch.chdir(tmp_path)
    for path in ("params.yaml", "models/boats/params.yaml", "data.dvc", "dvc.lock", ".dvc/config"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"{path}\n")
    command(tmp_path, "git", "init", "-q")
    command(tmp_path, "git", "add", ".")
    command(tmp_path, "git", "commit", "-qm", "a model", env=GIT)
    return tmp_path


def test_what_the_pipeline_writes_is_no_change(checkout: Path) -> None:
    assert dirty() == "false"
    for name in ("data.dvc", "dvc.lock"):
        (checkout / name).write_text("newer\n")
    assert dirty() == "false"
    (checkout / "new name.yaml").write_text("x: 1\n")
    assert dirty() == "true"
    (checkout / "new name.yaml").unlink()
    (checkout / "params.yaml").unlink()
    assert dirty() == "true"


def test_a_workspace_has_the_files_of_its_model_where_the_roots_are(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkout / ".workspaces" / "boats"
    command(checkout, "git", "worktree", "add", "-q", "--detach", str(place))
    monkeypatch.chdir(place)
    own = Path("models/boats/params.yaml").read_text()
    Path("params.yaml").write_text(own)
    Path("data.dvc").write_text("newer\n")
    assert dirty() == "false"
    Path("params.yaml").write_text(f"{own}changed by hand\n")
    assert dirty() == "true"


def test_a_dirty_run_names_the_commit_of_its_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {provenance.COMMIT: "a" * 40, provenance.DIRTY: "true"}
    assert provenance.exact(tags) == {}  # no flow saved one
    monkeypatch.setenv(provenance.SAVED, "b" * 40)
    named = {provenance.COMMIT: "b" * 40, provenance.PARENT: "a" * 40, provenance.DIRTY: "false"}
    assert provenance.exact(tags) == named
    assert provenance.exact(tags | named) == provenance.exact(tags | {provenance.DIRTY: "false"}) == {}
    assert provenance.exact({}) == {}  # outside of git


def test_no_commit_is_no_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == {}


def test_versions_are_one_tag_and_in_older_runs_one_each() -> None:
    found = provenance.versions(provenance.tags())
    assert found["python"] == platform.python_version() and found["keras"]
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    assert provenance.versions({f"version.{name}": text for name, text in found.items()}) == found
    assert provenance.versions({}) == {}
