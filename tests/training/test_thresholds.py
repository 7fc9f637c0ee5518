import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_curve

from components.targets import boxes, multi_label, single_label
from components.training import thresholds

TWO = single_label.Target(("no", "yes"))


def drawn(seed: int, n: int = 300, classes: int = 2, rare: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that tell something of rare labels, and the labels."""
    random = np.random.default_rng(seed)
    share = np.full(classes, rare)
    share[0] = 1 - rare * (classes - 1)
    labels = random.choice(classes, n, p=share)
    scores = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels] + np.log(share)
    exact = np.exp(scores)
    return (exact / exact.sum(axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(2))
def test_f1_of_two_classes_is_as_good_as_the_best_threshold(seed: int) -> None:
    p, labels = drawn(seed)
    found = thresholds.choose("f1", p, labels, TWO, None)
    ours = f1_score(labels, TWO.chosen(p, found), average="macro")
    best = max(f1_score(labels, (p[:, 1] >= t).astype(int), average="macro") for t in np.unique(p[:, 1]))
    assert ours >= best - 0.01
    assert ours > f1_score(labels, p.argmax(axis=1), average="macro")


@pytest.mark.parametrize("seed", range(5))
def test_youden_of_two_classes_is_as_good_as_the_best_point_of_the_roc_curve(seed: int) -> None:
    p, labels = drawn(seed)
    found = TWO.chosen(p, thresholds.choose("youden", p, labels, TWO, None))
    false, true, _ = roc_curve(labels, p[:, 1])
    assert 2 * balanced_accuracy_score(labels, found) - 1 >= (true - false).max() - 0.02


def test_with_more_classes_the_rare_ones_gain() -> None:
    target = single_label.Target(tuple("abcd"))
    p, labels = drawn(0, 2000, 4, 0.05)
    for rule, score in (
        ("f1", lambda y: f1_score(labels, y, average="macro")),
        ("youden", lambda y: balanced_accuracy_score(labels, y)),
    ):
        found = thresholds.choose(rule, p, labels, target, None)
        assert score(target.chosen(p, found)) > score(p.argmax(axis=1)) + 0.03


@given(st.integers(2, 5), st.integers(0, 10**6))
def test_one_class_against_the_rest_decides_as_all_of_them_do(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.random((20, classes)).round(1)  # some are equal
    logs, changed = np.zeros(classes), np.zeros(classes)
    at = int(random.integers(classes))
    logs[random.integers(classes)] = 0.5
    for changed[at] in (0.0, 0.5, -0.1):
        new = logs.copy()
        new[at] = changed[at]
        found = thresholds._against(p, logs, at)(new)
        assert np.array_equal(found, (p * np.exp(new)).argmax(axis=1))


def test_many_classes_are_weighed_in_seconds() -> None:
    p, labels = drawn(0, 2000, 60, 0.01)
    started = time.process_time()
    thresholds.choose("f1", p, labels, single_label.Target(tuple(map(str, range(60)))), None)
    assert time.process_time() - started < 8


def test_the_cheapest_answer_is_elkans_where_probabilities_are_right() -> None:
    random = np.random.default_rng(0)
    yes = random.random(4000)
    labels = (random.random(4000) < yes).astype(int)
    costs = np.array([[0.0, 1.0], [5.0, 0.0]])
    found = thresholds.choose("cost", np.stack([1 - yes, yes], axis=1), labels, TWO, costs)
    line = np.linspace(0, 1, 1001)
    answers = TWO.chosen(np.stack([1 - line, line], axis=1), found)
    assert line[answers == 1].min() == pytest.approx(1 / 6, abs=0.002)  # a false alarm / (it + a miss), by calculation


def test_the_cheapest_answer_is_corrected_where_probabilities_are_wrong() -> None:
    p, labels = drawn(0, 5000)
    costs = np.array([[0.0, 1.0], [5.0, 0.0]])
    skewed = p * np.array([1, 20])  # as after a training on resampled examples
    skewed /= skewed.sum(axis=1, keepdims=True)
    plain = costs[labels, (skewed @ -costs).argmax(axis=1)].mean()
    right = costs[labels, (p @ -costs).argmax(axis=1)].mean()
    ours = costs[labels, TWO.chosen(skewed, thresholds.choose("cost", skewed, labels, TWO, costs))].mean()
    assert ours < plain - 0.1
    assert ours <= right + 0.01


PAIRS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40)


@given(PAIRS, st.sampled_from(["f1", "youden"]))
def test_a_threshold_is_the_best_of_all(pairs: list[tuple[int, bool]], rule: str) -> None:
    p = np.array([value / 20 for value, _ in pairs])
    held = np.array([truth for _, truth in pairs])

    def score(t: float) -> float:
        found = p >= t
        if rule == "f1":
            return 2 * float((found & held).sum()) / max(int(found.sum() + held.sum()), 1)
        return float(found[held].mean() - found[~held].mean())

    t = thresholds.threshold(rule, p, held)
    if held.any() and not held.all():
        assert score(t) == pytest.approx(max(score(x) for x in p), abs=1e-9)
    else:
        assert t == 0.5


def test_several_labels_get_a_threshold_each() -> None:
    random = np.random.default_rng(0)
    held = random.random((400, 2)) < [0.5, 0.1]
    p = np.clip(np.where(held, [0.8, 0.3], [0.2, 0.1]) + random.normal(0, 0.05, (400, 2)), 0, 1).astype(np.float32)
    target = multi_label.Target(("a", "b"))
    found = thresholds.choose("f1", p, held.astype(np.uint8), target, None)
    first, second = np.array(found)
    assert 0.4 < first < 0.6
    assert 0.15 < second < 0.25
    assert (target.chosen(p, found) == held).mean() > 0.97


def test_boxes_get_a_least_score_of_each_class_and_those_that_were_not_found_count() -> None:
    target = boxes.Target(("a", "b"), 4)
    truth = np.zeros((2, 4, 5))
    truth[:, :, 4] = -1
    truth[0, :2] = (0, 0, 0.4, 0.4, 0), (0.5, 0.5, 0.9, 0.9, 0)
    truth[1, 0] = (0.1, 0.1, 0.5, 0.5, 0)
    outputs = np.zeros((2, 4, 6))
    outputs[0, :3] = (0, 0, 0.4, 0.4, 0.9, 0), (0.5, 0.5, 0.9, 0.9, 0.6, 0), (0, 0.8, 0.1, 0.9, 0.5, 0)
    outputs[1, :2] = (0.8, 0, 1, 0.2, 0.4, 0), (0.1, 0.1, 0.5, 0.5, 0.2, 0)
    first, second = thresholds.choose("f1", outputs, truth, target, None) or (0, 0)
    assert 0.5 < first < 0.6  # F1 4/5; with the two wrong ones and the last right one 6/8
    assert second == 0.5  # nothing is known of a class that is not there
    chosen = target.chosen(outputs, [first, second])
    assert (chosen[:, :, 4] > 0).sum() == 2
    assert thresholds.score(chosen, truth, target, None) == pytest.approx(0.8)


def test_no_rule_is_no_decision() -> None:
    assert thresholds.choose(None, *drawn(0), TWO, None) is None


def test_a_class_that_validation_lacks_is_no_obstacle() -> None:
    target = single_label.Target(tuple("abc"))
    p, labels = drawn(0, 100, 3)
    labels = np.minimum(labels, 1)
    for rule, costs in itertools.product(["f1", "youden", "cost"], [1 - np.eye(3)]):
        assert np.isfinite(np.array(thresholds.choose(rule, p, labels, target, costs))).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_score_of_answers_is_what_a_promotion_compares(seed: int) -> None:
    """Held against components/evaluation, which measures it on the test split."""
    from components.evaluation import metrics
    from components.evaluation.examples import Examples

    random = np.random.default_rng(seed)
    several = multi_label.Target(("a", "b", "c"))
    for target, actual, costs in (
        (TWO, random.integers(0, 2, 30), None),
        (TWO, random.integers(0, 2, 30), np.array([[0.0, 3.0], [1.0, 0.0]])),
        (several, random.integers(0, 2, (30, 3)).astype(np.uint8), None),
    ):
        outputs = random.dirichlet(np.ones(len(target.names)), 30).astype(np.float32)
        name = metrics.score(target, costs)
        known = float(metrics.measure(Examples(actual, outputs, target, costs=costs))[0][name][0])
        found = thresholds.score(target.chosen(outputs), actual, target, costs)
        assert found == pytest.approx(-known if costs is not None else known)
