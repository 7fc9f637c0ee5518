"""Metrics for multi-label classification.

accuracy, the share of single decisions that are right, and hamming, the rest; exact, the share of examples with all
right; precision, recall and f1, `_micro` and `_macro`; log_loss, of the single decisions, and ece; roc_auc and pr_auc,
means of the classes. Macro without classes that are neither there nor predicted, as scikit-learn's with
zero_division=nan for f1.
"""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from components.evaluation import rates
from components.evaluation.examples import Examples, Measures, rounded
from components.targets.multi_label import Target

LOWER = frozenset({"log_loss", "ece", "hamming"})
IN_UNITS = frozenset({"log_loss"})
OF_OUTPUTS = frozenset({"log_loss", "ece", "roc_auc", "pr_auc"})
SHOWN = ("f1_macro", "f1_micro", "accuracy", "roc_auc", "pr_auc", "log_loss")
TABLE, TITLE, BY_NAME = "classes.csv", "label", "f1"
FIRST = "The wrong answers of which the model was surest first"
CARD = rates.CARD


def main(costs: object) -> str:  # noqa: ARG001
    """Return the mean F1 of the classes."""
    return "f1_macro"


def measure(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return metrics `(b,)`, and those of each class `(b, names)`."""
    held, outputs = examples.actual.astype(bool), examples.outputs.astype(np.float64)
    names, n = held.shape[1], w.sum(axis=0)
    predicted = chosen(examples)
    rows, said, hit = (w.T @ of for of in (held, predicted, held & predicted))
    by_name = rates.by_name(hit, said, rows)
    accuracy = (predicted == held).mean(axis=1) @ w / n
    found = {"accuracy": accuracy, "exact": (predicted == held).all(axis=1) @ w / n, "hamming": 1 - accuracy}
    micro = rates.rates(hit.sum(axis=1), said.sum(axis=1), rows.sum(axis=1))
    for metric in ("precision", "recall", "f1"):
        found |= {f"{metric}_micro": micro[metric], f"{metric}_macro": rates.mean(by_name[metric])}
    found["log_loss"] = rates.surprise(np.where(held, outputs, 1 - outputs)).mean(axis=1) @ w / n
    each = np.repeat(w, names, axis=0)
    found["ece"] = rates.calibration_gap(confidences(examples), held.ravel(), examples.bins, each) / (n * names)
    return found, by_name


def ranked(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return the areas under curves, means of the classes."""
    areas = rates.areas(examples.outputs, examples.actual > 0, w)
    return {name: rates.mean(area) for name, area in areas.items()}, areas


def score(names: int, costs: object) -> str:  # noqa: ARG001
    """Return the mean F1 of the classes: of accuracy a model that never predicts a rare class loses nothing."""
    return "f1_macro"


def ranks(names: tuple[str, ...]) -> str:  # noqa: ARG001
    """The mean of all."""
    return ""


def confidences(examples: Examples) -> np.ndarray:
    """Return every single probability."""
    return examples.outputs.astype(np.float64).ravel()


def scores(examples: Examples) -> np.ndarray:
    """Return the share of the classes that are right."""
    share: np.ndarray = (chosen(examples) == examples.actual.astype(bool)).mean(axis=1)
    return share


def sure(examples: Examples) -> np.ndarray:
    """Return the probability of the likeliest class."""
    found: np.ndarray = examples.outputs.max(axis=1)
    return found


def missed(actual: np.ndarray, answered: Examples) -> np.ndarray:  # noqa: ARG001
    """Return the opposite of what is true, for certain."""
    return 1.0 - actual


def followed(examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:
    """Return the probability of the likeliest class."""
    found: np.ndarray = outputs[:, int(examples.outputs[row].argmax())]
    return found


def said(examples: Examples, row: int) -> dict[str, Any]:
    """Return the classes, the likeliest one, and its probability."""
    names, best = np.array(examples.target.names), int(examples.outputs[row].argmax())
    held = ", ".join(names[examples.actual[row] > 0]) or "none"
    probability = rounded(float(examples.outputs[row][best]))
    return {"actual": held, "answer": str(names[best]), "probability": probability}


def files(examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
    """Yield calibration.csv, a row per bin of confidence."""
    bins = rates.reliability(examples.outputs.ravel(), (examples.actual > 0).ravel(), examples.bins)
    yield "calibration.csv", ["confidence", "accuracy", "rows"], bins


def chosen(examples: Examples) -> np.ndarray:
    """Decide, as the target does."""
    return cast("Target", examples.target).chosen(examples.outputs, examples.decision)
