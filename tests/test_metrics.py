import numpy as np
import pytest

from components.metrics import scores
from components.recipes import Target


def test_scores_by_hand() -> None:
    label = Target("label", ("a", "b"))
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], np.float32)
    actual = np.array([0, 1, 1])
    costs = np.array([[0.0, 1.0], [5.0, 0.0]])
    assert scores(actual, outputs, label).tolist() == [1, 1, 0]
    assert scores(actual, outputs, label, costs=costs).tolist() == [0, 0, -5]
    # a matrix that makes b the answer wherever its probability is above 1/6
    decision = (-costs).tolist()
    assert scores(actual, outputs, label, decision, costs).tolist() == [0, 0, 0]
    labels = Target("labels", ("a", "b", "c", "d"))
    held = np.array([[1, 0, 0, 1]], np.uint8)
    assert scores(held, np.array([[0.9, 0.2, 0.6, 0.5]]), labels).tolist() == [0.75]
    assert scores(held, np.array([[0.9, 0.2, 0.6, 0.5]]), labels, [0.5, 0.5, 0.7, 0.5]).tolist() == [1]
    values = Target("values", ("x", "y"))
    found = scores(np.array([[1.0, 10.0]]), np.array([[2.0, 14.0]]), values, deviation=np.array([1.0, 4.0]))
    assert found == pytest.approx([-1.0])
