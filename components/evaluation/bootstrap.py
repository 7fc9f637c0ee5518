"""The bootstrap: intervals of metrics, and of the difference between two models on the same examples.

Efron and Tibshirani 1993, An Introduction to the Bootstrap: percentile intervals, chapter 13. Where examples belong
together (`blocks`, a number per example), whole blocks are drawn, as many as there are.
"""

import warnings
from typing import Any

import numpy as np

from components.evaluation import metrics
from components.evaluation.examples import Examples, Measures

BLOCK = 2**20  # weights of a block of resamples, so that memory does not grow with their number
RANKED_COST = 5e8  # examples x names x resamples that the areas under curves may cost: some ten seconds
MIN_RANKED = 100  # resamples of the areas under curves, however many examples and names


def resampled(examples: Examples, seed: int, resamples: int, *, ranked: bool = True) -> tuple[Measures, Measures]:
    """Measure `resamples` samples drawn with replacement: metrics `(resamples,)`, of each name `(resamples, names)`.

    The same seed draws the same examples, so that two models of the same examples are compared in pairs. To draw
    n examples is to weight them by a multinomial draw, and so some samples are measured at once. Of many examples and
    names the areas under curves get fewer samples: as many as RANKED_COST allows, at least MIN_RANKED.
    """
    n, names = examples.outputs.shape
    place = _place(examples.blocks, n)
    units = int(place.max(initial=-1)) + 1
    random = np.random.default_rng([seed, n])
    most = max(MIN_RANKED, int(RANKED_COST / max(n * names, 1))) if ranked else 0
    size = int(np.clip(BLOCK // max(n, 1), 1, 128))
    parts = []
    for at in range(0, resamples, size):
        rows = min(size, resamples - at)
        weights = np.empty((n, rows))
        for column in range(rows):
            weights[:, column] = np.bincount(random.integers(0, units, units), minlength=units)[place]
        parts.append(metrics.measure(examples, weights, ranked=at < most))
    every, each = (
        {name: np.concatenate([part[side][name] for part in parts if name in part[side]]) for name in parts[0][side]}
        for side in (0, 1)
    )
    return every, each


def means(values: np.ndarray, seed: int, resamples: int, blocks: np.ndarray | None = None) -> np.ndarray:
    """Return the means of `resamples` samples of `values` `(n,)` drawn with replacement.

    To draw n blocks with replacement is to draw from a multinomial distribution of how often each sum of values occurs;
    of single examples, where right and wrong is all there is, of three counts: millions of examples cost no more.
    """
    place = _place(blocks, len(values))
    each = np.stack([np.bincount(place, values), np.bincount(place)])  # of each block: sum, examples
    (sums, examples), counts = np.unique(each, axis=1, return_counts=True)
    n = int(counts.sum())
    random = np.random.default_rng(seed)
    at_once = max(1, 2**22 // len(counts))  # memory stays in the tens of megabytes
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    draws = (random.multinomial(n, counts / n, size) for size in sizes)
    return np.concatenate([(drawn @ sums) / (drawn @ examples) for drawn in draws])


def _place(blocks: np.ndarray | None, n: int) -> np.ndarray:
    """Number what is drawn as one, from 0 on without gaps, `(n,)`."""
    return np.arange(n) if blocks is None else np.unique(blocks, return_inverse=True)[1]


def interval(samples: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """Return low and high of the percentile interval, along the first axis.

    Samples in which the metric is undefined do not count; NaN where there is no other.
    """
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a metric that no sample defines
        low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return low, high
