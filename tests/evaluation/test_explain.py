from typing import Any

import numpy as np
import pytest

from components import recipes
from components.evaluation import explain, metrics
from components.evaluation.examples import Examples
from components.recipes import Arrays, Input
from components.targets import Target, multi_label, regression, single_label

TWO = single_label.Target(("a", "b"))


class Stub:
    """A recipe that says only how its tokens read."""

    def spell(self, tokens: np.ndarray, state: Any, name: str) -> list[str]:
        return [f"word{token}" for token in tokens]


def explained(ask: explain.Ask, arrays: Arrays, examples: Examples, most: int, **inputs: Input) -> list[dict[str, Any]]:
    recipe: Any = Stub()
    return explain.examples(ask, arrays, inputs, recipe, {}, examples, most)


def test_only_the_column_that_decides_is_important() -> None:
    random = np.random.default_rng(1)
    arrays = {
        "numeric": random.normal(size=(500, 3)).astype(np.float32),
        "categorical": random.integers(0, 4, (500, 1)).astype(np.int32),
    }

    def ask(given: Arrays) -> np.ndarray:
        yes = ((given["numeric"][:, 1] > 0) | (given["categorical"][:, 0] == 1)).astype(np.float32)
        return np.stack([1 - yes, yes], axis=1)

    outputs = ask(arrays)
    examples = Examples(outputs.argmax(axis=1), outputs, TWO)
    inputs = {"numeric": Input("numbers", ("x", "y", "z")), "categorical": Input("codes", ("colour",))}
    found = explain.importance(ask, arrays, inputs, examples, 1)
    assert [row["column"] for row in found] == ["y", "colour", "x", "z"]
    assert found[0]["importance"] == pytest.approx(3 / 8, abs=0.06)  # changes place with one of the other side
    assert found[1]["importance"] > 0.1
    assert found[0]["spread"] > 0
    assert found[2]["importance"] == found[3]["importance"] == 0
    assert explain.importance(ask, arrays, inputs, examples, 1) == found


def test_a_column_in_two_inputs_changes_place_in_both_and_a_history_as_a_whole() -> None:
    random = np.random.default_rng(1)
    series = random.normal(size=(300, 5, 2)).astype(np.float32)
    arrays = {"history": series, "last": series[:, -1, :1].copy()}
    seen = []

    def ask(given: Arrays) -> np.ndarray:
        seen.append(np.array_equal(given["history"][:, -1, 0], given["last"][:, 0]))
        whole: np.ndarray = given["history"][:, :, 0].sum(axis=1, keepdims=True)
        return whole

    examples = Examples(ask(arrays), ask(arrays), regression.Target(("h1",)))
    inputs = {"history": Input("history", ("sales", "price")), "last": Input("numbers", ("sales",))}
    found = explain.importance(ask, arrays, inputs, examples, 1)
    assert [row["column"] for row in found] == ["sales", "price"]
    assert found[0]["importance"] > 1
    assert found[1]["importance"] == 0
    assert all(seen)


def test_one_column_at_a_time_is_shuffled_in_one_copy_of_the_examples() -> None:
    """A copy for each of thousands of columns would be quadratic in them; the caller's arrays stay as they are."""
    arrays = {"x": np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)}
    before, given, changed = arrays["x"].copy(), set(), []

    def ask(some: Arrays) -> np.ndarray:
        given.add(id(some["x"]))
        changed.append(np.flatnonzero((some["x"] != before).any(axis=0)).tolist())
        return np.tile([0.4, 0.6], (len(some["x"]), 1))

    examples = Examples(np.zeros(200, int), np.tile([0.4, 0.6], (200, 1)), TWO)
    explain.importance(ask, arrays, {"x": Input("numbers", tuple("abcd"))}, examples, 1)
    assert changed == [[column] for column in range(4) for _ in range(explain.PERMUTATIONS)]
    assert len(given) == 1
    assert np.array_equal(arrays["x"], before)


def test_how_often_the_model_is_asked_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "MAX_EVALUATED", 10_000)
    asked = []

    def ask(given: Arrays) -> np.ndarray:
        asked.append(len(given["x"]))
        return np.tile([0.4, 0.6], (len(given["x"]), 1))

    arrays = {"x": np.zeros((5000, 4), np.float32)}
    examples = Examples(np.zeros(5000, int), ask(arrays), TWO)
    asked.clear()
    explain.importance(ask, arrays, {"x": Input("numbers", tuple("abcd"))}, examples, 1)
    assert sum(asked) == 10_000


def test_of_thousands_of_columns_those_that_move_the_outputs_are_shuffled(capsys: pytest.CaptureFixture[str]) -> None:
    """The model is asked hardly more often than of a hundred, for each prediction of so many costs more."""
    n, names = 300, tuple(f"x{at}" for at in range(1200))
    arrays = {"x": np.random.default_rng(1).normal(size=(n, len(names))).astype(np.float32)}
    asked = []

    def ask(given: Arrays) -> np.ndarray:
        asked.append(len(given["x"]))
        yes = (given["x"][:, 1100] * given["x"][:, 7] > 0) | (given["x"][:, 500] > 2)
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)

    outputs = ask(arrays)
    asked.clear()
    examples = Examples(outputs.argmax(axis=1), outputs, TWO)
    found = explain.importance(ask, arrays, {"x": Input("numbers", names)}, examples, 1)
    most = explain.MAX_EVALUATED // (explain.PERMUTATIONS * explain.MIN_PER_PERMUTATION)
    assert len(found) == most == 100
    assert {row["column"] for row in found[:2]} == {"x7", "x1100"}
    assert sum(asked) == explain.SCREENED * (1 + len(names)) + explain.MAX_EVALUATED
    assert "importance: of the 100 columns that move the outputs most" in capsys.readouterr().out


def test_examples_are_the_worst_ones_and_as_many_good_ones() -> None:
    confidence = np.linspace(0.5, 0.99, 20)
    outputs = np.stack([confidence, 1 - confidence], axis=1)
    actual = np.zeros(20, int)
    actual[[3, 8, 15]] = 1
    chosen = explain.chosen(Examples(actual, outputs, TWO), 4).tolist()
    assert chosen[:2] == [15, 8]  # wrong, the surest of them first
    assert len(chosen) == 4
    assert not set(chosen[2:]) & {3, 8, 15}
    assert len(explain.chosen(Examples(np.zeros(20, int), outputs, TWO), 6)) == 6  # nothing is wrong
    assert len(explain.chosen(Examples(np.zeros(2, int), outputs[:2], TWO), 6)) == 2


@pytest.mark.parametrize(("kind", "shape"), [("image", (28, 20, 3)), ("image", (6, 6, 1)), ("spectrogram", (98, 40))])
def test_what_is_hidden_where_it_matters_costs_most(kind: Any, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    pictures = random.integers(0, 60, (4, *shape)).astype(np.uint8 if kind == "image" else np.float32)
    pictures[:, 0, 0] = 250  # only this place decides

    def ask(given: Arrays) -> np.ndarray:
        bright = given["x"].reshape(len(given["x"]), *shape[:2], -1)[:, 0, 0].mean(axis=1) / 255
        return np.stack([1 - bright, bright], axis=1)

    arrays = {"x": pictures}
    examples = Examples(np.array([1, 1, 0, 1]), ask(arrays), TWO)
    (first, *_) = explained(ask, arrays, examples, 4, x=Input(kind))
    assert first["row"] == 2
    assert (first["answer"], first["actual"]) == ("b", "a")
    drop = np.array(first["drop"])
    assert drop.shape == (len(first["tops"]), len(first["lefts"]))
    assert drop[0, 0] > 0.5
    assert np.abs(np.delete(drop.ravel(), 0)).max() < 1e-6
    assert first["tops"][-1] + first["patch"][0] == shape[0]  # up to the edge
    assert first["lefts"][-1] + first["patch"][1] == shape[1]


def test_the_token_that_decides_costs_most_when_it_is_left_out() -> None:
    tokens = np.array([[5, 7, 9, 2, 0, 0], [5, 9, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)

    def ask(given: Arrays) -> np.ndarray:
        good = 0.1 + 0.8 * (given["text"] == 9).any(axis=1) - 0.05 * (given["text"] == 1).any(axis=1)
        return np.stack([1 - good, good], axis=1)

    arrays = {"text": tokens}
    examples = Examples(np.array([1, 1, 0]), ask(arrays), TWO)
    found = {entry["row"]: entry for entry in explained(ask, arrays, examples, 3, text=Input("tokens", mask=1))}
    assert found[0]["tokens"] == ["word5", "word7", "word9", "word2"]
    assert found[0]["drop"] == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert found[2]["tokens"] == found[2]["drop"] == []


def test_a_long_text_loses_several_tokens_at_a_time() -> None:
    tokens = np.arange(1, 301, dtype=np.int32)[None]
    asked = []

    def ask(given: Arrays) -> np.ndarray:
        asked.append(len(given["text"]))
        return (given["text"] == 300).any(axis=1, keepdims=True).astype(float)

    examples = Examples(np.array([[1.0]]), ask({"text": tokens}), regression.Target(("x",)))
    (entry,) = explained(ask, {"text": tokens}, examples, 1, text=Input("tokens"))
    assert asked[-1] <= explain.MAX_TOKEN_GROUPS
    assert len(entry["drop"]) == len(entry["tokens"]) == 300
    assert entry["drop"][-1] == 1
    assert not any(entry["drop"][:290])


@pytest.mark.parametrize("target", [TWO, multi_label.Target(("a", "b")), regression.Target(("a", "b"))])
def test_what_was_answered_is_followed(target: Target) -> None:
    random = np.random.default_rng(1)
    outputs, others = (random.random((5, 2)).astype(np.float32) for _ in range(2))
    examples = Examples(np.zeros(5, int), outputs, target)
    for row in range(5):
        found = metrics.of(target).followed(examples, row, others)
        best = outputs[row].argmax()
        assert np.array_equal(found, others[:, best] if target.classes else others.mean(axis=1))


def test_every_recipe_says_what_its_inputs_are() -> None:
    for name in recipes.names():
        recipe = recipes.load(name)
        section, sample = recipe.sample(40, 1)
        settings = recipe.Params.model_validate(section)
        own = sample.select(recipe.columns(settings).names).cast(recipe.columns(settings))
        state = recipe.fit([own.append_column("label", sample["label"])], settings)
        arrays = recipe.encode(own, settings, state)
        inputs = recipe.inputs(settings, state)
        assert set(inputs) == set(arrays)
        for key, entry in inputs.items():
            if entry.kind in explain.NAMED_KINDS:
                assert len(entry.names) == arrays[key].shape[-1]


def test_what_a_columns_value_adds_is_the_distance_from_what_others_have() -> None:
    random = np.random.default_rng(2)
    weights = np.array([2.0, 0.0, -1.0], np.float32)

    def ask(given: Arrays) -> np.ndarray:
        found: np.ndarray = (given["numeric"] @ weights + 3.0 * (given["categorical"][:, 0] == 1))[:, None]
        return found

    def some(rows: int) -> Arrays:
        codes = random.integers(0, 2, (rows, 1)).astype(np.int32)
        return {"numeric": random.normal(size=(rows, 3)).astype(np.float32), "categorical": codes}

    inputs = {"numeric": Input("numbers", ("x", "y", "z")), "categorical": Input("codes", ("colour",))}
    arrays, others = some(4), some(40)
    measured = Examples(np.zeros((4, 1), np.float32), ask(arrays), regression.Target(("price",)))
    for row in range(4):
        one = {key: array[row] for key, array in arrays.items()}
        found = explain.columns(ask, one, inputs, others, measured, row)
        apart = (one["numeric"] - others["numeric"].mean(axis=0)) * weights
        colour = 3.0 * ((one["categorical"][0] == 1) - (others["categorical"][:, 0] == 1).mean())
        assert found == pytest.approx(dict(zip(("x", "y", "z", "colour"), [*apart, colour], strict=True)), abs=1e-5)
    image = {"image": Input("image")}
    assert explain.columns(ask, {}, image, {}, measured, 0) == {}
