"""How good outputs are, by what is predicted, with bootstrap intervals: numbers only, no files, no models."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.recipes import Target, chosen

LOWER = {"log_loss", "ece", "cost", "hamming", "mse", "rmse", "mae", "mape", "smape", "mase"}  # the smaller the better
BLOCK = 2**20  # weights of a block of resamples, so that memory does not grow with their number
RANKED = 5e8  # examples x names x resamples that the areas under curves may cost: some ten seconds
FEWEST = 100  # resamples of the areas under curves, however many examples and names
Measures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """What is true of `n` examples, and what a model says of them."""

    actual: np.ndarray  # (n,) codes for label, (n, names) multi-hot for labels, (n, names) numbers for values
    outputs: np.ndarray  # (n, names), as the model gives them
    target: Target
    decision: list[Any] | None = None  # as recipes.answers takes it
    costs: np.ndarray | None = None  # (names, names), by actual and predicted
    scale: np.ndarray | None = None  # (n,) in-sample error of the naive forecast, for MASE; NaN where unknown
    bins: int = 15  # of confidence
    blocks: np.ndarray | None = None  # (n,) numbers of what a bootstrap draws as one; None: every example alone

    def take(self, rows: np.ndarray) -> "Examples":
        """Return some of the examples, by number or mask."""
        scale = None if self.scale is None else self.scale[rows]
        blocks = None if self.blocks is None else self.blocks[rows]
        return replace(self, actual=self.actual[rows], outputs=self.outputs[rows], scale=scale, blocks=blocks)

    def answered(self, outputs: np.ndarray, decision: list[Any] | None = None) -> "Examples":
        """Return the same examples as another model answers them."""
        return replace(self, outputs=outputs, decision=decision)


def main(target: Target, costs: object = None) -> str:
    """Return the metric by which models of a target are compared first."""
    if target.kind == "label":
        return "cost" if costs is not None else "accuracy"
    return "f1_macro" if target.kind == "labels" else "mae"


def better(metric: str, value: Any, other: Any) -> Any:
    """Return by how much a value is better than another one, in the metric's units; negative if worse."""
    return other - value if metric in LOWER else value - other


def scores(
    actual: np.ndarray,
    outputs: np.ndarray,
    target: Target,
    decision: list[Any] | None = None,
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


def measure(examples: Examples, weights: np.ndarray | None = None, *, ranked: bool = True) -> tuple[Measures, Measures]:
    """Measure examples under `b` weightings at once: metrics `(b,)`, and those of each name `(b, names)`.

    `weights` is `(n, b)`: how often each example counts, once without. `ranked` adds the areas under curves,
    which cost most. What is undefined for a weighting is NaN. The metrics, after scikit-learn
    (https://scikit-learn.org/stable/modules/model_evaluation.html) where it has them:

    - label: accuracy; precision, recall and f1, `_macro` and `_weighted`, 0 for a label never predicted, and without
      those that are not there either;
      log_loss; ece, the expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 5); roc_auc and
      pr_auc (average precision), of the second of two labels, else the mean of one against the rest; cost.
    - labels: accuracy, the share of single decisions that are right, and hamming, the rest; exact, the share
      of examples of which all are; precision, recall and f1, `_micro` and `_macro`; log_loss, of the
      single decisions, and ece; roc_auc and pr_auc, means of the labels. Macro without labels that are neither there
      nor predicted, as scikit-learn's with zero_division=nan for f1.
    - values: mse, rmse, mae and r2, the mean of several; mape, where the truth is not 0; smape, the mean of
      2|e| / (|y| + |y'|), 0 where both are 0; both as fractions; mase (Hyndman and Koehler 2006), where a
      scale is given.
    """
    n = len(examples.outputs)
    w = np.ones((n, 1)) if weights is None else weights.astype(np.float64)
    measured = {"label": _label, "labels": _labels, "values": _values}[examples.target.kind]
    with np.errstate(invalid="ignore", divide="ignore"):
        found, by_name = measured(examples, w)
        if ranked and examples.target.kind != "values":
            areas = _areas(examples, w)
            by_name |= areas
            binary = examples.target.kind == "label" and len(examples.target.names) == 2
            found |= {name: area[:, 1] if binary else _mean(area) for name, area in areas.items()}
    return found, by_name


def _label(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    actual, outputs = examples.actual, examples.outputs.astype(np.float64)
    names, n = len(examples.target.names), w.sum(axis=0)
    predicted = chosen(examples.outputs, examples.target, examples.decision)
    right = predicted == actual
    rows, said, hit = (
        _sums(codes, names, weights).T for codes, weights in ((actual, w), (predicted, w), (actual[right], w[right]))
    )
    by_name = _rates_by_name(hit, said, rows)
    found = {"accuracy": hit.sum(axis=1) / n}
    for metric in ("precision", "recall", "f1"):
        found[f"{metric}_macro"] = _mean(by_name[metric])
    for metric in ("precision", "recall", "f1"):
        found[f"{metric}_weighted"] = np.nansum(by_name[metric] * rows, axis=1) / n
    probability = outputs[np.arange(len(actual)), actual] / outputs.sum(axis=1)
    found["log_loss"] = _surprise(probability) @ w / n
    confidence = outputs.max(axis=1)
    found["ece"] = _gap(confidence, outputs.argmax(axis=1) == actual, examples.bins, w) / n
    if examples.costs is not None:
        found["cost"] = examples.costs[actual, predicted] @ w / n
    return found, by_name


def _labels(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    held, outputs = examples.actual.astype(bool), examples.outputs.astype(np.float64)
    names, n = held.shape[1], w.sum(axis=0)
    predicted = chosen(examples.outputs, examples.target, examples.decision)
    rows, said, hit = (w.T @ of for of in (held, predicted, held & predicted))
    by_name = _rates_by_name(hit, said, rows)
    accuracy = (predicted == held).mean(axis=1) @ w / n
    found = {"accuracy": accuracy, "exact": (predicted == held).all(axis=1) @ w / n, "hamming": 1 - accuracy}
    micro = _rates(hit.sum(axis=1), said.sum(axis=1), rows.sum(axis=1))
    for metric in ("precision", "recall", "f1"):
        found |= {f"{metric}_micro": micro[metric], f"{metric}_macro": _mean(by_name[metric])}
    found["log_loss"] = _surprise(np.where(held, outputs, 1 - outputs)).mean(axis=1) @ w / n
    each = np.repeat(w, names, axis=0)
    found["ece"] = _gap(outputs.ravel(), held.ravel(), examples.bins, each) / (n * names)
    return found, by_name


def _values(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    outputs = examples.outputs.astype(np.float64)
    actual = examples.actual.astype(np.float64).reshape(outputs.shape)
    n = w.sum(axis=0)[:, None]
    error = np.abs(outputs - actual)
    absolute, square = w.T @ error / n, w.T @ error**2 / n  # (b, names)
    centred = actual - actual.mean(axis=0)
    spread = w.T @ centred**2 / n - (w.T @ centred / n) ** 2
    by_name = {"mae": absolute, "rmse": np.sqrt(square)}
    by_name["r2"] = np.where(spread > 1e-12 * np.maximum(centred.var(axis=0), 1e-300), 1 - square / spread, np.nan)
    mse = square.mean(axis=1)
    found = {"mae": absolute.mean(axis=1), "mse": mse, "rmse": np.sqrt(mse), "r2": _mean(by_name["r2"])}
    there = actual != 0
    share = np.divide(error, np.abs(actual), out=np.zeros_like(error), where=there)
    found["mape"] = (share.sum(axis=1) @ w) / (there.sum(axis=1) @ w)
    both = np.abs(actual) + np.abs(outputs)
    share = np.divide(2 * error, both, out=np.zeros_like(error), where=both != 0)
    found["smape"] = share.mean(axis=1) @ w / n[:, 0]
    if examples.scale is not None:
        known = examples.scale > 0  # a group of which training knows nothing has none
        scaled = error[known].mean(axis=1) / examples.scale[known]
        found["mase"] = scaled @ w[known] / w[known].sum(axis=0)
    return found, by_name


def _rates(hit: np.ndarray, said: np.ndarray, rows: np.ndarray) -> Measures:
    """Precision, recall and F1 of counts: of those found, those said, those there; 0 where there are none."""

    def share(of: np.ndarray, among: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.divide(of, among, out=np.zeros_like(of), where=among > 0)
        return found

    return {"precision": share(hit, said), "recall": share(hit, rows), "f1": share(2 * hit, said + rows)}


def _rates_by_name(hit: np.ndarray, said: np.ndarray, rows: np.ndarray) -> Measures:
    """The rates of each label, `(b, names)`; NaN for one that is neither there nor said, of which nothing is known."""
    there = said + rows > 0
    return {metric: np.where(there, rate, np.nan) for metric, rate in _rates(hit, said, rows).items()}


def _surprise(probability: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.log(np.clip(probability, np.finfo(np.float64).eps, 1.0))
    return found


def _gap(confidence: np.ndarray, right: np.ndarray, bins: int, w: np.ndarray) -> np.ndarray:
    """Sum over the bins of confidence how far the confidences are from the truth, `(b,)`."""
    apart = (confidence - right)[:, None] * w
    found: np.ndarray = np.abs(_sums(_bin(confidence, bins), bins, apart)).sum(axis=0)
    return found


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    found: np.ndarray = np.clip((confidence * bins).astype(int), 0, bins - 1)
    return found


def _sums(codes: np.ndarray, size: int, w: np.ndarray) -> np.ndarray:
    """Sum the rows of `w` that have the same code: `(size, b)`."""
    found = np.zeros((size, w.shape[1]))
    if len(codes):
        order = np.argsort(codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        found[present] = np.add.reduceat(w[order], starts, axis=0)
    return found


def _mean(by_name: np.ndarray) -> np.ndarray:
    """Mean over the names for which it is defined; NaN where it is for none."""
    defined = ~np.isnan(by_name)
    found: np.ndarray = np.nansum(by_name, axis=1) / np.where(defined.any(axis=1), defined.sum(axis=1), np.nan)
    return found


def _areas(examples: Examples, w: np.ndarray) -> Measures:
    """Areas under the ROC curve and the precision-recall curve (average precision) of each name, `(b, names)`."""
    names = len(examples.target.names)
    found = {"roc_auc": np.empty((w.shape[1], names)), "pr_auc": np.empty((w.shape[1], names))}
    for name in range(names):
        held = examples.actual == name if examples.target.kind == "label" else examples.actual[:, name] > 0
        found["roc_auc"][:, name], found["pr_auc"][:, name] = _area(examples.outputs[:, name], held, w)
    return found


def _area(score: np.ndarray, held: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted areas of one score, ties counted as scikit-learn does.

    ROC: over all pairs of one that holds and one that does not, the share in which the first scores higher,
    ties half (Hanley and McNeil 1982). Precision-recall: the mean, over those that hold, of the precision among
    all that score at least as high.
    """
    yes, no = (np.flatnonzero(mask) for mask in (held, ~held))
    yes, no = (rows[np.argsort(score[rows], kind="stable")] for rows in (yes, no))
    below, upto = (np.searchsorted(score[no], score[yes], side) for side in ("left", "right"))
    lower = np.searchsorted(score[yes], score[yes], "left")
    weight = w[yes]
    holding, failing = (np.zeros((len(rows) + 1, w.shape[1])) for rows in (yes, no))
    np.cumsum(weight, axis=0, out=holding[1:])
    np.cumsum(w[no], axis=0, out=failing[1:])
    total, rest = holding[-1], failing[-1]
    under = failing[below]
    roc = (weight * (under + failing[upto])).sum(axis=0) / (2 * total * rest)
    hit = total - holding[lower]
    precision = np.divide(hit, hit + rest - under, out=np.zeros_like(hit), where=weight > 0)
    return roc, (weight * precision).sum(axis=0) / total


def resampled(examples: Examples, seed: int, resamples: int, *, ranked: bool = True) -> tuple[Measures, Measures]:
    """Measure `resamples` samples drawn with replacement: metrics `(resamples,)`, of each name `(resamples, names)`.

    The same seed draws the same examples, so that two models of the same examples are compared in pairs. To draw
    n examples is to weight them by a multinomial draw, and so some samples are measured at once. Where examples
    belong together (`blocks`), whole blocks are drawn, as many as there are. Of many examples and names the areas
    under curves get fewer samples: as many as RANKED allows, at least FEWEST.
    """
    n, names = examples.outputs.shape
    place = np.arange(n) if examples.blocks is None else np.unique(examples.blocks, return_inverse=True)[1]
    units = int(place.max(initial=-1)) + 1
    random = np.random.default_rng([seed, n])
    most = max(FEWEST, int(RANKED / max(n * names, 1))) if ranked else 0
    size = int(np.clip(BLOCK // max(n, 1), 1, 128))
    parts = []
    for at in range(0, resamples, size):
        rows = min(size, resamples - at)
        weights = np.empty((n, rows))
        for column in range(rows):
            weights[:, column] = np.bincount(random.integers(0, units, units), minlength=units)[place]
        parts.append(measure(examples, weights, ranked=at < most))
    every, each = (
        {name: np.concatenate([part[side][name] for part in parts if name in part[side]]) for name in parts[0][side]}
        for side in (0, 1)
    )
    return every, each


def interval(samples: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """Return low and high of the percentile interval (Efron and Tibshirani 1993, chapter 13), along the first axis.

    Samples in which the metric is undefined do not count; NaN where there is no other.
    """
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a metric that no sample defines
        low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return low, high


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


def rounded(value: float) -> float:
    """Keep eight digits: all that float32 outputs carry, and no noise of the sum's order in a diff."""
    return value if isinstance(value, int) else float(f"{value:.8g}")
