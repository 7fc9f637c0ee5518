"""Each setting's effect, on models small enough to be computed by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components import targets
from components.params import Params, Train
from components.recipes.images import example as images
from components.recipes.images import networks
from components.targets import Target, multi_label, regression, single_label
from components.training import batches, fitting, losses


def manifest(kind: str, names: list[str], counts: dict[str, int] | None = None, rows: int = 10) -> dict[str, Any]:
    return {
        "target": {"kind": kind, "names": names},
        "rows": {"train": rows, "validation": rows},
        "classes": {"train": counts or {}},
        "state": {"target": {"deviation": [2.0] * len(names), "mean": [0.0] * len(names)}},
        "inputs": {"x": {}},
    }


def loss(settings: Train, about: dict[str, Any], actual: Any, predicted: Any) -> float:
    """The mean loss, as Keras takes it."""
    import keras

    model = keras.Sequential([keras.Input((np.shape(predicted)[1],)), keras.layers.Activation("linear")])
    model.compile(loss=losses.loss(settings, targets.of(about["target"]), about), optimizer="sgd", run_eagerly=True)
    return float(model.evaluate(np.array(predicted, np.float32), np.array(actual), verbose=0))


def line(weight: float = 1.0, bias: float = 0.5) -> Any:
    """y = w x + b."""
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line")])
    model.set_weights([np.array([[weight]]), np.array([bias])])
    return model


def fitted(model: Any, settings: Train, x: Any, y: Any, **options: Any) -> list[float]:
    about = manifest("regression", ["y"])
    model.compile(
        optimizer=fitting.optimizer(settings, settings.learning_rate),
        loss=losses.loss(settings, targets.of(about["target"]), about),
        run_eagerly=True,  # compiling takes longer than a few steps
    )
    given = {"batch_size": 1, "shuffle": False, "verbose": 0, **options}
    model.fit(np.array(x, np.float32)[:, None], np.array(y, np.float32)[:, None], **given)
    return [float(w.reshape(-1)[0]) for w in model.get_weights()]


# --- optimizers


def test_sgd_of_one_example_is_the_textbook_step() -> None:
    settings = Train(optimizer="sgd", learning_rate=0.1, batch_size=1)
    w, b = 1.0, 0.5
    for x, y in ((2.0, 5.0), (-1.0, 3.0)):  # by hand: the loss is ((w x + b - y) / 2)^2
        slope = 2 * (w * x + b - y) / 2**2
        w, b = w - 0.1 * slope * x, b - 0.1 * slope
    assert fitted(line(), settings, [2, -1], [5, 3]) == pytest.approx([w, b], rel=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_keeps_a_part_of_the_last_step(nesterov: bool) -> None:
    settings = Train(optimizer="sgd", learning_rate=0.1, momentum=0.9, nesterov=nesterov)
    parameters, velocity = np.array([1.0, 0.5]), np.zeros(2)
    for x, y in ((2.0, 5.0), (-1.0, 3.0), (1.0, 1.0)):
        gradient = 2 * (parameters @ [x, 1] - y) / 4 * np.array([x, 1])
        velocity = 0.9 * velocity - 0.1 * gradient
        parameters = parameters + (0.9 * velocity - 0.1 * gradient if nesterov else velocity)
    assert fitted(line(), settings, [2, -1, 1], [5, 3, 1]) == pytest.approx(list(parameters), rel=1e-5)


def test_gradients_are_clipped_to_their_common_norm() -> None:
    settings = Train(optimizer="sgd", learning_rate=1.0, clip_norm=0.25)
    w, b = fitted(line(), settings, [3], [1e6])
    assert math.hypot(w - 1, b - 0.5) == pytest.approx(0.25, rel=1e-4)
    assert (w - 1) / (b - 0.5) == pytest.approx(3, rel=1e-4)  # its direction stays


def test_accumulated_batches_are_one_step_of_their_mean() -> None:
    settings = Train(optimizer="sgd", learning_rate=0.1, accumulate=3)
    whole = fitted(line(), settings.model_copy(update={"accumulate": 1}), [2, -1, 1], [5, 3, 1], batch_size=3)
    assert fitted(line(), settings, [2, -1, 1], [5, 3, 1]) == pytest.approx(whole, rel=1e-5)
    assert fitted(line(), settings, [2, -1], [5, 3]) == [1.0, 0.5]  # not yet a step


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_weight_decay_shrinks_weights_and_leaves_biases(name: str) -> None:
    settings = Train.model_validate({"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.5})
    w, b = fitted(line(0.0, 5.0), settings, [0], [5])  # at the optimum: no gradient
    assert (w, b) == (0.0, 5.0)
    w, b = fitted(line(4.0, 5.0), settings, [0], [5])
    assert w == pytest.approx(4 * (1 - 0.1 * 0.5))
    assert b == 5.0


def test_lion_steps_by_the_sign_alone() -> None:
    w, b = fitted(line(), Train(optimizer="lion", learning_rate=0.1), [0.001], [1e6])
    assert (w, b) == pytest.approx((1.1, 0.6))


def test_muon_steps_by_a_nearly_orthogonal_matrix() -> None:
    import keras

    x, y = np.random.default_rng(0).normal(size=(2, 32, 8)).astype(np.float32)
    even = {}
    for name in ("sgd", "muon"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, use_bias=False, name="square")])
        before = model.get_weights()[0]
        settings = Train.model_validate({"optimizer": name, "weight_decay": 0.0})
        model.compile(optimizer=fitting.optimizer(settings, 0.1), loss="mse", run_eagerly=True)
        model.fit(x * np.arange(1, 9), y, batch_size=32, verbose=0)
        values = np.linalg.svd(model.get_weights()[0] - before, compute_uv=False)
        even[name] = np.median(values) / values.max()
    assert even["muon"] > 0.6  # Newton and Schulz bring all singular values near to one
    assert even["sgd"] < 0.3


# --- initialisation


def dense(seed: int, initialization: str | None) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    given = keras.Input((300,))
    hidden = keras.layers.Dense(200, bias_initializer="ones", name="a")(given)
    model = keras.Model(given, keras.layers.Dense(200, name="b")(hidden))
    fitting.initialise(model, initialization, seed)
    return model


VARIANCES = {
    "normal": 0.05**2,
    "uniform": 0.05**2 / 3,
    "glorot_normal": 2 / 500,
    "glorot_uniform": 2 / 500,
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "lecun_normal": 1 / 300,
    "lecun_uniform": 1 / 300,
}


@pytest.mark.parametrize(("name", "variance"), VARIANCES.items())
def test_an_initialisation_has_its_variance(name: str, variance: float) -> None:
    weights, biases = dense(1, name).layers[1].get_weights()
    assert weights.var() == pytest.approx(variance, rel=0.05)
    assert abs(weights.mean()) < 4 * math.sqrt(variance / weights.size)
    if name.endswith("uniform"):
        assert np.abs(weights).max() == pytest.approx(math.sqrt(3 * variance), rel=0.01)
    assert (biases == 1).all()


def test_attention_and_maps_of_each_column_have_their_variance_too() -> None:
    import keras

    given = keras.Input((9, 33), name="given")
    by_column = keras.layers.EinsumDense("nck,ckd->ncd", (9, 64), name="by_column")(given)
    attention = keras.layers.MultiHeadAttention(4, 16, name="attention")(by_column, by_column)
    model = keras.Model(given, attention)
    fitting.initialise(model, "he_normal", 1)
    wanted = {"by_column": 33, "query": 64, "key": 64, "value": 64, "attention_output": 64}  # what goes in
    found = {layer.name: np.asarray(kernel) for layer, kernel in fitting.kernels(model)}
    assert found.keys() == wanted.keys()
    for name, inputs in wanted.items():
        assert found[name].var() == pytest.approx(2 / inputs, rel=0.06), name
    assert not np.allclose(found["by_column"][0], found["by_column"][1])


def test_the_coefficients_of_a_linear_model_are_penalised_and_other_embeddings_are_not() -> None:
    import keras

    given = keras.Input((3,), dtype="int32", name="given")
    layers = [keras.layers.Embedding(5, 2, name=name)(given) for name in ("coefficients", "vectors")]
    model = keras.Model(given, keras.layers.Dense(1, name="logits")(keras.layers.Add(name="sum")(layers)))
    assert [variable.path for variable in fitting.penalised(model)] == ["logits/kernel", "coefficients/embeddings"]


def test_orthogonal_columns_are_orthogonal() -> None:
    weights = dense(1, "orthogonal").layers[1].get_weights()[0]
    assert weights.T @ weights == pytest.approx(np.eye(200), abs=1e-4)


def test_every_layer_is_drawn_from_a_seed_of_its_own() -> None:
    import keras

    given = keras.Input((20,))
    twins = [keras.layers.Dense(20, name=name)(given) for name in ("a", "b")]
    model = keras.Model(given, keras.layers.Add()(twins))
    fitting.initialise(model, "he_normal", 1)
    a, _, b, _ = model.get_weights()
    assert not np.allclose(a, b)
    for seed, same in ((1, True), (2, False)):
        fitting.initialise(model, "he_normal", seed)
        assert np.array_equal(model.get_weights()[0], a) == same


def test_without_one_the_layers_keep_their_own() -> None:
    before = dense(1, None).get_weights()
    assert all(np.array_equal(x, y) for x, y in zip(before, dense(2, None).get_weights(), strict=True))


# --- losses


def test_numbers_are_measured_in_deviations() -> None:
    about, actual, predicted = manifest("regression", ["a", "b"]), [[1.0, 2.0]], [[4.0, -6.0]]  # off by 1.5 and -4 of 2
    assert loss(Train(), about, actual, predicted) == pytest.approx((1.5**2 + 4**2) / 2)
    assert loss(Train(loss="mae"), about, actual, predicted) == pytest.approx((1.5 + 4) / 2)
    assert loss(Train(loss="huber"), about, actual, predicted) == pytest.approx((1 + 3.5) / 2)


P = [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]
ONE_HOT = np.eye(3, dtype=np.float32)[[0, 1]]


def test_label_smoothing_gives_every_class_a_share() -> None:
    about = manifest("single_label", ["a", "b", "c"])
    smooth = ONE_HOT * 0.7 + 0.1
    expected = -(smooth * np.log(P)).sum(axis=1).mean()
    assert loss(Train(label_smoothing=0.3), about, ONE_HOT, P) == pytest.approx(expected, rel=1e-5)
    plain = loss(Train(), about, np.array([0, 1]), P)
    assert plain == pytest.approx(-math.log(0.7 * 0.3) / 2, rel=1e-5)


@given(st.floats(0, 5))
def test_focal_plays_down_what_is_known(gamma: float) -> None:
    import keras

    function = losses.loss(Train(loss="focal", focal_gamma=gamma), single_label.Target(("a", "b", "c")), {})
    expected = -((1 - 0.7) ** gamma * math.log(0.7) + (1 - 0.3) ** gamma * math.log(0.3)) / 2
    assert float(function(ONE_HOT, keras.ops.array(P))) == pytest.approx(expected, rel=1e-3)


def test_several_labels_are_as_many_yes_and_no_questions() -> None:
    about = manifest("multi_label", ["a", "b"], {"a": 1, "b": 4}, rows=10)
    actual, p = [[1, 0], [0, 1]], [[0.6, 0.3], [0.2, 0.9]]
    terms = -np.log([[0.6, 0.7], [0.8, 0.9]])
    assert loss(Train(), about, actual, p) == pytest.approx(terms.mean(), rel=1e-4)
    weights = np.array([[9.0, 1], [1, 1.5]])  # without it / with it, where it is
    balanced = loss(Train(class_weights="balanced"), about, actual, p)
    assert balanced == pytest.approx((terms * weights).mean(), rel=1e-4)
    focal = terms * (1 - np.exp(-terms)) ** 2
    assert loss(Train(loss="focal"), about, actual, p) == pytest.approx(focal.mean(), rel=1e-3)


# --- imbalance


COUNTS = {"a": 90, "b": 9, "c": 1}


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], list(COUNTS.values()))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    about = manifest("single_label", list("abc"), COUNTS, rows=100)
    assert losses.class_weights(Train(class_weights="balanced"), targets.of(about["target"]), about) == pytest.approx(
        expected
    )
    assert losses.class_weights(Train(class_weights={"b": 3.0}), targets.of(about["target"]), about) == pytest.approx(
        [1, 3, 1]
    )


def test_a_label_that_every_example_has_keeps_some_weight() -> None:
    about = manifest("multi_label", list("abc"), {"a": 100, "b": 50, "c": 0}, rows=100)
    assert losses.class_weights(Train(class_weights="balanced"), targets.of(about["target"]), about) == pytest.approx(
        [0.01, 1, 100]
    )


def imbalanced(folder: Path, train: Train) -> tuple[Params, dict[str, Any]]:
    """100 images of 2 x 2 of three classes on disk, as preprocess leaves them."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1, 2], list(COUNTS.values()))).astype(np.int32)
    for split in ("train", "validation"):
        (folder / split).mkdir()
        np.save(folder / split / "label.npy", labels)
        np.save(folder / split / "image.npy", random.integers(0, 255, (100, 2, 2, 1)).astype(np.uint8))
    task = images.Params(height=2, width=2, labels=list("abc"))
    about = manifest("single_label", list("abc"), COUNTS, rows=100) | {"inputs": {"image": {}}}
    return Params(name="t", recipe="images", task=task, train=train), about


def test_resampling_draws_each_class_as_often_and_nobody_is_left_out(tmp_path: Path) -> None:
    params, about = imbalanced(tmp_path, Train(resample="balanced"))
    labels = np.load(tmp_path / "train" / "label.npy")
    order = batches.shuffled(params, tmp_path, about)
    first = order(0)
    assert sorted(np.bincount(labels[first])) == [33, 33, 34]
    assert set(np.flatnonzero(labels > 0)) <= set(first)
    assert len(set(first[labels[first] == 0])) >= 33  # each once before any twice
    assert np.array_equal(first, order(0))
    assert not np.array_equal(first, order(1))
    plain = batches.shuffled(params.model_copy(update={"train": Train()}), tmp_path, about)
    assert sorted(plain(0)) == list(range(100))


def test_weights_reach_the_training_and_not_the_validation(tmp_path: Path) -> None:
    params, about = imbalanced(tmp_path, Train(class_weights={"a": 0.5, "b": 2.0, "c": 7.0}, batch_size=100))
    _, labels, weights = batches.training(params, tmp_path, about)[0]
    assert np.array_equal(weights, np.array([0.5, 2, 7], np.float32)[labels])
    assert len(batches.validation(params, tmp_path, about)[0]) == 2
    mixed = params.train.model_copy(update={"augment": params.train.augment.model_copy(update={"mixup": 1.0})})
    _, labels, weights = batches.training(params.model_copy(update={"train": mixed}), tmp_path, about)[0]
    assert weights == pytest.approx(labels @ [0.5, 2, 7], rel=1e-5)


# --- regularisation


@pytest.mark.e2e
def test_l1_makes_weights_sparse_and_l2_makes_them_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(512, 20)).astype(np.float32)
    y = x[:, 0] - 2 * x[:, 1] + random.normal(0, 0.5, 512)  # the other 18 say nothing
    found = {}
    for name in ("none", "l1", "l2"):
        import keras

        settings = Train.model_validate(
            {"learning_rate": 0.01, "epochs": 30} | ({name: 0.05} if name != "none" else {})
        )
        params = Params(name="t", recipe="images", task=images.Params(), train=settings)
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, name="line")])
        fitting.compile_to_fit(model, params, manifest("regression", ["y"], rows=512))
        model.fit(x, y.astype(np.float32)[:, None], epochs=15, batch_size=32, verbose=0)
        found[name] = np.abs(model.get_weights()[0][:, 0])
    assert (found["l1"][2:] < 0.02).mean() > 0.9
    assert (found["none"][2:] < 0.02).mean() < 0.7
    assert found["l1"][:2].min() > 0.5
    assert (found["l2"][:2] < 0.95 * found["none"][:2]).all()


def test_dropout_reaches_the_model() -> None:
    network = networks.Network(model="mlp", hidden=[8, 8])
    params = Params(name="t", recipe="images", task=images.Params(), network=network, train=Train(dropout=0.4))
    about = manifest("single_label", [str(digit) for digit in range(10)])
    kinds = [layer for layer in fitting.build(params, about).layers if type(layer).__name__ == "Dropout"]
    assert kinds
    assert {layer.rate for layer in kinds} == {0.4}


# --- settings that make no sense


ONE, SEVERAL, NUMBERS = single_label.Target(("a", "b")), multi_label.Target(("a", "b")), regression.Target(("y",))


@pytest.mark.parametrize(
    ("settings", "target", "text"),
    [
        ({"loss": "focal"}, NUMBERS, r"train\.loss: focal does not suit regression; choose auto, mse, mae, huber"),
        ({"loss": "binary"}, ONE, "single-label data; choose auto, cross_entropy, focal"),
        ({"loss": "cross_entropy"}, SEVERAL, "multi-label data; choose auto, binary, focal"),
        ({"label_smoothing": 0.1}, NUMBERS, r"train\.label_smoothing is for classification"),
        ({"class_weights": "balanced"}, NUMBERS, r"train\.class_weights is for classification"),
        ({"threshold": "f1"}, NUMBERS, r"train\.threshold is for classification"),
        ({"augment": {"cutmix": 1.0}}, NUMBERS, r"train\.augment\.cutmix is for classification"),
        ({"resample": "balanced"}, SEVERAL, r"train\.resample is for single-label"),
        ({"threshold": "cost"}, SEVERAL, r"train\.threshold: cost is for single-label"),
        ({"class_weights": {"z": 1.0}}, ONE, "no label 'z'; there are: a, b"),
    ],
)
def test_a_setting_that_makes_no_sense_for_the_target_is_an_error(settings, target: Target, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Train.model_validate(settings).suits(target)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"momentum": 0.9}, "only to the optimizer sgd, not to adam"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov requires a momentum"),
        ({"focal_gamma": 1.0}, "only to the loss focal"),
        ({"class_weights": "balanced", "resample": "balanced"}, "or rare labels count twice"),
        ({"freeze_epochs": 1}, "require train.pretrained"),
        ({"pretrained": "a.keras", "freeze_epochs": 20}, r"less than epochs \(20\)"),
        ({"class_weights": {"a": -1.0}}, "expected none, balanced or"),
    ],
)
def test_settings_that_make_no_sense_together_are_an_error(settings, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Train.model_validate(settings)


def test_a_section_read_from_its_own_dump_is_the_same() -> None:
    settings = Train.model_validate({"schedule": "cosine", "augment": {"flip": "both"}, "class_weights": {"a": 2.0}})
    assert Train.model_validate(settings.model_dump()) == settings
