"""How probabilities become an answer: chosen on the validation split, written to model.json as `decision`.

A target says in components/targets what a decision of its is.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from components.targets import Decision, Target

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # of counts: right, actual, predicted
CELLS = 2**22  # of an array that is worked with at a time
LOG_WEIGHT_STEPS = (0.5, 0.1, 0.02)  # of a class weight's logarithm, coarse to fine; 12 of them up and down


def choose(
    rule: str | None, probabilities: np.ndarray, labels: np.ndarray, target: Target, costs: np.ndarray | None
) -> Decision | None:
    """Return the decision that does best on these examples by `rule`; None for no rule.

    `probabilities` (n, names) float32; `labels` (n,) codes or (n, names) 0 and 1; `costs` (actual, predicted). One
    label per example gets a matrix: f1 and youden weigh each class so that the mean over the classes of F1, or of
    recall (for two classes (J + 1) / 2, Youden 1950), is highest; cost takes the label of the least expected cost
    (Elkan 2001, equation 1) after weighing classes in the same way. Classes are weighed only if what they are weighed
    for gets better by more than its standard error: of few examples the weights suit their noise. Several labels get a
    threshold each, of the highest F1 or J; of boxes a least score for each class, of the highest F1.
    """
    if rule is None:
        return None
    exact = probabilities.astype(np.float64)
    if not target.exclusive:
        return [threshold(rule, *found) for found in target.found(exact, labels)]
    if rule == "cost":
        assert costs is not None  # noqa: S101 - params.yaml is checked for it
        return _cheapest(exact, labels, costs)
    measure, classes = _f1 if rule == "f1" else _recall, exact.shape[1]
    weights = _weigh(exact, None, lambda found: _score(measure, labels, found, classes))
    sure = _surely(measure, labels, exact.argmax(axis=1), (exact * weights).argmax(axis=1), classes)
    return _matrix(np.diag(weights) if sure else np.eye(classes))


def score(chosen: np.ndarray, labels: np.ndarray, target: Target, costs: np.ndarray | None) -> float:
    """Return how good answers are as a promotion sees it, higher is better: minus the mean cost, or the macro F1.

    `chosen` is what the target's `chosen` gives: (n,) codes, (n, names) bool, or boxes; of these two a class that is
    neither there nor answered counts for nothing, as in components/evaluation.
    """
    if not target.exclusive:
        counts = [
            (((said > 0) & right).sum(), right.sum() if there is None else there, (said > 0).sum())
            for said, right, there in target.found(chosen, labels)
        ]
        return float(_f1(*np.array(counts).T))
    if costs is not None:
        return -float(costs[labels, chosen].mean())
    return _score(_f1, labels, chosen, len(target.names))


def _matrix(decision: np.ndarray) -> list[list[float]]:
    largest = max(float(np.abs(decision).max()), 1e-300)
    return [[float(f"{value:.8g}") + 0.0 for value in row] for row in decision / largest]  # + 0.0: no -0.0


def _cheapest(probabilities: np.ndarray, labels: np.ndarray, costs: np.ndarray) -> list[list[float]]:
    weights = _weigh(probabilities, -costs, lambda found: -float(costs[labels, found].mean()))
    plain = costs[labels, (probabilities @ -costs).argmax(axis=1)]
    weighed = costs[labels, ((probabilities * weights) @ -costs).argmax(axis=1)]
    gained = plain - weighed
    sure = gained.mean() > gained.std() / np.sqrt(len(gained))
    return _matrix(weights[:, None] * -costs if sure else -costs)


def _weigh(probabilities: np.ndarray, base: np.ndarray | None, score: Callable[[np.ndarray], float]) -> np.ndarray:
    """Return class weights of the highest score of the labels argmax((probabilities x weights) @ base).

    None for `base` is the identity, without its products: a class's weight changes its own column only.
    One class at a time, in ever smaller steps; of equal scores the weights nearest to those before.
    """
    logs = np.zeros(probabilities.shape[1])
    best = score(_decided(probabilities, logs, base))
    classes = range(1, len(logs)) if len(logs) == 2 else range(len(logs))  # only the ratio of two counts
    for step in LOG_WEIGHT_STEPS:
        for at in classes:
            before = logs[at]
            decided = (
                partial(_decided, probabilities, base=base) if base is not None else _against(probabilities, logs, at)
            )
            tried = sorted(step * np.arange(-12, 13), key=abs)
            for by in tried:
                logs_new = logs.copy()
                logs_new[at] = before + by
                found = score(decided(logs_new))
                if found > best:
                    best, logs = found, logs_new
    weights: np.ndarray = np.exp(logs - logs.max())
    return weights


def _decided(probabilities: np.ndarray, logs: np.ndarray, base: np.ndarray | None) -> np.ndarray:
    weighed = probabilities * np.exp(logs)
    found: np.ndarray = (weighed if base is None else weighed @ base).argmax(axis=1)
    return found


def _against(probabilities: np.ndarray, logs: np.ndarray, at: int) -> Callable[[np.ndarray], np.ndarray]:
    """Decide by the weighed probabilities as _decided does, for logs that differ in class `at` only."""
    others = probabilities * np.exp(logs)
    others[:, at] = -1.0
    rival = others.argmax(axis=1)
    least = others[np.arange(len(others)), rival]
    first = at < rival  # of equal ones the first is taken

    def decided(logs: np.ndarray) -> np.ndarray:
        own = probabilities[:, at] * np.exp(logs[at])
        found: np.ndarray = np.where((own > least) | ((own == least) & first), at, rival)
        return found

    return decided


def _counts(labels: np.ndarray, found: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    right = np.bincount(labels[labels == found], minlength=classes)
    return right, np.bincount(labels, minlength=classes), np.bincount(found, minlength=classes)


def _f1(right: np.ndarray, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the macro F1 of counts `(..., classes)`; a class neither there nor predicted counts for nothing."""
    return _mean(2 * right, actual + predicted)


def _recall(right: np.ndarray, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return _mean(right, actual)


def _mean(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    there = whole > 0
    shares = np.where(there, part / np.maximum(whole, 1), 0.0)
    return np.asarray(shares.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


def _score(measure: Measure, labels: np.ndarray, found: np.ndarray, classes: int) -> float:
    return float(measure(*_counts(labels, found, classes)))


def _surely(measure: Measure, labels: np.ndarray, one: np.ndarray, other: np.ndarray, classes: int) -> bool:
    """Tell whether other answers are better by more than one standard error of the difference.

    That is the jackknife's (Efron and Stein 1981, The jackknife estimate of variance): each example left out in turn;
    those of the same label and answers together.
    """
    better = _score(measure, labels, other, classes) - _score(measure, labels, one, classes)
    kinds, times = np.unique(np.stack([labels, one, other], axis=1), axis=0, return_counts=True)
    wholes = [_counts(labels, found, classes) for found in (one, other)]
    parts = []
    for at in range(0, len(kinds), max(1, CELLS // classes)):
        some = kinds[at : at + max(1, CELLS // classes)]
        own = np.eye(classes, dtype=int)[some[:, 0]]
        without = []
        for (right, actual, predicted), found in zip(wholes, (some[:, 1], some[:, 2]), strict=True):
            said = np.eye(classes, dtype=int)[found]
            without.append(measure(right - own * said, actual - own, predicted - said))
        parts.append(without[1] - without[0])
    left, n = np.concatenate(parts), len(labels)
    mean = (left * times).sum() / n
    return bool(better > np.sqrt((n - 1) / n * ((left - mean) ** 2 * times).sum()))


def threshold(rule: str, probabilities: np.ndarray, held: np.ndarray, there: int | None = None) -> float:
    """Return the threshold `(n,)` probabilities must reach, of the highest F1 or of the highest J (Youden 1950).

    Halfway between two probabilities that occur; of equal ones the nearest to 0.5, which it also is where no
    example, or every one, has the label. `there` are all that have it, where some have no probability.
    """
    if not held.any() or (held.all() and there is None):
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    sorted_ = probabilities[order]
    right = np.cumsum(held[order])
    last = np.flatnonzero(np.append(sorted_[:-1] > sorted_[1:], True))  # the last of equal ones
    right, found = right[last], last + 1
    positives, negatives = there or held.sum(), (~held).sum()
    score = 2 * right / (positives + found) if rule == "f1" else right / positives - (found - right) / negatives
    between = (sorted_[last] + np.append(sorted_[last[1:]], 0.0)) / 2
    best = np.flatnonzero(score >= score.max() - 1e-12)
    return float(f"{between[best][np.abs(between[best] - 0.5).argmin()]:.8g}")
