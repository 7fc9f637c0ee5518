from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Clone

pytestmark = pytest.mark.e2e


def test_the_same_commit_gives_the_same_lock_in_any_clone(clone: Callable[[str], Clone], tmp_path: Path) -> None:
    """Weights included, byte for byte, at different paths, each from an empty cache; no temporary file is left."""
    locks = []
    for name in ("here", "a-rather-longer-place"):
        project = clone(name)
        project.run("dvc", "pull", "data.dvc")
        (project.path / "dvc.lock").unlink(missing_ok=True)
        settings = project.path / "params.yaml"
        settings.write_text(settings.read_text().replace("epochs: 20", "epochs: 5"))
        said = project.run("dvc", "repro", TMPDIR=str(tmp_path))
        assert "epoch 5/5" in said  # it was really trained
        assert list(tmp_path.iterdir()) == []
        locks.append((project.path / "dvc.lock").read_bytes())
    assert b"model" in locks[0]
    assert locks[0] == locks[1]

    settings.write_text(settings.read_text().replace("epochs: 5", "epochs: 6"))
    process = project.start("dvc", "repro")
    said = ""
    for line in process.stdout or ():
        said += line
        if "epoch 1/6" in line:
            settings.write_text(settings.read_text().replace("epochs: 6", "epochs: 7"))
    assert process.wait() != 0 and "params.yaml: train.epochs: changed while train was at work" in said, said
    assert (project.path / "dvc.lock").read_bytes() == locks[0]
    assert "train" in project.run("dvc", "status")


def test_a_plain_pull_brings_the_dataset_offline(clone: Callable[[str], Clone]) -> None:
    project = clone("pulled")
    project.run("dvc", "pull", HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    assert (project.path / "data" / "digits.parquet").exists()


def test_a_table_goes_the_same_way(clone: Callable[[str], Clone], prefect_server: str) -> None:
    project = clone("table")
    project.run("dvc", "pull", "data.dvc")
    project.run("python", "-m", "components", "ingest", "breast-cancer", "--replace")
    said = project.run("python", "-m", "flows", "retrain", PREFECT_API_URL=prefect_server)
    assert "569 rows" in said
    assert project.versions() == {"breast-cancer 1": {"champion", "challenger", "reference"}}
    reproduce = ("python", "-m", "flows", "reproduce", "breast-cancer@champion")  # of data that is not committed
    said = project.run(*reproduce, PREFECT_API_URL=prefect_server)
    assert "breast-cancer version 1: identical: all 11 outputs" in said
    (project.path / "rows.csv").write_text(",".join(_columns(project)) + "\n" + ",".join(["1.0"] * 30) + "\n")
    said = project.run("python", "-m", "components", "predict", "models:/breast-cancer@champion", "rows.csv")
    assert "benign" in said or "malignant" in said


def _columns(project: Clone) -> list[str]:
    from components import params

    return list(params.load(project.path / "params.yaml").task.numeric)
