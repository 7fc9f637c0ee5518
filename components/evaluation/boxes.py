"""Metrics for object detection, as COCO's evaluation has them (https://cocodataset.org/#detection-eval, pycocotools).

map, the mean average precision over the classes that are there and over overlaps of 0.5 to 0.95; map_50 and map_75, at
one overlap; map_small, map_medium and map_large, of boxes of such sizes. At the decision, and an overlap of 0.5:
precision, recall and f1, of all boxes together, and count_error, by how many boxes an image's answer is off, the mean
of the classes. COCO takes the 100 surest boxes of each class of an image; here it has `most` of all classes together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, cast

import numpy as np

from components.evaluation import rates
from components.evaluation.examples import Examples, Measures, rounded
from components.targets import _overlap
from components.targets.boxes import Target

LOWER = frozenset({"count_error"})
IN_UNITS = LOWER
# Those that `ranked` gives. A version's answers hold only the boxes that reach its decision: of them every average
# precision ends at the recall they have. map_50 is compared all the same, also with answers dealt out at random.
OF_OUTPUTS = frozenset({"map", "map_75", "map_small", "map_medium", "map_large"})
SHOWN = ("map_50", "map", "map_75", "precision", "recall", "f1", "count_error")
TABLE, TITLE, BY_NAME = "classes.csv", "label", "ap_50"
FIRST = "The images with the lowest F1 of their boxes first"
CARD = (
    ("ap_50", "AP at 0.5", ".3f"),
    ("precision", "precision", ".3f"),
    ("recall", "recall", ".3f"),
    ("f1", "F1", ".3f"),
    ("count_error", "count off by", ".2f"),
    ("rows", "images", ",.0f"),
)
LEASTS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # overlaps from which on a box is found
POINTS = np.linspace(0, 1, 101)  # of recall, at which precisions are read
EVERY = (0.0, np.inf)
# shares of an image's area; 32 and 96 pixels squared, as COCO has them, of its images of 640 x 480
SIZES = {"small": (0.0, 1 / 300), "medium": (1 / 300, 0.03), "large": (0.03, np.inf)}
CELLS = 2**21  # of an array that is worked with at a time
KEPT = 8  # sets of outputs that stay matched: resamples come in blocks, of some models in turn


@dataclass(frozen=True)
class _Matches:
    """The boxes of outputs, `d`, by class, the surest first, and what each is at `t` overlaps and of `a` sizes."""

    image: np.ndarray  # (d,) its example
    name: np.ndarray  # (d,) its class
    score: np.ndarray  # (d,)
    answered: np.ndarray  # (d,) bool: it reaches the decision
    right: np.ndarray  # (t, a, d) int8: 1 found, 0 wrong, -1 of another size, which counts for nothing
    there: np.ndarray  # (a, n, names) how many boxes there are to be found


def main(costs: object) -> str:  # noqa: ARG001
    """Return the mean average precision at an overlap of 0.5."""
    return "map_50"


def measure(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return map_50 and the metrics of the decision, `(b,)`, and those of each class `(b, names)`."""
    matches = _matched(examples)
    names, n = len(examples.target.names), w.sum(axis=0)
    hit, said = (_counts(matches, some, names) for some in (matches.right[0, 0] > 0, slice(None)))
    there = matches.there[0]
    counts = [w.T @ each for each in (hit, said, there)]
    off = w.T @ np.abs(said - there) / n[:, None]
    by_name = {"ap_50": _precisions(matches, 0, 0, w), **rates.by_name(*counts), "count_error": off}
    found = {"map_50": rates.mean(by_name["ap_50"])}
    found |= _whole(*(each.sum(axis=1) for each in counts)) | {"count_error": off.mean(axis=1)}
    return found, by_name


def ranked(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return the average precisions at all overlaps, and of boxes of each size."""
    matches = _matched(examples, LEASTS, (EVERY, *SIZES.values()))
    ap = np.array([_precisions(matches, at, 0, w) for at in range(len(LEASTS))])
    found = {"map": rates.mean(ap.mean(axis=0)), "map_75": rates.mean(ap[LEASTS.index(0.75)])}
    for size, name in enumerate(SIZES, 1):
        of_size = np.array([_precisions(matches, at, size, w) for at in range(len(LEASTS))])
        found[f"map_{name}"] = rates.mean(of_size.mean(axis=0))
    return found, {"ap": ap.mean(axis=0)}


def score(names: int, costs: object) -> str:  # noqa: ARG001
    """Return the mean average precision at an overlap of 0.5: a rare class counts in it as others do."""
    return "map_50"


def ranks(names: tuple[str, ...]) -> str:  # noqa: ARG001
    """The mean of all."""
    return ""


def confidences(examples: Examples) -> np.ndarray:  # noqa: ARG001
    """Boxes have no calibration error: how many there might have been is not known."""
    return np.empty(0)


def scores(examples: Examples) -> np.ndarray:
    """Return the F1 of each image's boxes at the decision; 1 where there are none, and none were answered.

    Not the average precision: what is shown and explained is the answer, in which a box of a low score has no part.
    """
    matches, names = _matched(examples), len(examples.target.names)
    hit, said = (_counts(matches, some, names).sum(axis=1) for some in (matches.right[0, 0] > 0, slice(None)))
    both = said + matches.there[0].sum(axis=1)
    found: np.ndarray = np.divide(2 * hit, both, out=np.ones(len(both)), where=both > 0)
    return found


def sure(examples: Examples) -> np.ndarray:
    """Return the highest score."""
    found: np.ndarray = examples.outputs[:, :, 4].max(axis=1)
    return found


def missed(actual: np.ndarray, answered: Examples) -> np.ndarray:
    """Return no boxes; where there are none, one that is wrong for certain."""
    found = np.zeros((len(actual), *answered.target.shape))
    found[~(actual[:, :, 4] >= 0).any(axis=1), 0] = (0, 0, 1, 1, 1, 0)
    return found


def followed(examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:
    """Return how much is left of the boxes that were answered: their scores, each by how well its place is kept.

    Of each answered box the highest product of overlap and score among the boxes of its class (Petsiuk and others 2021,
    D-RISE, arXiv:2006.03204, section 3.2). Where nothing was answered it is 0.
    """
    found = np.zeros(len(outputs))
    for box in _chosen(examples.take(np.array([row])))[0]:
        if box[4] > 0:
            alike = (outputs[:, :, 5] == box[5]) * outputs[:, :, 4]
            overlap = _overlap.shares(outputs[:, :, :4], box[None, :4].astype(np.float64))[:, :, 0]
            found += (alike * overlap).max(axis=1)
    return found


def said(examples: Examples, row: int) -> dict[str, Any]:
    """Return how many boxes of each class there are, and were answered, such as "3 cat, 1 dog"."""
    names = examples.target.names
    truth, boxes = examples.actual[row], _chosen(examples.take(np.array([row])))[0]
    both = {"actual": truth[truth[:, 4] >= 0, 4], "answer": boxes[boxes[:, 4] > 0, 5]}
    counts = {key: np.bincount(codes.astype(np.int64), minlength=len(names)) for key, codes in both.items()}
    return {
        key: ", ".join(f"{count} {name}" for name, count in zip(names, each, strict=True) if count) or "none"
        for key, each in counts.items()
    }


def files(examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
    """Yield precision_recall.csv, the curve of each class at an overlap of 0.5, and counts.csv.

    That is how many images have so many boxes of a class, and so many answered ones.
    """
    names, matches = examples.target.names, _matched(examples)
    w = np.ones((len(examples.outputs), 1))
    rows = []
    for index, name in enumerate(names):
        of = matches.name == index
        hit, total = matches.right[0, 0, of] > 0, matches.there[0, :, index].sum()
        if not total or not hit.any():
            continue
        least = matches.score[of][hit]
        at, precision = (of_points[:, 0] for of_points in _curve(matches.image[of], hit, np.array([total]), w))
        for point in np.flatnonzero(at < len(least)):
            numbers = {"recall": POINTS[point], "precision": precision[point], "score": least[at[point]]}
            rows.append({"label": name} | {key: rounded(float(number)) for key, number in numbers.items()})
    yield "precision_recall.csv", ["label", "recall", "precision", "score"], rows
    said = _counts(matches, slice(None), len(names))
    counts = []
    for index, name in enumerate(names):
        pairs = np.stack([matches.there[0, :, index], said[:, index]], axis=1).astype(np.int64)
        kinds, images = np.unique(pairs, axis=0, return_counts=True)
        counts += [
            {"label": name, "labelled": there, "answered": answered, "images": many}
            for (there, answered), many in zip(kinds.tolist(), images.tolist(), strict=True)
        ]
    yield "counts.csv", ["label", "labelled", "answered", "images"], counts


def _whole(hit: np.ndarray, said: np.ndarray, there: np.ndarray) -> Measures:
    """Return the rates of all boxes; NaN where there are none, and none were answered."""
    return {metric: np.where(said + there > 0, rate, np.nan) for metric, rate in rates.rates(hit, said, there).items()}


def _chosen(examples: Examples) -> np.ndarray:
    return cast("Target", examples.target).chosen(examples.outputs, examples.decision)


def _counts(matches: _Matches, some: Any, names: int) -> np.ndarray:
    """Count those boxes of the answers that are among `some`, by image and class `(n, names)` float64."""
    n = matches.there.shape[1]
    chosen = np.zeros(len(matches.image), bool)
    chosen[some] = True
    chosen &= matches.answered
    place = matches.image[chosen] * names + matches.name[chosen]
    return np.bincount(place, minlength=n * names).reshape(n, names).astype(np.float64)


def _precisions(matches: _Matches, least: int, size: int, w: np.ndarray) -> np.ndarray:
    """Return the average precision of each class `(b, names)`; NaN where it has no box of that size."""
    total = matches.there[size].T @ w  # (names, b)
    found = np.where(total > 0, 0.0, np.nan)
    ends = np.searchsorted(matches.name, np.arange(len(total) + 1))
    for name, (first, last) in enumerate(pairwise(ends)):
        right = matches.right[least, size, first:last]
        counts = right >= 0
        image, hit = matches.image[first:last][counts], right[counts] > 0
        found[name] += _curve(image, hit, total[name], w)[1].mean(axis=0)  # NaN stays NaN
    return found.T


def _curve(image: np.ndarray, hit: np.ndarray, total: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow a class's boxes `(m,)` down their scores; return of each of POINTS two arrays `(points, b)`.

    Which of the `h` found boxes reaches that recall, `h` where none does; and the highest precision from there on, or
    0. Of equal scores those of the first image come first, as with COCO.
    """
    from scipy import sparse

    found = np.flatnonzero(hit)
    upto = int(found.max(initial=-1)) + 1
    before = np.searchsorted(found, np.arange(upto))  # the first found one at or behind each box
    # the curve rises at these alone: what was answered between them is added up at once
    between = sparse.csr_matrix((np.ones(upto), (before, image[:upto])), shape=(len(found), len(w)))
    shape = len(POINTS), w.shape[1]
    at, highest = np.full(shape, len(found)), np.zeros(shape)
    step = max(1, CELLS // max(len(found), 1))
    for first in range(0, w.shape[1], step):
        part = between @ w[:, first : first + step]
        for column in first + np.flatnonzero(total[first : first + step]):  # one by one they stay in the cache
            said, right = np.cumsum(part[:, column - first]), np.cumsum(w[image[found], column])
            precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
            reached = np.searchsorted(right / total[column], POINTS)
            at[:, column] = reached
            highest[:, column] = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)[reached]
    return at, highest


_KNOWN: dict[tuple[Any, ...], _Matches] = {}


def _matched(
    examples: Examples, leasts: tuple[float, ...] = LEASTS[:1], sizes: tuple[tuple[float, float], ...] = (EVERY,)
) -> _Matches:
    """Match examples, once for all weightings of them: the same contents have the same matches, in whatever arrays."""
    arrays = (np.ascontiguousarray(array) for array in (examples.actual, examples.outputs))
    contents = [(array.shape, array.dtype.str, sha256(array.data).digest()) for array in arrays]
    key = (*contents, examples.target, tuple(examples.decision or ()), leasts, sizes)
    if key not in _KNOWN:
        while len(_KNOWN) >= KEPT:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        _KNOWN[key] = _match(examples, leasts, sizes)
    return _KNOWN[key]


def _match(examples: Examples, leasts: tuple[float, ...], sizes: tuple[tuple[float, float], ...]) -> _Matches:
    """Match the boxes of each image and class, the surest first, each to the free true one that it overlaps most.

    As pycocotools' COCOeval.evaluateImg: a true box of another size is taken only where no other one will do, and then
    neither counts; nor does a box of another size that matches none.
    """
    actual, outputs, names = examples.actual, examples.outputs, len(examples.target.names)
    image, at = np.nonzero(outputs[:, :, 4] > 0)
    order = np.lexsort((at, image, -outputs[image, at, 4], outputs[image, at, 5]))
    image, at = image[order], at[order]
    boxes = outputs[image, at].astype(np.float64)
    name = boxes[:, 5].astype(np.int64)
    answered = _chosen(examples)[image, at, 4] > 0
    of, place = np.nonzero(actual[:, :, 4] >= 0)
    truth = actual[of, place].astype(np.float64)
    groups = of * names + truth[:, 4].astype(np.int64)
    order = np.argsort(groups, kind="stable")
    truth, groups = truth[order], groups[order]
    within = [
        np.stack([(area >= low) & (area <= high) for low, high in sizes])
        for area in (_overlap.areas(truth[:, :4]), _overlap.areas(boxes[:, :4]))
    ]
    counts = np.stack([np.bincount(groups[mask], minlength=len(actual) * names) for mask in within[0]])
    right = np.repeat(np.where(within[1], 0, -1).astype(np.int8)[None], len(leasts), axis=0)
    own = image * names + name
    _pair(boxes, own, truth, groups, within[0], np.array(leasts), right)
    there = counts.reshape(len(sizes), len(actual), names).astype(np.float64)
    return _Matches(image, name, boxes[:, 4], answered, right, there)


def _pair(
    boxes: np.ndarray,
    own: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    counts: np.ndarray,
    leasts: np.ndarray,
    right: np.ndarray,
) -> None:
    """Write into `right` which boxes are found: 1, or -1 where the true one does not count.

    `own` and `groups` are the images and classes of `boxes` and `truth`, the latter in their order; `counts` `(a, k)`
    says which true boxes are of a size. In each round one box of every group takes its pick.
    """
    box, other, overlap = _near(boxes, own, truth, groups, float(leasts.min()))
    first = np.flatnonzero(np.diff(box, prepend=-1))  # the pairs of a box stand together
    width = np.diff(np.append(first, len(box)))
    which = box[first]
    by_group = np.argsort(own[which], kind="stable")
    starts = np.searchsorted(own[which][by_group], own[which][by_group])
    turn = np.empty(len(which), np.int64)
    turn[by_group] = np.arange(len(which)) - starts
    free = np.ones((len(leasts), *counts.shape), bool)
    for now in range(int(turn.max(initial=-1)) + 1):
        mine = np.flatnonzero(turn == now)
        pair = first[mine, None] + np.arange(int(width[mine].max()))
        inside = pair < (first + width)[mine, None]
        pair = np.where(inside, pair, 0)
        may, near = other[pair], np.where(inside, overlap[pair], -1.0)
        open_ = free[:, :, may] & (near >= leasts[:, None, None, None])  # (t, a, boxes, pairs)
        worth = np.where(open_, near + 2 * counts[:, may], -1.0)  # one that counts before any that does not
        best = worth.shape[-1] - 1 - worth[..., ::-1].argmax(axis=-1)  # of equal ones the last
        least, size, chosen = np.nonzero(np.take_along_axis(worth, best[..., None], axis=-1)[..., 0] >= 0)
        taken = may[chosen, best[least, size, chosen]]
        free[least, size, taken] = False
        right[least, size, which[mine[chosen]]] = np.where(counts[size, taken], 1, -1)


def _near(
    boxes: np.ndarray, own: np.ndarray, truth: np.ndarray, groups: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of boxes and true ones of a group that overlap by `least`: both numbers, and how much."""
    start, end = (np.searchsorted(groups, own, side) for side in ("left", "right"))
    many = end - start
    upto = np.cumsum(many)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    at = 0
    while at < len(boxes):
        stop = max(at + 1, int(np.searchsorted(upto, (upto[at - 1] if at else 0) + CELLS // 8, side="right")))
        box = np.repeat(np.arange(at, stop), many[at:stop])
        other = start[box] + np.arange(len(box)) - np.repeat(np.cumsum(many[at:stop]) - many[at:stop], many[at:stop])
        overlap = _overlap.shares(boxes[box, None, :4], truth[other, None, :4])[:, 0, 0]
        near = overlap >= least
        found.append((box[near], other[near], overlap[near]))
        at = stop
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    box, other, overlap = (np.concatenate(part) for part in zip(*found, strict=True))
    return box, other, overlap
