"""A linear model of what is heard around each step of a recording: a classical transcriber.

A logistic regression of all symbols and the blank, in each step. Which step has which symbol is not known: it is fitted
by connectionist temporal classification (CTC; Graves and others 2006, doi:10.1145/1143844.1143891).
"""

from collections.abc import Sequence

import numpy as np

from components.classical.graph import Graph
from components.recipes import Arrays, Input
from components.streams import stream
from components.targets import Target

WINDOW = 11  # steps that are heard around each, itself among them: half a second where a step is 40 ms
COMPONENTS = 128  # numbers that are kept of what is heard around a step
PENALTIES = (0.0003, 0.003, 0.03)  # C: how much examples count against the squares of weights, the strongest first
ROUNDS = 60  # of L-BFGS
MEMORY = 300 * 2**20  # bytes of what is heard around all steps, float32
STATES = 2**24  # of all examples in all steps: a round takes a second
PART = 2**20  # numbers in an array that is worked with at a time
LEAST = 1e-300  # probability, so that its logarithm is a number

Examples = tuple[Arrays, np.ndarray]


def fit(
    inputs: dict[str, Input],
    specs: dict[str, dict[str, list[int]]],
    target: Target,
    train: Examples,
    penalties: Sequence[float],
    seed: int,
) -> list[bytes]:
    """Return the ONNX of a transcriber for each penalty, fitted on the examples that `drawn` tells.

    Each fit starts from the one before: the strongest penalty comes first.
    """
    from scipy.optimize import minimize

    key = next(name for name, entry in inputs.items() if entry.kind == "spectrogram")
    frames, bands = specs[key]["shape"]
    steps, symbols = target.shape
    rows = drawn(train[1], seed)
    labels = train[1][rows]

    graph = Graph({key: specs[key]})
    each = -(-frames // steps)  # frames of a step
    padding = graph.constant([0, 0, 0, 0, 0, each * steps - frames], np.int64)
    padded = graph.add("Pad", graph.add("Transpose", key, perm=[0, 2, 1]), padding, mode="edge")
    pooled = graph.add("AveragePool", padded, kernel_shape=[each], strides=[each])
    at_once = max(1, PART // (frames * bands))
    parts = [rows[at : at + at_once] for at in range(0, len(rows), at_once)]
    heard = np.concatenate([graph.ask({pooled: np.float32}, {key: train[0][key][part]})[0] for part in parts])
    usual = heard.mean(axis=(0, 2), dtype=np.float64)[:, None]
    spread = np.maximum(heard.std(axis=(0, 2), dtype=np.float64), 1e-6)[:, None]
    heard -= usual.astype(np.float32)
    heard /= spread.astype(np.float32)
    whitening = _whitening(heard)
    features = np.concatenate([_around(part) @ whitening for part in _parts(heard)])
    around = graph.add("Sub", pooled, graph.constant(usual))  # before and behind a recording it is as usual: 0

    def made(weights: np.ndarray) -> bytes:
        kernel = (whitening @ weights[:-1]).T.reshape(symbols, bands, WINDOW) / spread
        slid = graph.add("Conv", around, graph.constant(kernel), graph.constant(weights[-1]), pads=[WINDOW // 2] * 2)
        last = graph.add("Softmax", graph.add("Transpose", slid, perm=[0, 2, 1]), axis=2)
        return graph.written((last, target.output, np.float32), shape=target.shape)

    # As if each symbol of a label stood in one step, and in all others the blank: from equal shares a fit would first
    # have to learn that most steps are blank.
    shares = np.bincount(labels.ravel(), minlength=symbols) + 1.0
    weights = np.zeros((features.shape[1] + 1, symbols))
    weights[-1] = np.log(shares / shares.sum())
    found = []
    for penalty in penalties:
        result = minimize(
            _loss,
            weights.ravel(),
            args=(features, labels, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ROUNDS},
        )
        weights = result.x.reshape(weights.shape)
        found.append(made(weights))
    return found


def drawn(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return which examples a model is fitted on: all, or as many, drawn by chance, as MEMORY and STATES allow."""
    rows = stream(seed, "examples of the classical transcriber").permutation(len(labels))
    steps = labels.shape[1]
    states = np.cumsum(steps * (2 * (labels[rows] > 0).sum(axis=1) + 1))
    most = min(int(np.searchsorted(states, STATES, "right")), MEMORY // (4 * steps * COMPONENTS))
    return np.sort(rows[: max(most, 1)])


def _parts(heard: np.ndarray) -> list[np.ndarray]:
    at_once = max(1, PART // (heard.shape[1] * heard.shape[2] * WINDOW))
    return [heard[at : at + at_once] for at in range(0, len(heard), at_once)]


def _whitening(heard: np.ndarray) -> np.ndarray:
    """Return what makes COMPONENTS numbers, uncorrelated and of variance 1, of what is around a step (by PCA).

    What is around is alike from band to band and from step to step; of numbers that are not, a fit takes fewer rounds.
    """
    wide = heard.shape[1] * WINDOW
    square = np.zeros((wide, wide))
    for part in _parts(heard):
        around = _around(part)
        square += around.T @ around
    variance, directions = np.linalg.eigh(square / (heard.shape[0] * heard.shape[2]))
    kept = slice(-1, -1 - COMPONENTS, -1)  # the largest are the last
    found: np.ndarray = directions[:, kept] / np.sqrt(np.maximum(variance[kept], 1e-6))
    return found.astype(np.float32)


def _around(heard: np.ndarray) -> np.ndarray:
    """Return what is heard around each step, `(n * steps, bands * WINDOW)`, from `(n, bands, steps)`."""
    wide = np.pad(heard, ((0, 0), (0, 0), (WINDOW // 2, WINDOW // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, WINDOW, axis=2)
    return windows.transpose(0, 2, 1, 3).reshape(heard.shape[0] * heard.shape[2], -1)


def _loss(flat: np.ndarray, features: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Return the mean loss of weights with their penalty, and its gradient: equations 15 and 16 of Graves and others.

    `flat` are the weights `(features + 1, symbols)`, in a row; the last of each symbol is its bias, without penalty.
    """
    weights = flat.reshape(features.shape[1] + 1, -1)
    logits = (features @ weights[:-1].astype(features.dtype)).astype(np.float64) + weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    shaped = probabilities.reshape(len(labels), -1, weights.shape[1])
    logarithms, occupied = occupation(shaped, labels)
    off = (probabilities - occupied.reshape(probabilities.shape)) / len(labels)
    strength = 1 / (penalty * len(labels))
    slope = features.T @ off.astype(features.dtype) + strength * weights[:-1]
    value = -logarithms.mean() + strength / 2 * (weights[:-1] ** 2).sum()
    return float(value), np.concatenate([slope.ravel(), off.sum(axis=0)]).astype(np.float64)


def occupation(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithm of each label's probability, `(n,)`, and how probable each symbol is in each step, given it.

    `probabilities` are `(n, steps, symbols)` float64, the blank first, and so is what is returned; `labels` are
    encoded, `(n, steps)`. Of a label that cannot be, the logarithm is very low and nothing is probable.
    """
    length = (labels > 0).sum(axis=1)
    order = np.argsort(length, kind="stable")  # labels of about the same length are worked with together
    logarithms, occupied = np.empty(len(labels)), np.empty(probabilities.shape)
    steps = probabilities.shape[1]
    at = 0
    while at < len(order):
        rows = order[at : at + max(1, PART // (steps * (2 * int(length[order[at]]) + 1)))]
        codes = labels[rows, : int(length[rows[-1]])]
        logarithms[rows], occupied[rows] = _forward_backward(probabilities[rows], codes, length[rows])
        at += len(rows)
    return logarithms, occupied


def _forward_backward(
    probabilities: np.ndarray, codes: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow all ways through the states of a label: its symbols, with a blank before, between and behind them.

    Probabilities are scaled in each step, so that they do not get too small (Graves and others 2006, section 4.1).
    """
    steps, symbols = probabilities.shape[1:]
    states = np.zeros((len(codes), 2 * codes.shape[1] + 1), np.int64)
    states[:, 1::2] = codes
    jumps = np.zeros(states.shape)  # 1 where a symbol can follow right behind the one before, which is another
    jumps[:, 3::2] = codes[:, 1:] != codes[:, :-1]
    number, last, ahead = np.arange(states.shape[1]), 2 * length[:, None], np.arange(steps)[::-1, None, None]
    emitted = np.take_along_axis(probabilities.transpose(1, 0, 2), states[None], axis=2)  # (steps, n, states)
    emitted *= (number <= last) & (number >= last - 1 - 2 * ahead)  # from all others no way leads to the end

    forward, totals = np.zeros(emitted.shape), np.empty(emitted.shape[:2])
    forward[0, :, :2] = emitted[0, :, :2]
    for step in range(steps):
        if step:
            before = forward[step - 1]
            forward[step] = before
            forward[step, :, 1:] += before[:, :-1]
            forward[step, :, 2:] += before[:, :-2] * jumps[:, 2:]
            forward[step] *= emitted[step]
        totals[step] = np.maximum(forward[step].sum(axis=1), LEAST)
        forward[step] /= totals[step][:, None]

    occupied = forward  # in place: times how probable the rest is
    behind = np.where(number >= last - 1, emitted[-1], 0.0)
    for step in range(steps - 2, -1, -1):
        backward = behind.copy()
        backward[:, :-1] += behind[:, 1:]
        backward[:, :-2] += behind[:, 2:] * jumps[:, 2:]
        occupied[step] *= backward
        behind = np.multiply(backward, emitted[step], out=backward)
        behind /= np.maximum(behind.sum(axis=1, keepdims=True), LEAST)
    occupied /= np.maximum(occupied.sum(axis=2, keepdims=True), LEAST)
    return np.log(totals).sum(axis=0), occupied.transpose(1, 0, 2) @ np.eye(symbols)[states]
