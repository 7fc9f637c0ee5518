"""A marker in each place that holds a secret, a whole run, and a search through all that it said and left."""

import re
import shutil
import threading
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from components.masking import HIDDEN
from flows.machinery import server
from tests import fabricate
from tests.flowing import DONE, GIT, ROOT, command, flows, repository, serving

pytestmark = pytest.mark.e2e

MARK = "mk5ecret"
OWN = {".git/config", ".dvc/config.local", "tell.py"}  # where the user, or this test, has written them
LEAKY = """
import os, sys
for name in ("MLFLOW_TRACKING_URI", "HTTP_PROXY", "AWS_SECRET_ACCESS_KEY"):
    print(name, "is", os.environ.get(name), flush=True)
print("psycopg2.OperationalError: connection to 'postgresql://u:mk5ecret-db@h/db' failed", flush=True)
print("warning: Max retries exceeded with url: /api/2.0/mlflow/runs?access_token=mk5ecret-query", file=sys.stderr)
open("made", "w").write("1")
"""


def project(path: Path) -> Path:
    """A project whose stages are up to date, but for one that tells its environment; in git, with remotes."""
    path.mkdir()
    fabricate.project(path)
    (path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (path / ".gitignore").write_text("/made\n.prefect/\n/.dvc/tmp\n/.dvc/config.local\n/mlflow.db\n")
    shutil.copy(ROOT / "prefect.toml", path)
    (path / "tell.py").write_text(LEAKY)
    yaml = YAML()
    stages = yaml.load(path / "dvc.yaml")
    stages["stages"]["tell"] = {"cmd": "python tell.py", "deps": ["tell.py"], "outs": [{"made": {"cache": False}}]}
    yaml.dump(stages, path / "dvc.yaml")
    command(path, "git", "init", "-q")
    with (path / ".git/config").open("a") as file:
        file.write(f'[remote "origin"]\n    url = https://me:{MARK}-git@127.0.0.1:9/team.git\n')
    remote = f"['remote \"far\"']\n    url = https://me:{MARK}-dvc@127.0.0.1:9/store\n"
    (path / ".dvc/config.local").write_text(f"[core]\n    remote = far\n{remote}")
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "start", env=GIT)
    return path


def leaks(*roots: Path) -> list[str]:
    """Name the files under these folders that hold a marker, but those where the user has written it."""
    found = []
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.relative_to(root).as_posix() not in OWN:
                content = path.read_bytes()
                found += [f"{path}: {match!r}" for match in re.findall(rf".{{0,60}}{MARK}.{{0,30}}".encode(), content)]
    return found


class Watch:
    """Collects the command lines of all processes while it is open."""

    def __enter__(self) -> "Watch":
        self.seen: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.05):
            for process in psutil.process_iter(["cmdline"]):
                self.seen.add(" ".join(process.info["cmdline"] or []))


def test_no_credential_is_anywhere_after_a_run(tmp_path: Path) -> None:
    """In no output, file, artifact, command line, or record of Prefect's and MLflow's."""
    port = fabricate.free_port()
    (tmp_path / "home").mkdir()
    (tmp_path / "mlflow").mkdir()
    fabricate.store(tmp_path)
    environment = {
        "HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": f"http://me:{MARK}-uri@127.0.0.1:{port}",
        "HTTP_PROXY": f"http://me:{MARK}-proxy@127.0.0.1:9",
        "HTTPS_PROXY": f"http://me:{MARK}-proxy@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-aws",
    }
    path = project(tmp_path / "project")
    with fabricate.server(tmp_path, tmp_path / "mlflow", port), Watch() as watch:
        process = flows(path, "run", **environment)
        out, _ = process.communicate(timeout=300)
    assert process.returncode in DONE, out.replace(MARK, "MARK")
    assert f"tell: MLFLOW_TRACKING_URI is http://{HIDDEN}@127.0.0.1:{port}" in out
    assert f"tell: AWS_SECRET_ACCESS_KEY is {HIDDEN}" in out
    assert f"tell: warning: Max retries exceeded with url: /api/2.0/mlflow/runs?access_token={HIDDEN}" in out
    assert MARK not in out
    assert any("step.py tell" in words for words in watch.seen)
    assert any("components.stages.register" in words or "components register" in words for words in watch.seen)
    assert not [words for words in watch.seen if MARK in words]
    assert (path / ".prefect/prefect.db").exists()
    assert leaks(path, tmp_path / "mlflow", tmp_path / "home") == []


def test_the_password_of_a_prefect_server_is_not_in_its_records(tmp_path: Path) -> None:
    """Prefect would log the address of each run's page."""
    (tmp_path / "project").mkdir()
    path = repository(tmp_path / "project", {"a": {"cmd": "echo $PREFECT_API_URL; echo 1 > a", "outs": ["a"]}})
    port = server.free_port()
    with serving(tmp_path / "prefect", port), Watch() as watch:
        process = flows(path, "run", PREFECT_API_URL=f"http://me:{MARK}-api@127.0.0.1:{port}/api")
        out, _ = process.communicate(timeout=300)
        assert f"a: http://{HIDDEN}@127.0.0.1:{port}/api" in out
    assert MARK not in out
    assert not [words for words in watch.seen if MARK in words]
    assert (tmp_path / "prefect/prefect.db").stat().st_size > 100_000
    assert leaks(path, tmp_path / "prefect") == []
    (path / "a").write_text("2\n")  # there is something to do: without, no server is asked
    process = flows(path, "run", PREFECT_API_URL=f"http://me:{MARK}-api@127.0.0.1:{port}/api")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "does not respond" in out and MARK not in out
