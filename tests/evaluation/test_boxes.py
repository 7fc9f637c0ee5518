"""Metrics for object detection, beside COCO's own evaluation."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.examples import Examples
from components.evaluation.metrics import measure
from components.targets.boxes import Target

WIDE, HIGH = 640, 480
NAMES = ("cat", "dog", "owl")


def drawn(random: np.random.Generator, images: int, names: int, most: int, scores: int = 0) -> Examples:
    """Draw true boxes and some near them; of several classes, sizes and scores, of which `scores` are different."""
    actual = np.zeros((images, most, 5), np.float32)
    actual[:, :, 4] = -1
    outputs = np.zeros((images, most, 6), np.float32)
    for row in range(images):
        there, said = random.integers(0, most // 2 + 1), random.integers(0, most + 1)
        truth = np.zeros((there, 5))
        corner = random.random((there, 2)) * 0.7
        truth[:, :4] = np.concatenate([corner, corner + random.choice([0.03, 0.12, 0.3], (there, 2)) + 0.02], axis=1)
        truth[:, 4] = random.integers(0, names, there)
        if there > 2:
            truth[1] = truth[0]  # two at the same place
        found = np.zeros((said, 6))
        found[:, :4] = random.random((said, 2)).repeat(2, axis=1)[:, [0, 2, 1, 3]] * 0.5
        found[:, 2:4] += 0.1
        if there:
            near = truth[random.integers(0, there, said)]
            moved = near[:, :4] + random.normal(size=(said, 4)) * random.choice([0, 0.004, 0.02], (said, 1))
            found[:, :4] = np.concatenate([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2] + 0.01)], axis=1)
            found[:, 5] = np.where(random.random(said) < 0.8, near[:, 4], random.integers(0, names, said))
        found[:, 4] = (random.integers(1, scores + 1, said) / scores) if scores else random.random(said)
        actual[row, :there], outputs[row, :said] = truth, found[np.argsort(-found[:, 4], kind="stable")]
    return Examples(actual, outputs, Target(NAMES[:names], most))


def coco(examples: Examples) -> dict[str, Any]:
    """Let pycocotools measure examples, in pixels of an image of 640 x 480."""
    why = "pycocotools is not installed: the metrics of boxes are not held against COCO's own"
    coco = pytest.importorskip("pycocotools.coco", reason=why)
    evaluation = pytest.importorskip("pycocotools.cocoeval", reason=why)
    unit = np.array([WIDE, HIGH, WIDE, HIGH], np.float64)

    def entries(arrays: np.ndarray, code: int) -> list[dict[str, Any]]:
        found = []
        for image, rows in enumerate(arrays.astype(np.float64)):
            for row in rows:
                if row[4] >= 0 if code == 4 else row[4] > 0:
                    left, top, right, bottom = row[:4] * unit
                    edges = [left, top, right - left, bottom - top]
                    about = {"image_id": image + 1, "category_id": int(row[code]) + 1, "bbox": edges, "iscrowd": 0}
                    found.append(about | {"id": len(found) + 1, "area": edges[2] * edges[3], "score": float(row[4])})
        return found

    names, (n, most, _) = len(examples.target.names), examples.outputs.shape
    both = []
    with contextlib.redirect_stdout(io.StringIO()):
        for found in (entries(examples.actual, 4), entries(examples.outputs, 5)):
            made = coco.COCO()
            made.dataset = {
                "images": [{"id": image + 1} for image in range(n)],
                "categories": [{"id": name + 1} for name in range(names)],
                "annotations": found,
            }
            made.createIndex()
            both.append(made)
        measured = evaluation.COCOeval(*both, "bbox")
        measured.params.maxDets = [most]
        measured.evaluate()
        measured.accumulate()
    precision = measured.eval["precision"][..., 0]  # overlaps, points, classes, sizes
    precision = np.where(precision < 0, np.nan, precision)

    def mean(part: np.ndarray) -> float:
        return float(part[~np.isnan(part)].mean()) if (~np.isnan(part)).any() else np.nan

    whole = precision[..., 0]
    found = {"map": mean(whole), "map_50": mean(whole[0]), "map_75": mean(whole[5])}
    found |= {f"map_{size}": mean(precision[..., at]) for at, size in enumerate(("small", "medium", "large"), 1)}
    return found | {"ap": whole.mean(axis=(0, 1)), "ap_50": whole[0].mean(axis=0)}


def agree(examples: Examples, weights: np.ndarray | None = None) -> None:
    """Hold our metrics of examples that count so often against COCO's of as many copies."""
    found, by_name = measure(examples, None if weights is None else weights[:, None])
    copies = examples if weights is None else examples.take(np.repeat(np.arange(len(weights)), weights))
    for name, value in coco(copies).items():
        ours = by_name[name][0] if name in by_name else found[name][0]
        np.testing.assert_allclose(ours, value, rtol=0, atol=1e-9, err_msg=name)


@given(
    st.integers(1, 12), st.integers(1, 3), st.sampled_from([4, 20, 100]), st.sampled_from([0, 3]), st.integers(0, 999)
)
@settings(max_examples=40, deadline=None)
def test_boxes_are_measured_as_coco_does(images: int, names: int, most: int, scores: int, seed: int) -> None:
    """Also equal scores, images without boxes, and classes that are not there."""
    agree(drawn(np.random.default_rng(seed), images, names, most, scores))


@given(st.integers(1, 10), st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_an_image_that_counts_twice_is_there_twice(images: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(0, 4, images)
    weights[0] += 1
    agree(drawn(random, images, 3, 20), weights)
