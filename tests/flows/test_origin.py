"""Where a version's files come from: git, its experiment, DVC's remotes, and what of them is no longer there."""

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from components import SlipwayError
from components.tracking import origin as registered
from components.tracking.origin import Origin
from flows.machinery import experiment, origin, packages
from flows.machinery.origin import Objects
from flows.machinery.process import Children
from tests.flowing import GIT, command, repository

STAGES: dict[str, dict[str, Any]] = {
    "validate": {"cmd": "cp data/a.txt out", "deps": ["data", "code.py"], "params": ["x"], "outs": ["out"]}
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an experiment, whose cache is in a remote too."""
    path = tmp_path_factory.mktemp("template") / "repo"
    path.mkdir()
    (path / "params.yaml").write_text("x: 1\n")
    (path / "code.py").write_text("pass\n")
    repository(path, STAGES, data="rows")
    with contextlib.chdir(path), Repo() as repo:
        logging.getLogger("dvc").setLevel(logging.ERROR)
        repo.reproduce()
        experiment.save(repo)
        shutil.copytree(path / ".dvc/cache/files", path / "remote/files")
        with repo.config.edit() as config:
            config["remote"] = {"there": {"url": "remote"}, "other": {"url": "/nowhere/at all"}}
            config["core"]["remote"] = "other"
    command(path, "git", "add", "dvc.lock")
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    return tmp_path / "repo"


def version(path: Path, **tags: str) -> Origin:
    head = command(path, "git", "rev-parse", "HEAD")
    name = command(path, "git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps")
    known = {"mlflow.source.git.commit": head, "slipway.dvc_experiment": name, "slipway.dirty": "false"}
    known |= {"slipway.data": "0" * 32 + ".dir"} | {f"slipway.{key}": value for key, value in tags.items()}
    return Origin("trial", "3", "r", known, (), 0.0, {}, {}, "1")


def keeps(monkeypatch: pytest.MonkeyPatch, **files: bytes) -> None:
    """Let the MLflow run keep these files."""
    content = {f"project/{name.replace('_', '.')}": text for name, text in files.items()}
    monkeypatch.setattr(registered, "kept", lambda _, name: content.get(name))


def test_the_experiment_suffices(path: Path) -> None:
    made = version(path)
    found = origin.source(made)
    assert found.experiment == made.tag("dvc_experiment") and not found.lays
    assert found.lock()["validate"]["outs"][0]["path"] == "out"
    assert found.yaml("params.yaml") == {"x": 1}
    assert found.read("no-such-file") is None


def test_an_experiment_that_only_the_remote_has_is_fetched(path: Path, tmp_path: Path) -> None:
    made = version(path)
    command(tmp_path, "git", "clone", "-q", "--bare", str(path), "hub.git")
    command(path, "git", "push", "-q", str(tmp_path / "hub.git"), "refs/exps/*:refs/exps/*")
    clone = tmp_path / "clone"
    command(tmp_path, "git", "clone", "-q", str(tmp_path / "hub.git"), str(clone))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        found = origin.source(made)
        assert found.experiment
        assert command(clone, "git", "for-each-ref", "refs/exps")  # from now on it is here


def test_the_commit_of_a_version_may_be_the_experiments(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, name = version(path).commit, version(path).tag("dvc_experiment")
    with Repo() as repo:
        saved = experiment.commit(repo, name)
        command(path, "git", "commit", "-q", "--allow-empty", "-m", "later", env=GIT)
        assert experiment.commit(repo, name) == saved  # of the commit before
        later = command(path, "git", "rev-parse", "HEAD")
        command(path, "git", "update-ref", f"refs/exps/{later[:2]}/{later[2:]}/{name}", later)
        assert experiment.commit(repo, name) == later
    tags = {"mlflow.source.git.commit": saved, "slipway.parent": head, "slipway.dvc_experiment": name}
    made = dataclasses.replace(version(path), tags={"slipway.data": "1"} | tags)
    found = origin.source(made)
    assert found.commit == saved and found.experiment == name
    gone = dataclasses.replace(made, tags=made.tags | {"slipway.dvc_experiment": "x", "mlflow.source.git.commit": "1"})
    keeps(monkeypatch, params_yaml=b"x: 1\n", dvc_lock=b"stages: {}")
    left = origin.source(gone)
    assert left.commit == head and "registered from a checkout with changes" in left.words


def test_without_the_experiment_the_commit_and_what_the_run_keeps_may_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = (path / "dvc.lock").read_bytes()
    made = version(path, dvc_experiment="retrain-gone")
    keeps(monkeypatch, params_yaml=b"x: 1\n", dvc_lock=lock)
    found = origin.source(made)
    assert found.commit == made.commit and found.lock()["validate"]
    assert "retrain-gone is not in this repository" in found.words
    assert b"0000.dir" in found.lays["data.dvc"]
    dirty = origin.source(version(path, dvc_experiment="retrain-gone", dirty="true"))
    assert "registered from a checkout with changes" in dirty.words


def test_what_was_never_kept_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeps(monkeypatch)
    made = version(path, dvc_experiment="retrain-gone")
    with pytest.raises(SlipwayError, match="retrain-gone is not in this repository, and its MLflow run keeps no"):
        origin.source(made)
    nowhere = dataclasses.replace(made, tags=made.tags | {"mlflow.source.git.commit": "12" * 20})
    with pytest.raises(SlipwayError, match="its commit 121212121212 is neither"):
        origin.source(nowhere)
    without = dataclasses.replace(made, tags={"slipway.data": "1"})
    with pytest.raises(SlipwayError, match="no DVC experiment, and it was registered from a folder without a"):
        origin.source(without)


def test_expectations_of_a_model_in_a_folder_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = path / "models/trial"
    folder.mkdir(parents=True)
    (folder / "expectations.yaml").write_text("own: 1\n")
    command(path, "git", "add", "models")
    command(path, "git", "commit", "-qm", "model", env=GIT)
    entry = b"{path: expectations/x.yaml, md5: 6e7b6e5f8a4e7d6f}"
    keeps(monkeypatch, params_yaml=b"", dvc_lock=b"stages: {validate: {deps: [" + entry + b"]}}")
    assert "expectations/x.yaml" not in origin.source(version(path, dvc_experiment="")).lays
    digest = hashlib.md5(b"own: 1\n", usedforsecurity=False).hexdigest().encode()
    entry = entry.replace(b"6e7b6e5f8a4e7d6f", digest)
    keeps(monkeypatch, params_yaml=b"", dvc_lock=b"stages: {validate: {deps: [" + entry + b"]}}")
    assert origin.source(version(path, dvc_experiment="")).lays["expectations/x.yaml"] == b"own: 1\n"


def test_objects_come_from_whichever_remote_has_them(path: Path) -> None:
    from dvc.repo import Repo

    shutil.rmtree(path / ".dvc/cache")
    with Repo() as repo:
        (data,) = (stage.outs[0].hash_info.value for stage in repo.index.stages if stage.is_data_source)
        objects = Objects(repo)
        assert objects.lay(data, path / "new") == []
        assert (path / "new/a.txt").read_text() == "rows"
        assert objects.path("ab" * 16) is None
        assert objects.lay("ab" * 16 + ".dir", path / "none") == [f"none/ ({'ab' * 16}.dir)"]
        assert not (path / "none").exists()
        alone = Objects(repo, pull=False)
        assert alone.path("cd" * 16) is None and not alone.problems


def test_packages_that_differ_from_a_lock() -> None:
    from importlib import metadata

    own = metadata.version("numpy")
    lock = f"numpy=={own} \\\n    --hash=sha256:00\n"
    assert packages.unlike(lock) == []
    assert packages.unlike(f"NumPy=={own} ; python_version > '3' \\\n") == []
    assert packages.unlike("numpy==0.1 ; python_version < '3' \\\n") == []
    assert packages.unlike("numpy==0.1\nno-such-package==1 \\\n") == [
        f"numpy==0.1 (here {own})",
        "no-such-package==1 (here none)",
    ]
    assert packages.unlike(lock, "2.7.1")[0].startswith("Python 2.7 (here 3.")
    with pytest.raises(SlipwayError, match="no requirement: what is this"):
        packages.unlike("what is this")


def test_an_environment_has_the_locked_packages_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a wheel made by hand: no index is asked."""
    wheel = tmp_path / "links/tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    about = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "x = 1\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"tiny==1.0 --hash=sha256:{sha256_of(wheel)}\n")
    (tmp_path / "no_telemetry.pth").write_text("")
    settings = {
        "UV_FIND_LINKS": str(wheel.parent),
        "UV_OFFLINE": "1",
        "UV_DEFAULT_INDEX": "https://none.invalid/simple",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with Children() as children:
        packages.install(children, tmp_path, lock, tmp_path / "environment")
        python = str(tmp_path / "environment/bin/python")
        assert command(tmp_path, python, "-c", "import tiny; print(tiny.x)") == "1"
        assert list((tmp_path / "environment").rglob("no_telemetry.pth"))
        lock.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
        with pytest.raises(SlipwayError, match="cannot be installed"):
            packages.install(children, tmp_path, lock, tmp_path / "other")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
