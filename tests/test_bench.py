"""The bench of the pipeline: that it measures examples/mnist, takes any path, and tells what each side trained."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench import pipeline
from components import params
from tests.conftest import ROOT

FILES = [
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]
SIDE = {"model": "Dense 10 softmax", "parameters": 7850, "epochs": 2, "examples an epoch": 54029}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `files` of four empty files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    for name in FILES:
        (tmp_path / "files" / name).touch()
    return tmp_path / "files"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The checkout as it is, as far as settings go."""
    for name in ("examples", "expectations"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    for name in ("params.yaml", "data.dvc", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path / "project")
    return tmp_path / "project"


# Where MNIST lies.


def test_a_relative_folder_is_resolved_at_once(files: Path) -> None:
    options = pipeline.parsed(["--mnist", "files", "--out", "report.json"])
    assert options.mnist == files.resolve()
    assert options.out == (files.parent / "report.json").resolve()


@pytest.mark.parametrize("lacking", FILES)
def test_a_file_that_is_not_there_is_named_in_a_line(files: Path, lacking: str) -> None:
    (files / lacking).unlink()
    with pytest.raises(SystemExit) as caught:
        pipeline.parsed(["--mnist", "files"])
    assert str(caught.value).startswith(f"error: {files.resolve()}: no file {lacking};")
    assert "\n" not in str(caught.value)


def test_the_command_line_ends_with_that_line(files: Path) -> None:
    (files / FILES[3]).unlink()
    command = [sys.executable, str(ROOT / "bench" / "pipeline.py"), "--mnist", "files"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=files.parent, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert FILES[3] in done.stderr


def test_no_folder_and_no_runs_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"elsewhere: no such folder"):
        pipeline.parsed(["--mnist", "elsewhere"])
    with pytest.raises(SystemExit):
        pipeline.parsed(["--mnist", "files", "--runs", "0"])
    assert "--runs: 0: expected at least 1" in capsys.readouterr().err


# What is measured.


def test_the_settings_are_those_of_the_example(project: Path) -> None:
    pipeline.settle(project, {})
    found = params.load(project / "params.yaml")
    assert found == params.load(ROOT / "examples" / "mnist" / "params.yaml")
    assert found.name == "mnist"
    assert found.network.model == "mlp"
    own = ROOT / "examples" / "mnist" / "expectations.yaml"
    assert (project / "expectations" / "images.yaml").read_bytes() == own.read_bytes()


def test_nothing_of_the_settings_before_is_left(project: Path) -> None:
    pipeline.settle(project, {})
    before = (project / "params.yaml").read_bytes()
    pipeline.settle(project, pipeline.SAME | {"register.minimum.accuracy": 0.1})
    assert (project / "params.yaml").read_bytes() != before
    pipeline.settle(project, {})
    assert (project / "params.yaml").read_bytes() == before


def test_a_setting_changes_nothing_but_itself(project: Path) -> None:
    yaml = YAML(typ="safe")
    expected = yaml.load(ROOT / "examples" / "mnist" / "params.yaml")
    assert expected["train"]["epochs"] != 7
    expected["train"]["epochs"] = 7
    pipeline.settle(project, {"train.epochs": 7})
    assert yaml.load(project / "params.yaml") == expected


def test_the_same_recipe_is_that_of_the_script(project: Path) -> None:
    pipeline.settle(project, pipeline.SAME)
    found = params.load(project / "params.yaml")
    assert (found.train.epochs, found.train.batch_size, found.train.learning_rate) == (20, 128, 0.001)
    assert (found.train.schedule.name, found.train.dropout, found.train.optimizer) == ("constant", 0, "adam")
    assert (found.network.model, found.split.validation) == ("mlp", 0.2)


def test_the_ingest_has_the_words_of_the_example(project: Path) -> None:
    _, module, name, *words = pipeline.ingest(project, Path("/there"), small=False)
    assert [module, name] == ["-m", "components"]
    assert words == ["ingest", "mnist", "--from", "/there", "--name", "mnist", "--keep-params", "--replace"]


def test_the_commands_of_stages_are_those_of_the_pipeline(project: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", project)
    (words,) = pipeline.commands(project, "validate")
    assert " ".join(words[1:]).endswith("--expectations expectations/images.yaml --out build/validation")


# What is told.


def test_the_report_says_what_each_side_trained(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    ours = [pipeline.seen(SIDE | {"test accuracy": accuracy}) for accuracy in (0.97, 0.99)]
    script = [pipeline.seen(SIDE | {"epochs": 20})]
    results = [
        {"name": "to quality", "aim": "<= 0.6", "ours": [3.0, 1.0, 2.0], "reference": [4.0, 4.0, 5.0]},
        {"name": "nothing", "aim": "<= 5 s", "ours": [1.25], "reference": []},
    ]
    trained = {"to quality": ours, "script": script}

    def measure(found: dict[str, Any], room: Path, mnist: Path, runs: int, *, small: bool) -> None:
        asked.extend([mnist, runs, small])
        found.update({"trained": trained, "results": results, "stages": []})

    monkeypatch.setattr(pipeline, "measure", measure)
    pipeline.main(["--mnist", "files", "--out", "report.json", "--plot", "ratios.png"])
    assert asked == [files.resolve(), 5, False]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["to", "quality", "2.00", "4.00", "0.50", "-2.00", "<=", "0.6"] in lines
    assert ["nothing", "1.25", "-", "-", "-", "<=", "5", "s"] in lines
    assert ["epochs", "2", "20"] in lines
    assert ["examples", "seen", "108,058", "1,080,580"] in lines
    assert ["test", "accuracy", "0.9800", "-"] in lines
    report = json.loads(Path("report.json").read_text())
    assert report["trained"] == trained
    assert report["results"] == results
    assert Path("ratios.png").stat().st_size > 1_000


@pytest.mark.e2e
def test_a_year_of_nights_is_drawn(tmp_path: Path) -> None:
    from bench import year

    nights = [dict.fromkeys(year.PLACES, night * 1_000_000) for night in range(3)]
    year.drawn({False: nights, True: nights}, tmp_path / "year.png")
    assert (tmp_path / "year.png").stat().st_size > 10_000
