"""Metrics for single-label classification.

accuracy; precision, recall and f1, `_macro` and `_weighted`, 0 for a class never predicted, and without those that are
not there either; log_loss; ece, the expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 5); roc_auc and
pr_auc (average precision), of the second of two classes, else the mean of one against the rest; cost.
"""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from components.evaluation import rates
from components.evaluation.examples import Examples, Measures, rounded
from components.targets.single_label import Target

LOWER = frozenset({"log_loss", "ece", "cost"})
IN_UNITS = frozenset({"log_loss", "cost"})
OF_OUTPUTS = frozenset({"log_loss", "ece", "roc_auc", "pr_auc"})
SHOWN = ("cost", "accuracy", "f1_macro", "roc_auc", "pr_auc", "log_loss", "ece")
TABLE, TITLE, BY_NAME = "classes.csv", "label", "f1"
FIRST = "The wrong answers of which the model was surest first"
CARD = rates.CARD


def main(costs: object) -> str:
    """Return cost where mistakes have costs, else accuracy."""
    return "cost" if costs is not None else "accuracy"


def measure(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return metrics `(b,)`, and those of each class `(b, names)`."""
    actual, outputs = examples.actual, examples.outputs.astype(np.float64)
    names, n = len(examples.target.names), w.sum(axis=0)
    predicted = chosen(examples)
    right = predicted == actual
    rows, said, hit = (
        rates.sums(codes, names, weights).T
        for codes, weights in ((actual, w), (predicted, w), (actual[right], w[right]))
    )
    by_name = rates.by_name(hit, said, rows)
    found = {"accuracy": hit.sum(axis=1) / n}
    for metric in ("precision", "recall", "f1"):
        found[f"{metric}_macro"] = rates.mean(by_name[metric])
    for metric in ("precision", "recall", "f1"):
        found[f"{metric}_weighted"] = np.nansum(by_name[metric] * rows, axis=1) / n
    probability = outputs[np.arange(len(actual)), actual] / outputs.sum(axis=1)
    found["log_loss"] = rates.surprise(probability) @ w / n
    found["ece"] = rates.calibration_gap(confidences(examples), outputs.argmax(axis=1) == actual, examples.bins, w) / n
    if examples.costs is not None:
        found["cost"] = examples.costs[actual, predicted] @ w / n
    return found, by_name


def ranked(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return the areas under curves: of the second of two classes, else the mean of all."""
    names = len(examples.target.names)
    areas = rates.areas(examples.outputs, rates.held(examples.actual, names), w)
    return {name: area[:, 1] if names == 2 else rates.mean(area) for name, area in areas.items()}, areas


def score(names: int, costs: object) -> str:  # noqa: ARG001
    """Return cost where mistakes have costs, else the mean F1 of the classes: of accuracy a rare class is no part."""
    return "cost" if costs is not None else "f1_macro"


def ranks(names: tuple[str, ...]) -> str:
    """Return the second of two classes."""
    return names[1] if len(names) == 2 else ""


def confidences(examples: Examples) -> np.ndarray:
    """Return the probability of the likeliest class of each example."""
    found: np.ndarray = examples.outputs.astype(np.float64).max(axis=1)
    return found


def scores(examples: Examples) -> np.ndarray:
    """Return 1 where the answer is right, else 0; minus the cost where mistakes have costs."""
    best, actual, costs = chosen(examples), examples.actual, examples.costs
    found: np.ndarray = (best == actual).astype(np.float64) if costs is None else -costs[actual, best]
    return found


def sure(examples: Examples) -> np.ndarray:
    """Return the probability of the likeliest class."""
    found: np.ndarray = examples.outputs.max(axis=1)
    return found


def missed(actual: np.ndarray, answered: Examples) -> np.ndarray:
    """Return a wrong class for certain, the most expensive one."""
    names = len(answered.target.names)
    costs = (1.0 - np.eye(names)) if answered.costs is None else answered.costs
    return answered.target.certain(np.where(np.eye(names, dtype=bool), -np.inf, costs).argmax(axis=1)[actual])


def followed(examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:
    """Return the probability of the class that was chosen."""
    found: np.ndarray = outputs[:, _best(examples, row)]
    return found


def said(examples: Examples, row: int) -> dict[str, Any]:
    """Return the class, the one that was chosen, and its probability."""
    names, best = examples.target.names, _best(examples, row)
    probability = rounded(float(examples.outputs[row][best]))
    return {"actual": names[examples.actual[row]], "answer": names[best], "probability": probability}


def files(examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
    """Yield confusion.csv, a row per example, and calibration.csv, a row per bin of confidence."""
    actual, outputs, names = examples.actual, examples.outputs, np.array(examples.target.names)
    pairs = zip(names[actual], names[chosen(examples)], strict=True)
    yield "confusion.csv", ["actual", "predicted"], ({"actual": a, "predicted": p} for a, p in pairs)
    bins = rates.reliability(outputs.max(axis=1), outputs.argmax(axis=1) == actual, examples.bins)
    yield "calibration.csv", ["confidence", "accuracy", "rows"], bins


def chosen(examples: Examples) -> np.ndarray:
    """Decide, as the target does."""
    return cast("Target", examples.target).chosen(examples.outputs, examples.decision)


def _best(examples: Examples, row: int) -> int:
    return int(chosen(examples.take(np.array([row])))[0])
