"""Edges as shares of the image as it is shown: of boxes in pixels, of the image as it is stored, of another size."""

import math
from collections import Counter
from typing import Any

import numpy as np

from components.recipes.detection.source.annotations import Box, Listed
from components.recipes.images.source import Header
from components.targets import _overlap
from components.targets.boxes import EDGES, SLACK

Label = list[dict[str, Any]]
# EXIF's orientation (CIPA DC-008, tag 274) where it changes width and height -> left, top, right and bottom as shown
TURNED = {
    5: lambda left, top, right, bottom: (top, left, bottom, right),
    6: lambda left, top, right, bottom: (1 - bottom, left, 1 - top, right),
    7: lambda left, top, right, bottom: (1 - bottom, 1 - right, 1 - top, 1 - left),
    8: lambda left, top, right, bottom: (top, 1 - right, bottom, 1 - left),
}


def label(image: Listed, about: Header | None, told: Counter[str], *, pixels: bool) -> Label:
    """Return the boxes of an image as the dataset has them, sorted, for their order means nothing.

    In `pixels` they are divided by the size that the annotation gives, or else by that of the image. `about` is None
    of an image that cannot be opened; where nothing gives a size, all edges are NaN. `told` counts what is changed.
    """
    edges = np.array([box[1:] for box in image.boxes], np.float64).reshape(-1, 4)
    turn = _turn(image, about, told, pixels=pixels) if len(edges) else None
    if pixels and len(edges):
        size = image.size or (about.shown if about else None)
        edges /= np.tile(size or (math.nan, math.nan), 2)
        told["images cannot be opened, and nothing gives their size: the edges of their boxes are NaN"] += not size
    if turn:
        edges = np.stack(TURNED[turn](*edges.T), axis=1)
    edges = _cut(edges, told)
    boxes = sorted(
        (Box(box.label, *map(float, row)) for box, row in zip(image.boxes, edges, strict=True)),
        key=lambda box: (box.label, *np.nan_to_num(box[1:])),
    )
    return [{"label": box.label, **dict(zip(EDGES, box[1:], strict=True))} for box in boxes]


def _turn(image: Listed, about: Header | None, told: Counter[str], *, pixels: bool) -> int | None:
    """Return the orientation by which boxes are to be turned: those of the image as stored, told by its size.

    Nothing else tells them from boxes of the image as shown, which is what annotation tools have on the screen.
    """
    if about is None:
        return None
    given = image.size if pixels else None
    other = given is not None and given not in (about.shown, about.stored)
    told["images have another size than their annotation says: the edges are shares of the size that it says"] += other
    if about.orientation == 1:
        return None
    if about.orientation in TURNED and given and _lying(given) == _lying(about.stored) == -_lying(about.shown) != 0:
        told["images are shown turned (EXIF), and their annotation has the size before: the boxes are turned too"] += 1
        return about.orientation
    told["images are shown turned (EXIF): their boxes are taken as those of the image as it is shown"] += 1
    return None


def _lying(size: tuple[float, float]) -> int:
    """Return 1 for what is wider than high, -1 for what is higher than wide, 0 for a square."""
    return (size[0] > size[1]) - (size[0] < size[1])


def _cut(edges: np.ndarray, told: Counter[str]) -> np.ndarray:
    """Cut boxes at the edge of the image, if beyond what rounding does; those wholly outside and of no area stay."""
    with np.errstate(all="ignore"):  # of NaN and infinity
        area, inside = _overlap.areas(edges), _overlap.areas(edges.clip(0, 1))
    empty = ~((area > 0) & (area < math.inf))
    beyond = ~empty & ((edges < -SLACK) | (edges > 1 + SLACK)).any(axis=1)
    partly = beyond & (inside > 0)
    told["boxes reach out of the image, and are cut at its edge"] += int(partly.sum())
    told["boxes lie outside of the image: validate sets such images aside"] += int((beyond & ~partly).sum())
    told["boxes have no width or height, or an edge that is no finite number: validate sets such images aside"] += int(
        empty.sum()
    )
    return np.where(partly[:, None], edges.clip(0, 1), edges)
