"""Whole reproductions of a version whose stages copy what a small model is made of."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.tracking import origin
from flows.machinery import experiment
from tests import fabricate
from tests.flowing import GIT, command, flows, repository, until

pytestmark = pytest.mark.e2e  # each starts whole flow runs

MAKE = """
import json, os, pathlib, shutil, sys
name, other = sys.argv[1], os.environ.get("OTHER", "")
source = pathlib.Path("made/other" if other and name != "validation" else "made/good", name)
shutil.copytree(source, pathlib.Path("build", name))
if name == "model":
    pathlib.Path("build/cost").mkdir(exist_ok=True)
    pathlib.Path("build/cost/train.json").write_text(json.dumps({"device_name": other or "this one"}))
    while os.environ.get("SLOW"):
        pass
print("made", name)
"""
STAGES: dict[str, dict[str, Any]] = {
    "validate": {"cmd": "python made/make.py validation", "deps": ["data", "made"], "outs": ["build/validation"]},
    "train": {"cmd": "python made/make.py model", "deps": ["build/validation", "made"], "outs": ["build/model"]},
    "evaluate": {"cmd": "python made/make.py evaluation", "deps": ["build/model"], "outs": ["build/evaluation"]},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A repository with version 1 of a model that its stages made; the folder it is in is the current one."""
    root = tmp_path_factory.mktemp("reproduce")
    path = root / "repo"
    for name, flip in (("good", 0.0), ("other", 0.05)):
        (root / name).mkdir()
        fabricate.project(root / name, flip)
        shutil.copytree(root / name / "build", path / "made" / name)
    (path / "made/make.py").write_text(MAKE)
    (path / "params.yaml").write_text(fabricate.PARAMS)
    repository(path, STAGES, data="rows")
    with (path / ".gitignore").open("a") as file:
        file.write("mlflow.db\n.workspaces/\n")
    command(path, "dvc", "repro", "-q")
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "made", env=GIT)
    shutil.copy(empty_store, path / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        register(path, "this one")
        yield path


def register(path: Path, processor: str) -> str:
    """Register the model of build/ as a new version; return its number."""
    from dvc.repo import Repo
    from mlflow import MlflowClient

    with Repo() as repo:
        name = experiment.save(repo)
    client = MlflowClient(f"sqlite:///{path}/mlflow.db")
    found = client.get_experiment_by_name("sides")
    run = client.create_run(found.experiment_id if found else client.create_experiment("sides"))
    client.set_tag(run.info.run_id, "hardware.device_name", processor)
    if not found:
        client.create_registered_model("sides")
    tags = {
        "slipway.model": fabricate.digest(path),
        "slipway.data": fabricate.folder_digest(path / "data"),
        "slipway.dvc_experiment": name,
        "mlflow.source.git.commit": command(path, "git", "rev-parse", "HEAD"),
    }
    return str(client.create_model_version("sides", str(path / "build/model"), run.info.run_id, tags=tags).version)


def reproduced(path: Path, server: str, *words: str, code: int = 0, **env: str) -> str:
    process = flows(path, "reproduce", *words, PREFECT_API_URL=server, **env)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    return str(out)


def left(path: Path) -> list[str]:
    """What a reproduction left: workspaces, worktrees."""
    places = [place.name for place in (path / ".workspaces").glob("*")]
    return places + command(path, "git", "worktree", "list").splitlines()[1:]


def test_identical_and_the_version_says_so(path: Path, prefect_server: str) -> None:
    shutil.rmtree(path / ".dvc/cache/runs", ignore_errors=True)
    out = reproduced(path, prefect_server, "sides/1")
    assert "train: made model" in out  # it was really made
    assert "sides version 1: identical: all 3 outputs have the digests of the version" in out
    assert left(path) == []
    assert command(path, "git", "status", "--porcelain") == ""
    assert not (path / ".dvc/cache/runs").exists()  # nothing of it is in the cache that all others use
    made = origin.find("sides/1")
    (said,) = origin.verdicts(made.tags)
    assert said["verdict"] == "identical" and said["processor"] == "this one" and said["versions"]["python"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{path}/mlflow.db")
    assert len(client.search_runs([made.experiment_id])) == 1  # no run came to the registry's experiment


def test_other_bits_on_the_same_processor_and_on_another_one(path: Path, prefect_server: str) -> None:
    out = reproduced(path, prefect_server, "sides/1", code=0, OTHER="another one")
    assert "sides version 1: within tolerance on another processor; the first stage that differs is train" in out
    assert "processor: another one; the version was trained on: this one" in out
    assert "weights: largest difference 0.00" in out
    number = register(path, "another one")
    out = reproduced(path, prefect_server, f"models:/sides/{number}", code=1, OTHER="another one")
    assert f"sides version {number}: different; the first stage that differs is train (build/model)" in out
    said = origin.verdicts(origin.find("sides/1").tags)
    assert said[0]["verdict"] == "within tolerance on another processor"  # the newest first


def test_a_lock_that_was_tampered_with_names_the_stage(path: Path, prefect_server: str) -> None:
    number = register(path, "this one")
    ref, commit = command(path, "git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").split()
    env = GIT | {"GIT_INDEX_FILE": str(path / ".git/tampered")}
    lock = YAML(typ="safe").load(path / "dvc.lock")
    lock["stages"]["evaluate"]["outs"][0]["md5"] = "ab" * 16 + ".dir"
    (path.parent / "lock").write_text(json.dumps(lock))
    blob = command(path, "git", "hash-object", "-w", str(path.parent / "lock"))
    command(path, "git", "read-tree", commit, env=env)
    command(path, "git", "update-index", "--cacheinfo", f"100644,{blob},dvc.lock", env=env)
    tree = command(path, "git", "write-tree", env=env)
    other = command(path, "git", "commit-tree", tree, "-p", "HEAD", "-m", "tampered", env=env)
    command(path, "git", "update-ref", ref, other)
    try:
        out = reproduced(path, prefect_server, f"sides/{number}", code=1)
    finally:
        command(path, "git", "update-ref", ref, commit)
    assert "different; the first stage that differs is evaluate (build/evaluation)" in out
    assert "no longer kept, so that nobody can say how far it is off: build/evaluation" in out


def test_one_that_is_killed_leaves_what_the_next_removes(path: Path, prefect_server: str) -> None:
    process = flows(path, "reproduce", "sides/1", PREFECT_API_URL=prefect_server, SLOW="1")
    until(process, "train: >")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left(path) != []
    out = reproduced(path, prefect_server, "sides/1", "--keep")
    assert "identical" in out
    kept = path / ".workspaces/reproduce.sides-1"
    assert (kept / "checkout/build/model/model.onnx").exists()
    assert [place.name for place in (path / ".workspaces").glob("*")] == [kept.name]
    command(path, "git", "worktree", "remove", "--force", str(kept / "checkout"))
    shutil.rmtree(kept)


def test_changes_that_were_never_kept_are_named(path: Path, prefect_server: str) -> None:
    from mlflow import MlflowClient

    (path / "made/make.py").write_text(MAKE + "\n")
    command(path, "dvc", "repro", "-q", env={"OTHER": ""})
    number = register(path, "this one")
    made = origin.find(f"sides/{number}")
    client = MlflowClient(f"sqlite:///{path}/mlflow.db")
    for name in ("params.yaml", "dvc.lock"):
        client.log_artifact(made.run_id, str(path / name), "project")
    name = made.tag("dvc_experiment")
    command(
        path,
        "git",
        "update-ref",
        "-d",
        command(path, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}"),
    )
    command(path, "git", "checkout", "-q", "made", "dvc.lock")
    out = reproduced(path, prefect_server, f"sides/{number}", code=1)
    assert f"error: models:/sides/{number} cannot be reproduced from commit" in out
    assert "does not hold what the version was made with (made)" in out
    assert "Traceback" not in out
    assert not origin.verdicts(origin.find(f"sides/{number}").tags)


def test_wrong_names_are_said_at_once(path: Path, prefect_server: str) -> None:
    out = reproduced(path, prefect_server, "sides@champion", code=1)
    assert "error: sides has no version with the alias champion yet; `slipway history sides` says why" in out
    out = reproduced(path, prefect_server, "sides", code=1)  # its champion, as for `predict`
    assert "error: sides has no version with the alias champion yet; `slipway history sides` says why" in out
