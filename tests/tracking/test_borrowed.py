import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import SlipwayError
from components.tracking import borrowed, connection

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def stores(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The registry, and an empty store."""
    for name in ("registry.db", "own.db"):
        shutil.copy(empty_store, tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/registry.db")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/registry.db", f"sqlite:///{tmp_path}/own.db"


def registered(store: str, folder: Path, *contents: str) -> "MlflowClient":
    """Register a version for each content of model.keras; champion is the last."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.create_experiment("base", (folder / "artifacts").as_uri())
    client.create_registered_model("base")
    for content in contents:
        run = client.create_run(experiment).info.run_id
        (folder / "model.keras").write_text(content)
        if content:
            client.log_artifact(run, str(folder / "model.keras"), "build")
        version = client.create_model_version("base", f"runs:/{run}/build", run)
        client.set_registered_model_alias("base", "champion", version.version)
    return client


def test_a_training_finds_the_version_that_it_started_from(stores: tuple[str, str], tmp_path: Path) -> None:
    registered(stores[0], tmp_path, "old", "mine", "new")
    borrowed.lend("models:/base/2", "models:/base@champion", stores[1], tmp_path / "lent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stores[1])
        assert connection.pinned("models:/base@champion") == "models:/base/2"  # it has moved on in the registry
        version = connection.client().get_model_version("base", "2")
        path = connection.client().download_artifacts(str(version.run_id), "build/model.keras", str(tmp_path))
        assert Path(path).read_text() == "mine"


def test_a_model_that_is_gone_is_said(stores: tuple[str, str], tmp_path: Path) -> None:
    registered(stores[0], tmp_path, "")
    with pytest.raises(SlipwayError, match="starts from models:/base/1, whose run no longer keeps"):
        borrowed.lend("models:/base/1", "models:/base/1", stores[1], tmp_path / "lent")
    with pytest.raises(SlipwayError, match="cannot fetch models:/base/7"):
        borrowed.lend("models:/base/7", "models:/base/7", stores[1], tmp_path / "lent")
