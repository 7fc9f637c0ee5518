import re
import sys
from itertools import chain
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from components import recipes, targets
from components.recipes import networks
from components.targets import Target, multi_label, regression, single_label
from tests import fabricate
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


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_setting_of_another_network_is_told(recipe: str) -> None:
    module, params = (
        networks.load(recipe),
        recipes.load(recipe).Params.model_validate(recipes.load(recipe).sample(9, 1)[0]),
    )
    assert networks.unread(recipe, module.Network(), params) == []
    assert getattr(module, "read_by", {}).keys() <= module.Network.model_fields.keys()
    models = get_args(module.Network.model_fields["model"].annotation) if "model" in module.Network.model_fields else ()
    assert {model for read in getattr(module, "read_by", {}).values() for model in read} <= {
        *models,
        "ngrams",
        "pieces",
    }


def test_what_a_network_does_not_read_is_what_was_set_for_another_one() -> None:
    images, text = recipes.load("images").Params(), recipes.load("text").Params()
    network = networks.load("images").Network
    assert networks.unread("images", network(model="cnn", hidden=[8], filters=[8]), images) == ["hidden"]
    assert networks.unread("images", network(model="mlp", hidden=[8]), images) == []
    assert networks.unread("text", networks.load("text").Network(model_size="mini", hidden=8), text) == ["model_size"]


def test_answers_name_the_likeliest_label() -> None:
    found = single_label.Target(("a", "b", "c")).answers(np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32))
    assert found["label"].to_pylist() == ["b", "a"]
    assert found["probability"].to_pylist() == pytest.approx([0.7, 0.5])
    assert found["probabilities"].to_pylist()[1] == pytest.approx([0.5, 0.2, 0.3])


def test_several_labels_and_numbers_are_answered_too() -> None:
    outputs = np.array([[0.6, 0.4], [0.2, 0.3]], np.float32)
    several = multi_label.Target(("a", "b"))
    assert several.answers(outputs)["labels"].to_pylist() == [["a"], []]
    assert several.answers(outputs, [0.7, 0.25])["labels"].to_pylist() == [["b"], ["b"]]
    number = regression.Target(("x",)).answers(outputs[:, :1])["value"].to_pylist()
    assert number == [pytest.approx(0.6), pytest.approx(0.2)]
    assert regression.Target(("x", "y")).answers(outputs).column_names == ["values"]


def test_a_decision_weighs_mistakes() -> None:
    one = single_label.Target(("good", "bad"))
    outputs = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    dear = [[0.0, -1.0], [-5.0, 0.0]]  # minus the costs: to take a bad one for good costs five
    assert one.answers(outputs)["label"].to_pylist() == ["good", "good"]
    assert one.answers(outputs, dear)["label"].to_pylist() == ["bad", "good"]


@pytest.mark.parametrize(
    ("target", "fit", "unfit"),
    [
        (single_label.Target(("a", "b")), ["a", "b"], [None, "c"]),
        (multi_label.Target(("a", "b")), [[], ["b", "a"]], [None, ["a", "c"], ["a", "a"]]),
        (regression.Target(("x",)), [1.0, -2.5], [None, float("nan"), float("inf")]),
        (regression.Target(("x", "y")), [[1.0, 2.0]], [None, [1.0], [1.0, None], [float("nan"), 1.0]]),
    ],
)
def test_labels_that_fit_become_arrays(target: Target, fit: list[Any], unfit: list[Any]) -> None:
    assert target.invalid([*fit, *unfit]) == [False] * len(fit) + [True] * len(unfit)
    found = target.encode(fit)
    assert found.shape == ((len(fit),) if target.exclusive else (len(fit), len(target.names)))
    assert (found.shape[1:], found.dtype) == (target.encode([]).shape[1:], target.encode([]).dtype)
    answers = target.answers(np.asarray(target.certain(found), np.float32))[target.answer].to_pylist()
    for same in (answers, target.decode(found)):
        assert [sorted(a) if isinstance(a, list) and target.classes else a for a in same] == [
            sorted(f) if isinstance(f, list) and target.classes else f for f in fit
        ]
    assert targets.of(target.described()) == target
    assert [name for label in fit for name in target.held(label)] == ([] if not target.classes else list(chain(*fit)))


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
    outputs = fabricate.outputs(networks.build(network, settings, state, 0.1), arrays)
    assert outputs.shape == (200, 2)
    assert set(points.target(settings).answers(outputs)["label"].to_pylist()) <= {"in", "out"}
    with pytest.raises(ValueError, match="missing or infinite"):
        points.encode(pa.table({"x": [float("inf")], "y": [1.0]}), settings, state)
