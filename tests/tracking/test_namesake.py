"""A model's name is refused at the ingest where a registered model of that name predicts something else."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from components import SlipwayError, params
from components.__main__ import main
from components.data import versions
from components.tracking import connection, namesake
from tests.flowing import initialised

TABLE = "x,z,y\n" + "".join(f"{n},{n % 3},{'no' if n % 2 else 'yes'}\n" for n in range(12))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A project with a registry that knows no model yet."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    initialised(tmp_path)
    return tmp_path


def register(name: str, recipe: str, section: dict[str, Any], alias: str | None = None) -> str:
    """Register a version that has the metadata of one, and nothing else."""
    from mlflow.models import Model

    client = connection.client()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    place = Path("artifacts", str(len(list(Path("artifacts").glob("*"))))).absolute()
    place.mkdir(parents=True)
    Model(metadata={"recipe": recipe, "params": section}).save(str(place / "MLmodel"))
    version = str(client.create_model_version(name, place.as_uri()).version)
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return version


def ingest(text: str = TABLE, *options: str, file: str = "train.csv") -> int:
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(text)
    return main(["ingest", "table", file, "--label", "y", "--replace", *options])


def test_three_problems_of_one_file_name_do_not_share_a_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest() == 0
    assert "train" not in capsys.readouterr().err
    settings = params.load()
    assert settings.name == "train"
    register("train", "tabular", settings.task.model_dump(mode="json"), "champion")
    before = Path("params.yaml").read_bytes(), sorted(Path("data").iterdir())

    assert ingest(TABLE.replace("yes", "high").replace("no", "low").replace("x,z", "p,q")) == 1
    said = capsys.readouterr().err
    assert (
        "the registered model train (version 1) predicts something else (it predicts no, yes): choose another" in said
    )
    assert ingest(TABLE.replace("x,z", "p,q")) == 1
    assert "(its columns are x, z)" in capsys.readouterr().err
    assert ingest(TABLE.replace("yes", "1.5").replace("no", "2.5")) == 1
    assert (Path("params.yaml").read_bytes(), sorted(Path("data").iterdir())) == before

    assert ingest(TABLE + "9,9,yes\n") == 0  # retrained on more rows
    said = capsys.readouterr().out
    assert "train (version 1) is of the same columns and labels, and gets its next version; for another problem" in said
    assert ingest(TABLE + "9,9,yes\n", "--drop", "z") == 0
    said = capsys.readouterr().out
    assert "warning: the registered model train (version 1) asks for z, which this dataset does not have" in said
    assert "same columns" not in said
    assert ingest(TABLE + "9,9,perhaps\n") == 0  # a class more
    assert ingest(TABLE.replace("x,z", "p,q"), "--name", "other") == 0
    assert params.load().name == "other"
    assert ingest(TABLE.replace("x,z", "p,q"), "--keep-params") == 0  # other is free, and stays the name


def test_a_problem_of_the_same_columns_and_none_of_the_examples_has_to_be_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest() == 0
    version = register("train", "tabular", params.load().task.model_dump(mode="json"), "champion")
    client = connection.client()
    client.set_model_version_tag("train", version, "slipway.data", versions.recorded(Path("data")))
    before = contents()
    opposite = TABLE.replace("yes", "-").replace("no", "yes").replace("-", "no")
    others = "x,z,y\n" + "".join(f"{n}.5,{n},{'no' if n % 3 else 'yes'}\n" for n in range(12))
    capsys.readouterr()
    for text in (opposite, others):
        assert ingest(text) == 1
        said = capsys.readouterr().err
        assert "the registered model train (version 1) was trained on none of these examples, so they may be of" in said
        assert "--name, or, if it is the same problem, --name train" in said
        assert contents() == before
    assert ingest(TABLE, "--name", "mine") == 0  # data/ need not be what the model was trained on
    assert ingest(others) == 1
    assert ingest(TABLE + "99,9,yes\n") == 0  # more rows of the same
    assert ingest(others, "--name", "train") == 0
    assert params.load().name == "train"


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (Path("params.yaml"), *sorted(Path("data").iterdir()))}


def test_the_champion_counts_and_without_one_the_latest_version(project: Path) -> None:
    section = {"numeric": ["x", "z"], "labels": ["no", "yes"], "hidden": [8]}  # a key of older days
    register("train", "images", {"labels": ["a", "b"]})
    register("train", "tabular", section)
    assert ingest() == 0
    found = namesake.find("train")
    assert found is not None and (found.version, found.recipe, found.params) == ("2", "tabular", section)
    connection.client().set_registered_model_alias("train", "champion", "1")
    assert ingest() == 1


def test_a_registry_that_is_far_away_or_silent_is_not_waited_for_and_nothing_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, why in {
        "https://me:secret@mlflow.example.org": "it is on another machine (https://***@mlflow.example.org)",
        "http://127.0.0.1:9": "nothing answers at http://127.0.0.1:9",
        "postgresql://me:secret@db/x": "it is on another machine (postgresql://***@db/x)",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert ingest() == 0
        said = capsys.readouterr().out
        assert f"the registry was not asked for a model 'train' of another problem: {why}" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/new.db")
    assert namesake.find("train") is None
    assert not Path("new.db").exists()
    Path("new.db").write_text("no database")
    with pytest.raises(SlipwayError, match="does not respond"):
        namesake.find("train")
