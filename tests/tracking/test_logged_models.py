"""A logged model that was left half-made is removed with what was written of it; one that is being made is left."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components import params, temporary
from components.files import model_digest
from components.tracking import connection, registry, runs
from tests import fabricate

pytestmark = pytest.mark.usefixtures("no_figures")
BUILD = Path("build")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """Make a project whose model is written by one line, for what MLflow makes of it is not what is tried."""
    monkeypatch.chdir(tmp_path)
    settings = fabricate.project(tmp_path)
    fabricate.store(tmp_path)

    def save(params: params.Params, build: Path, example: pa.Table, folder: Path, meta: Any) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "MLmodel").write_text("whole")

    monkeypatch.setattr(registry, "_save", save)
    return settings


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def half_made(settings: params.Params, run_id: str, owner: str | None) -> tuple[str, Path]:
    """Make what a process leaves that is killed while it writes a model: its id, and a file of it."""
    tags = {"slipway.model": model_digest(BUILD / "model")} | ({registry.OWNER_TAG: owner} if owner else {})
    client = connection.client()
    made = client.create_logged_model(connection.experiment(settings.name), settings.name, run_id, tags=tags)
    written = Path(made.artifact_location.removeprefix("file://"), "half.onnx")
    written.parent.mkdir(parents=True)
    written.write_bytes(b"half")
    return str(made.model_id), written


def logged(settings: params.Params, run_id: str) -> str:
    return registry._logged(settings, BUILD, run_id, model_digest(BUILD / "model"), pa.table({}))


def listed(settings: params.Params) -> set[str]:
    return {str(model.model_id) for model in connection.client().search_logged_models([connection.experiment("sides")])}


def test_what_a_dead_process_left_is_removed_with_its_files(
    project: params.Params, sleeper: "subprocess.Popen[bytes]"
) -> None:
    run_id = runs.ensure_run(project, BUILD)
    place = temporary.owner().rpartition("-")[2]
    owner = f"{sleeper.pid}-{temporary._started(sleeper.pid)}-{place}"
    sleeper.kill()
    sleeper.wait()
    for left in (owner, temporary.owner(), None):  # this process's own, and those of a version that named no owner
        half, written = half_made(project, run_id, left)
        assert written.exists()
        made = logged(project, run_id)
        assert made != half and listed(project) == {made}
        assert not written.exists() and not written.parent.exists()
        connection.client().delete_logged_model(made)


def test_what_another_process_is_making_is_left_to_it(
    project: params.Params, sleeper: "subprocess.Popen[bytes]"
) -> None:
    run_id = runs.ensure_run(project, BUILD)
    place = temporary.owner().rpartition("-")[2]
    elsewhere = f"1-1-{'0' * 4 if place != '0000' else '1111'}"
    living = f"{sleeper.pid}-{temporary._started(sleeper.pid)}-{place}"
    others = [half_made(project, run_id, owner) for owner in (living, elsewhere)]
    made = logged(project, run_id)
    assert listed(project) == {made, *(half for half, _ in others)}
    assert all(written.read_bytes() == b"half" for _, written in others)
    assert logged(project, run_id) == made  # what is whole is found again
