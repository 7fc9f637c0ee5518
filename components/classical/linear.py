"""Linear models: logistic regression for classes, ridge regression for numbers; the penalty suits validation best."""

import warnings
from typing import Any

import numpy as np

from components.classical import features
from components.classical.graph import Graph
from components.recipes import Arrays, Input
from components.targets import Target

STRENGTHS = (0.1, 1.0, 10.0)  # of logistic regression: 1 / penalty, from the strongest penalty on
PENALTIES = (1e5, 1e4, 1e3, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)  # of ridge regression, on standardised inputs
MAX_ITERATIONS = 300
NEVER = -1e4  # the log-odds of what training did not have: its probability is 0


def fit(
    graph: Graph, inputs: dict[str, Input], target: Target, train: tuple[Arrays, np.ndarray], validation: Any
) -> tuple[str, str]:
    """Fit on the training examples; add the model to the graph; return its logits' tensor and what it is called.

    `train` and `validation` are encoded inputs and labels, as build/arrays has them.
    """
    arrays, truth = train
    described = features.linear(graph, inputs, arrays)
    tensors = list(described.dense)
    if tensors:
        tensors = [_standardised(graph, tensors, arrays)]
    x, other = (_read(graph, tensors, described.bags, some) for some in (arrays, validation[0]))
    choices = PENALTIES if target.activation == "linear" else STRENGTHS
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    start: np.ndarray | None = None
    converged = True
    for choice in choices:
        weights, bias, ended = _fitted(x, truth, target, choice, start)
        start = np.concatenate([weights, bias[None]])
        loss = float(target.loss(_activated(other @ weights + bias, target), validation[1]).mean())
        if best is None or loss < best[0]:
            best, converged = (loss, choice, weights, bias), ended
    assert best is not None  # noqa: S101 - for the type checker: there are choices
    logits = _logits(graph, tensors, described.bags, best[2], best[3])
    kind = "ridge regression, penalty" if target.activation == "linear" else "logistic regression, C ="
    return logits, f"{kind} {best[1]:g}" + ("" if converged else ", stopped before it converged")


def _activated(logits: np.ndarray, target: Target) -> np.ndarray:
    from scipy.special import expit, softmax

    if target.activation == "linear":
        return logits
    return np.asarray(softmax(logits, axis=1) if target.activation == "softmax" else expit(logits))


def _standardised(graph: Graph, tensors: list[str], arrays: Arrays) -> str:
    """Join dense tensors, and bring each column to mean 0 and deviation 1 over these examples."""
    joined = tensors[0] if len(tensors) == 1 else graph.add("Concat", *tensors, axis=1)
    (found,) = graph.ask({joined: np.float32}, arrays)
    whole = found.astype(np.float64)
    deviation = whole.std(axis=0)
    shift = graph.constant(whole.mean(axis=0))
    return graph.add("Div", graph.add("Sub", joined, shift), graph.constant(np.where(deviation > 0, deviation, 1.0)))


def _read(graph: Graph, dense: list[str], bags: list[features.Bag], arrays: Arrays) -> Any:
    """Return all columns side by side, `(n, columns)` float64: sparse where there is a bag."""
    from scipy import sparse

    asked: dict[str, type] = dict.fromkeys(dense, np.float32)
    asked |= {tensor: dtype for bag in bags for tensor, dtype in ((bag.ids, np.int64), (bag.weights, np.float32))}
    found = dict(zip(asked, graph.ask(asked, arrays), strict=True))
    parts = [found[tensor].astype(np.float64) for tensor in dense]
    for bag in bags:
        ids, weights = found[bag.ids], found[bag.weights].astype(np.float64)
        row, at = np.nonzero(weights)
        entries = (weights[row, at], (row, ids[row, at]))
        parts.append(sparse.csr_array(sparse.coo_array(entries, (len(ids), bag.size))))
    return sparse.hstack(parts, format="csr") if bags else parts[0]


def _fitted(
    x: Any, truth: np.ndarray, target: Target, choice: float, start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return weights `(columns, names)`, bias `(names,)`, and whether the fit converged."""
    from sklearn.linear_model import Ridge

    columns, names = x.shape[1], len(target.names)
    if target.activation == "linear":
        ridge = Ridge(alpha=choice).fit(x, truth.astype(np.float64))
        return ridge.coef_.reshape(names, columns).T, np.reshape(ridge.intercept_, names), True
    weights, bias = np.zeros((columns, names)), np.full(names, NEVER)
    ended = True
    if target.activation == "softmax":
        seen = np.unique(truth)
        if len(seen) == 1:
            bias[seen] = 0.0
        else:
            first = None if start is None else start[:, seen]
            found, offset, ended = _logistic(x, truth, choice, first)
            weights[:, seen], bias[seen] = found, offset
        return weights, bias, ended
    for name in range(names):
        if len(np.unique(truth[:, name])) == 1:
            bias[name] = NEVER if truth[0, name] == 0 else -NEVER
            continue
        first = None if start is None else np.stack([np.zeros(columns + 1), start[:, name]], axis=1)
        found, offset, all_ended = _logistic(x, truth[:, name], choice, first)
        weights[:, name], bias[name] = found[:, 1] - found[:, 0], offset[1] - offset[0]
        ended = ended and all_ended
    return weights, bias, ended


def _logistic(
    x: Any, truth: np.ndarray, choice: float, start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return weights `(columns, classes)` and offsets of the classes that are there; `start` are those to begin at."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=choice, max_iter=MAX_ITERATIONS, warm_start=True)
    classes = len(np.unique(truth))
    if start is not None:  # the fit with a stronger penalty is near
        held = start.T if classes > 2 else (start[:, 1] - start[:, 0])[None]
        model.coef_, model.intercept_ = held[:, :-1].copy(), held[:, -1].copy()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(x, truth)
    weights, offset = model.coef_.T, model.intercept_
    if classes == 2:  # the log-odds of the second
        weights, offset = np.concatenate([np.zeros_like(weights), weights], axis=1), np.array([0.0, offset[0]])
    return weights, offset, not any(issubclass(entry.category, ConvergenceWarning) for entry in said)


def _logits(graph: Graph, dense: list[str], bags: list[features.Bag], weights: np.ndarray, bias: np.ndarray) -> str:
    parts = [graph.constant(bias[None])]
    at = len(weights) - sum(bag.size for bag in bags)
    if dense:
        parts.append(graph.add("MatMul", dense[0], graph.constant(weights[:at])))
    for bag in bags:
        rows = graph.add("Gather", graph.constant(weights[at : at + bag.size]), bag.ids)
        each = graph.add("Unsqueeze", bag.weights, graph.constant([1], np.int64))
        summed = graph.add("Squeeze", graph.add("MatMul", each, rows), graph.constant([1], np.int64))
        parts.append(summed)
        at += bag.size
    return graph.total(parts[1:] + parts[:1])
