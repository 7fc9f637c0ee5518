"""Counts, rates and areas under curves of weighted examples: what metrics for several kinds of target are made of.

`w` is `(n, b)`: how often each of `n` examples counts, in `b` weightings at once.
"""

from typing import Any

import numpy as np

from components.evaluation.examples import Measures, rounded
from components.streams import stream

EXACT = 2**23  # twice as many examples have exact sums as float32
CARD = (  # what a card shows of a class: column, heading, format
    ("precision", "precision", ".3f"),
    ("recall", "recall", ".3f"),
    ("f1", "F1", ".3f"),
    ("rows", "examples", ",.0f"),
)


def rates(hit: np.ndarray, said: np.ndarray, rows: np.ndarray) -> Measures:
    """Precision, recall and F1 of counts: of those found, those said, those there; 0 where there are none."""

    def share(of: np.ndarray, among: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.divide(of, among, out=np.zeros_like(of), where=among > 0)
        return found

    return {"precision": share(hit, said), "recall": share(hit, rows), "f1": share(2 * hit, said + rows)}


def by_name(hit: np.ndarray, said: np.ndarray, rows: np.ndarray) -> Measures:
    """The rates of each label, `(b, names)`; NaN for one that is neither there nor said, of which nothing is known."""
    there = said + rows > 0
    return {metric: np.where(there, rate, np.nan) for metric, rate in rates(hit, said, rows).items()}


def surprise(probability: np.ndarray) -> np.ndarray:
    """Return minus the logarithm of probabilities, bounded where they are 0."""
    found: np.ndarray = -np.log(np.clip(probability, np.finfo(np.float64).eps, 1.0))
    return found


def calibration_gap(confidence: np.ndarray, right: np.ndarray, bins: int, w: np.ndarray) -> np.ndarray:
    """Sum over the bins of confidence how far the confidences are from the accuracies, `(b,)`."""
    apart = (confidence - right)[:, None] * w
    found: np.ndarray = np.abs(sums(_bin(confidence, bins), bins, apart)).sum(axis=0)
    return found


def gaps_by_chance(confidence: np.ndarray, bins: int, seed: int, samples: int) -> np.ndarray:
    """Return calibration errors `(samples,)` of these confidences, had each been right as often as it says.

    Consistency resampling (Bröcker and Smith 2007, doi:10.1175/WAF993.1): what a calibrated model shows by chance.
    """
    random = stream(seed, "calibration error", len(confidence))
    which, found = _bin(confidence, bins), np.empty(samples)
    for sample in range(samples):
        apart = confidence - (random.random(len(confidence)) < confidence)
        found[sample] = np.abs(np.bincount(which, apart, bins)).sum() / max(len(confidence), 1)
    return found


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    found: np.ndarray = np.clip((confidence * bins).astype(int), 0, bins - 1)
    return found


def sums(codes: np.ndarray, size: int, w: np.ndarray) -> np.ndarray:
    """Sum the rows of `w` that have the same code: `(size, b)`."""
    found = np.zeros((size, w.shape[1]))
    if len(codes):
        order = np.argsort(codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        found[present] = np.add.reduceat(w[order], starts, axis=0)
    return found


def mean(by_name: np.ndarray) -> np.ndarray:
    """Mean over the names for which it is defined; NaN where it is for none."""
    defined = ~np.isnan(by_name)
    found: np.ndarray = np.nansum(by_name, axis=1) / np.where(defined.any(axis=1), defined.sum(axis=1), np.nan)
    return found


def area(score: np.ndarray, held: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted areas of one score, ties counted as scikit-learn does.

    ROC: over all pairs of one that holds and one that does not, the share in which the first scores higher,
    ties half (Hanley and McNeil 1982). Precision-recall: the mean, over those that hold, of the precision among
    all that score at least as high.
    """
    if len(score) and (score == score[0]).all():  # as of what knows nothing: all are ties
        count = w.sum(axis=0, dtype=np.float64)
        share = w[held].sum(axis=0, dtype=np.float64) / count
        return np.where((share > 0) & (share < 1), 0.5, np.nan), np.where(share > 0, share, np.nan)
    yes, no = (np.flatnonzero(mask) for mask in (held, ~held))
    yes, no = (rows[np.argsort(score[rows], kind="stable")] for rows in (yes, no))
    below, upto = (np.searchsorted(score[no], score[yes], side) for side in ("left", "right"))
    lower = np.searchsorted(score[yes], score[yes], "left")
    weight = w[yes]
    holding = np.zeros((len(yes) + 1, w.shape[1]), w.dtype)
    np.cumsum(weight, axis=0, out=holding[1:])
    # of those that fail only the sums up to where one that holds lies between them
    cuts = np.unique(np.concatenate([below, upto, [0, len(no)]]))
    failing = np.zeros((len(cuts), w.shape[1]), w.dtype)
    if len(no):
        np.cumsum(np.add.reduceat(w[no], cuts[:-1], axis=0), axis=0, out=failing[1:])
    total, rest = holding[-1].astype(np.float64), failing[-1].astype(np.float64)
    under, over = (failing[np.searchsorted(cuts, at)] for at in (below, upto))
    roc = (weight * (under + over)).sum(axis=0, dtype=np.float64) / (2 * total * rest)
    hit = holding[-1] - holding[lower]
    precision = np.divide(hit, hit + failing[-1] - under, out=np.zeros_like(hit), where=weight > 0)
    return roc, (weight * precision).sum(axis=0, dtype=np.float64) / total


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int) -> list[dict[str, Any]]:
    """Mean confidence and accuracy in each of `bins` equal bins of confidence; empty ones are left out.

    Both are `(n,)`. The bins' weighted absolute difference is the expected calibration error (Guo et al. 2017,
    arXiv:1706.04599, eq. 5).
    """
    confidence = confidence.astype(np.float64)
    which = _bin(confidence, bins)
    rows = []
    for index in range(bins):
        inside = which == index
        if inside.any():
            means = {"confidence": float(confidence[inside].mean()), "accuracy": float(right[inside].mean())}
            rows.append({name: rounded(value) for name, value in means.items()} | {"rows": int(inside.sum())})
    return rows


def held(actual: np.ndarray, names: int) -> np.ndarray:
    """Return where each name holds, `(n, names)` bool, of codes `(n,)` or of 0 and 1 `(n, names)`."""
    found: np.ndarray = actual[:, None] == np.arange(names) if actual.ndim == 1 else actual > 0
    return found


def areas(outputs: np.ndarray, where: np.ndarray, w: np.ndarray) -> Measures:
    """Areas under the ROC and the precision-recall curve (average precision) of each name, `(b, names)`."""
    names = outputs.shape[1]
    if w.sum(axis=0).max(initial=0) < EXACT:
        w = w.astype(np.float32)  # half the memory to walk through
    found = {"roc_auc": np.empty((w.shape[1], names)), "pr_auc": np.empty((w.shape[1], names))}
    for name in range(names):
        found["roc_auc"][:, name], found["pr_auc"][:, name] = area(outputs[:, name], where[:, name], w)
    return found


def thresholds(held: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false positive rate, true positive rate and precision at every threshold, the strictest first.

    `held` is `(n,)` bool with some of both; the curves begin where nothing is said to hold, with precision 1.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    hit, said = np.cumsum(held[order])[last], last + 1
    false, true = (said - hit) / (~held).sum(), hit / held.sum()
    return np.append(0.0, false), np.append(0.0, true), np.append(1.0, hit / said)
