"""`slipway doctor`: a sound project is found sound, and each thing that is wrong is named with what to do."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import locks, temporary
from flows import doctor
from flows.machinery import state
from tests.flowing import command, dvc, repository

PARAMS = "name: digits\nrecipe: images\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = repository(tmp_path_factory.mktemp("sound") / "p", {}, data="1")
    (path / "params.yaml").write_text(PARAMS)
    (path / "requirements").mkdir()
    (path / "requirements/lock.txt").write_text(f"pytest=={pytest.__version__} \\\n    --hash=sha256:00\n")
    command(path, "git", "config", "user.name", "somebody")
    command(path, "git", "config", "user.email", "somebody@example.org")
    return path


@pytest.fixture
def project(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    shutil.copytree(sound, tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")  # for an nvidia-smi of ours
    return tmp_path / "p"


def test_a_sound_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in project.rglob("*") if ".git" not in path.parts and ".dvc" not in path.parts)
    assert doctor.run() == 0
    out = capsys.readouterr().out
    assert out.count("\nok ") == len(doctor.CHECKS) - 1 and out.endswith("nothing is wrong\n")
    after = sorted(path.name for path in project.rglob("*") if ".git" not in path.parts and ".dvc" not in path.parts)
    assert after == before


@pytest.mark.usefixtures("project")
def test_a_run_at_work_is_named() -> None:
    assert doctor.CHECKS["locks"]().startswith("none is held")  # of the folders of killed processes, others may leave
    with locks.alone(Path(".workspaces/sales.lock"), ""):
        said = doctor.CHECKS["locks"]()
    assert f".workspaces/sales.lock is held by process {os.getpid()}" in said


def smi(text: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Put a program nvidia-smi in the way of the real one."""

    def make(_: pytest.MonkeyPatch) -> None:
        Path("../nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
        Path("../nvidia-smi").chmod(0o755)

    return make


def written(name: str, text: str, mode: int = 0o644) -> Callable[[pytest.MonkeyPatch], None]:
    def make(_: pytest.MonkeyPatch) -> None:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
        Path(name).chmod(mode)

    return make


def called(*words: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda _: print(command(Path(), *words))


WRONG: dict[str, tuple[Callable[[pytest.MonkeyPatch], object], str, str]] = {
    "another version": (written("requirements/lock.txt", "pytest==1.0\n"), "packages", "`make setup` installs them"),
    "no lock": (lambda _: Path("requirements/lock.txt").unlink(), "packages", "cannot be looked at: FileNotFoundError"),
    "a broken driver": (smi("echo NVML: version mismatch; exit 18"), "gpu", "the driver does not work"),
    "no driver": (written("params.yaml", f"{PARAMS}train: {{device: gpu}}\n"), "gpu", "there is no nvidia-smi"),
    "a full disk": (
        lambda patch: patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.5e9)),
        "disk",
        "only 1.5 GB are free; `slipway clean --dry-run`",
    ),
    "a conflict": (written("dvc.yaml", "<<<<<<< HEAD\n"), "git", "marks of a merge that is not finished"),
    "nobody": (called("git", "config", "user.email", ""), "git", "user.email is not set"),
    "no data": (lambda _: Path("data.dvc").unlink(), "data", "data.dvc: a model without data"),
    "a remote that is gone": (
        lambda _: dvc(Path(), "remote", "add", "--quiet", "team", "/nowhere/at/all"),
        "dvc remotes",
        "there is no folder /nowhere/at/all",
    ),
    "a remote without its package": (
        lambda _: dvc(Path(), "remote", "add", "--quiet", "team", "gs://bucket"),
        "dvc remotes",
        "team (gs://bucket)",
    ),
    "no MLflow": (
        lambda patch: patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"),
        "mlflow",
        "does not respond (connection refused)",
    ),
    "no Prefect": (
        lambda patch: patch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api"),
        "prefect",
        "http://127.0.0.1:9 does not answer",
    ),
    "up was killed": (
        written(".prefect/up.json", json.dumps({"owner": "1-1-0000", "ports": {}})),
        "schedules",
        "`slipway up` starts all again",
    ),
    "a server of up that is away": (
        lambda _: state.write({"owner": temporary.owner(), "ports": {}, "addresses": {}}),
        "prefect",
        "the server that `slipway up` keeps does not answer: see .prefect/logs/prefect.log",
    ),
    "a secret for all": (written(".prefect/environment", "A=b\n"), "secrets", "`chmod 600 .prefect/environment`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_what_to_do(
    case: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, name, said = WRONG[case]
    make(monkeypatch)
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name]})
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert f"WRONG  {name}  " in out and said in out and "secret@" not in out
    assert "1 of 1 checks found something wrong" in out


@pytest.fixture
def late() -> Iterator[str]:
    """A server whose clock is a day behind."""

    class Late(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Sat, 01 Aug 2026 12:00:00 GMT"

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_clock_that_differs_from_a_servers(project: Path, late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", late)
    with pytest.raises(Exception, match=r"this clock is \d+ seconds ahead of that of http"):
        doctor.CHECKS["clock"]()
