"""Linear models: logistic regression for classes, ridge regression for numbers."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.classical import features
from components.classical.graph import NEVER, Graph
from components.recipes import Arrays, Input
from components.targets import Target

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of logistic regression: 1 / penalty, from the strongest penalty on
PENALTIES = (1e5, 1e4, 1e3, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)  # of ridge regression, on standardised inputs
MAX_ITERATIONS = 300
LARGE = 1_000_000  # numbers of all examples
TOLERANCES = {"float64": 1e-4, "float32": 3e-4}  # of the gradient; with the latter a large fit takes half the steps


@dataclass(frozen=True)
class Setting:
    """One way to fit: with a penalty, and to what: forecasts, or by how much they differ from the last value."""

    penalty: float  # of logistic regression 1 / penalty, as scikit-learn's C
    changes: bool = False


@dataclass(frozen=True)
class Model:
    """A fitted model in a graph: the tensor of its logits, what it is called, and where a like fit may start."""

    logits: str
    name: str
    weights: np.ndarray  # (columns + 1, names) float64, the bias last


def paths(inputs: dict[str, Input], target: Target) -> list[list[Setting]]:
    """Return the settings among which a fit is chosen, the simplest first: paths from the strongest penalty on.

    Of forecasts also one of fits that start from the last value (the naive forecast; Zeng et al. 2023,
    arXiv:2205.13504, NLinear): a series that rises or wanders leaves the range of what was seen, its changes do not.
    """
    if target.activation != "linear":
        return [[Setting(strength) for strength in STRENGTHS]]
    kinds = [False, True] if features.forecast(inputs, len(target.names)) else [False]
    return [[Setting(penalty, changes) for penalty in PENALTIES] for changes in kinds]


def fit(
    graph: Graph,
    inputs: dict[str, Input],
    target: Target,
    train: tuple[Arrays, np.ndarray],
    path: list[Setting],
    start: np.ndarray | None = None,
) -> Iterator[tuple[Setting, Model]]:
    """Fit encoded examples and their labels with each setting of a path when it is asked for, and add it to the graph.

    A fit begins with the weights of the one before, for that with a stronger penalty is near; the first with `start`,
    those of a fit on nearly the same examples, `(columns + 1, names)`.
    """
    arrays, truth = train
    base = None
    if path[0].changes:
        base = features.last(graph, inputs, len(target.names))
        (last,) = graph.ask({base: np.float32}, arrays)
        truth = truth - last.astype(np.float64)
    described = features.linear(graph, inputs, arrays, changes=base is not None)
    tensors = list(described.dense)
    if tensors:
        tensors = [_standardised(graph, tensors, arrays)]
    exact = target.activation == "linear"  # ridge regression solves its equations at once
    x = _read(graph, tensors, described.bags, arrays, exact=exact)
    if start is not None and len(start) != x.shape[1] + 1:  # a column more or less: another code was seen
        start = None
    kind = "logistic regression, C =" if target.activation != "linear" else "ridge regression, penalty"
    kind = kind.replace("regression", "regression of changes") if base else kind
    for choice in path:
        weights, bias, ended = _fitted(x, truth, target, choice.penalty, start)
        start = np.concatenate([weights, bias[None]])
        logits = _logits(graph, tensors, described.bags, weights, bias)
        logits = graph.add("Add", logits, base) if base else logits
        name = f"{kind} {choice.penalty:g}" + ("" if ended else ", stopped before it converged")
        yield choice, Model(logits, name, start)


def _standardised(graph: Graph, tensors: list[str], arrays: Arrays) -> str:
    """Join dense tensors, and bring each column to mean 0 and deviation 1 over these examples."""
    joined = tensors[0] if len(tensors) == 1 else graph.add("Concat", *tensors, axis=1)
    (found,) = graph.ask({joined: np.float32}, arrays)
    whole = found.astype(np.float64)
    deviation = whole.std(axis=0)
    shift = graph.constant(whole.mean(axis=0))
    return graph.add("Div", graph.add("Sub", joined, shift), graph.constant(np.where(deviation > 0, deviation, 1.0)))


def _read(graph: Graph, dense: list[str], bags: list[features.Bag], arrays: Arrays, *, exact: bool) -> Any:
    """Return all columns side by side, `(n, columns)` float64: sparse where there is a bag.

    More than LARGE dense numbers stay float32 unless `exact`, as they are encoded: half the memory, and less time.
    """
    from scipy import sparse

    asked: dict[str, type] = dict.fromkeys(dense, np.float32)
    asked |= {tensor: dtype for bag in bags for tensor, dtype in ((bag.ids, np.int64), (bag.weights, np.float32))}
    found = dict(zip(asked, graph.ask(asked, arrays), strict=True))
    small = exact or bags or sum(found[tensor].size for tensor in dense) <= LARGE
    parts = [found[tensor].astype(np.float64 if small else np.float32) for tensor in dense]
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

    tolerance = TOLERANCES[x.dtype.name]
    model = LogisticRegression(C=choice, max_iter=MAX_ITERATIONS, warm_start=True, tol=tolerance)
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
