"""The classical transcriber: its gradient, how probable its labels are, and that it learns what is heard when."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.classical import fitting, frames
from components.recipes import Input
from components.targets import _ctc, transcript

INPUTS = {"spectrogram": Input("spectrogram")}
NAMES = ("a", "b", " ")
BANDS, STEPS = 6, 20


def probabilities(random: np.random.Generator, rows: int, steps: int, symbols: int) -> np.ndarray:
    return random.dirichlet(np.full(symbols, 0.3), (rows, steps))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 5))
@settings(deadline=None, max_examples=50)
def test_occupation_is_what_the_forward_algorithm_says(seed: int, steps: int, symbols: int) -> None:
    """The logarithms are those of the target, by another algorithm; a symbol's share is their derivative by it."""
    random = np.random.default_rng(seed)
    given = probabilities(random, 4, steps, symbols)
    labels = np.zeros((4, steps), np.int32)
    for label in labels:
        length = int(random.integers(0, (steps + 1) // 2, endpoint=True))  # fits also where all symbols are alike
        label[:length] = random.integers(1, symbols, length)
    logarithms, occupied = frames.occupation(given, labels)
    assert logarithms == pytest.approx(_ctc.log_probability(given, labels), rel=1e-9)
    assert occupied.sum(axis=2) == pytest.approx(1)
    step, symbol = int(random.integers(steps)), int(random.integers(symbols))
    more, less = given.copy(), given.copy()
    more[:, step, symbol] *= 1 + 1e-5
    less[:, step, symbol] *= 1 - 1e-5
    slope = (_ctc.log_probability(more, labels) - _ctc.log_probability(less, labels)) / 2e-5
    assert occupied[:, step, symbol] == pytest.approx(slope, abs=1e-5)


def test_a_label_that_cannot_be_is_improbable_and_breaks_no_other() -> None:
    random = np.random.default_rng(1)
    given = probabilities(random, 2, 3, 3)
    logarithms, occupied = frames.occupation(given, np.array([[1, 1, 2], [2, 1, 0]], np.int32))
    assert logarithms[0] < -600 and logarithms[1] > -50
    assert np.isfinite(occupied).all() and occupied[1].sum(axis=1) == pytest.approx(1)


def test_the_gradient_is_that_of_the_loss() -> None:
    random = np.random.default_rng(1)
    labels = np.array([[1, 2, 2, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0], [1, 2, 1, 2, 1, 2, 0]], np.int32)
    features = random.normal(size=(labels.size, 5))
    flat = random.normal(0, 0.5, 6 * 3)
    _, slope = frames._loss(flat, features, labels, 0.1)
    steps = np.eye(len(flat)) * 1e-5
    differences = [
        (frames._loss(flat + step, features, labels, 0.1)[0] - frames._loss(flat - step, features, labels, 0.1)[0])
        / 2e-5
        for step in steps
    ]
    assert slope == pytest.approx(np.array(differences), abs=1e-6)


def heard(rows: int, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Spectrograms in which `a` is low and `b` is high, each for 2 steps, with quiet between; noise in all bands."""
    random = np.random.default_rng(seed)
    spectrograms = random.normal(0, 0.3, (rows, STEPS * 4 - 1, BANDS))
    texts = []
    for row in range(rows):
        text, at = "", int(random.integers(1, 4))
        while at + 2 < STEPS:
            symbol = "ab"[int(random.integers(2))]
            band = slice(0, 3) if symbol == "a" else slice(3, 6)
            spectrograms[row, at * 4 : (at + 2) * 4, band] += 2
            text += symbol
            at += 2 + int(random.integers(2, 5))
        texts.append(text)
    return {"spectrogram": spectrograms.astype(np.float32)}, texts


def fitted(target: transcript.Target, rows: int) -> fitting.Fitted:
    (train, said), (validation, others) = heard(rows, 1), heard(30, 2)
    encoded = (train, target.encode(said)), (validation, target.encode(others))
    return fitting.fit(INPUTS, specs(STEPS * 4 - 1), target, encoded[0], encoded[1], 1)


def specs(count: int) -> dict[str, Any]:
    return {"spectrogram": {"shape": [count, BANDS], "dtype": "float32"}}


def test_it_learns_when_symbols_are_heard_and_is_the_same_model_again() -> None:
    target = transcript.Target(NAMES, frames=STEPS)
    test, texts = heard(60, 3)
    made = fitted(target, 80)
    assert made.onnx == fitted(target, 80).onnx
    outputs = fitting.answers(made.onnx, test)
    assert outputs.shape == (60, STEPS, 4) and outputs.dtype == np.float32
    assert outputs.sum(axis=2) == pytest.approx(1, abs=1e-5)
    answers = target.decode(target.chosen(outputs))
    assert np.mean([one == other for one, other in zip(answers, texts, strict=True)]) > 0.9
    best = min(made.losses, key=lambda name: made.losses[name])
    assert made.name == best and best.startswith("a linear model of windows of sound, C = ") and len(made.losses) == 3
    assert not made.refitted and "examples" not in made.name


def test_of_more_examples_than_there_is_time_or_memory_for_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    target = transcript.Target(NAMES, frames=STEPS)
    labels = target.encode(["a b"] * 50)
    assert frames.drawn(labels, 1).tolist() == list(range(50))
    monkeypatch.setattr(frames, "STATES", 30 * STEPS * 7)
    some = frames.drawn(labels, 1)
    assert len(some) == 30 and (np.diff(some) > 0).all()
    assert some.tolist() != frames.drawn(labels, 2).tolist()
    monkeypatch.setattr(frames, "MEMORY", 4 * STEPS * frames.COMPONENTS * 20)
    assert len(frames.drawn(labels, 1)) == 20
    assert fitted(target, 50).name.endswith(", of 20 examples")


@pytest.mark.parametrize(("count", "steps"), [(5, 2), (9, 3), (5, 4), (3, 5), (100, 25)])
def test_it_has_as_many_steps_as_the_target_whatever_the_frames(count: int, steps: int) -> None:
    target = transcript.Target(NAMES, frames=steps)
    arrays = {"spectrogram": np.random.default_rng(1).normal(size=(6, count, BANDS)).astype(np.float32)}
    (model,) = frames.fit(INPUTS, specs(count), target, (arrays, target.encode(["a", "b"] * 3)), [0.01], 1)
    outputs = fitting.answers(model, arrays)
    assert outputs.shape == (6, steps, 4) and np.isfinite(outputs).all()
