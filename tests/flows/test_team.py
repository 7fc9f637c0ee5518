"""A team's servers, as deploy/compose.yaml has them, without containers: its commands and settings on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from ruamel.yaml import YAML

from flows.machinery import server
from tests.flowing import GIT, REGISTER, command, repository

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "deploy/compose.yaml")
SECRETS = {
    "SLIPWAY_DATABASE_PASSWORD": "of the/database@1",
    "SLIPWAY_S3_PASSWORD": "of the store",
    "SLIPWAY_MLFLOW_PASSWORD": "of MLflow, and long",
    "SLIPWAY_MLFLOW_SECRET": "of its pages",
    "SLIPWAY_PREFECT_AUTH": "slipway:of Prefect",
}
MLFLOW_TOO = """
from components.tracking import connection
connection.client().create_registered_model("made in the run")
"""


def filled(text: str, secrets: dict[str, str]) -> str:
    """Fill in variables as Compose does: ${NAME:-default} and ${NAME:?what is said where it is missing}."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: secrets[found[1]] if found[2] == "?" else secrets.get(found[1], found[3] or ""),
        text,
    )


@dataclass
class Team:
    """A team's servers on this machine."""

    ports: dict[str, int]
    folder: Path

    def here(self, text: str) -> str:
        """Say for this machine what is said for the containers."""
        text = filled(text, SECRETS)
        for name, inside in (("mlflow", 5000), ("prefect", 4200)):
            text = text.replace(f"{name}:{inside}", f"127.0.0.1:{self.ports[name]}")
        places = {
            "0.0.0.0": "127.0.0.1",  # noqa: S104
            "/etc/slipway/mlflow.ini": str(ROOT / "deploy/mlflow.ini"),
            "s3://mlflow": str(self.folder / "s3"),
        }
        for there, here in places.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        settings = {
            key: self.here(str(value)) for key, value in COMPOSE["services"][name].get("environment", {}).items()
        }
        for key in ("PGHOST", "PREFECT_SERVER_DATABASE_HOST"):
            if settings.get(key) == "postgres":
                settings[key] = "127.0.0.1"
                settings["PGPORT" if key == "PGHOST" else "PREFECT_SERVER_DATABASE_PORT"] = str(self.ports["postgres"])
        (self.folder / "home").mkdir(exist_ok=True)
        return settings | {"HOME": str(self.folder / "home"), "MLFLOW_WORKERS": "1"}

    def command(self, name: str) -> list[str]:
        words = [self.here(str(word)) for word in COMPOSE["services"][name]["command"]]
        port = {"--port=5000": f"--port={self.ports['mlflow']}", "4200": str(self.ports["prefect"])}
        return [sys.executable, "-m", *(port.get(word, word) for word in words)]

    @contextmanager
    def started(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                self.command(name), cwd=self.folder, env=environment | self.environment(name), stdout=log, stderr=log
            )
        family = psutil.Process(process.pid)
        try:
            yield process
        finally:
            rest = family.children(recursive=True) if process.poll() is None else []
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            for each in rest:
                try:
                    each.kill()
                except psutil.NoSuchProcess:
                    continue

    def until(self, true: Callable[[], object], otherwise: str, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not true():
            logs = "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"{otherwise}\n{logs}"
            time.sleep(0.2)


def programs() -> Path:
    """Return where a PostgreSQL with the extension that Prefect needs is: the other tests' wheel has none."""
    found = [path.parent.parent / "bin" for path in Path("/usr/lib/postgresql").glob("*/lib/pg_trgm.so")]
    if not found:
        pytest.skip("needs a PostgreSQL with its extensions (Debian: apt install postgresql)")
    return max(found)


@contextmanager
def postgres(port: int) -> Iterator[None]:
    """Run PostgreSQL on loopback, with the user, the password and the databases of the containers."""
    place, user = programs(), "postgres" if os.geteuid() == 0 else None

    def call(name: str, *words: str, **options: Any) -> None:
        subprocess.run([place / name, *words], check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, **options)

    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)
        data, secret = f"{folder}/data", Path(folder, "password")
        secret.write_text(SECRETS["SLIPWAY_DATABASE_PASSWORD"])
        call("initdb", "-D", data, "-U", "slipway", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
        call("pg_ctl", "-w", "-D", data, "-l", f"{folder}/log", "-o", options, "start")
        try:
            words = ("-h", "127.0.0.1", "-p", str(port), "-U", "slipway", "-d", "postgres")
            login = os.environ | {"PGPASSWORD": SECRETS["SLIPWAY_DATABASE_PASSWORD"]}
            call("psql", *words, "-q", "-f", "-", input=(ROOT / "deploy/databases.sql").read_bytes(), env=login)
            yield
        finally:
            call("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    programs()
    folder = tmp_path_factory.mktemp("team")
    team = Team({name: server.free_port() for name in ("postgres", "mlflow", "prefect")}, folder)
    with ExitStack() as stack:
        stack.enter_context(postgres(team.ports["postgres"]))
        for name, health in (("mlflow", "/health"), ("prefect", "/api/health")):
            process = stack.enter_context(team.started(name))
            url = f"http://127.0.0.1:{team.ports[name]}{health}"
            team.until(lambda: server.answers(url) or process.poll() is not None, f"{name} does not answer")  # noqa: B023
            assert process.poll() is None, (folder / f"{name}.log").read_text()
        yield team


@pytest.mark.e2e
def test_nobody_without_a_login_and_no_secret_in_sight(team: Team) -> None:
    for name, path in (("mlflow", "/api/2.0/mlflow/experiments/get?experiment_id=0"), ("prefect", "/api/work_pools/a")):
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"http://127.0.0.1:{team.ports[name]}{path}")
    said = "".join(path.read_text() for path in team.folder.glob("*.log"))
    titles = "".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    assert not [name for name, secret in SECRETS.items() if secret in said + titles]


@pytest.mark.e2e
def test_one_of_two_workers_retrains_on_the_teams_servers(team: Team) -> None:
    """A deployment of prefect.yaml, a clone of the repository, and MLflow reached from inside the run, once."""
    remote = repository(team.folder / "remote", {"a": {"cmd": "echo 1 > a", "outs": ["a"]}})
    (remote / "components/__main__.py").write_text(REGISTER + MLFLOW_TOO)
    (remote / "flows").symlink_to(ROOT / "flows")
    (remote / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    command(remote, "git", "add", "-A", env=GIT)
    command(remote, "git", "commit", "-qm", "code", env=GIT)
    (team.folder / "work").mkdir()
    client = team.environment("worker") | {"PYTHONPATH": str(ROOT)} | GIT
    branch = command(remote, "git", "branch", "--show-current")
    client |= {"SLIPWAY_REPOSITORY": str(remote), "SLIPWAY_BRANCH": branch, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    prefect = [sys.executable, "-m", "prefect"]
    command(remote, *prefect, "work-pool", "create", "team", "--type", "process", env=client)
    place = f"working_dir={team.folder / 'work'}"
    command(remote, *prefect, "--no-prompt", "deploy", "--name", "retrain-team", "--job-variable", place, env=client)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client.items():
            patch.setenv(name, value)
        with team.started("worker"), team.started("worker"):
            watch = [*prefect, "deployment", "run", "retrain/retrain-team", "--watch"]
            done = subprocess.run(watch, cwd=remote, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + (team.folder / "worker.log").read_text()
    assert list((team.folder / "work").glob("*/dvc.yaml"))
    from mlflow import MlflowClient
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    settings = {PREFECT_API_URL: client["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: client["PREFECT_API_AUTH_STRING"]}
    with temporary_settings(settings), get_client(sync_client=True) as there:
        (run,) = there.read_flow_runs()
        assert run.run_count == 1 and len(there.read_task_runs()) == 2

    with pytest.MonkeyPatch.context() as patch:
        for name, value in client.items():
            patch.setenv(name, value)
        made = MlflowClient(client["MLFLOW_TRACKING_URI"]).search_registered_models()
    assert [each.name for each in made] == ["made in the run"]


def test_compose_is_whole_pinned_on_loopback_and_without_secrets() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        assert "build" in service or re.search(r":v?\d+\.\d+", service["image"]), name
        assert name in ("buckets", "worker") or service["healthcheck"]["test"][0] == "CMD", name
        assert all(port.startswith("${SLIPWAY_BIND:-127.0.0.1}:") for port in service.get("ports", [])), name
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "deploy" / source).is_file(), volume
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH_STRING", key):
                assert re.match(r"\$\{\w+:\?", str(value)), key
    asked = set(re.findall(r"\$\{(\w+):\?", json.dumps(services)))
    example = (ROOT / "deploy/example.env").read_text()
    assert asked == set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == set(SECRETS)
    assert set(re.findall(r"\$\{(\w+)", json.dumps(services))) - asked <= {
        "SLIPWAY_BIND", "SLIPWAY_HOST", "SLIPWAY_S3_USER", "SLIPWAY_S3_PORT", "SLIPWAY_MLFLOW_USER",
        "SLIPWAY_MLFLOW_PORT", "SLIPWAY_PREFECT_PORT",
    }  # fmt: skip
