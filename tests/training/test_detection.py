"""The loss of a detector, and what is shown beside it."""

import numpy as np
import pytest

from components.training import detection

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROWS, COLUMNS, NAMES = 6, 8, 2


def label(*boxes: tuple[float, ...], most: int = 4) -> np.ndarray:
    found = np.zeros((1, most, 5), np.float32)
    found[:, :, 4] = -1
    found[0, : len(boxes)] = np.array(boxes).reshape(-1, 5)
    return found


def maps(*boxes: tuple[float, ...], sure: float = 0.999) -> np.ndarray:
    """What a detector gives that finds these boxes, and no other."""
    found = np.full((1, ROWS, COLUMNS, NAMES + 4), 1 - sure, np.float32)
    found[..., NAMES:] = (0, 0, 0.1, 0.1)
    for left, top, right, bottom, name in boxes:
        row, column = int((top + bottom) / 2 * ROWS), int((left + right) / 2 * COLUMNS)
        found[0, row, column, int(name)] = sure
        low, high = (max(0, row - 2), max(0, column - 2)), (row + 3, column + 3)
        found[0, low[0] : high[0], low[1] : high[1], NAMES:] = (left, top, right, bottom)
    return found


def loss(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.asarray(detection.loss(actual, predicted))[0])


BOX, OTHER = (0.1, 0.1, 0.4, 0.5, 0), (0.6, 0.5, 0.9, 0.9, 1)


def test_what_finds_all_boxes_has_next_to_no_loss_and_each_fault_has_more() -> None:
    actual = label(BOX, OTHER)
    right = loss(actual, maps(BOX, OTHER))
    assert 0 <= right < 0.01
    assert loss(actual, maps(BOX)) > right + 1  # one is not found
    assert loss(actual, maps(BOX, (*OTHER[:4], 0))) > right + 1  # of another class
    assert loss(actual, maps(BOX, (0.6, 0.6, 0.9, 0.8, 1))) > right + 0.3  # too flat
    assert loss(label(BOX), maps(BOX, OTHER)) > loss(label(BOX), maps(BOX)) + 1  # one that is not there


def test_an_image_without_boxes_is_learned_from_and_rows_behind_the_boxes_count_for_nothing() -> None:
    assert loss(label(), maps()) < 0.01
    assert loss(label(), maps(BOX)) > 1
    assert loss(label(BOX, most=1), maps(BOX)) == pytest.approx(loss(label(BOX, most=9), maps(BOX)), abs=1e-6)


def test_the_overlap_is_that_of_the_boxes_where_the_middles_are() -> None:
    def overlap(actual: np.ndarray, predicted: np.ndarray) -> float:
        return float(np.asarray(detection.overlap(actual, predicted))[0])

    assert overlap(label(BOX, OTHER), maps(BOX, OTHER)) == pytest.approx(1)
    half = (0.1, 0.1, 0.4, 0.3, 0)
    found = maps(BOX)
    found[..., NAMES:] = half[:4]
    assert overlap(label(BOX), found) == pytest.approx(0.5)
    assert overlap(label(), found) == 1


def test_the_loss_has_finite_gradients_at_its_ends() -> None:
    import tensorflow as tf

    for predicted in (maps(BOX, sure=1.0), np.zeros_like(maps()), np.ones_like(maps())):
        given = tf.Variable(predicted)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(detection.loss(label(BOX, OTHER), given))
        assert np.isfinite(np.asarray(tape.gradient(value, given))).all()
