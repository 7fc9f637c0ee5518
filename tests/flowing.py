"""Small real DVC repositories, with stages of shell and Python, for the tests of the flows."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from flows.machinery import server

ROOT = Path(__file__).parent.parent
# Tests that run as a shell's background job ignore SIGINT, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# In the place of `python -m components register`: what the flow asks of it, without MLflow.
REGISTER = """
import json, os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.parent.mkdir(exist_ok=True)
new = not out.exists()
print("registered as", os.environ["DVC_EXP_NAME"])
out.write_text(json.dumps({
    "name": "digits", "version": "3", "run_id": "r", "model_digest": "m", "aliases": ["challenger"],
    "new_version": new, "promoted": False, "changed": new, "reason": "accuracy is below the gate",
    "decision": "kept", "to_decide": "", "waiting": [],
    "gates": [{"metric": "accuracy", "limit": ">= 0.99", "value": 0.97, "held": False}],
    "metrics": {"accuracy": 0.97, "rows": 360},
    "champion": {"version": "2", "metrics": {"accuracy": 0.98}, "rows": 360, "of": 360,
                 "difference": {"mean": -0.01, "low": -0.02, "high": 0.0}},
    "reference": None, "score": "accuracy", "tracking_uri": "sqlite:///mlflow.db",
}))
if not new:
    time.sleep(2)  # to the end of a process that has nothing to do, on a busy machine
"""
DONE = (0, 3)  # exit codes of a run that has registered its model, promoted or not
GIT = {f"GIT_{role}_{key}": "test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}


def repository(path: Path, stages: dict[str, dict[str, Any]], data: str = "") -> Path:
    """Make a git and DVC repository with these stages and, where given, data/a.txt tracked by data.dvc."""
    from dvc.repo import Repo

    from tests import repositories

    repositories.blank(path)
    YAML().dump({"stages": stages}, path / "dvc.yaml")
    (path / "components").mkdir()
    (path / "components/__main__.py").write_text(REGISTER)
    real = ROOT / "components"  # the rest of the package is the real one
    (path / "components/__init__.py").write_text(
        f"{(real / '__init__.py').read_text()}\n__path__.append({str(real)!r})\n"
    )
    (path / ".gitignore").write_text(".prefect/\n__pycache__/\n/build\n")
    (path / "prefect.toml").write_text((ROOT / "prefect.toml").read_text())
    if data:
        (path / "data").mkdir()
        (path / "data/a.txt").write_text(data)
        with Repo(str(path)) as repo:
            repo.add(str(path / "data"))
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "start", env=GIT)
    return path


def initialised(path: Path) -> None:
    """Make a DVC repository without git."""
    from tests import repositories

    repositories.blank(path, git=False)


def status(path: Path) -> dict[str, Any]:
    """Return what `dvc status` finds changed."""
    from dvc.repo import Repo

    with Repo(str(path)) as repo:
        return dict(repo.status())


@contextmanager
def serving(home: Path, port: int, **settings: str) -> Iterator[str]:
    """Run a Prefect server with settings of its own; its API's address."""
    home.mkdir(exist_ok=True)
    environment = os.environ | {"PREFECT_HOME": str(home)} | settings
    with (home / "log").open("a") as log:
        process = subprocess.Popen(server.command(port, "--no-ui"), env=environment, stdout=log, stderr=log)
    try:
        while not server.answers(f"http://127.0.0.1:{port}/api/health"):
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()


def command(path: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run a command in a folder; return what it printed. Raises where it fails."""
    done = subprocess.run(
        arguments, cwd=path, check=False, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def dvc(path: Path, *words: str) -> None:
    """Call DVC's command line in this process: to start another takes a second."""
    from dvc.cli import main

    with contextlib.chdir(path):
        assert main([*words]) == 0


def flows(path: Path, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    """Start `python -m flows ...` in a folder; its output and errors are in stdout."""
    return started(path, [sys.executable, "-m", "flows", *arguments], **env)


def started(path: Path, words: list[str], **env: str) -> "subprocess.Popen[str]":
    """Start a command in a folder of a repository, which lacks what the checkout has; all it says is in stdout."""
    return subprocess.Popen(
        words,
        cwd=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}", **env},
    )


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Signal a process and wait for its end; return the rest of its output."""
    process.send_signal(number)
    try:
        return process.communicate(timeout=120)[0]  # on a busy machine
    finally:
        process.kill()  # does nothing where it has ended


def until(process: "subprocess.Popen[str]", word: str) -> str:
    """Read a process's output up to the line that holds a word; return it."""
    seen = ""
    for line in process.stdout or ():
        seen += line
        if word in line:
            return seen
    raise AssertionError(f"it ended without {word!r}:\n{seen}")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, seconds: float = 10) -> bool:
    """Return whether a process has ended, or does within some seconds."""
    deadline = time.monotonic() + seconds
    while _lives(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
