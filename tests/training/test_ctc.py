"""The loss of transcripts, beside the probability of a text that predictions have."""

import numpy as np
import pytest

from components.targets import _ctc, transcript
from components.training import ctc

STEPS, NAMES = 12, 3


@pytest.fixture(scope="module")
def texts() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    outputs = random.dirichlet(np.full(NAMES + 1, 0.5), (40, STEPS)).astype(np.float32)
    codes = np.zeros((40, STEPS), np.int32)
    for row, length in enumerate(random.integers(0, STEPS // 2 + 1, 40)):  # with room for a blank between all
        codes[row, :length] = random.integers(1, NAMES + 1, length)
    return outputs, codes


def test_the_loss_is_minus_the_logarithm_of_the_probability_of_the_text(texts: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, codes = texts
    found = np.asarray(ctc.loss(codes, outputs))
    assert found == pytest.approx(-_ctc.log_probability(np.maximum(outputs, ctc.LEAST), codes), rel=1e-4, abs=1e-4)


def test_the_loss_falls_along_its_gradient_and_is_finite_where_a_text_cannot_be() -> None:
    import tensorflow as tf

    codes = np.array([[1, 1, 2] + [0] * (STEPS - 3)], np.int32)
    impossible = np.full((1, STEPS), 1, np.int32)  # no room for a blank between two alike
    logits = tf.Variable(np.random.default_rng(1).normal(size=(1, STEPS, NAMES + 1)).astype(np.float32))
    losses = []
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = ctc.loss(codes, tf.nn.softmax(logits))
        logits.assign_sub(2.0 * tape.gradient(loss, logits))
        losses.append(float(loss[0]))
    assert losses[-1] < 0.2 < losses[0]
    target = transcript.Target(("a", "b", "c"), STEPS)
    assert target.decode(_ctc.greedy(tf.nn.softmax(logits).numpy())) == ["aab"]
    with tf.GradientTape() as tape:
        loss = ctc.loss(impossible, tf.nn.softmax(logits))
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


def test_a_text_is_exact_if_its_likeliest_symbols_are_right(texts: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, codes = texts
    right = _ctc.certain(codes[:20], NAMES)
    every = np.concatenate([outputs[:20], right])
    labels = np.concatenate([codes[:20], codes[:20]])
    expected = (_ctc.greedy(every) == labels).all(axis=1)
    assert 20 <= expected.sum() < 40
    assert np.array_equal(np.asarray(ctc.exact(labels, every)) > 0, expected)
