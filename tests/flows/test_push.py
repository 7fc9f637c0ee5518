"""The flow's push: experiments and their data on remotes that are flaky, away, half written."""

import contextlib
import hashlib
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.machinery import checkout, experiment, push, stages, upload
from flows.machinery.process import Children
from flows.machinery.stages import TaskError
from tests.flowing import GIT, ROOT, command, dvc, repository

STAGES: dict[str, dict[str, Any]] = {
    "first": {"cmd": "mkdir -p build/out; cp data/* params.yaml build/out", "deps": ["data"], "outs": ["build/out"]},
    "second": {"cmd": "cat build/out/* > build/all", "deps": ["build/out"], "outs": ["build/all"], "params": ["name"]},
}
KILL = """
import os, signal, sys
from dvc_objects.fs import local
from flows.machinery import upload
def put_file(self, source, target, **options):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, "rb") as file, open(os.path.join(os.path.dirname(target), ".half.tmp"), "wb") as half:
        half.write(file.read()[:1])
    os.kill(os.getpid(), signal.SIGKILL)
local.FsspecLocalFileSystem.put_file = put_file
upload.main(sys.argv[1], "origin")
"""


class KilledError(BaseException):
    """As good as SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dvc.repo import Repo

    path = tmp_path_factory.mktemp("push") / "project"
    path.mkdir()
    (path / "params.yaml").write_text("name: digits\n")
    repository(path, STAGES, data="1")
    (path / "data/b.txt").write_text("2" * 1000)
    with contextlib.chdir(path):
        with Repo() as repo:
            repo.reproduce()
        command(path, "git", "commit", "-qam", "more", env=GIT)
    return path


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with results, a folder as DVC's remote and a bare repository as git's."""
    shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    configured(tmp_path / "dvc remote", tmp_path / "hub.git")
    command(tmp_path, "git", "init", "-q", "--bare", "hub.git")
    return tmp_path / "project"


def configured(url: Path, hub: Path) -> None:
    from dvc.repo import Repo

    with Repo() as repo, repo.config.edit() as config:
        config["remote"]["team"] = {"url": str(url)}
        config["core"]["remote"] = "team"
        config["exp"]["auto_push"] = True
    command(Path(), "git", "remote", "add", "origin", str(hub))


def saved() -> str:
    with checkout.opened() as work:
        return experiment.save(work.repo)


def pushed(*others: str) -> tuple[str, str]:
    """Push as a run does; return what was done, and what its summary says."""
    with checkout.opened() as work:
        work.experiment = experiment.save(work.repo)
        marks = Path(".dvc/tmp/slipway-push")
        marks.mkdir(exist_ok=True)
        for other in others:
            (marks / other).touch()
        notes: list[str] = []
        return push._push(work, notes), "\n".join(notes)


def objects(remote: Path) -> dict[str, bytes]:
    """Return what a remote has under the name of an object."""
    found = {}
    for path in remote.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            found[path.parent.name + path.name.removesuffix(".dir")] = path.read_bytes()
    return found


def whole(remote: Path) -> bool:
    return all(hashlib.md5(data, usedforsecurity=False).hexdigest() == name for name, data in objects(remote).items())


def at_hub(project: Path) -> list[str]:
    found = command(project, "git", "ls-remote", "origin", "refs/exps/*").splitlines()
    return [line.rpartition("/")[2] for line in found]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The upload in this process, without a pause before another try."""

    def follow(name: str, running: Any, _: object) -> int:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = upload.main(*running[-2:])
        if code:
            raise TaskError(f"{name}: {stages._last_words(said.getvalue().splitlines())}")
        return code

    monkeypatch.setattr(upload, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(stages, "follow", follow)
    monkeypatch.setattr(Children, "start", lambda _, command: command)
    levels = {name: logging.getLogger(name).level for name in ("dvc", "dvc_data", "dvc_objects")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("quick")
def test_an_experiment_and_all_that_it_names_are_pushed_once(project: Path, tmp_path: Path) -> None:
    assert pushed() == ("pushed", "")
    assert at_hub(project) == [saved()]
    assert len(objects(tmp_path / "dvc remote")) == 6  # data and its two files, the folder with one more, all of it
    assert whole(tmp_path / "dvc remote")
    assert pushed() == ("unchanged", "")


@pytest.mark.usefixtures("quick")
def test_a_connection_that_breaks_is_tried_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dvc_objects.fs.local import FsspecLocalFileSystem

    real, calls = FsspecLocalFileSystem.put_file, []

    def breaks(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) in (2, 5):
            raise ConnectionResetError(104, "Connection reset by peer")
        real(*arguments, **options)

    monkeypatch.setattr(FsspecLocalFileSystem, "put_file", breaks)
    name = saved()
    assert upload.main(name, "origin") == 0
    said = capsys.readouterr().out
    assert "DVC remote team: [Errno 104] Connection reset by peer; trying again in 0 s" in said
    assert whole(tmp_path / "dvc remote") and len(objects(tmp_path / "dvc remote")) == 6
    assert at_hub(project) == [name]


@pytest.mark.usefixtures("quick")
def test_half_an_object_and_a_lost_one_are_replaced(project: Path, tmp_path: Path) -> None:
    """As another program's killed upload leaves it; DVC alone takes the name for the object."""
    name = saved()
    assert upload.main(name, "origin") == 0
    remote = tmp_path / "dvc remote"
    files = [path for path in remote.rglob("*") if path.is_file()]
    for path in files[:2]:
        path.chmod(0o644)
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].unlink()
    assert upload.main(name, "origin") == 0
    assert whole(remote) and len(objects(remote)) == 6


@pytest.mark.usefixtures("quick")
def test_what_a_remote_that_is_away_did_not_get_the_next_run_pushes(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = saved()
    hub, away = tmp_path / "hub.git", tmp_path / "away.git"
    hub.rename(away)
    state, note = pushed()
    assert state == push.NOT_PUSHED
    assert f"not pushed: {first}: git remote origin: " in note and "the next run tries again" in note
    (project / "params.yaml").write_text("name: other\n")
    second = saved()
    state, note = pushed()
    assert f"not pushed: {second}, {first}: git remote origin: " in note
    away.rename(hub)
    assert pushed() == ("pushed", "")
    assert sorted(at_hub(project)) == sorted([first, second])
    assert pushed() == ("unchanged", "")
    assert "removed before" not in capsys.readouterr().out
    assert pushed("retrain-gone") == ("unchanged", "")
    assert "the experiment retrain-gone was removed before it could be pushed" in capsys.readouterr().out
    assert not Path(".dvc/tmp/slipway-push/retrain-gone").exists()


@pytest.mark.usefixtures("quick")
def test_what_no_cache_has_is_told_and_no_commit_names_it(project: Path, tmp_path: Path) -> None:
    (project / "data/a.txt").unlink()
    for path in Path(".dvc/cache").rglob("*"):
        if path.is_file() and path.read_bytes() == b"1":
            path.unlink()
    state, note = pushed()
    assert state == push.NOT_PUSHED
    assert "neither there nor in DVC's cache" in note
    assert at_hub(project) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["git", "remote", "remove", "origin"], "git has no remote origin; `dvc config --local exp.git_remote NAME`"),
        (["dvc", "config", "--unset", "core.remote"], "DVC has no default remote; `dvc remote add --default NAME URL`"),
        (["dvc", "remote", "modify", "team", "url", "starter"], "is a folder of this project itself"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_is_missing_to_push_is_said(project: Path, change: list[str], problem: str) -> None:
    if change[0] == "dvc":
        dvc(project, *change[1:])
    else:
        command(project, *change)
    state, note = pushed()
    assert (state, problem in note) == (push.NOT_PUSHED, True), note


def test_nothing_is_pushed_where_nobody_asked_for_it(project: Path) -> None:
    dvc(project, "config", "exp.auto_push", "false")
    with checkout.opened() as work:
        assert push.run(work) == []


@pytest.mark.usefixtures("quick")
def test_killed_at_any_write_the_remote_is_consistent_and_the_next_push_completes_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc_objects.fs.local import FsspecLocalFileSystem

    name, remote, left = saved(), tmp_path / "dvc remote", 0
    real, git = FsspecLocalFileSystem.put_file, upload._git

    def dies() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError

    def put_file(*arguments: Any, **options: Any) -> None:
        dies()
        real(*arguments, **options)

    def pushes(*words: str) -> str:
        if words[0] == "push":
            dies()
        return git(*words)

    monkeypatch.setattr(FsspecLocalFileSystem, "put_file", put_file)
    monkeypatch.setattr(upload, "_git", pushes)
    for step in range(1, 9):
        shutil.rmtree(remote, ignore_errors=True)
        left = step
        if step == 8:  # six objects and the commit
            assert upload.main(name, "origin") == 0
            break
        with pytest.raises(KilledError):
            upload.main(name, "origin")
        assert whole(remote) and len(objects(remote)) == step - 1
        assert at_hub(project) == []
    assert whole(remote) and len(objects(remote)) == 6
    assert at_hub(project) == [name]


@pytest.mark.e2e
def test_what_is_killed_for_real_is_completed_by_the_next(project: Path, tmp_path: Path) -> None:
    name, remote = saved(), tmp_path / "dvc remote"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILL, name], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(remote.rglob(".half.tmp")) and not objects(remote)
    command(project, sys.executable, str(Path(upload.__file__)), name, "origin")
    assert whole(remote) and len(objects(remote)) == 6
    assert at_hub(project) == [name]
