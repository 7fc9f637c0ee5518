from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.files import write_json
from flows.machinery import committed
from tests.flowing import GIT, command


def lock(**changes: str) -> dict[str, Any]:
    """dvc.lock's stages, evaluate before train; `changes` are other digests of paths."""

    def entries(*paths: str) -> list[dict[str, str]]:
        return [{"path": path, "md5": changes.get(path, "0")} for path in paths]

    return {
        "evaluate": {"cmd": "e", "deps": entries("model", "data"), "outs": entries("metrics")},
        "train": {
            "cmd": "t",
            "deps": entries("data", "code"),
            "params": {"x": changes.get("x", 1)},
            "outs": entries("model"),
        },
    }


def test_the_first_stage_with_the_same_inputs_and_other_outputs() -> None:
    assert committed.first(lock(), lock()) == ""
    assert committed.first(lock(), lock(model="1")) == "train"
    assert committed.first(lock(), lock(model="1", metrics="1")) == "train"
    assert committed.first(lock(), lock(metrics="1")) == "evaluate"


@pytest.mark.parametrize("changed", ["data", "code", "x"])
def test_other_inputs_are_an_ordinary_change(changed: str) -> None:
    assert committed.first(lock(), lock(model="1", metrics="1", **{changed: "1"})) == ""


def test_it_is_told_in_the_checkout_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command(tmp_path, "git", "init", "-q")
    assert committed.other_bits() == ""  # nothing was committed
    YAML().dump({"stages": lock()}, tmp_path / "dvc.lock")
    command(tmp_path, "git", "add", "dvc.lock")
    command(tmp_path, "git", "commit", "-qm", "x", env=GIT)
    assert committed.other_bits() == ""
    YAML().dump({"stages": lock(model="1")}, tmp_path / "dvc.lock")
    write_json(tmp_path / "build/cost/train.json", {"device_name": "Z80"})
    told = committed.other_bits()
    assert told.startswith("same inputs, other last bits: from train on")
    assert "this processor (Z80)" in told and "`git checkout dvc.lock && dvc pull`" in told
    YAML().dump({"stages": lock(model="1", code="1")}, tmp_path / "dvc.lock")
    assert committed.other_bits() == ""
