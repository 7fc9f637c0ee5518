"""The bench of kills: that it finds each kind of thing that a kill could leave, and nothing where nothing is left."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import faults, writes
from tests.flowing import GIT, command


@pytest.fixture
def room(tmp_path: Path, empty_store: Path) -> Path:
    """A clone as a run leaves it, as far as the bench looks at it."""
    clone = tmp_path / "project"
    for name in ("project/data", "project/.prefect", "project/build", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(empty_store, clone / "mlflow.db")
    (clone / "params.yaml").write_text("seed: 1\n")
    (clone / ".gitignore").write_text("/data\n/build\nmlflow.db\nmlartifacts\n.prefect\n")
    (clone / "data/a.parquet").write_text("a")
    with sqlite3.connect(clone / ".prefect/prefect.db") as database:
        for name in ("flow_run", "task_run"):
            database.execute(f"create table {name} (state_type, state_name)")
    command(clone, "git", "init", "-q")
    command(clone, "git", "add", "-A")
    command(clone, "git", "commit", "-qm", "start", env=GIT)
    command(clone, "git", "update-ref", "refs/exps/a", "HEAD")
    return tmp_path


def found(room: Path, before: dict[str, object]) -> dict[str, str]:
    return {line: kind for kind, line in faults.checked(room, room / "project", before)}


def test_nothing_is_found_where_nothing_is_left(room: Path) -> None:
    assert found(room, faults.state(room / "project")) == {}


def test_each_kind_is_found(room: Path) -> None:
    from mlflow import MlflowClient

    clone = room / "project"
    client = MlflowClient(f"sqlite:///{clone}/mlflow.db")
    client.create_registered_model("m")
    kept = client.create_run("0")
    version = client.create_model_version("m", "file:///x", kept.info.run_id, tags={"slipway.model": "d"})
    before = faults.state(clone)
    client.delete_model_version("m", version.version)
    for _ in range(2):
        client.create_model_version("m", "file:///y", tags={"slipway.model": "e"})
        run = client.create_run("0", tags={"slipway.training": "t"})
    client.set_terminated(run.info.run_id)
    with sqlite3.connect(clone / ".prefect/prefect.db") as database:
        database.execute("insert into flow_run values ('RUNNING', 'Running')")
    (clone / "data/a.parquet").write_text("b")
    command(clone, "git", "update-ref", "-d", "refs/exps/a")
    for left in ("build/.x.tmp", "build/checkpoints/key", "mlartifacts/m/nobodys", "new.txt"):
        (clone / left).parent.mkdir(parents=True, exist_ok=True)
        (clone / left).touch()
    (room / "tmp/tmpabc").mkdir()
    lines = found(room, before)
    for kind, part in (
        ("lost", "a.parquet is another one"), ("lost", "versions: ('m', 1"), ("lost", "refs: refs/exps/a"),
        ("doubled", "2 versions of the model e"), ("doubled", "2 MLflow runs of the training t"),
        ("shown", f"MLflow: run {kept.info.run_id} RUNNING"), ("shown", "Prefect: flow_run Running 1"),
        ("disk", "build/.x.tmp"), ("disk", "build/checkpoints/key"), ("disk", "artefacts of nothing: mlartifacts/m/"),
        ("disk", "temporary: tmpabc"), ("disk", "git status: ?? new.txt"),
    ):  # fmt: skip
        assert [line for line in lines if part in line and lines[line] == kind], (part, lines)


def test_what_lives_on_is_found_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "END_SECONDS", 0.1)
    left = subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE)
    while not list(faults._processes(tmp_path)):
        time.sleep(0.01)
    (line,) = faults.still_running(tmp_path)
    assert "input()" in line
    assert left.wait() == -signal.SIGKILL
    assert faults.still_running(tmp_path) == []


@pytest.mark.e2e
def test_an_update_that_is_killed_before_some_of_its_writes_is_brought_to_its_end(tmp_path: Path) -> None:
    """Some of those that the bench tries; at 99 it comes to its end."""
    assert writes.sweep(writes.SCENARIOS["update"], tmp_path / "room", [7, 10, 18, 99]) == (3, [])


def test_the_bench_of_writes_finds_what_is_wrong(tmp_path: Path) -> None:
    def begin() -> None:
        Path("a").write_text("old")

    def torn() -> None:
        Path("a.tmp").write_text("new")
        Path("a").unlink()
        Path("a.tmp").rename("a")

    def lost() -> Iterator[str]:
        if not Path("a").exists():
            yield "a is lost"

    scenario = writes.Scenario(begin, torn, lambda: None, lost, lost)
    kills, found = writes.sweep(scenario, tmp_path / "room")
    assert kills == 2
    assert found == ["write 2, right after the kill: a is lost", "write 2, then: a is lost"]
