"""The examples that a model is most wrong about."""

import numpy as np

from components.evaluation import metrics
from components.evaluation.examples import Examples


def ranked(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers, the worst prediction first and the surest of equals first, and the score of each row."""
    score = metrics.scores(examples)
    return np.lexsort((-metrics.of(examples.target).sure(examples), score)), score


def worst(examples: Examples, most: int) -> np.ndarray:
    """Return up to `most` row numbers in that order: of classes the wrong ones, of numbers the largest errors."""
    order, score = ranked(examples)
    first = order[:most]
    found: np.ndarray = first[score[first] < score.max()]
    return found
