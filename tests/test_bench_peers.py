"""The bench beside other tools: that each project can be prepared, and is none of ours."""

import re
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from bench.peers import digits, run
from tests.conftest import ROOT

PEERS = ROOT / "bench" / "peers"


def test_a_file_that_is_not_there_is_named_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run.parsed(["--mnist", str(tmp_path), "--room", str(tmp_path / "room")])
    assert str(caught.value).startswith(f"error: {tmp_path}: no file {digits.NAMES[0]};")


@pytest.mark.parametrize("name", run.PEERS)
def test_each_setting_is_one_line_of_the_project(name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    shutil.copy(PEERS / name / run.PEERS[name].settings, file)
    for key, value in (("hidden", 520), ("epochs", 3), ("threshold", 0.51)):
        before = file.read_text().splitlines()
        run.change(file, key, value)
        differ = [new for old, new in zip(before, file.read_text().splitlines(), strict=True) if old != new]
        assert [re.sub(r"\W+", " ", line).lower().split()[0] for line in differ] == [key]
        assert differ[0].endswith(f" {value}")


def test_a_setting_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("hidden: 512\n")
    with pytest.raises(SystemExit, match="expected one line for threshold, found 0"):
        run.change(tmp_path / "params.yaml", "threshold", 0.5)


@pytest.mark.parametrize("name", run.PEERS)
def test_every_requirement_is_pinned(name: str) -> None:
    lines = (PEERS / name / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w\[\]-]+==[\d.]+", line) for line in lines)


def test_their_pipeline_is_none_of_ours() -> None:
    with Repo(str(ROOT)) as repo:
        assert not [stage.addressing for stage in repo.index.stages if "peers" in stage.addressing]


def test_nothing_of_the_users_own_settings_reaches_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    environment = run.surroundings(run.PEERS["metaflow"], tmp_path, tmp_path / "environment")
    assert "MLFLOW_TRACKING_URI" not in environment
    assert environment["METAFLOW_DATASTORE_SYSROOT_LOCAL"] == str(tmp_path)
    assert environment["PATH"].startswith(str(tmp_path / "environment" / "bin"))


def test_the_table_has_a_row_per_measure_and_says_how_many_steps_ran() -> None:
    def done(*seconds: float) -> list[dict[str, object]]:
        return [{"seconds": second, "steps": list(run.STEPS)} for second in seconds]

    found = {"kedro": {"fresh": done(3, 1, 2), "unchanged, by hand": done(1)}, "dvc": {"fresh": done(4)}}
    assert run.table(found) == [
        "                    kedro     dvc",
        "fresh               2.00 (5)  4.00 (5)",
        "unchanged, by hand  1.00 (5)  -",
    ]
