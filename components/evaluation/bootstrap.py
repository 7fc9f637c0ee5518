"""The bootstrap: intervals of metrics, and of the difference between two models on the same examples.

Efron and Tibshirani 1993, An Introduction to the Bootstrap: percentile intervals, chapter 13; bias, chapter 10. Where
examples belong together (`blocks`, a number per example), whole blocks are drawn, as many as there are.
"""

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.evaluation import metrics, rates
from components.evaluation.examples import Examples, Measures
from components.streams import stream

BLOCK = 2**20  # weights of a block of resamples, so that memory does not grow with their number
RANKED_COST = 5e8  # examples x outputs x resamples that the areas under curves may cost: some ten seconds
MIN_RANKED = 100  # resamples of the areas under curves, however many examples and names
CHANCE_SAMPLES = 200
NEGLIGIBLE = 0.25  # bias in standard errors that an interval need not heed (Efron and Tibshirani, section 10.3)
BIASED = ("ece",)  # a sum of absolute values: noise only adds to it, and resampling adds noise once more


@dataclass(frozen=True)
class Difference:
    """By how much a model is better than another one in a metric, in its units, with an interval."""

    metric: str
    value: float  # the model's
    other: float  # the other one's, on the same examples
    better: float  # negative if worse
    low: float
    high: float


def resampled(examples: Examples, seed: int, resamples: int, *, ranked: bool = True) -> tuple[Measures, Measures]:
    """Measure `resamples` samples drawn with replacement: metrics `(resamples,)`, of each name `(resamples, names)`.

    The same seed draws the same examples, so that two models of the same examples are compared in pairs.
    """
    return together([examples], seed, resamples, [ranked])[0]


def together(
    several: Sequence[Examples], seed: int, resamples: int, ranked: Sequence[bool]
) -> list[tuple[Measures, Measures]]:
    """Measure samples as `resampled` does of several models of the same examples, which are drawn once.

    To draw n examples is to weight them by a multinomial draw, and so some samples are measured at once. Of many
    examples and names the areas under curves get fewer samples: as many as RANKED_COST allows, at least MIN_RANKED.
    """
    n, *shape = several[0].outputs.shape
    most = max(MIN_RANKED, int(RANKED_COST / max(n * math.prod(shape), 1)))
    size = int(np.clip(BLOCK // max(n, 1), 1, 128))
    parts: list[list[tuple[Measures, Measures]]] = [[] for _ in several]
    for at, weights in enumerate(_drawn(several[0], seed, resamples, size)):
        for examples, areas, found in zip(several, ranked, parts, strict=True):
            found.append(metrics.measure(examples, weights, ranked=areas and at * size < most))
    return [(_joined(found, 0), _joined(found, 1)) for found in parts]


def _joined(parts: list[tuple[Measures, Measures]], side: int) -> Measures:
    return {name: np.concatenate([part[side][name] for part in parts if name in part[side]]) for name in parts[0][side]}


def _drawn(examples: Examples, seed: int, resamples: int, size: int) -> Iterator[np.ndarray]:
    """Yield how often each example is drawn, `(n, size)` and fewer at the end."""
    n = len(examples.outputs)
    random = stream(seed, "bootstrap", n)
    sizes = [min(size, resamples - at) for at in range(0, resamples, size)]
    if examples.copies is not None:  # of alike examples it counts only how many are drawn
        total = int(examples.copies.sum())
        for rows in sizes:
            yield random.multinomial(total, examples.copies / total, rows).T
        return
    place = np.arange(n) if examples.blocks is None else np.unique(examples.blocks, return_inverse=True)[1]
    units = int(place.max(initial=-1)) + 1
    for rows in sizes:
        weights = np.empty((n, rows))
        for column in range(rows):
            weights[:, column] = np.bincount(random.integers(0, units, units), minlength=units)[place]
        yield weights


def joined(ours: Examples, theirs: Examples) -> tuple[Examples, Examples]:
    """Put examples together that are alike to both models, where most are: a million labels are a few counts then.

    `ours` and `theirs` are the same examples with the outputs of two models.
    """
    n = len(ours.outputs)
    if ours.blocks is not None or ours.scale is not None or not n:
        return ours, theirs
    parts = [some.reshape(n, -1) for some in (ours.actual, ours.outputs, theirs.outputs)]
    rows = np.column_stack(parts).astype(np.float64)
    _, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    if 2 * len(first) > n:
        return ours, theirs
    order = np.argsort(first)  # whichever of the two is called ours
    one, two = (replace(examples.take(first[order]), copies=counts[order]) for examples in (ours, theirs))
    return one, two


def compared(
    metric: str, ours: Examples, theirs: Examples, seed: int, resamples: int, confidence: float
) -> Difference | None:
    """Compare two models of the same examples by a metric, in pairs; None where it is undefined for one of them."""
    return differences([metric], ours, theirs, seed, resamples, confidence).get(metric)


def differences(
    names: Collection[str], ours: Examples, theirs: Examples, seed: int, resamples: int, confidence: float
) -> dict[str, Difference]:
    """Compare two models of the same examples by metrics, in pairs; those undefined for one of them are left out."""
    ranked = any(name in metrics.of(ours.target).OF_OUTPUTS for name in names)
    both = joined(ours, theirs)
    samples = together(both, seed, resamples, [ranked, ranked])
    measured = [
        (metrics.measure(some, ranked=ranked)[0], drawn) for some, (drawn, _) in zip(both, samples, strict=True)
    ]
    found = {name: difference(name, measured[0], measured[1], confidence) for name in names if name in measured[0][0]}
    return {name: apart for name, apart in found.items() if apart is not None}


def difference(
    metric: str, ours: tuple[Measures, Measures], theirs: tuple[Measures, Measures], confidence: float
) -> Difference | None:
    """Say by how much a model is better in a metric, from what was measured of both: the examples, and resamples.

    The resamples are of the same draws. None where the metric is undefined for one of them.
    """
    (found, samples), (other, drawn) = ours, theirs
    both = min(len(samples.get(metric, ())), len(drawn.get(metric, ())))
    if not both or not np.isfinite(found[metric][0]) or not np.isfinite(other[metric][0]):
        return None
    value, reference = float(found[metric][0]), float(other[metric][0])
    better = float(metrics.better(metric, value, reference))
    low, high = around(better, metrics.better(metric, samples[metric][:both], drawn[metric][:both]), confidence)
    return Difference(metric, value, reference, better, float(low), float(high))


def estimates(
    examples: Examples, found: Measures, samples: Measures, seed: int, confidence: float
) -> dict[str, tuple[float, float, float]]:
    """Return value, low and high of each metric that was measured, `found`, and is defined; see `estimated`."""
    return {
        name: estimated(examples, name, float(value[0]), samples[name], seed, confidence)
        for name, value in found.items()
        if np.isfinite(value[0])
    }


def estimated(
    examples: Examples, metric: str, value: float, samples: np.ndarray, seed: int, confidence: float
) -> tuple[float, float, float]:
    """Return a metric's value, low and high: the percentile interval of its samples.

    The expected calibration error is biased upwards, more so in the samples than in the value: of it the bias that the
    bootstrap shows is taken off, the interval is the basic one (Efron and Tibshirani, sections 10.2 and 13.4), and it
    reaches to 0 where a calibrated model would show as much by chance.
    """
    if metric not in BIASED:
        low, high = around(value, samples, confidence)
        return value, float(low), float(high)
    least, most = (float(end) for end in interval(samples, confidence))
    low, high = max(0.0, 2 * value - most), max(0.0, 2 * value - least)
    confidences = metrics.of(examples.target).confidences(examples)
    by_chance = rates.gaps_by_chance(confidences, examples.bins, seed, CHANCE_SAMPLES)
    usual = float(interval(by_chance, confidence)[1])
    if value <= usual:
        low, high = 0.0, max(high, usual - float(by_chance.mean()))
    return max(0.0, 2 * value - float(np.nanmean(samples))), low, high


def around(value: Any, samples: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """Return low and high of the percentile interval of `value`, of whose samples it is, along the first axis.

    With few examples a class, areas under curves are higher in the samples than in the examples (what is drawn twice is
    ranked right twice) and macro averages lower, and the interval lies beside the value. It is moved by the bias that
    the bootstrap shows, where that is not negligible; numbers that all lie between 0 and 1 stay there.
    """
    low, high = interval(samples, confidence)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        bias, error = np.nanmean(samples, axis=0) - value, np.nanstd(samples, axis=0)
        least, most = np.fmin(value, np.nanmin(samples, axis=0)), np.fmax(value, np.nanmax(samples, axis=0))
    bias = np.where(np.abs(bias) > NEGLIGIBLE * error, bias, 0.0)
    low = np.where(bias == 0, low, np.minimum(value, np.where(least >= 0, np.maximum(low - bias, 0), low - bias)))
    high = np.where(bias == 0, high, np.maximum(value, np.where(most <= 1, np.minimum(high - bias, 1), high - bias)))
    return low, high


def interval(samples: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """Return low and high of the percentile interval, along the first axis.

    Samples in which the metric is undefined do not count; NaN where there is no other.
    """
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a metric that no sample defines
        low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return low, high
