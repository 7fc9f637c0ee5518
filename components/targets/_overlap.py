"""How boxes lie on each other: what belongs to which, and which of several are the same thing.

Boxes are `(..., 4)`: left, top, right, bottom.
"""

import numpy as np


def shares(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over the union of each of `(..., m, 4)` boxes with each of `(..., k, 4)`: `(..., m, k)`.

    The area that both cover to that which either does (Everingham and others 2010, doi:10.1007/s11263-009-0275-4).
    """
    a, b = boxes[..., :, None, :], others[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.maximum(sides, 0).prod(axis=-1)
    whole = areas(a) + areas(b) - both
    found: np.ndarray = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return found


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes `(...)`."""
    found: np.ndarray = np.maximum(boxes[..., 2:4] - boxes[..., :2], 0).prod(axis=-1)
    return found


def matched(overlap: np.ndarray, least: float) -> np.ndarray:
    """Match boxes, the surest first, each to the free one that it overlaps most; return which `(m,)`, -1 for none.

    `overlap` is `(m, k)` as `shares` gives it, of the surest box first. As COCO's evaluation does it (pycocotools).
    """
    found = np.full(len(overlap), -1)
    free = np.ones(overlap.shape[1], bool)
    for at, row in enumerate(overlap):
        if not free.any():
            break
        best = int(np.where(free, row, -1.0).argmax())
        if row[best] >= least:
            found[at], free[best] = best, False
    return found


def precision(outputs: np.ndarray, actual: np.ndarray, names: int, least: float = 0.5) -> np.ndarray:
    """Return the average precision of each image by itself, `(n,)` float64: the mean of the classes that it has.

    `outputs` and `actual` as components/targets/boxes.py has them. Of an image without boxes 1 minus the highest score.
    """
    found = np.empty(len(outputs))
    for at, (boxes, truth) in enumerate(zip(outputs, actual, strict=True)):
        each = []
        for name in range(names):
            mine = boxes[(boxes[:, 5] == name) & (boxes[:, 4] > 0)]
            there = truth[truth[:, 4] == name]
            if len(there):
                hit = matched(shares(mine[:, :4].astype(np.float64), there[:, :4].astype(np.float64)), least) >= 0
                right = np.cumsum(hit)
                exact = right / np.arange(1, len(hit) + 1)
                each.append(float((np.maximum.accumulate(exact[::-1])[::-1] * hit).sum() / len(there)))
        found[at] = np.mean(each) if each else 1 - boxes[:, 4].max(initial=0)
    return found


def hits(outputs: np.ndarray, actual: np.ndarray, name: int, least: float = 0.5) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scores `(m,)` of all boxes of a class, which of them are right `(m,)` bool, and how many there are.

    Right is a box that is matched (see `matched`) with one of the label, of which there may be more than were found.
    """
    scores, right, there = [np.empty(0)], [np.empty(0, bool)], 0
    for boxes, truth in zip(outputs, actual, strict=True):
        mine = boxes[(boxes[:, 5] == name) & (boxes[:, 4] > 0)].astype(np.float64)
        own = truth[truth[:, 4] == name].astype(np.float64)
        scores.append(mine[:, 4])
        right.append(matched(shares(mine[:, :4], own[:, :4]), least) >= 0)
        there += len(own)
    return np.concatenate(scores), np.concatenate(right), there
