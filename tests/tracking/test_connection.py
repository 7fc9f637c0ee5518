"""What MLflow's database cannot do is said in a sentence, and nothing else."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import SlipwayError
from components.tracking import connection
from tests.conftest import ROOT


def test_what_the_database_refuses_is_a_sentence_without_a_traceback(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: MLflow logs the traceback of what it raises."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = connection.client()
    client.search_experiments()
    with sqlite3.connect(tmp_path / "mlflow.db") as file:
        file.execute("CREATE TRIGGER full BEFORE INSERT ON registered_models BEGIN SELECT none(); END")
    with pytest.raises(SlipwayError, match=r"cannot register: .*no such function"), connection.plainly("register"):
        client.create_registered_model("boats")
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.e2e
def test_a_process_killed_while_it_makes_the_database_leaves_none(tmp_path: Path) -> None:
    """Half of MLflow's tables could neither be gone on with nor upgraded."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", "from components.tracking import connection; connection.check()"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while process.poll() is None and not any(path.stat().st_size for path in tmp_path.glob("*mlflow.db*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert [path.name for path in tmp_path.glob("*mlflow.db*")] == ["mlflow.db"]  # what was left is gone, too


def test_a_database_that_was_never_finished_is_said_to_be_empty(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, "mlflow.db")
    with sqlite3.connect("mlflow.db") as file:
        file.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow's first one
    with pytest.raises(SlipwayError, match="its making was cut short, and it has neither runs nor models: remove"):
        connection.check()
    with sqlite3.connect("mlflow.db") as file:
        file.execute("INSERT INTO registered_models (name) VALUES ('boats')")
    with pytest.raises(SlipwayError, match="mlflow db upgrade"):
        connection.check()
