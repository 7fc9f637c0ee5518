import re
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components import recipes
from tests.conftest import ROOT


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_sample_is_the_same_for_the_same_seed(recipe: str) -> None:
    module = recipes.load(recipe)
    assert module.sample(50, 1)[1].equals(module.sample(50, 1)[1])
    assert not module.sample(50, 1)[1].equals(module.sample(50, 2)[1])


@pytest.mark.parametrize("recipe", recipes.names())
def test_one_example_is_encoded_as_among_many(recipe: str) -> None:
    module = recipes.load(recipe)
    section, sample = module.sample(30, 1)
    params = module.Params.model_validate(section)
    state = module.fit([sample], params)
    many = module.encode(sample, params, state)
    for row in range(30):
        one = module.encode(sample.slice(row, 1), params, state)
        assert all(np.array_equal(one[name][0], many[name][row]) for name in many)


def test_answers_name_the_likeliest_label() -> None:
    found = recipes.answers(
        np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32), recipes.Target("label", ("a", "b", "c"))
    )
    assert found["label"].to_pylist() == ["b", "a"]
    assert found["probability"].to_pylist() == pytest.approx([0.7, 0.5])
    assert found["probabilities"].to_pylist()[1] == pytest.approx([0.5, 0.2, 0.3])


def test_several_labels_and_numbers_are_answered_too() -> None:
    outputs = np.array([[0.6, 0.4], [0.2, 0.3]], np.float32)
    several = recipes.Target("labels", ("a", "b"))
    assert recipes.answers(outputs, several)["labels"].to_pylist() == [["a"], []]
    assert recipes.answers(outputs, several, [0.7, 0.25])["labels"].to_pylist() == [["b"], ["b"]]
    assert recipes.answers(outputs[:, :1], recipes.Target("values", ("x",)))["value"].to_pylist() == [
        pytest.approx(0.6),
        pytest.approx(0.2),
    ]
    assert recipes.answers(outputs, recipes.Target("values", ("x", "y"))).column_names == ["values"]


def test_a_decision_weighs_mistakes() -> None:
    one = recipes.Target("label", ("good", "bad"))
    outputs = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    dear = [[0.0, -1.0], [-5.0, 0.0]]  # minus the costs: to take a bad one for good costs five
    assert recipes.answers(outputs, one)["label"].to_pylist() == ["good", "good"]
    assert recipes.answers(outputs, one, dear)["label"].to_pylist() == ["bad", "good"]


@pytest.mark.parametrize(
    ("target", "fit", "unfit"),
    [
        (recipes.Target("label", ("a", "b")), ["a", "b"], [None, "c"]),
        (recipes.Target("labels", ("a", "b")), [[], ["b", "a"]], [None, ["a", "c"], ["a", "a"]]),
        (recipes.Target("values", ("x",)), [1.0, -2.5], [None, float("nan"), float("inf")]),
        (recipes.Target("values", ("x", "y")), [[1.0, 2.0]], [None, [1.0], [1.0, None], [float("nan"), 1.0]]),
    ],
)
def test_labels_that_fit_become_arrays(target: recipes.Target, fit: list[Any], unfit: list[Any]) -> None:
    assert recipes.unfit([*fit, *unfit], target) == [False] * len(fit) + [True] * len(unfit)
    found = recipes.encoded(fit, target)
    assert found.shape == ((len(fit),) if target.kind == "label" else (len(fit), len(target.names)))
    outputs = np.eye(len(target.names))[found] if target.kind == "label" else found
    answer = recipes.answers(np.asarray(outputs, np.float32), target).columns[0].to_pylist()
    assert [sorted(a) if target.kind == "labels" else a for a in answer] == [
        sorted(f) if target.kind == "labels" else f for f in fit
    ]


def test_the_recipe_of_the_docs_works(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    found = {}
    for name, code in zip(
        ("example", "networks", "source"), re.findall(r"```python\n(.*?)```", text, re.DOTALL), strict=True
    ):
        found[name] = ModuleType(f"components.recipes.points.{name}")
        monkeypatch.setitem(sys.modules, found[name].__name__, found[name])
        exec(compile(code, "docs/recipes.md", "exec"), found[name].__dict__)  # noqa: S102 - it is ours
    points: Any = found["example"]
    networks: Any = found["networks"]
    assert set(vars(found["source"])["SOURCES"]) == {"points"}
    section, sample = points.sample(200, 1)
    settings, network = points.Params.model_validate(section), networks.Network.model_validate(networks.sample)
    state = points.fit([sample.slice(0, 150), sample.slice(150)], settings)
    arrays = points.encode(sample, settings, state)
    assert arrays.keys() == points.inputs(settings, state).keys()
    assert np.abs(arrays["point"]).max() == pytest.approx(1)
    assert points.facts(sample, settings)["distance"].null_count == 0
    outputs = networks.build(network, settings, state, 0.1).predict(arrays, verbose=0)
    assert outputs.shape == (200, 2)
    assert set(recipes.answers(outputs, points.target(settings))["label"].to_pylist()) <= {"in", "out"}
    with pytest.raises(ValueError, match="missing or infinite"):
        points.encode(pa.table({"x": [float("inf")], "y": [1.0]}), settings, state)
