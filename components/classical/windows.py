"""A linear model of what is around each place of an image, slid over all of them: a classical detector.

Dalal and Triggs 2005 (doi:10.1109/CVPR.2005.177), with colours in place of gradients: a logistic regression for each
class tells of a window if the middle of a thing is in its middle, a ridge regression how far the edges of its box are.
"""

from dataclasses import dataclass

import numpy as np

from components.classical.graph import Graph
from components.recipes import Arrays, Input
from components.serving import suppression
from components.streams import stream
from components.targets import Target

PLACES = 40  # along the longer side of an image
SIDE = 9  # places of a window: about a fifth of the image
PENALTIES = (0.01, 0.1, 1.0)  # of the logistic regression: C of scikit-learn, the strongest first
NOTHING = 40  # windows without a middle that are drawn of each image
NEAR = 1.5  # places from a middle within which a window is neither

Examples = tuple[Arrays, np.ndarray]


@dataclass(frozen=True)
class Windows:
    """What is fitted: windows `(m, features)`, the class of each, -1 for none, and the edges of its box."""

    features: np.ndarray
    name: np.ndarray
    edges: np.ndarray  # (m, 4) how far left, top, right and bottom are from the middle, as shares of the image
    share: float  # of the windows without a middle that were drawn


def fit(
    inputs: dict[str, Input],
    specs: dict[str, dict[str, list[int]]],
    target: Target,
    train: Examples,
    penalty: float,
    seed: int,
) -> bytes:
    """Return the ONNX of a detector fitted on `train`; of several images that an example has the first is looked at."""
    from sklearn.linear_model import LogisticRegression, Ridge

    key = next(name for name, entry in inputs.items() if entry.kind == "image")
    height, width, channels = specs[key]["shape"]
    graph = Graph({key: specs[key]})
    size = max(1, -(-max(height, width) // PLACES))
    # a window beyond the image sees what is usual
    usual = np.asarray(train[0][key]).mean(axis=(0, 1, 2)) / 255
    scaled = graph.add("Div", graph.add("Cast", key, to=1), graph.constant(255))
    apart = graph.add("Transpose", graph.add("Sub", scaled, graph.constant(usual)), perm=[0, 3, 1, 2])
    places = graph.add("AveragePool", apart, kernel_shape=[size, size], strides=[size, size])
    (cells,) = graph.ask({places: np.float32}, {key: train[0][key]})
    found = _windows(cells, train[1], (size / height, size / width), seed)
    spread = np.maximum(found.features.std(axis=0), 1e-6)
    known = found.features / spread

    weights, bias = [], []
    for name in range(len(target.names)):
        is_name = found.name == name
        if not is_name.any():
            weights.append(np.zeros(known.shape[1]))
            bias.append(-20.0)  # the class is not among these examples
            continue
        model = LogisticRegression(C=penalty, solver="newton-cholesky").fit(known, is_name)
        weights.append(model.coef_[0] / spread)
        # few of the windows with nothing were drawn (King and Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868, 4.1)
        bias.append(float(model.intercept_[0]) + np.log(found.share))
    there = found.name >= 0
    if there.any():
        ridge = Ridge(alpha=len(known) * 0.01).fit(known[there], found.edges[there])
        weights += list(ridge.coef_ / spread)
        bias += ridge.intercept_.tolist()
    else:
        weights += [np.zeros(known.shape[1])] * 4
        bias += [0.1] * 4

    kernel = np.stack(weights).reshape(-1, channels, SIDE, SIDE)
    slid = graph.add("Conv", places, graph.constant(kernel), graph.constant(bias), pads=[SIDE // 2] * 4)
    maps = graph.add("Transpose", slid, perm=[0, 2, 3, 1])
    whole, first, last = (graph.constant(at, np.int64) for at in ([3], [len(target.names)], [len(bias)]))
    probability = graph.add("Sigmoid", graph.add("Slice", maps, graph.constant([0], np.int64), first, whole))
    far = graph.add("Relu", graph.add("Slice", maps, first, last, whole))
    signed = graph.add("Mul", far, graph.constant([-1, -1, 1, 1]))
    rows, columns = cells.shape[2:]
    edges = graph.add("Add", signed, graph.constant(_middles(rows, columns, (size / height, size / width))))
    made = graph.add("Concat", probability, edges, axis=3)
    onnx = graph.written((made, "maps", np.float32), shape=(rows, columns, len(bias)))
    return suppression.appended(onnx, len(target.names), target.shape[0])


def _middles(rows: int, columns: int, step: tuple[float, float]) -> np.ndarray:
    """Return the middles of all places, as shares of the image's sides, twice: `(rows, columns, 4)`."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) * step[0], (np.arange(columns) + 0.5) * step[1], indexing="ij")
    return np.stack([x, y, x, y], axis=-1)


def _windows(cells: np.ndarray, labels: np.ndarray, step: tuple[float, float], seed: int) -> Windows:
    """Take the windows around the middles of all boxes, and some with nothing, from `(n, channels, rows, columns)`."""
    rows, columns = cells.shape[2:]
    half = SIDE // 2
    padded = np.pad(cells, ((0, 0), (0, 0), (half, half), (half, half)))
    every = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(2, 3))
    middles = _middles(rows, columns, step)
    features, names, edges, drawn, free_places = [], [], [], 0, 0
    random = stream(seed, "windows without a middle")
    for image, label in enumerate(labels):
        boxes = label[label[:, 4] >= 0]
        y, x = (boxes[:, 1] + boxes[:, 3]) / 2 / step[0], (boxes[:, 0] + boxes[:, 2]) / 2 / step[1]
        row, column = (np.clip(at.astype(int), 0, most - 1) for at, most in ((y, rows), (x, columns)))
        down, across = np.arange(rows)[:, None, None] + 0.5 - y, np.arange(columns)[None, :, None] + 0.5 - x
        free = np.argwhere((np.hypot(down, across) > NEAR).all(axis=2))
        some = free[random.permutation(len(free))[:NOTHING]]
        at = np.concatenate([np.column_stack([row, column]), some]).astype(int)
        features.append(every[image][:, at[:, 0], at[:, 1]].transpose(1, 0, 2, 3).reshape(len(at), -1))
        names.append(np.concatenate([boxes[:, 4], np.full(len(some), -1)]))
        edges.append(np.concatenate([(boxes[:, :4] - middles[row, column]) * [-1, -1, 1, 1], np.zeros((len(some), 4))]))
        drawn, free_places = drawn + len(some), free_places + len(free)
    return Windows(
        np.concatenate(features).astype(np.float64),
        np.concatenate(names).astype(int),
        np.concatenate(edges),
        drawn / max(free_places, 1),
    )
