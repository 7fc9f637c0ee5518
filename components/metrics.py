"""How good outputs are, by what is predicted: numbers only, no files, no models."""

import numpy as np

from components.recipes import Target, chosen


def scores(
    actual: np.ndarray,
    outputs: np.ndarray,
    target: Target,
    decision: list[float] | list[list[float]] | None = None,
    costs: np.ndarray | None = None,
    deviation: np.ndarray | None = None,
) -> np.ndarray:
    """Score each example, `(n,)` float64, higher is better, so that two models can be compared in pairs.

    label: 1 where the answer is right, else 0; with `costs`, `(labels, labels)` by actual and predicted, minus
    the cost. labels: the share of the labels that are right. values: minus the mean absolute error in units of
    `deviation`, `(names,)`, that of the training labels; 1 without.

    `actual` is `(n,)` codes for label, `(n, names)` multi-hot for labels, `(n, names)` numbers for values;
    `outputs` `(n, names)`, as the model gives them; `decision` as recipes.answers takes it.
    """
    if target.kind == "values":
        error = np.abs(outputs.astype(np.float64) - actual.reshape(outputs.shape))
        found: np.ndarray = -(error / (1.0 if deviation is None else deviation)).mean(axis=1)
        return found
    best = chosen(outputs, target, decision)
    if target.kind == "labels":
        share: np.ndarray = (best == actual.astype(bool)).mean(axis=1)
        return share
    right: np.ndarray = (best == actual).astype(np.float64) if costs is None else -costs[actual, best]
    return right
