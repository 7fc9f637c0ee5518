from typing import Any

import numpy as np
import pytest

from components import SlipwayError
from components.params import Train
from components.training import pretrained_weights


def model(words: int = 4, classes: int = 2) -> Any:
    import keras

    keras.utils.clear_session()
    given = keras.Input((3,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(words, 5, name="embedding")(given)
    x = keras.layers.Embedding(words, 1, trainable=False, name="ratios")(given) * x
    x = keras.layers.Dense(6, name="hidden")(keras.layers.Flatten(name="flat")(x))
    return keras.Model({"tokens": given}, keras.layers.Dense(classes, name="logits")(x))


def source(of: Any, state: Any) -> pretrained_weights.Source:
    layers = {layer.name: [np.full(w.shape, 7, np.float32) for w in layer.weights] for layer in of.layers}
    return pretrained_weights.Source("old.keras", "0" * 64, layers, state)


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        ({"vocabulary": ["a", "b"], "counts": [3, 4]}, ["embedding", "hidden", "logits"]),  # of other numbers
        ({"vocabulary": ["b", "a"], "counts": [1, 2]}, ["hidden", "logits"]),
        (None, ["hidden", "logits"]),
    ],
)
@pytest.mark.e2e
def test_rows_of_an_embedding_are_taken_for_the_same_vocabulary_only(
    state: Any, taken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    today = {"vocabulary": ["a", "b"], "counts": [1, 2]}
    made = model()
    before = [np.array(layer.get_weights()[0]) for layer in made.layers if layer.name == "ratios"]
    settings = Train(pretrained="old.keras", pretrained_part="whole")
    assert pretrained_weights.start(made, source(model(), state), settings, today) == taken
    assert np.array_equal(made.get_layer("ratios").get_weights()[0], before[0])  # what does not learn is today's
    assert (made.get_layer("hidden").get_weights()[0] == 7).all()
    assert ("not embedding: different shape or vocabulary" in capsys.readouterr().out) == (taken[0] == "hidden")


def test_a_backbone_leaves_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Train(pretrained="old.keras", pretrained_part="backbone")
    assert pretrained_weights.start(model(classes=3), source(model(), None), settings, {}) == ["hidden"]
    assert "1 of 4 layers" in capsys.readouterr().out


def test_nothing_that_fits_is_an_error_that_names_both() -> None:
    other = pretrained_weights.Source("old.keras", "0" * 64, {"conv": [np.zeros((3, 3))]})
    with pytest.raises(
        SlipwayError, match=r"no layer of old\.keras fits the model .*: it has conv, the model ratios, "
    ):
        pretrained_weights.start(model(), other, Train(), {})
