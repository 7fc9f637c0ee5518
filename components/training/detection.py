"""The loss of a detector, and what is shown beside it; `actual` and `predicted` are boxes and maps.

`actual` is `(n, most, 5)`: left, top, right and bottom as shares of the image, and the class, below 0 behind an image's
boxes. `predicted` is `(n, rows, columns, names + 4)`, see components/serving/suppression.py.
"""

from typing import Any

EXTENT = 0.54  # of the bump by the box's side: alpha of TTFNet
BOXES = 2.0  # weight of what is wrong with the boxes, by that of the probabilities
LEAST = 0.01  # height of a bump where a box is learned


def loss(actual: Any, predicted: Any) -> Any:
    """Return the loss of each example, `(n,)`: a focal loss of the probabilities, and 1 - GIoU of the boxes.

    Each box is a Gaussian bump with its peak in the place of its middle. Probabilities have the focal loss of CornerNet
    (Law and Deng 2018, arXiv:1808.01244, equation 1), which is less where a bump is near its peak. Boxes are learned
    wherever there is a bump, each with a weight of 1 over all of its places (TTFNet: Liu and others 2020,
    arXiv:1909.00700, section 3), by the generalized intersection over union (Rezatofighi and others 2019,
    arXiv:1902.09630); where several meet, the one of the highest bump.
    """
    from keras import ops

    rows, columns, names = predicted.shape[1], predicted.shape[2], predicted.shape[3] - 4
    actual = ops.cast(actual, "float32")
    there = ops.cast(actual[:, :, 4] >= 0, "float32")
    count = ops.maximum(ops.sum(there, axis=1), 1.0)
    across = _bumps(actual[:, :, 0], actual[:, :, 2], columns)
    down = _bumps(actual[:, :, 1], actual[:, :, 3], rows)
    bumps = down[:, :, :, None] * across[:, :, None, :] * there[:, :, None, None]  # (n, most, rows, columns)

    of_name = [ops.cast(actual[:, :, 4] == name, "float32")[:, :, None, None] for name in range(names)]
    wanted = ops.stack([ops.max(bumps * mine, axis=1) for mine in of_name], axis=-1)
    chance = ops.clip(predicted[..., :names], 1e-6, 1 - 1e-6)
    peak = ops.cast(wanted > 0.9999, "float32")
    right = peak * (1 - chance) ** 2 * ops.log(chance)
    wrong = (1 - peak) * (1 - wanted) ** 4 * chance**2 * ops.log(1 - chance)
    found = -ops.sum(right + wrong, axis=(1, 2, 3)) / count

    n = ops.shape(actual)[0]
    flat = ops.reshape(bumps, (n, -1, rows * columns))
    owner = ops.argmax(flat, axis=1)  # (n, places)
    boxes = ops.take_along_axis(actual[:, :, :4], owner[:, :, None], axis=1)
    height = ops.max(flat, axis=1)
    weight = height / ops.maximum(ops.take_along_axis(ops.sum(flat, axis=2), owner, axis=1), 1e-6)
    inside = ops.cast(height > LEAST, "float32")
    fit = _giou(boxes, ops.reshape(predicted[..., names:], (n, rows * columns, 4)))
    return found + BOXES * ops.sum(weight * inside * (1 - fit), axis=1) / count


def overlap(actual: Any, predicted: Any) -> Any:
    """Return how well boxes fit where their middles are, `(n,)`: the mean intersection over union; 1 without boxes."""
    from keras import ops

    rows, columns, names = predicted.shape[1], predicted.shape[2], predicted.shape[3] - 4
    actual = ops.cast(actual, "float32")
    there = ops.cast(actual[:, :, 4] >= 0, "float32")
    across, down = (_place(actual[:, :, low], actual[:, :, low + 2], cells) for low, cells in ((0, columns), (1, rows)))
    place = ops.cast(down * columns + across, "int32")
    flat = ops.reshape(predicted[..., names:], (ops.shape(actual)[0], rows * columns, 4))
    both, either, _ = _areas(actual[:, :, :4], ops.take_along_axis(flat, place[:, :, None], axis=1))
    fits = ops.sum(there * both / ops.maximum(either, 1e-9), axis=1)
    count = ops.sum(there, axis=1)
    return ops.where(count > 0, fits / ops.maximum(count, 1.0), 1.0)


def _place(low: Any, high: Any, places: int) -> Any:
    """The place of the middle between two edges, in one direction."""
    from keras import ops

    return ops.clip(ops.floor((low + high) / 2 * places), 0, places - 1)


def _bumps(low: Any, high: Any, places: int) -> Any:
    """Gaussians `(n, most, places)` in one direction: 1 in the place of the middle.

    The deviation is (2 r + 1) / 6, as in TTFNet and CornerNet, with r half the side times EXTENT, in places.
    """
    from keras import ops

    deviation = (EXTENT * ops.maximum(high - low, 0.0) * places + 1) / 6
    steps = ops.arange(places, dtype="float32") - _place(low, high, places)[:, :, None]
    return ops.exp(-(steps**2) / (2 * deviation[:, :, None] ** 2))


def _areas(boxes: Any, others: Any) -> tuple[Any, Any, Any]:
    """The areas that two boxes share, that either covers, and of the smallest box around both."""
    from keras import ops

    def area(corners: Any) -> Any:
        return ops.maximum(corners[..., 0], 0.0) * ops.maximum(corners[..., 1], 0.0)

    both = area(ops.minimum(boxes[..., 2:], others[..., 2:]) - ops.maximum(boxes[..., :2], others[..., :2]))
    around = area(ops.maximum(boxes[..., 2:], others[..., 2:]) - ops.minimum(boxes[..., :2], others[..., :2]))
    either = area(boxes[..., 2:] - boxes[..., :2]) + area(others[..., 2:] - others[..., :2]) - both
    return both, either, around


def _giou(boxes: Any, others: Any) -> Any:
    from keras import ops

    both, either, around = _areas(boxes, others)
    return both / ops.maximum(either, 1e-9) - (around - either) / ops.maximum(around, 1e-9)
