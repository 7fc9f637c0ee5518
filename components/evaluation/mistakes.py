"""The examples that a model is most wrong about."""

import numpy as np

from components.evaluation import metrics
from components.evaluation.examples import Examples


def worst(examples: Examples, most: int) -> np.ndarray:
    """Return up to `most` row numbers, the worst predictions first, the surest of equals first.

    Of classes those that are wrong; of numbers those with the largest errors.
    """
    score = metrics.scores(examples)
    sure = examples.outputs.max(axis=1) if examples.target.classes else np.zeros(len(score))
    order = np.lexsort((-sure, score))[:most]
    found: np.ndarray = order[score[order] < score.max()]
    return found
