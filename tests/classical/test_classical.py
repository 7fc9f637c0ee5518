"""The classical model as it ships: beside scikit-learn's own answers, and of inputs that training never had."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import recipes
from components.classical import boosting, features, fitting, linear
from components.classical.graph import Graph, ask
from components.files import read_json, sha256
from components.recipes import Input
from components.serving import onnx_model
from components.stages import baseline, preprocess
from components.targets import multi_label, regression, single_label
from tests.conftest import Make, no_quarantine

ARRAYS, BASELINE, CLASSICAL = Path("build/arrays"), Path("build/baseline"), Path("build/classical")
TWO = single_label.Target(("no", "yes"))


def table(rows: int, seed: int = 1) -> tuple[dict[str, Input], dict[str, Any], dict[str, np.ndarray], np.ndarray]:
    """Inputs of a table, their specs, and examples: two numbers, a constant, a category of 6 values and a flag."""
    random = np.random.default_rng(seed)
    numbers = random.normal([0, 1000, 7], [1, 50, 0], (rows, 3)).astype(np.float32)
    codes = np.stack([random.integers(0, 7, rows), random.integers(2, 4, rows)], axis=1).astype(np.int32)
    truth = (numbers[:, 0] + (numbers[:, 1] - 1000) / 50 + 2.0 * np.isin(codes[:, 0], (2, 5)) > 0.7).astype(np.int32)
    inputs = {"numeric": Input("numbers", ("x", "y", "z")), "categorical": Input("codes", ("colour", "member"))}
    specs = {"numeric": {"shape": [3], "dtype": "float32"}, "categorical": {"shape": [2], "dtype": "int32"}}
    return inputs, specs, {"numeric": numbers, "categorical": codes}, truth


def boosted(graph: Graph, inputs: dict[str, Input], target: Any, train: Any, other: Any) -> tuple[str, str]:
    """The logits' tensor and the name of trees that other examples have stopped."""
    forest = boosting.grow(graph, inputs, target, train, 1, other=other)
    assert forest is not None
    return boosting.write(graph, forest, forest.rounds, len(target.names))


def outputs_of(graph: Graph, logits: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    return ask(graph.written((logits, "logits", np.float32)), arrays)[0]


@pytest.mark.parametrize("recipe", recipes.names())
def test_the_model_that_is_measured_is_the_one_that_would_ship(make: Make, recipe: str) -> None:
    """Fitted twice it is the same bytes; in the place of the network's export it takes examples as they come."""
    made = make(recipe, rows=300)
    preprocess.run(made, Path("data"), no_quarantine(Path("q.parquet")), ARRAYS)
    baseline.run(made, ARRAYS, BASELINE, CLASSICAL)
    first = sha256(*sorted(CLASSICAL.iterdir()), *sorted(BASELINE.iterdir()))
    baseline.run(made, ARRAYS, BASELINE, CLASSICAL)
    assert sha256(*sorted(CLASSICAL.iterdir()), *sorted(BASELINE.iterdir())) == first
    truth, target = np.load(ARRAYS / "test" / "label.npy"), made.target()
    classical, trivial = (np.load(BASELINE / f"{name}.npy") for name in ("classical", "trivial"))
    assert classical.dtype == np.float32
    assert target.loss(classical, truth).mean() < 0.75 * target.loss(trivial, truth).mean()

    manifest = read_json(ARRAYS / "manifest.json")
    description = {"recipe": recipe, "params": made.task.model_dump(mode="json"), "state": manifest["state"]}
    (CLASSICAL / "model.json").write_text(json.dumps(description | {"decision": None}))
    loaded = onnx_model.load(CLASSICAL)
    asked = {name: np.load(ARRAYS / "test" / f"{name}.npy") for name in loaded.reads}
    assert np.array_equal(onnx_model.outputs(loaded, asked), classical)
    sample = recipes.load(recipe).sample(30, 5)[1].drop_columns(["label"])
    answers = onnx_model.predict(loaded, sample)
    assert answers["error"].null_count == 30
    one = onnx_model.predict(loaded, sample.slice(7, 1))
    assert one.to_pylist()[0].keys() == answers.to_pylist()[7].keys()


def test_a_linear_model_is_scikit_learns() -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    inputs, specs, arrays, truth = table(400)
    graph = Graph(specs)
    train = {name: array[:300] for name, array in arrays.items()}
    ((_, model),) = linear.fit(graph, inputs, TWO, (train, truth[:300]), [linear.Setting(0.3)])
    assert model.name == "logistic regression, C = 0.3"
    both = np.concatenate([arrays["numeric"].astype(np.float64), arrays["categorical"]], axis=1)
    prepared = make_column_transformer((StandardScaler(), [0, 1, 2]), (OneHotEncoder(handle_unknown="ignore"), [3, 4]))
    reference = make_pipeline(prepared, LogisticRegression(C=0.3, max_iter=1000, tol=1e-8))
    reference.fit(both[:300], truth[:300])
    found = outputs_of(graph, model.logits, arrays)
    ours = 1 / (1 + np.exp(found[:, 0] - found[:, 1].astype(np.float64)))
    assert np.abs(ours - reference.predict_proba(both)[:, 1]).max() < 0.01  # where each stops


def test_a_ridge_regression_finds_the_recurrence() -> None:
    values = (np.sin(np.arange(120) * 0.7) * 3 + 20).astype(np.float32)
    history = np.stack([values[at : at + 8] for at in range(110)])[:, :, None]
    truth = np.stack([values[at + 8 : at + 10] for at in range(110)])
    target = regression.Target(("h1", "h2"))
    specs = {"history": {"shape": [8, 1], "dtype": "float32"}}
    graph = Graph(specs)
    inputs = {"history": Input("history", ("value",))}
    train = {"history": history[:60]}, truth[:60]
    for setting in (linear.Setting(0.01), linear.Setting(0.01, changes=True)):
        ((_, model),) = linear.fit(graph, inputs, target, train, [setting])
        assert np.abs(outputs_of(graph, model.logits, {"history": history[90:]}) - truth[90:]).max() < 0.1
    # a series that rises by the step: only its changes are what they were
    trend, later = np.arange(8) + np.arange(60)[:, None], np.arange(8) + np.arange(1000, 1030)[:, None]
    rising = {"history": trend[:, :, None].astype(np.float32)}, (trend[:, -1:] + np.array([1, 2])).astype(np.float32)
    settings = [linear.Setting(1e3), linear.Setting(1e3, changes=True)]
    found = [
        outputs_of(graph, model.logits, {"history": later[:, :, None].astype(np.float32)})
        for setting in settings
        for _, model in linear.fit(graph, inputs, target, rising, [setting])
    ]
    assert np.abs(found[0] - (later[:, -1:] + [1, 2])).min() > 100
    assert np.abs(found[1] - (later[:, -1:] + [1, 2])).max() < 0.1


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["two", "three", "number"]))
def test_trees_in_onnx_are_scikit_learns(seed: int, kind: str) -> None:
    """Also where numbers are on a threshold, categories are many, and values are missing."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    random = np.random.default_rng(seed)
    x = np.round(random.normal(size=(300, 4)), 1).astype(np.float32)
    x[:, 0], x[:, 1] = random.integers(0, 200, 300), random.integers(0, 3, 300)
    x[random.random(x.shape) < 0.1] = np.nan
    x[:3, 0], x[:3, 1] = 0, (0, 1, 2)
    signal = np.nan_to_num(x[:, 2]) + 2 * np.isin(x[:, 0] % 7, (1, 4)) + (x[:, 1] == 2)
    options: Any = {"categorical_features": [0, 1], "max_iter": 12, "early_stopping": False}
    if kind == "number":
        model: Any = HistGradientBoostingRegressor(**options).fit(x, signal)
        places, expected = [[0]], model.predict(x)[:, None] - model._baseline_prediction.ravel()
    else:
        truth = np.digitize(signal, [0.5] if kind == "two" else [0.5, 1.5])
        model = HistGradientBoostingClassifier(**options).fit(x, truth)
        raw = model.decision_function(x)
        expected = (raw[:, None] if kind == "two" else raw) - model._baseline_prediction.ravel()
        places = [[0]] if kind == "two" else [[0, 1, 2]]
    # scikit-learn numbers categories by their order: ours are numbered without gaps from the start
    seen = np.unique(x[:, 0][~np.isnan(x[:, 0])])
    ranked = x.copy()
    ranked[:, 0] = np.where(np.isnan(x[:, 0]), np.nan, np.searchsorted(seen, x[:, 0]))
    trees = [(tree, at) for group in model._predictors for tree, at in zip(group, places[0], strict=True)]
    graph = Graph({"x": {"shape": [4], "dtype": "float64"}})
    added = graph.add("TreeEnsemble", "x", **boosting._ensemble(trees, np.arange(4), expected.shape[1]))
    found = ask(graph.written((added, "logits", np.float64)), {"x": ranked.astype(np.float64)})[0]
    assert np.abs(found - expected).max() < 1e-9


def test_boosting_stops_where_validation_is_best() -> None:
    from sklearn.metrics import log_loss

    inputs, specs, arrays, truth = table(900)
    noisy = np.where(np.random.default_rng(2).random(900) < 0.2, 1 - truth, truth)
    parts = [({n: a[cut] for n, a in arrays.items()}, noisy[cut]) for cut in (slice(500), slice(500, 900))]
    graph = Graph(specs)
    made = boosted(graph, inputs, TWO, *parts)
    rounds = int(made[1].split()[-2])
    assert 3 < rounds < boosting.MAX_ROUNDS
    logits = outputs_of(graph, made[0], parts[1][0])
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert log_loss(parts[1][1], found[:, 1]) < 0.62  # of the noise alone: 0.50; of the shares: 0.69


def test_where_no_tree_helps_each_example_gets_the_shares_of_training() -> None:
    inputs, specs, arrays, _ = table(300)
    random = np.random.default_rng(6)
    truth = random.integers(0, 2, 300).astype(np.int32)
    apart = 1 - truth[:100]  # validation says the opposite of what training does
    graph = Graph(specs)
    made = boosted(graph, inputs, TWO, (arrays, truth), ({n: a[:100] for n, a in arrays.items()}, apart))
    assert made[1] == "the same answer for all: no tree was better"
    logits = outputs_of(graph, made[0], arrays)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert shares == pytest.approx(np.tile([1 - truth.mean(), truth.mean()], (300, 1)))


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_boosting_does_not_depend_on_the_unit_of_what_it_predicts(unit: float) -> None:
    inputs, specs, arrays, _ = table(400)
    truth = arrays["numeric"][:, :1] + np.isin(arrays["categorical"][:, :1], (2, 5))
    target, found = regression.Target(("v",)), []
    for labels in (truth, (truth * unit).astype(np.float32)):
        parts = [({n: a[cut] for n, a in arrays.items()}, labels[cut]) for cut in (slice(300), slice(300, 400))]
        graph = Graph(specs)
        made = boosted(graph, inputs, target, *parts)
        found.append((made[1], outputs_of(graph, made[0], arrays)))
    assert found[0][0] == found[1][0]  # as many rounds
    assert np.allclose(found[1][1] / unit, found[0][1], atol=1e-3)


def test_an_answer_depends_neither_on_the_cores_nor_on_the_other_examples() -> None:
    import onnxruntime

    inputs, specs, arrays, _ = table(1024)
    truth = (arrays["numeric"][:, :1] + 2.0 * np.isin(arrays["categorical"][:, :1], (2, 5))).astype(np.float32)
    parts = [({n: a[cut] for n, a in arrays.items()}, truth[cut]) for cut in (slice(700), slice(700, 1024))]
    graph = Graph(specs)
    made = boosted(graph, inputs, regression.Target(("v",)), *parts)
    model = graph.written((made[0], "values", np.float32), shape=(1,))
    answers = []
    for threads in (1, 2, 4):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, arrays)[0])
        alone = [session.run(None, {n: a[at : at + 1] for n, a in arrays.items()})[0] for at in range(100)]
        assert np.array_equal(np.concatenate(alone), answers[-1][:100])
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize("fit", ["linear", "boosting"])
def test_values_that_training_did_not_have_are_answered(fit: str) -> None:
    inputs, specs, arrays, truth = table(400)
    graph = Graph(specs)
    some = (arrays, truth)
    ((_, model),) = linear.fit(graph, inputs, TWO, some, [linear.Setting(1.0)])
    made = (model.logits, model.name) if fit == "linear" else boosted(graph, inputs, TWO, some, some)
    numbers = np.array([[0, 0, 0], [1e30, -1e30, 7], [3e38, 3e38, 3e38]], np.float32)
    unseen = np.array([[99, 2], [6, 3], [2**31 - 1, 0]], np.int32)
    assert np.isfinite(outputs_of(graph, made[0], {"numeric": numbers[:2], "categorical": unseen[:2]})).all()
    known = {"numeric": numbers[:1], "categorical": np.array([[0, 2]], np.int32)}  # a code beyond counts as unseen
    beyond = {"numeric": numbers[:1], "categorical": unseen[:1]}
    assert np.array_equal(outputs_of(graph, made[0], known), outputs_of(graph, made[0], beyond))


def test_a_label_that_training_lacks_gets_no_probability() -> None:
    inputs, specs, arrays, truth = table(300)
    target = single_label.Target(("a", "b", "c", "d"))
    for seen in ([0, 3], [1]):  # two of the four, and only one
        labels = np.array(seen, np.int32)[truth % len(seen)]
        made = fitting.fit(inputs, specs, target, (arrays, labels), (arrays, labels), seed=1)
        found = fitting.answers(made.onnx, arrays)
        assert found.sum(axis=1) == pytest.approx(np.ones(300))
        assert found[:, [name for name in range(4) if name not in seen]].max() == 0
        assert (found.argmax(axis=1) == labels).mean() > 0.9
    several = multi_label.Target(("always", "never", "at times"))
    labels = np.stack([np.ones(300), np.zeros(300), truth], axis=1).astype(np.uint8)
    made = fitting.fit(inputs, specs, several, (arrays, labels), (arrays, labels), seed=1)
    found = fitting.answers(made.onnx, arrays)
    assert found[:, 0].min() > 0.99 and found[:, 1].max() < 0.01 and ((found[:, 2] > 0.5) == truth).mean() > 0.9


def test_of_many_classes_or_numbers_no_tree_is_grown_for_each() -> None:
    inputs, specs, arrays, _ = table(400)
    target = single_label.Target(tuple(map(str, range(60))))
    labels = (np.arange(400) % 60).astype(np.int32)
    made = fitting.fit(inputs, specs, target, (arrays, labels), (arrays, labels), seed=1)
    assert made.name.startswith("logistic regression") and len(made.losses) == 1
    assert fitting.answers(made.onnx, arrays).shape == (400, 60)
    numbers = np.repeat(arrays["numeric"][:, :1], 60, axis=1)
    made = fitting.fit(inputs, specs, regression.Target(target.names), (arrays, numbers), (arrays, numbers), seed=1)
    assert made.name.startswith("ridge regression") and len(made.losses) == 1


def test_columns_that_are_empty_or_constant_are_no_trouble() -> None:
    inputs, specs, arrays, truth = table(200)
    arrays["numeric"][:] = 0
    arrays["categorical"][:] = 1
    made = fitting.fit(inputs, specs, TWO, (arrays, truth), (arrays, truth), seed=1)
    assert np.allclose(fitting.answers(made.onnx, arrays)[:, 1], truth.mean(), atol=0.02)


def test_tokens_are_weighted_by_tf_idf() -> None:
    from sklearn.feature_extraction.text import TfidfTransformer

    ids = np.array([[1, 2, 3, 0], [2, 3, 0, 0], [3, 4, 5, 1]], np.int32)
    weights = (ids > 0).astype(np.float32)
    specs = {"ids": {"shape": [4], "dtype": "int32"}, "weights": {"shape": [4], "dtype": "float32"}}
    graph, arrays = Graph(specs), {"ids": ids, "weights": weights}
    bag = features.linear(graph, {"ids": Input("tokens"), "weights": Input("weights")}, arrays).bags[0]
    counts = np.zeros((3, 6))
    for row in range(3):
        counts[row, ids[row][ids[row] > 0]] = 1
    expected = TfidfTransformer().fit_transform(counts).toarray()
    found = graph.ask({bag.weights: np.float32}, arrays)[0]
    for row in range(3):
        assert np.allclose(found[row], [expected[row, token] if token else 0 for token in ids[row]], atol=1e-6)


def test_a_large_image_is_read_as_means_of_its_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 32, 20, 3)).astype(np.uint8)
    graph = Graph({"image": {"shape": [32, 20, 3], "dtype": "uint8"}})
    (found,) = graph.ask({features.linear(graph, {"image": Input("image")}, {}).dense[0]: np.float32}, {"image": image})
    blocks = image.reshape(2, 16, 2, 10, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 255
    assert np.allclose(found, blocks.reshape(2, -1), atol=1e-6)
    assert features._means(5, 2) == pytest.approx(np.array([[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]) / 5)


@pytest.mark.parametrize("frames", [1, 9])
def test_a_spectrogram_is_read_as_means_and_deviations(frames: int) -> None:
    sound = np.random.default_rng(1).normal(size=(3, frames, 4)).astype(np.float32)
    graph = Graph({"s": {"shape": [frames, 4], "dtype": "float32"}})
    tensors = features.linear(graph, {"s": Input("spectrogram")}, {}).dense
    found = graph.ask(dict.fromkeys(tensors, np.float32), {"s": sound})
    changes = np.diff(sound, axis=1)
    expected = [sound.mean(axis=1), sound.std(axis=1)]
    expected += [changes.mean(axis=1), changes.std(axis=1)] if frames > 1 else []
    assert all(np.allclose(one, two, atol=1e-5) for one, two in zip(found, expected, strict=True))


def noisy(rows: int, seed: int) -> tuple[dict[str, Input], dict[str, Any], list[Any]]:
    """Inputs, specs, and training, validation and test examples of a table whose answer is half chance."""
    inputs, specs, arrays, truth = table(rows, seed)
    random = np.random.default_rng(seed)
    labels = np.where(random.random(rows) < 0.3, 1 - truth, truth).astype(np.int32)
    cuts = [slice(0, 80), slice(80, 100), slice(100, rows)]
    return inputs, specs, [({n: a[cut] for n, a in arrays.items()}, labels[cut]) for cut in cuts]


def test_a_detector_of_windows_finds_what_looks_alike() -> None:
    recipe = recipes.load("detection")
    own, table = recipe.sample(150, 1)
    params = recipe.Params.model_validate(own)
    target = recipe.target(params)
    arrays = recipe.encode(table, params, {})
    labels = target.encode(table["label"].to_pylist())
    specs = {"image": {"shape": list(arrays["image"].shape[1:]), "dtype": "uint8"}}
    parts = [
        ({"image": arrays["image"][rows]}, labels[rows]) for rows in (slice(0, 80), slice(80, 110), slice(110, 150))
    ]
    made = fitting.fit(recipe.inputs(params, {}), specs, target, parts[0], parts[1], 1)
    again = fitting.fit(recipe.inputs(params, {}), specs, target, parts[0], parts[1], 1)
    assert made.onnx == again.onnx
    assert made.onnx != made.compared  # that has not seen validation
    outputs = fitting.answers(made.onnx, parts[2][0])
    assert outputs.shape == (40, *target.shape)
    _, trivial = target.trivial(labels[:80])
    mine, other = target.loss(outputs, parts[2][1]), target.loss(np.tile(trivial, (40, 1, 1)), parts[2][1])
    assert mine.mean() < 0.7 * other.mean()


def test_of_few_examples_folds_choose_and_all_are_learned_from() -> None:
    """A validation split of 20 examples chooses by chance: over some samples, the folds choose better."""
    losses: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(3):
        inputs, specs, (train, validation, test) = noisy(1000, seed)
        for mixed in (True, False):
            made = fitting.fit(inputs, specs, TWO, train, validation, seed=1, mixed=mixed)
            assert (made.folds, made.refitted) == (fitting.FOLDS if mixed else 1, True)
            losses[mixed].append(float(TWO.loss(fitting.answers(made.onnx, test[0]), test[1]).mean()))
            alone, both = (fitting.answers(model, test[0]) for model in (made.compared, made.onnx))
            assert not np.array_equal(alone, both)
    assert np.mean(losses[True]) < np.mean(losses[False])


def test_what_is_compared_with_a_network_has_not_seen_validation() -> None:
    inputs, specs, (train, validation, _) = noisy(1000, 1)
    made = fitting.fit(inputs, specs, TWO, train, validation, seed=1, mixed=True)
    other = validation[0], 1 - validation[1]
    changed = fitting.fit(inputs, specs, TWO, train, other, seed=1)
    assert made.name != changed.name or not np.array_equal(
        fitting.answers(made.onnx, validation[0]), fitting.answers(changed.onnx, validation[0])
    )
    graph = Graph(specs)
    ((_, model),) = linear.fit(graph, inputs, TWO, train, [linear.Setting(float(made.name.split()[-1]))])
    expected = outputs_of(graph, model.logits, validation[0])
    found = fitting.answers(made.compared, validation[0])
    assert np.allclose(np.log(found[:, 1] / found[:, 0]), expected[:, 1] - expected[:, 0], atol=1e-3)


def test_many_examples_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, specs, (train, validation, _) = noisy(1000, 1)
    monkeypatch.setattr(fitting, "MOST_REFITTED", 50)
    made = fitting.fit(inputs, specs, TWO, train, validation, seed=1)
    assert (made.folds, made.refitted, made.onnx) == (1, False, made.compared)
    assert fitting.fit(inputs, specs, TWO, train, validation, seed=1, ordered=True).refitted  # the last are the newest


def test_once_the_loss_surely_rises_no_weaker_penalty_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    one = linear._logistic

    def logistic(x: Any, truth: Any, choice: float, start: Any) -> Any:
        asked.append(choice)
        return one(x, truth, choice, start)

    monkeypatch.setattr(linear, "_logistic", logistic)
    monkeypatch.setattr(fitting, "MOST_REFITTED", 50)
    random = np.random.default_rng(1)
    x = random.normal(size=(500, 200)).astype(np.float32)
    truth = (x[:, 0] + random.normal(size=500) > 0).astype(np.int32)
    train, validation = (({"x": x[rows]}, truth[rows]) for rows in (slice(60), slice(60, None)))
    inputs = {"x": Input("numbers", tuple(f"column {number}" for number in range(200)))}
    made = fitting.fit(inputs, {"x": {"shape": [200], "dtype": "float32"}}, TWO, train, validation, seed=1)
    assert "logistic regression, C = 0.01" in made.losses
    assert asked == list(linear.STRENGTHS[: len(asked)]) and len(asked) < len(linear.STRENGTHS)


def test_a_fold_may_lack_a_class() -> None:
    inputs, specs, (train, validation, test) = noisy(1000, 2)
    target = single_label.Target(("no", "yes", "rare"))
    train[1][:1], validation[1][:1] = 2, 2
    made = fitting.fit(inputs, specs, target, train, validation, seed=1, mixed=True)
    found = fitting.answers(made.onnx, test[0])
    assert np.isfinite(found).all() and found[:, 2].max() < 0.5
    several = multi_label.Target(("a", "b"))
    train, validation = (
        (arrays, np.stack([labels == 1, np.arange(len(labels)) == 0], axis=1).astype(np.uint8))
        for arrays, labels in (train, validation)
    )
    found = fitting.answers(fitting.fit(inputs, specs, several, train, validation, 1, mixed=True).onnx, test[0])
    assert found[:, 1].max() < 0.5
