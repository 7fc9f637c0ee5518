"""What changed between trainings, on versions and runs that were made by hand."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.files import sha256
from flows import compare
from tests import fabricate
from tests.flowing import repository
from tests.flows.test_lineage import made, register

STAGES: dict[str, dict[str, Any]] = {
    "validate": {
        "cmd": "mkdir -p build/validation; cp made/validation/columns.json build/validation/",
        "deps": ["data", "made"],
        "outs": ["build/validation/columns.json"],
    },
    "train": {
        "cmd": "mkdir -p build; cp -r made/arrays made/model build/",
        "deps": ["data", "made"],
        "params": ["train"],
        "outs": ["build/arrays", "build/model"],
    },
    "evaluate": {"cmd": "cp -r made/evaluation build/", "deps": ["build/model"], "outs": ["build/evaluation"]},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A project with two versions, the first the champion, the second one answering at random, and a last run."""
    root = tmp_path_factory.mktemp("compare")
    path = root / "repo"
    fabricate.project(root, 0.0)
    shutil.copytree(root / "build", path / "made")
    (path / "params.yaml").write_text(fabricate.PARAMS)
    repository(path, STAGES)
    shutil.copytree(root / "data", path / "data")
    shutil.copy(empty_store, path / "mlflow.db")
    with (path / ".gitignore").open("a") as file:
        file.write("mlflow.db\n")
    logging.getLogger("dvc").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        made(path)
        register(path, aliases=["champion"])
        shutil.rmtree(path / "made")
        worse = root / "worse"
        worse.mkdir()
        fabricate.project(worse, 1.0)
        columns = worse / "build/validation/columns.json"
        columns.write_text(columns.read_text().replace('"label"', '"side"'))
        shutil.copy(path / "data/a.parquet", path / "data/c.parquet")
        shutil.copytree(worse / "build", path / "made")
        (path / "params.yaml").write_text(fabricate.PARAMS.replace("epochs: 3", "epochs: 4"))
        made(path)
        register(path)
        run("last one, epochs=4", **{"slipway.evaluated": sha256(*sorted(Path("build/evaluation").iterdir()))})
        yield path


def run(name: str, **tags: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    place = client.get_experiment_by_name("sides")
    assert place is not None
    made = client.create_run(place.experiment_id, run_name=name, tags=tags)
    client.log_param(made.info.run_id, "train.epochs", 5)
    client.log_param(made.info.run_id, "seed", 1)
    for key, value in {"test/accuracy": 0.5, "cost.fit_seconds": 4.0}.items():
        client.log_metric(made.info.run_id, key, value)
    return str(made.info.run_id)


def told(capsys: pytest.CaptureFixture[str], *asked: str) -> list[str]:
    capsys.readouterr()
    assert compare.run(list(asked)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    return [" ".join(line.split()) for line in lines]


def test_two_versions_are_compared_in_pairs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "sides@champion", "sides/2")
    assert lines[:4] == ["sides/1 (champion) -> sides/2", "", "what changed", "train.epochs 3 -> 4"]
    assert lines[5:9] == ["", "how the data moved: 300 rows beside 300", "side: is new", "label: is gone"]
    assert "what it brought: 55 test examples, in pairs; 95% intervals" in lines
    right = {}
    for number, folder in ((1, path.parent), (2, path.parent / "worse")):
        table = pq.read_table(folder / "build/evaluation/predictions.parquet").to_pandas()
        right[number] = (table["label"] == table["actual"]).mean()
    (accuracy,) = (line.split() for line in lines if line.startswith("accuracy "))
    assert [float(text) for text in accuracy[1:4]] == pytest.approx([right[1], right[2], right[2] - right[1]], rel=1e-3)
    low, high = (float(text.strip("[],")) for text in accuracy[4:6])
    assert low < right[2] - right[1] < high < 0 and accuracy[-1] == "WORSE"
    assert told(capsys, "models:/sides/2")[0] == "sides/1 (champion) -> sides/2"
    assert [line for line in told(capsys, "sides/2", "sides/1", "sides/2") if " -> sides" in line] == [
        "sides/2 -> sides/1",
        "sides/2 -> sides/2",
    ]


def test_without_runs_it_is_the_last_one_against_the_champion(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys)[0] == told(capsys, "sides")[0] == "sides/1 (champion) -> last one, epochs=4"
    assert "train.epochs 3 -> 4" in told(capsys)


def test_a_run_whose_files_are_gone_is_compared_by_what_mlflow_has(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = run("by itself")
    for spec in (number, "by itself"):
        lines = told(capsys, spec)
        assert "train.epochs 3 -> 5" in lines and not any(
            "dropout" in line for line in lines
        )  # a default is not logged
        assert not any(line.startswith("register.") for line in lines)
        at = lines.index("what it brought, each on its own test split, without intervals of the difference:")
        assert lines[at + 1].startswith("(the predictions of the run by itself were not kept")
        assert any(line.startswith("accuracy ") and line.endswith(" 0.5") for line in lines)
        assert "fit_seconds 2 -> 4" in lines


def test_a_model_in_models_has_its_expectations_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", "models/boats"):
        Path(name).mkdir(parents=True, exist_ok=True)
        Path(name, "params.yaml").write_text(f"name: {Path(name).name or 'sides'}\n")
    assert [compare._folder(name) for name in ("boats", "sides", "gone")] == ["models/boats", "", ""]


def test_an_experiment_is_found_by_its_name_and_an_unknown_word_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.tracking import origin

    name = origin.find("sides/2").tag("dvc_experiment")
    assert told(capsys, name)[0] == f"sides/1 (champion) -> {name}"
    with pytest.raises(
        SlipwayError, match=r"last one, epochs=5: expected a version .*; did you mean last one, epochs=4\?"
    ):
        compare.run(["last one, epochs=5"])
    with pytest.raises(SlipwayError, match="sides has no version '7'"):
        compare.run(["sides/7"])
