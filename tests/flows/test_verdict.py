"""Verdicts on what was made again, from dvc.lock and files alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.files import write_csv, write_json
from components.tracking.origin import Origin
from flows.machinery import verdict
from flows.machinery.origin import Objects, Source
from flows.machinery.verdict import Place


def lock(**changes: str) -> bytes:
    outs = {"validate": "validation/quarantine.parquet", "train": "model", "evaluate": "evaluation"}
    stages = {name: {"outs": [{"path": f"build/{path}", "md5": changes.get(name, "0")}]} for name, path in outs.items()}
    return json.dumps({"stages": stages}).encode()


class Kept(Objects):
    """What the version had: an evaluation, unless it is gone."""

    def __init__(self, accuracy: float | None) -> None:
        self.accuracy = accuracy

    def lay(self, digest: str, folder: Path) -> list[str]:
        if folder.name != "evaluation" or self.accuracy is None:
            return [folder.name]
        evaluation(folder, self.accuracy)
        return []


def evaluation(folder: Path, accuracy: float) -> None:
    write_json(folder / "metrics.json", {"accuracy": accuracy})
    write_csv(folder / "intervals.csv", [{"metric": "accuracy", "low": 0.8, "high": 0.95}], ["metric", "low", "high"])


def judged(
    tmp_path: Path, *, now: float, trained_on: str = "Z80", here: str = "6502", was: float | None = 0.9, **changes: str
) -> dict[str, Any]:
    place = Place(tmp_path)
    build = place.checkout / "build"
    evaluation(build / "evaluation", now)
    write_json(build / "cost/train.json", {"device_name": here})
    (place.checkout / "dvc.lock").write_bytes(lock(**changes))
    run_tags = {"hardware.device_name": trained_on} if trained_on else {}
    made = Origin("sides", "3", "r", {}, (), 0.0, run_tags, {})
    found = verdict.compared(Kept(was), made, Source("c", "", "", {"dvc.lock": lock()}), place, ["validate", "train"])
    assert "sides version 3" in verdict.told(made, found | {"seconds": 1.0})[0]
    json.dumps(found, allow_nan=False)
    return found


def test_the_same_digests_are_identical(tmp_path: Path) -> None:
    assert judged(tmp_path, now=0.9)["verdict"] == "identical"


@pytest.mark.parametrize(
    ("trained_on", "here", "now", "expected"),
    [
        ("Z80", "6502", 0.93, "within tolerance on another processor"),
        ("Z80", "6502", 0.97, "different"),
        ("Z80", "Z80", 0.9, "different"),
        ("", "Z80", 0.93, "within tolerance, trained on an unknown processor"),
        ("", "Z80", 0.7, "different"),
    ],
)
def test_another_processor_may_give_other_bits(
    tmp_path: Path, trained_on: str, here: str, now: float, expected: str
) -> None:
    found = judged(tmp_path, now=now, trained_on=trained_on, here=here, train="1", evaluate="1")
    assert found["verdict"] == expected
    assert (found["stage"], found["differ"]) == ("train", ["build/model"])
    assert found["gone"] == ["build/model"]  # how far the weights are off nobody can say
    assert ("accuracy" in found.get("outside", [])) == (now in (0.97, 0.7))


def test_no_processor_explains_other_rows_or_what_is_no_longer_kept(tmp_path: Path) -> None:
    found = judged(tmp_path / "a", now=0.9, validate="1")
    assert found["verdict"] == "different" and found["stage"] == "validate"
    assert found["outside"] == ["the rows that were set aside, which are others"]
    found = judged(tmp_path / "b", now=0.9, was=None, train="1")
    assert found["verdict"] == "different" and found["gone"] == ["build/model", "build/evaluation"]


def test_a_registered_model_that_is_not_the_one_of_its_lock(tmp_path: Path) -> None:
    build = tmp_path / "checkout/build/model"
    build.mkdir(parents=True)
    for name in ("model.onnx", "model.json"):
        (build / name).write_text("another one")
    found = judged(tmp_path, now=0.9, trained_on="")
    assert found["verdict"] == "different" and "the registered model" in found["differ"][0]


def test_the_lock_is_read_as_dvc_writes_it(tmp_path: Path) -> None:
    YAML().dump(json.loads(lock()), tmp_path / "dvc.lock")
    assert Source("", "", "", {"dvc.lock": (tmp_path / "dvc.lock").read_bytes()}).lock().keys() == {
        "validate",
        "train",
        "evaluate",
    }
