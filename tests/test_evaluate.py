import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluate import _metrics, reliability


def test_metrics_by_hand() -> None:
    actual = np.array([0, 0, 0, 1, 1, 2])
    chosen = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.full((6, 3), 0.1)
    probabilities[np.arange(6), chosen] = 0.8
    metrics, classes = _metrics(actual, probabilities, ["a", "b", "c"])
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert [row["precision"] for row in classes] == pytest.approx([1, 1 / 2, 1 / 2])
    assert [row["recall"] for row in classes] == pytest.approx([2 / 3, 1 / 2, 1])
    assert metrics["f1_macro"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics["f1_weighted"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)
    assert metrics["log_loss"] == pytest.approx(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6)
    assert [row["rows"] for row in classes] == [3, 2, 1]


def test_a_class_that_is_never_predicted_or_never_there_does_not_fail() -> None:
    metrics, classes = _metrics(np.array([0, 0]), np.array([[0.9, 0.1, 0], [0.6, 0.4, 0]]), ["a", "b", "c"])
    assert metrics["accuracy"] == 1
    assert classes[2] == {"label": "c", "precision": 0, "recall": 0, "f1": 0, "rows": 0}


def test_calibration_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    first, second = reliability(np.array([0, 1, 1, 1]), probabilities, 10)
    assert first == {"confidence": pytest.approx(0.6), "accuracy": 1.0, "rows": 2}
    assert second == {"confidence": pytest.approx(0.9), "accuracy": 0.5, "rows": 2}


@given(st.integers(1, 200), st.integers(2, 6), st.integers(2, 30), st.integers(0, 1000))
def test_every_example_stands_in_one_bin(rows: int, classes: int, bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes) * 0.3, rows)
    found = reliability(random.integers(0, classes, rows), probabilities, bins)
    assert sum(row["rows"] for row in found) == rows
    confidences = [row["confidence"] for row in found]
    assert confidences == sorted(confidences)
    assert all(0 <= row["accuracy"] <= 1 for row in found)
