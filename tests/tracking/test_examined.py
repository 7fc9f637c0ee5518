"""The labels that a registered version is held against. tests/slipway/test_api.py asks a real one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components import SlipwayError, params, recipes
from components.evaluation import explain
from components.files import read_json
from components.recipes import networks
from components.serving import onnx_model
from components.targets import Target, boxes, multi_label, regression, single_label
from components.tracking import connection, examined
from tests import fabricate


def known(target: Target, labels: list[Any]) -> list[Any]:
    asked = examined._Asked("trial version 2", Path(), Path(), {"recipe": "detection"}, target, Path())
    return examined._known(asked, labels, [f"r{row}" for row in range(len(labels))])


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (("0", "1"), [1, np.int64(0), "1"], ["1", "0", "1"]),
        (("0", "1"), [1.0, 0.0], ["1", "0"]),  # pandas has floats where a column has had gaps
        (("<=50K", ">50K"), [" >50K", "<=50K "], [">50K", "<=50K"]),
        (("false", "true"), [True, np.bool_(False)], ["true", "false"]),
    ],
)
def test_labels_are_spelled_as_an_ingest_spells_them(
    names: tuple[str, ...], labels: list[Any], expected: list[str]
) -> None:
    assert known(single_label.Target(names), labels) == expected


def test_labels_of_several_and_numbers_are_as_the_dataset_has_them() -> None:
    assert known(multi_label.Target(("a", "b")), [np.array(["a ", "b"]), []]) == [["a", "b"], []]
    assert known(regression.Target(("x",)), [1, 2.5]) == [1, 2.5]
    assert known(regression.Target(("x", "y")), [[1, 2.5]]) == [[1, 2.5]]


BOX = {"label": "cat", "left": 0.1, "top": 0.1, "right": 0.5, "bottom": 0.6}


@pytest.mark.parametrize(
    ("target", "label", "why"),
    [
        (single_label.Target(("cat", "dog")), "cta", "'cta' is no class; did you mean cat?"),
        (single_label.Target(("cat", "dog")), float("nan"), "is missing"),
        (single_label.Target(("cat", "dog")), ["cat"], "one class is expected, not a list"),
        (multi_label.Target(("cat", "dog")), ["cat", "cat"], "['cat', 'cat'] names a class twice"),
        (multi_label.Target(("cat", "dog")), ["bird"], "'bird' is no class; there are: cat, dog"),
        (multi_label.Target(("cat", "dog")), "cat", "'cat' is not a list of classes"),
        (regression.Target(("x",)), "many", "'many' is not a finite number"),
        (regression.Target(("x",)), float("inf"), "inf is not a finite number"),
        (regression.Target(("x",)), None, "is missing"),
        (regression.Target(("x", "y")), 3.0, "3.0 is not 2 finite numbers"),
        (boxes.Target(("cat", "dog")), "cat", "is not a list of boxes"),
        (boxes.Target(("cat", "dog")), [BOX | {"label": "bird"}], "has a box of a class that is not in {section}"),
        (boxes.Target(("cat", "dog")), [BOX | {"right": 0.0}], "has a box of no width or no height"),
        (boxes.Target(("cat", "dog")), None, "is missing"),
    ],
)
def test_a_label_that_cannot_be_is_named_with_its_row(target: Target, label: Any, why: str) -> None:
    good: dict[str, Any] = {"single_label": "cat", "multi_label": ["cat"], "regression": [1.0] * len(target.names)}
    good["boxes"] = [BOX]
    one = good[target.kind] if target.kind != "regression" or len(target.names) > 1 else 1.0
    with pytest.raises(SlipwayError) as error:
        known(target, [one, label])
    said = f"1 of 2 labels are none of trial version 2: row r1: {why.replace('{section}', 'detection.labels')}"
    assert str(error.value).startswith(said) if "{section}" in why else str(error.value) == said


def test_rows_with_the_same_label_are_named_together() -> None:
    with pytest.raises(SlipwayError) as error:
        known(single_label.Target(("no", "yes")), ["no", *["maybe"] * 5])
    assert str(error.value) == (
        "5 of 6 labels are none of trial version 2: row r1, r2, r3 and 2 more: 'maybe' is no class; there are: no, yes"
    )


def test_labels_may_stand_in_columns_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"recipe": "tabular", "params": {"numeric": ["a"], "targets": ["x", "y"]}}
    monkeypatch.setattr(connection, "about", lambda _: about)
    table = pa.table({"a": [1.0, 2.0], "y": [5, 6], "x": [3, 4]})
    labels, rest = examined.apart("models:/trial/1", table, "label")
    assert labels == [[3, 5], [4, 6]] and rest.column_names == ["a"]
    with pytest.raises(SlipwayError, match=r"no column 'label' with the labels \(or one for each of x, y\); .* a, y"):
        examined.apart("models:/trial/1", table.drop_columns(["x"]), "label")


def test_copies_are_drawn_together_as_the_stage_does_and_need_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"recipe": "tabular", "params": {"numeric": ["a"], "labels": ["no", "yes"]}}
    monkeypatch.setattr(connection, "about", lambda _: about)
    made: Any = SimpleNamespace(uri="models:/trial/2", tag=lambda _: json.dumps({"by": "id", "official": []}))
    notes: list[str] = []
    found = examined._blocks(made, pa.table({"a": [1.5, 2.5, 1.5, 1.5, 2.5]}), notes)
    assert found is not None and found.tolist() == [0, 1, 0, 0, 1]
    assert examined._blocks(made, pa.table({"a": [1.5, 2.5, 3.5]}), notes) is None
    assert examined._blocks(made, pa.table({"b": [1.5, 1.5], "c": [1.5, 1.5]}), notes) is None and not notes


@pytest.mark.parametrize("name", recipes.names())
def test_examples_of_every_recipe_can_be_explained(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.load(name)
    section, sample = recipe.sample(30, 3)
    settings = params.check(
        {"name": "trial", "recipe": name, name: section, "network": networks.load(name).sample}, Path("params.yaml")
    )
    fabricate.any_model(tmp_path / "model", settings, sample)
    loaded = onnx_model.load(tmp_path / "model")
    content = read_json(tmp_path / "model/model.json")
    some = sample.select(recipe.columns(settings.task).names).slice(0, 1)

    @contextmanager
    def asked(version: str, examples: pa.Table, *, trust: bool) -> Iterator[examined._Asked]:
        found = examined._Asked("trial version 2", tmp_path, tmp_path / "model", content, loaded.target, tmp_path)
        found.__dict__["answers"] = onnx_model.predict(loaded, examples)
        yield found

    monkeypatch.setattr(examined, "_asked", asked)
    found = examined.explained("models:/trial/2", some, lambda: sample, [0], trust=False)
    assert {part["row"] for part in found} == {0}
    assert all(np.isfinite(part["drop"]) for part in found) and any(part["drop"] for part in found)
    seen = explain.shown(onnx_model.inputs(loaded))
    assert {"part", "drop", "answer"} <= found[0].keys()
    assert bool(seen) == any("position" in part or "top" in part for part in found)
