from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from components.data import splits
from components.evaluation import bootstrap, metrics, rates
from components.evaluation.bootstrap import resampled
from components.evaluation.examples import Examples
from components.evaluation.metrics import measure, scores
from components.targets import multi_label, regression, single_label

ABC = single_label.Target(("a", "b", "c"))
BINARY = single_label.Target(("no", "yes"))


def answers(rows: int, names: int, seed: int, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Codes and probabilities that know something of them; rounded, so that some are equal."""
    random = np.random.default_rng(seed)
    actual = random.integers(0, names, rows)
    outputs = random.dirichlet(np.ones(names), rows)
    outputs[np.arange(rows), actual] += 0.3
    outputs = outputs.round(1) + 0.01 if ties else outputs
    return actual, outputs / outputs.sum(axis=1, keepdims=True)


def single(examples: Examples) -> dict[str, float]:
    return {name: float(value[0]) for name, value in measure(examples)[0].items()}


def test_scores_by_hand() -> None:
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], np.float32)
    actual = np.array([0, 1, 1])
    costs = np.array([[0.0, 1.0], [5.0, 0.0]])
    assert scores(Examples(actual, outputs, BINARY)).tolist() == [1, 1, 0]
    assert scores(Examples(actual, outputs, BINARY, costs=costs)).tolist() == [0, 0, -5]
    # the least expected cost: yes wherever its probability is above 1/6
    assert scores(Examples(actual, outputs, BINARY, (-costs).tolist(), costs)).tolist() == [0, 0, 0]
    labels = multi_label.Target(("a", "b", "c", "d"))
    held = np.array([[1, 0, 0, 1]], np.uint8)
    assert scores(Examples(held, np.array([[0.9, 0.2, 0.6, 0.5]]), labels)).tolist() == [0.75]
    assert scores(Examples(held, np.array([[0.9, 0.2, 0.6, 0.5]]), labels, [0.5, 0.5, 0.7, 0.5])).tolist() == [1]
    values = regression.Target(("x", "y"))
    found = scores(Examples(np.array([[1.0, 10.0]]), np.array([[2.0, 14.0]]), values, deviation=np.array([1.0, 4.0])))
    assert found == pytest.approx([-1.0])


def test_a_label_by_hand() -> None:
    actual = np.array([0, 0, 0, 1, 1, 2])
    chosen = np.array([0, 0, 1, 1, 2, 2])
    outputs = np.full((6, 3), 0.1)
    outputs[np.arange(6), chosen] = 0.8
    costs = np.array([[0, 2, 0], [0, 0, 5], [1, 1, 0.0]])
    found, by_name = measure(Examples(actual, outputs, ABC, costs=costs))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert by_name["precision"][0] == pytest.approx([1, 1 / 2, 1 / 2])
    assert by_name["recall"][0] == pytest.approx([2 / 3, 1 / 2, 1])
    assert found["f1_macro"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert found["f1_weighted"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)
    assert found["log_loss"] == pytest.approx(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6)
    assert found["ece"] == pytest.approx(abs(0.8 - 4 / 6))
    assert found["cost"] == pytest.approx((2 + 5) / 6)


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 10**6))
@settings(max_examples=20)  # scikit-learn takes its time
def test_a_label_is_measured_as_scikit_learn_does(rows: int, names: int, seed: int) -> None:
    actual, outputs = answers(rows, names, seed)
    target = single_label.Target(tuple("abcde"[:names]))
    found, by_name = measure(Examples(actual, outputs, target))
    predicted, codes = outputs.argmax(axis=1), np.arange(names)
    assert found["accuracy"][0] == pytest.approx(sk.accuracy_score(actual, predicted))
    assert found["log_loss"][0] == pytest.approx(sk.log_loss(actual, outputs, labels=codes))
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(actual, predicted, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found[f"{name}_{average}"][0] == pytest.approx(value)
    roc, pr = [], []
    for code in codes:
        held = actual == code
        if 0 < held.sum() < rows:
            roc.append(sk.roc_auc_score(held, outputs[:, code]))
            pr.append(sk.average_precision_score(held, outputs[:, code]))
            assert by_name["roc_auc"][0, code] == pytest.approx(roc[-1])
            assert by_name["pr_auc"][0, code] == pytest.approx(pr[-1])
        else:
            assert np.isnan(by_name["roc_auc"][0, code])
    if names == 2 and roc:
        assert found["roc_auc"][0] == pytest.approx(sk.roc_auc_score(actual, outputs[:, 1]))
        assert found["pr_auc"][0] == pytest.approx(sk.average_precision_score(actual, outputs[:, 1]))
    elif roc:
        assert found["roc_auc"][0] == pytest.approx(np.mean(roc))


@given(st.integers(1, 40), st.integers(2, 4), st.integers(0, 10**6))
@settings(max_examples=20)
def test_several_labels_are_measured_as_scikit_learn_does(rows: int, names: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    held = random.integers(0, 2, (rows, names)).astype(np.uint8)
    outputs = np.clip(0.3 * held + random.random((rows, names)).round(1) * 0.7, 0.01, 0.99)
    target = multi_label.Target(tuple("abcd"[:names]))
    found = single(Examples(held, outputs, target, decision=[0.4] * names))
    predicted = outputs >= 0.4
    assert found["exact"] == pytest.approx(sk.accuracy_score(held, predicted))
    assert found["hamming"] == pytest.approx(sk.hamming_loss(held, predicted))
    assert found["accuracy"] == pytest.approx(1 - found["hamming"])
    assert found["f1_micro"] == pytest.approx(sk.f1_score(held, predicted, average="micro", zero_division=0))
    macro = sk.f1_score(held, predicted, average="macro", zero_division=np.nan)
    assert found["f1_macro"] == pytest.approx(macro, nan_ok=True)
    assert found["log_loss"] == pytest.approx(
        np.mean([sk.log_loss(held[:, i], outputs[:, i], labels=[0, 1]) for i in range(names)])
    )
    areas = [sk.roc_auc_score(held[:, i], outputs[:, i]) for i in range(names) if 0 < held[:, i].sum() < rows]
    if areas:
        assert found["roc_auc"] == pytest.approx(np.mean(areas))


@given(st.integers(2, 40), st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([0.0, 1e6]))
@settings(max_examples=40)
def test_numbers_are_measured_as_scikit_learn_does(rows: int, names: int, seed: int, far: float) -> None:
    random = np.random.default_rng(seed)
    actual = random.normal(far, 3, (rows, names))
    outputs = actual + random.normal(0, 1, (rows, names))
    found = single(Examples(actual, outputs, regression.Target(tuple("abc"[:names]))))
    assert found["mse"] == pytest.approx(sk.mean_squared_error(actual, outputs))
    assert found["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(actual, outputs)))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(actual, outputs))
    assert found["r2"] == pytest.approx(sk.r2_score(actual, outputs), rel=1e-6, abs=1e-6)
    assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(actual, outputs))


def test_numbers_by_hand() -> None:
    actual, outputs = np.array([[0.0], [2.0], [4.0], [0.0]]), np.array([[0.0], [1.0], [6.0], [1.0]])
    target = regression.Target(("x",))
    found = single(Examples(actual, outputs, target, scale=np.array([1, 0.5, 2, np.nan])))
    assert found["mape"] == pytest.approx((1 / 2 + 2 / 4) / 2)  # of those whose truth is not 0
    assert found["smape"] == pytest.approx((0 + 2 / 3 + 4 / 10 + 2) / 4)
    assert found["mase"] == pytest.approx((0 + 2 + 1) / 3)  # of those whose scale is known
    constant = single(Examples(np.ones((3, 1)), np.zeros((3, 1)), target))
    assert np.isnan(constant["r2"])
    assert np.isnan(single(Examples(np.zeros((3, 1)), np.ones((3, 1)), target))["mape"])


def test_a_seasonal_naive_forecast_has_a_mase_of_one() -> None:
    """Hyndman and Koehler 2006: the error in units of the naive forecast's own, in-sample."""
    series = np.cumsum(np.random.default_rng(1).normal(size=400))
    naive = np.abs(np.diff(series)).mean()
    examples = Examples(
        series[1:, None], series[:-1, None], regression.Target(("h1",)), scale=np.full(len(series) - 1, naive)
    )
    assert single(examples)["mase"] == pytest.approx(1)


def test_a_perfect_model_of_a_part_that_lacks_most_labels_is_perfect() -> None:
    ten, codes = tuple("abcdefghij"), np.full(40, 3)
    one = Examples(codes, np.eye(10)[codes], single_label.Target(ten))
    several = Examples(np.eye(10)[codes], np.eye(10)[codes], multi_label.Target(ten))
    for examples in (one, several):
        samples, _ = resampled(examples, 1, 100)
        for metric in ("precision_macro", "recall_macro", "f1_macro"):
            assert single(examples)[metric] == 1
            assert bootstrap.interval(samples[metric], 0.95) == (1, 1)
    assert np.isnan(single(Examples(np.zeros((4, 10)), np.zeros((4, 10)), multi_label.Target(ten)))["f1_macro"])


def test_what_is_never_predicted_or_never_there_does_not_fail() -> None:
    found, by_name = measure(Examples(np.array([0, 0]), np.array([[0.9, 0.1, 0], [0.6, 0.4, 0]]), ABC))
    assert found["accuracy"] == 1
    np.testing.assert_array_equal(by_name["precision"][0], [1, np.nan, np.nan])
    assert np.isnan(found["roc_auc"][0])
    assert np.isfinite(found["log_loss"][0])
    samples, _ = resampled(Examples(np.array([0, 0]), np.array([[0.9, 0.1, 0], [0.6, 0.4, 0]]), ABC), 1, 100)
    assert np.isnan(bootstrap.interval(samples["roc_auc"], 0.95)).all()
    assert bootstrap.interval(samples["accuracy"], 0.95) == (1, 1)


@given(st.sampled_from(["label", "labels", "values"]), st.integers(3, 30), st.integers(0, 10**6))
@settings(max_examples=60)
def test_weights_are_copies_of_examples(kind: str, rows: int, seed: int) -> None:
    """What the bootstrap rests on: to weight an example by three is to have it three times."""
    random = np.random.default_rng(seed)
    weights = random.integers(0, 4, rows)
    weights[0] += 1
    outputs = random.random((rows, 3)).round(1) + 0.05
    if kind == "label":
        examples = Examples(random.integers(0, 3, rows), outputs, ABC, costs=random.random((3, 3)))
    elif kind == "labels":
        examples = Examples(random.integers(0, 2, (rows, 3)), outputs / 2, multi_label.Target(ABC.names))
    else:
        scale = random.random(rows) + 1
        examples = Examples(random.normal(size=(rows, 3)), outputs, regression.Target(ABC.names), scale=scale)
    weighted, by_name = measure(examples, weights[:, None])
    copied, copied_by_name = measure(examples.take(np.repeat(np.arange(rows), weights)))
    for name in copied:
        assert weighted[name] == pytest.approx(copied[name], nan_ok=True, rel=1e-6, abs=1e-9), name
    for name in copied_by_name:
        assert by_name[name][0] == pytest.approx(copied_by_name[name][0], nan_ok=True, rel=1e-6, abs=1e-9), name


def test_the_bootstrap_is_the_same_for_the_same_seed_and_independent_of_its_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actual, outputs = answers(50, 3, 1)
    first, by_name = resampled(Examples(actual, outputs, ABC), 7, 200)
    monkeypatch.setattr(bootstrap, "BLOCK", 170)  # three resamples at a time
    again, by_name_again = resampled(Examples(actual, outputs, ABC), 7, 200)
    for one, two in ((first, again), (by_name, by_name_again)):
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-12)
    repeated, _ = resampled(Examples(actual, outputs, ABC), 7, 200)
    assert all(np.array_equal(again[name], repeated[name], equal_nan=True) for name in again)
    other, _ = resampled(Examples(actual, outputs, ABC), 8, 200)
    assert not np.array_equal(first["accuracy"], other["accuracy"])


def test_windows_that_overlap_are_drawn_in_blocks_and_their_intervals_cover_the_truth() -> None:
    """Errors of 12-step forecasts from every origin: a moving sum, correlated over 11 steps."""
    covered = {"alone": 0, "in blocks": 0}
    for seed in range(60):
        shocks = np.random.default_rng(seed).normal(size=(600 + 11))
        error = np.abs(np.convolve(shocks, np.ones(12), "valid"))[:, None]
        alone = Examples(error, np.zeros_like(error), regression.Target(("h12",)))
        shuffled = np.random.default_rng(seed).permutation(len(error))  # files need not be in order of time
        blocks = splits.blocks_of_time(np.arange(len(error)), 11)
        in_blocks = replace(alone, blocks=blocks).take(shuffled)
        truth = np.sqrt(12 * 2 / np.pi)
        for name, examples in (("alone", alone), ("in blocks", in_blocks)):
            low, high = bootstrap.interval(resampled(examples, 1, 100)[0]["mae"], 0.95)
            covered[name] += low <= truth <= high
    assert covered["alone"] < 36  # 60 %
    assert covered["in blocks"] > 50  # 85 %: what is left of 95 are the blocks' edges and their number


def test_rows_of_a_group_are_drawn_together_and_their_intervals_cover_the_truth() -> None:
    """Forty patients of ten images each; a model is right about a patient's images in nine cases of ten, or of two."""
    covered = {"rows": 0, "groups": 0}
    for seed in range(60):
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(40), 10)
        right = random.random(400) < np.where(random.random(40) < 0.7, 0.9, 0.2)[patients]
        actual = np.zeros(400, np.int64)
        outputs = np.where(right[:, None], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0])
        rows = Examples(actual, outputs, ABC)
        for name, examples in (("rows", rows), ("groups", replace(rows, blocks=patients))):
            low, high = bootstrap.interval(resampled(examples, 1, 120, ranked=False)[0]["accuracy"], 0.95)
            covered[name] += low <= 0.7 * 0.9 + 0.3 * 0.2 <= high
    assert covered["rows"] < 39  # 65 %
    assert covered["groups"] > 52  # 88 %


def test_blocks_of_one_are_examples() -> None:
    actual, outputs = answers(50, 3, 1)
    alone, _ = resampled(Examples(actual, outputs, ABC), 7, 100)
    ones, _ = resampled(Examples(actual, outputs, ABC, blocks=np.arange(50) * 3), 7, 100)
    assert all(np.array_equal(alone[name], ones[name], equal_nan=True) for name in alone)


def test_areas_get_fewer_resamples_where_they_cost_much(monkeypatch: pytest.MonkeyPatch) -> None:
    actual, outputs = answers(50, 3, 1)
    monkeypatch.setattr(bootstrap, "RANKED_COST", 1)
    monkeypatch.setattr(bootstrap, "BLOCK", 500)
    found, _ = resampled(Examples(actual, outputs, ABC), 7, 300)
    assert len(found["accuracy"]) == 300
    assert len(found["roc_auc"]) == bootstrap.MIN_RANKED


@pytest.mark.e2e
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 95 % intervals for an accuracy of 0.8 from 200 examples, about 95 % hold 0.8 (here of 400 data sets)."""
    random = np.random.default_rng(5)
    outputs = np.tile([0.9, 0.1], (200, 1))
    covered = 0
    for trial in range(400):
        actual = (random.random(200) > 0.8).astype(int)
        samples, _ = resampled(Examples(actual, outputs, BINARY), trial, 100, ranked=False)
        low, high = bootstrap.interval(samples["accuracy"], 0.95)
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 400 <= 0.98


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    actual = np.random.default_rng(1).normal(0, 2, (2000, 1))
    samples, _ = resampled(Examples(actual, np.zeros((2000, 1)), regression.Target(("x",))), 3, 2000)
    low, high = bootstrap.interval(samples["mse"], 0.95)
    half = 1.96 * (actual**2).std() / np.sqrt(2000)
    assert (low, high) == pytest.approx(((actual**2).mean() - half, (actual**2).mean() + half), abs=half / 5)


def test_models_of_the_same_examples_are_compared_in_pairs() -> None:
    """Two models that are wrong in nearly the same places differ by far less than either varies."""
    actual, outputs = answers(500, 3, 1, ties=False)
    other = outputs.copy()
    other[0] = np.roll(np.eye(3)[actual[0]], 1)
    ours, theirs = (resampled(Examples(actual, o, ABC), 1, 300, ranked=False)[0]["accuracy"] for o in (outputs, other))
    assert np.ptp(ours - theirs) <= 6 / 500
    assert np.ptp(ours) > 20 / 500


def test_calibration_by_hand() -> None:
    outputs = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    right = outputs.argmax(axis=1) == [0, 1, 1, 1]
    first, second = rates.reliability(outputs.max(axis=1), right, 10)
    assert first == {"confidence": pytest.approx(0.6), "accuracy": 1.0, "rows": 2}
    assert second == {"confidence": pytest.approx(0.9), "accuracy": 0.5, "rows": 2}


@given(st.integers(1, 200), st.integers(2, 6), st.integers(2, 30), st.integers(0, 1000))
def test_every_example_stands_in_one_bin(rows: int, classes: int, bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = random.dirichlet(np.ones(classes) * 0.3, rows)
    actual = random.integers(0, classes, rows)
    right = outputs.argmax(axis=1) == actual
    found = rates.reliability(outputs.max(axis=1), right, bins)
    assert sum(row["rows"] for row in found) == rows
    confidences = [row["confidence"] for row in found]
    assert confidences == sorted(confidences)
    apart = sum(abs(row["confidence"] - row["accuracy"]) * row["rows"] for row in found) / rows
    target = single_label.Target(tuple("abcdef"[:classes]))
    assert single(Examples(actual, outputs, target, bins=bins))["ece"] == pytest.approx(apart, abs=1e-7)


def test_the_main_metric_and_its_direction() -> None:
    assert metrics.main(ABC) == "accuracy"
    assert metrics.main(ABC, {}) == "cost"
    assert (metrics.score(ABC), metrics.score(ABC, {})) == ("f1_macro", "cost")
    assert metrics.score(regression.Target(("a",))) == "mae"
    assert metrics.score(regression.Target(("a", "b"))) == "mae_scaled"
    assert metrics.main(multi_label.Target(("a",))) == "f1_macro"
    assert metrics.main(regression.Target(("a",))) == "mae"
    assert metrics.better("accuracy", 0.9, 0.8) == pytest.approx(0.1)
    assert metrics.better("mae", 0.9, 0.8) == pytest.approx(-0.1)


@pytest.mark.parametrize(("gap", "least"), [(0.0, 0.9), (0.1, 0.85)])
def test_the_interval_of_the_calibration_error_holds_the_truth(gap: float, least: float) -> None:
    """Of a calibrated model the percentile interval lies above the truth, 0, and above the value."""
    hits = outside = 0
    trials = 40
    for seed in range(trials):
        random = np.random.default_rng(seed)
        sure = random.uniform(0.55, 0.9, 600)
        right = random.random(600) < sure - gap
        examples = Examples((~right).astype(int), np.stack([sure, 1 - sure], axis=1), BINARY)
        value = float(measure(examples, ranked=False)[0]["ece"][0])
        samples = resampled(examples, seed, 200, ranked=False)[0]["ece"]
        found, low, high = bootstrap.estimated(examples, "ece", value, samples, seed, 0.95)
        assert low <= found <= high
        assert bootstrap.estimated(examples, "accuracy", value, samples, seed, 0.95)[0] == value
        hits += low <= gap <= high
        outside += bootstrap.interval(samples, 0.95)[0] > gap
    assert hits >= least * trials
    assert outside > 0.5 * trials or gap


def test_each_column_of_mase_is_scaled_by_itself() -> None:
    """Hyndman and Koehler 2006; a ratio of means would be that of the column with the largest unit."""
    actual, outputs = np.zeros((2, 2)), np.array([[100.0, 3.0], [100.0, 1.0]])
    examples = Examples(actual, outputs, regression.Target(("a_h1", "b_h1")), scale=np.tile([100.0, 1.0], (2, 1)))
    assert single(examples)["mase"] == pytest.approx((1 + 3 + 1 + 1) / 4)


@pytest.mark.parametrize(("signal", "metric"), [(0.5, "pr_auc"), (3.0, "f1_macro")])
def test_the_interval_of_rare_classes_lies_around_the_value(signal: float, metric: str) -> None:
    """Areas of few examples a class are higher in the samples, macro averages lower."""
    random = np.random.default_rng(1)
    actual = np.repeat(np.arange(60), 3)
    logits = random.normal(size=(180, 60)) + signal * np.eye(60)[actual]
    outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    examples = Examples(actual, outputs, single_label.Target(tuple(f"c{number}" for number in range(60))))
    (every, each), (values, by_name) = resampled(examples, 1, 200), measure(examples)
    assert abs(np.mean(every[metric] < values[metric][0]) - 0.5) >= 0.4
    for name, samples in every.items():
        value, low, high = bootstrap.estimated(examples, name, float(values[name][0]), samples, 1, 0.95)
        assert 0 <= low < value < high and (name == "log_loss" or high <= 1)
        assert name != metric or 0.5 < (value - low) / (high - value) < 2
    for name, samples in each.items():
        low, high = bootstrap.around(by_name[name][0], samples, 0.95)
        assert low.min() >= 0 and high.max() <= 1
        assert (low <= by_name[name][0]).all() and (by_name[name][0] <= high).all()
    chance = examples.answered(outputs[random.permutation(180)], None)
    found = bootstrap.difference(
        metric, (values, every), (measure(chance)[0], resampled(chance, 1, 200)[0]), confidence=0.95
    )
    assert found and found.low < found.better < found.high


def test_several_models_are_measured_on_the_same_draws_as_each_alone() -> None:
    actual, outputs = answers(60, 3, 1)
    own = Examples(actual, outputs, ABC, blocks=np.arange(60) // 2)
    several = [own, own.answered(outputs[::-1]), own.answered(np.full_like(outputs, 1 / 3))]
    found = bootstrap.together(several, 3, 150, [True, False, True])
    for examples, areas, (every, each) in zip(several, (True, False, True), found, strict=True):
        alone, alone_each = resampled(examples, 3, 150, ranked=areas)
        for one, two in ((every, alone), (each, alone_each)):
            assert one.keys() == two.keys()
            assert all(np.array_equal(one[name], two[name], equal_nan=True) for name in one)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 99))
def test_the_areas_of_a_constant_score_are_those_of_ties(held: list[bool], seed: int) -> None:
    """One that differs in a place that counts nothing is no constant, and goes the long way."""
    where = np.array([*held, False])
    w = np.random.default_rng(seed).poisson(1, (len(where), 4)).astype(float)
    w[-1] = 0
    score = np.zeros(len(where))
    with np.errstate(invalid="ignore", divide="ignore"):
        short, long = (
            rates.area(score, where, w),
            rates.area(np.where(np.arange(len(where)) == len(held), 1, score), where, w),
        )
    for one, two in zip(short, long, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
