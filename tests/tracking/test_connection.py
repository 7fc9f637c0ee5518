"""What MLflow's database cannot do is said in a sentence, and nothing else."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from components import SlipwayError
from components.tracking import connection


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
