"""Metrics for object detection, beside COCO's own evaluation."""

import contextlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation import bootstrap, boxes, explain, metrics, mistakes, slices, tested
from components.evaluation.bootstrap import resampled
from components.evaluation.examples import Examples
from components.evaluation.metrics import measure
from components.recipes import Arrays, Input
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
        found: list[dict[str, Any]] = []
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
    all_of_it = {"map": mean(whole), "map_50": mean(whole[0]), "map_75": mean(whole[5])}
    by_size = {f"map_{size}": mean(precision[..., at]) for at, size in enumerate(("small", "medium", "large"), 1)}
    return {**all_of_it, **by_size, "ap": whole.mean(axis=(0, 1)), "ap_50": whole[0].mean(axis=0)}


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


PLACES = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.1, 0.6, 0.14, 0.64))  # two large ones, and a small one


def made(images: list[tuple[list[tuple[int, int]], list[tuple[int, float, int]]]], **others: Any) -> Examples:
    """Return examples from `(place, class)` of the true boxes and `(place, score, class)` of the answered ones."""
    target = Target(NAMES, 4)
    actual = np.zeros((len(images), 4, 5), np.float32)
    actual[:, :, 4] = -1
    outputs = np.zeros((len(images), *target.shape), np.float32)
    for row, (truth, found) in enumerate(images):
        for at, (place, name) in enumerate(truth):
            actual[row, at] = [*PLACES[place], name]
        for at, (place, score, name) in enumerate(found):
            outputs[row, at] = [*PLACES[place], score, name]
    return Examples(actual, outputs, target, **others)


def test_boxes_by_hand() -> None:
    examples = made(
        [
            ([(0, 0), (1, 0), (2, 1)], [(0, 0.9, 0), (2, 0.8, 0), (2, 0.2, 1)]),
            ([(1, 0)], [(1, 0.7, 0), (1, 0.6, 0)]),  # the second one finds what is found already
            ([], []),
        ]
    )
    found, by_name = measure(examples)
    # cats: found, wrong, found, wrong of three: precision 1 up to a recall of 1/3, then 2/3 up to 2/3
    assert by_name["ap_50"][0] == pytest.approx([(34 + 33 * 2 / 3) / 101, 1, np.nan], nan_ok=True)
    assert found["map_50"] == pytest.approx(np.mean(by_name["ap_50"][0][:2]))
    # at the decision, 0.3 of each class, the box of a dog is none
    assert (found["precision"][0], found["recall"][0], found["f1"][0]) == pytest.approx((2 / 4, 2 / 4, 2 / 4))
    assert by_name["precision"][0] == pytest.approx([2 / 4, 0, np.nan], nan_ok=True)
    assert by_name["recall"][0] == pytest.approx([2 / 3, 0, np.nan], nan_ok=True)
    assert by_name["count_error"][0] == pytest.approx([1 / 3, 1 / 3, 0])
    assert found["count_error"] == pytest.approx(2 / 9)
    lower, _ = measure(examples.answered(examples.outputs, [0.65, 0.1, 0.5]))
    assert (lower["precision"][0], lower["recall"][0]) == pytest.approx((3 / 4, 3 / 4))
    assert lower["map_50"] == found["map_50"]  # of every score
    assert metrics.scores(examples) == pytest.approx([2 / 5, 2 / 3, 1])


def test_each_size_is_measured_alone_and_what_is_not_there_is_not_measured() -> None:
    found, _ = measure(made([([(0, 0), (2, 0)], [(0, 0.9, 0), (1, 0.8, 0), (2, 0.7, 0)])]))
    assert found["map_large"] == pytest.approx(1)  # what is found is sure enough
    assert found["map_small"] == pytest.approx(1)  # of a large box that is wrong nothing is lost
    assert np.isnan(found["map_medium"])
    nothing, by_name = measure(made([([], []), ([], [])]))
    assert all(np.isnan(value[0]) == (name != "count_error") for name, value in nothing.items())
    assert np.isnan(by_name["ap"]).all()
    assert measure(made([([], [(0, 0.9, 0)])]))[0]["precision"] == 0
    weighted, by_name = measure(made([([(0, 0)], []), ([(0, 1)], [(0, 1, 1)])]), np.array([[1, 0, 0], [1, 1, 0]]))
    assert weighted["map_50"] == pytest.approx([0.5, 1, np.nan], nan_ok=True)
    assert by_name["ap_50"][1] == pytest.approx([np.nan, 1, np.nan], nan_ok=True)


def test_matches_are_those_of_the_contents() -> None:
    examples = made([([(0, 0)], [(0, 0.9, 0)])])
    assert measure(examples)[0]["map"] == pytest.approx(1)
    known = dict(boxes._KNOWN)
    assert measure(examples.take(np.array([0])))[0]["map"] == pytest.approx(1)
    assert boxes._KNOWN.keys() == known.keys()  # other arrays, but nothing is matched again
    examples.outputs[0, 0, :4] = PLACES[1]  # the same array, but another box
    assert measure(examples)[0]["map"] == 0
    examples.actual[0, 0, 4] = 1
    assert np.isnan(measure(examples)[1]["ap_50"][0, 0])
    for score in np.linspace(0.1, 0.9, 3 * boxes.KEPT):
        measure(made([([(0, 0)], [(0, score, 0)])]))
    assert len(boxes._KNOWN) <= boxes.KEPT


def test_intervals_of_boxes_hold_the_value_and_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = drawn(np.random.default_rng(1), 60, 3, 20)
    found, _ = measure(examples)
    samples, by_name = resampled(examples, 1, 200)
    assert {name: len(values) for name, values in samples.items()} == dict.fromkeys(found, 200)
    for name, (value, low, high) in bootstrap.estimates(examples, found, samples, 1, 0.95).items():
        assert low < value < high, name
    monkeypatch.setattr(bootstrap, "BLOCK", 1500)
    monkeypatch.setattr(boxes, "CELLS", 5000)
    monkeypatch.setattr(boxes, "_KNOWN", {})
    again, by_name_again = resampled(examples, 1, 200)
    for one, two in ((samples, again), (by_name, by_name_again)):
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-12)
    monkeypatch.setattr(bootstrap, "RANKED_COST", 1)
    few, _ = resampled(examples, 1, 200)
    assert (len(few["map_50"]), len(few["map"])) == (200, 100)


def test_models_of_boxes_are_compared_in_pairs() -> None:
    examples = drawn(np.random.default_rng(2), 40, 3, 20)
    worse = examples.outputs.copy()
    worse[::2, :, 4] = 0
    found = bootstrap.compared("map_50", examples, examples.answered(worse), 1, 200, 0.95)
    assert found is not None
    assert 0 < found.low < found.better < found.high
    alike = examples.take(np.repeat(np.arange(40), 3))
    one, _ = bootstrap.joined(alike, alike)
    assert one.copies is not None and int(one.copies.sum()) == 120 and len(one.outputs) < 60
    assert measure(one)[0]["count_error"] == pytest.approx(measure(alike)[0]["count_error"])


def test_what_a_version_answered_is_measured_with_its_scores() -> None:
    examples = drawn(np.random.default_rng(3), 30, 3, 20)
    examples = examples.answered(examples.outputs, [0.2, 0.5, 0.7])
    target, metric = examples.target, metrics.score(examples.target)
    answers = target.answers(examples.outputs, examples.decision)
    found, whole = measure(tested.answered(examples, answers, metric, NAMES))[0], measure(examples)[0]
    for name in ("precision", "recall", "f1", "count_error"):
        assert found[name] == whole[name], name  # its own decision, not that of others
    kept = examples.answered(target.chosen(examples.outputs, examples.decision))
    assert found["map_50"] == measure(kept)[0]["map_50"] <= whole["map_50"]  # what is less sure is no answer
    strange = [{"label": "cow", "score": 1.0, "left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0}]
    known = [boxes if boxes is None else [*strange, *boxes] for boxes in answers["boxes"].to_pylist()]
    table = pa.table({"boxes": pa.array(known, answers["boxes"].type)})
    assert measure(tested.answered(examples, table, metric, NAMES))[0]["f1"] == found["f1"]
    gone = pa.table({"boxes": pa.array([None] * 10 + answers["boxes"].to_pylist()[10:], answers["boxes"].type)})
    partly, none = (
        measure(tested.answered(examples, some, metric, NAMES))[0] for some in (gone, gone.drop_columns("boxes"))
    )
    assert none["f1"] == none["map_50"] == 0
    assert 0 < partly["f1"] < found["f1"]


def test_an_explanation_follows_the_boxes_that_were_answered() -> None:
    examples = made([([(0, 0)], [(0, 0.9, 0), (1, 0.5, 1), (2, 0.2, 0)]), ([(0, 0)], [(2, 0.1, 0)])])
    outputs = np.repeat(examples.outputs[:1].astype(np.float64), 5, axis=0)
    outputs[1, 0, 4] = 0  # a box is gone
    outputs[2, 0, 4] = 0.6  # less sure
    outputs[3, 0, 2] = 1.0  # twice as wide
    outputs[4, 0, 5] = 1  # of another class
    assert boxes.followed(examples, 0, outputs) == pytest.approx([1.4, 0.5, 1.1, 0.5 + 0.45, 0.5], abs=1e-6)
    assert boxes.followed(examples, 1, outputs).tolist() == [0] * 5  # nothing was answered

    def ask(given: Arrays) -> np.ndarray:
        found = np.repeat(examples.outputs[:1], len(given["image"]), axis=0)
        found[:, 0, 4] = given["image"][:, 0, 0, 0] / 255  # the upper left corner is the box
        return found

    image = np.zeros((2, 8, 8, 1), np.uint8)
    image[:, 0, 0] = 230
    asked = examples.answered(ask({"image": image}))
    recipe: Any = None
    entries = explain.examples(ask, {"image": image}, {"image": Input("image")}, recipe, {}, asked, 2)
    drop = {entry["row"]: np.array(entry["drop"]) for entry in entries}[0]
    assert drop[0, 0] > 0.8
    assert np.abs(drop.ravel()[-1]) < 1e-6


def test_the_images_that_are_shown_are_those_whose_answer_is_most_wrong() -> None:
    right, wrong, unsure, half = [(0, 0.9, 0)], [(1, 0.8, 0)], [(1, 0.4, 0)], [(0, 0.9, 0), (1, 0.9, 0)]
    examples = made([([(0, 0)], found) for found in (right, unsure, half, wrong, [])])
    assert mistakes.worst(examples, 10).tolist() == [3, 1, 4, 2]
    assert boxes.said(examples, 2) == {"actual": "1 cat", "answer": "2 cat"}
    assert boxes.said(made([([(0, 0), (1, 2)], [(0, 0.2, 0)])]), 0) == {"actual": "1 cat, 1 owl", "answer": "none"}


def test_the_files_are_small_and_have_the_area_that_was_measured() -> None:
    examples = drawn(np.random.default_rng(4), 50, 3, 20)
    (name, columns, rows), (other, titles, counts) = ((a, b, list(c)) for a, b, c in boxes.files(examples))
    assert (name, other) == ("precision_recall.csv", "counts.csv")
    assert all(list(row) == columns for row in rows)
    assert all(list(row) == titles for row in counts)
    for index, label in enumerate(NAMES):
        mine = [row["precision"] for row in rows if row["label"] == label]
        assert sum(mine) / 101 == pytest.approx(measure(examples)[1]["ap_50"][0, index])
        assert sum(row["images"] for row in counts if row["label"] == label) == 50
    off = sum(row["images"] * abs(row["labelled"] - row["answered"]) for row in counts) / 50 / 3
    assert off == pytest.approx(measure(examples)[0]["count_error"][0])


def test_images_are_cut_by_the_classes_that_are_in_them() -> None:
    target = Target(NAMES, 4)
    labels = target.decode(made([([(0, 1), (1, 0)], []), ([], []), ([(0, 0), (1, 1), (2, 1)], [])]).actual)
    cut = slices.cut("label", pa.chunked_array([pa.array(labels, target.type)]))
    assert {text: mask.tolist() for text, mask in cut.items()} == {
        '["cat", "dog"]': [True, False, True],
        "[]": [False, True, False],
    }
