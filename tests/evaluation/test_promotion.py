"""What decides on a promotion, on numbers alone; the registry is in tests/stages/test_register.py."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import SlipwayError, params
from components.evaluation import bootstrap, metrics, promotion, tested
from components.evaluation.bootstrap import Difference
from components.evaluation.examples import Examples
from components.targets import Target, multi_label, regression, single_label
from tests import fabricate

BINARY = single_label.Target(("no", "yes"))


def compared(ours: Examples, theirs: np.ndarray, metric: str | None = None, **options: Any) -> Difference:
    found = bootstrap.compared(
        metric or metrics.score(ours.target, ours.costs),
        ours,
        ours.answered(theirs),
        1,
        options.get("resamples", 500),
        0.95,
    )
    assert found is not None
    return found


def verdict(difference: Difference, **options: Any) -> bool:
    rival = promotion.Rival("1", 100, 100, difference)
    return promotion.verdict([], rival, None, params.Register(), **options)[0]


def rare(n: int = 4000, share: float = 0.02) -> np.ndarray:
    return (np.arange(n) < n * share).astype(int)


def test_always_no_is_worse_than_a_model_that_finds_the_rare_class() -> None:
    """By accuracy the two are within 0.02 of each other."""
    actual = rare()
    good = np.where(np.arange(len(actual)) % 8 == 0, 0, actual)  # seven of eight are found
    champion, never = BINARY.certain(good), BINARY.certain(np.zeros_like(actual))
    challenger = Examples(actual, never, BINARY)
    assert 0 < compared(challenger, champion, "accuracy").other - 0.98 < 0.02
    assert not verdict(compared(challenger, champion), newer=True)
    assert verdict(compared(challenger.answered(champion), never))
    # nor where mistakes have costs
    costs = np.array([[0.0, 1.0], [50.0, 0.0]])
    assert not verdict(compared(replace(challenger, costs=costs), champion), newer=True)


def test_no_label_at_all_is_worse_than_a_perfect_model_of_a_hundred_labels() -> None:
    target = multi_label.Target(tuple(f"l{n}" for n in range(100)))
    actual = np.eye(100, dtype=np.uint8)[np.arange(1000) % 100]
    challenger = Examples(actual, np.zeros(actual.shape), target)
    assert compared(challenger, actual.astype(float), "accuracy").better == pytest.approx(-0.01)
    found = compared(challenger, actual.astype(float))
    assert (found.value, found.other) == (0, 1)
    assert not verdict(found, newer=True)


def test_of_several_numbers_the_largest_unit_is_not_all_of_it() -> None:
    random = np.random.default_rng(1)
    actual = random.normal(size=(400, 2)) * [1000, 1]
    off = actual + random.normal(size=(400, 2)) * [100, 0.1]
    blind = np.stack([off[:, 0], np.zeros(400)], axis=1)  # knows nothing of the small one
    target = regression.Target(("dollars", "share"))
    challenger = Examples(actual, blind, target, deviation=np.array([1000.0, 1.0]))
    assert abs(compared(challenger, off, "mae").better) < 0.02 * compared(challenger, off, "mae").other
    assert not verdict(compared(challenger, off), newer=True)


@pytest.mark.parametrize("target", [BINARY, multi_label.Target(("a", "b", "c")), regression.Target(("x",))])
def test_an_example_that_got_no_answer_counts_as_the_worst_there_can_be(target: Target) -> None:
    random = np.random.default_rng(3)
    labels: dict[str, np.ndarray] = {
        "single_label": random.integers(0, 2, 50),
        "multi_label": random.integers(0, 2, (50, 3)).astype(np.uint8),
        "regression": random.normal(size=(50, 1)),
    }
    actual = labels[target.kind]
    known = Examples(actual, target.certain(actual) + (0.3 if target.kind == "regression" else 0), target)
    answers = target.answers(known.outputs)
    gone = answers.set_column(
        answers.column_names.index(target.answer),
        target.answer,
        pa.array([None if row < 10 else v for row, v in enumerate(answers[target.answer].to_pylist())], target.type),
    )
    metric = metrics.score(target)
    whole, partly, none = (
        tested.answered(known, table, metric, target.names)
        for table in (answers, gone, answers.drop_columns(target.answer))
    )
    values = [float(metrics.measure(examples)[0][metric][0]) for examples in (whole, partly, none)]
    assert values[0] == pytest.approx(metrics.measure(known)[0][metric][0])
    assert metrics.better(metric, values[0], values[2]) > 0
    if target.kind == "regression":  # as far off as the worst of those that are there
        assert values[1] == pytest.approx(values[0])
    else:
        assert metrics.better(metric, values[0], values[1]) > 0
        assert metrics.better(metric, values[1], values[2]) > 0


def test_probabilities_of_a_version_are_taken_by_its_own_labels() -> None:
    answers = pa.table({"label": ["yes", "no"], "probabilities": [[0.7, 0.3], [0.2, 0.8]]})
    examples = Examples(np.array([1, 0]), np.zeros((2, 2)), BINARY)
    found = tested.answered(examples, answers, "log_loss", ["yes", "no"])
    assert found.outputs.tolist() == [[0.3, 0.7], [0.8, 0.2]]
    assert tested.answered(examples, answers, "f1_macro", ["yes", "no"]).outputs.tolist() == [[0, 1], [1, 0]]


@given(st.integers(0, 1000), st.sampled_from(["f1_macro", "accuracy", "recall_macro"]))
@settings(max_examples=25)
def test_equal_models_do_not_differ_and_the_interval_turns_with_the_order(seed: int, metric: str) -> None:
    random = np.random.default_rng(seed)
    actual, one, two = (random.integers(0, 2, 80) for _ in range(3))
    examples = Examples(actual, BINARY.certain(one), BINARY)
    same = compared(examples, examples.outputs, metric, resamples=100)
    assert (same.better, same.low, same.high) == (0, 0, 0)
    found = compared(examples, BINARY.certain(two), metric, resamples=100)
    turned = compared(examples.answered(BINARY.certain(two)), BINARY.certain(one), metric, resamples=100)
    assert turned.better == -found.better
    assert turned.low == pytest.approx(-found.high)


def test_examples_that_are_alike_are_counted_and_not_drawn_one_by_one() -> None:
    """The interval is that of naive resampling, and many examples cost no more than a few."""
    random = np.random.default_rng(5)
    actual = random.integers(0, 2, 400)
    one, two = (np.where(random.random(400) < right, actual, 1 - actual) for right in (0.9, 0.87))
    examples = Examples(actual, BINARY.certain(one), BINARY)
    ours, theirs = bootstrap.joined(examples, examples.answered(BINARY.certain(two)))
    assert len(ours.outputs) == len(theirs.outputs) <= 8
    assert ours.copies is not None and ours.copies.sum() == 400
    found = compared(examples, BINARY.certain(two), "accuracy", resamples=4000)
    rows = random.integers(0, 400, (4000, 400))
    means = ((one == actual)[rows].astype(int) - (two == actual)[rows].astype(int)).mean(axis=1)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)
    assert found.better == pytest.approx((one == actual).mean() - (two == actual).mean())
    many = replace(examples, actual=np.tile(actual, 250), outputs=np.tile(examples.outputs, (250, 1)))
    large = compared(many, np.tile(BINARY.certain(two), (250, 1)), "f1_macro")
    assert (large.high - large.low) * 12 < found.high - found.low


def test_blocks_are_drawn_as_one() -> None:
    random = np.random.default_rng(5)
    actual = np.zeros((400, 1))
    one, two = np.repeat(random.normal(0.9, 0.2, (40, 1)), 10, axis=0), random.normal(1, 0.2, (400, 1))
    blocks = np.repeat(np.arange(40), 10)
    target = regression.Target(("x",))
    found = compared(Examples(actual, one, target, blocks=blocks), two, resamples=4000)
    gain = (np.abs(two) - np.abs(one)).reshape(40, 10).mean(axis=1)
    means = gain[random.integers(0, 40, (4000, 40))].mean(axis=1)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    alone = compared(Examples(actual, one, target), two, resamples=4000)
    assert alone.high - alone.low < 0.6 * (found.high - found.low)


@pytest.mark.parametrize(
    ("n", "worse"),
    [(150, 0.06), pytest.param(1000, 0.04, marks=pytest.mark.e2e), pytest.param(10_000, 0.02, marks=pytest.mark.e2e)],
)
def test_how_often_an_equal_a_better_and_a_worse_model_pass(n: int, worse: float) -> None:
    """The simulation of docs/evaluation.md in small: python -m bench.promotion."""
    from bench import promotion as simulation

    trials = 40 if n < 10_000 else 20
    found = {apart: simulation.passed(n, apart, trials, seed=1, resamples=200) for apart in (-worse, 0.0, worse)}
    assert found[-worse]["newer"] <= 0.1
    assert found[0.0]["newer"] >= 0.3
    assert found[worse]["newer"] >= 0.9
    assert all(shares["keep"] <= shares["newer"] for shares in found.values())
    assert found[0.0]["keep"] > 0.9 or n < 10_000


@pytest.mark.parametrize(
    ("wrong", "gate", "words"),
    [
        (
            ("trivial", 0.0, 0.0),
            "above_trivial",
            "the model DOES NOT BEAT the trivial baseline (the most frequent class): f1_macro",
        ),
        (("trivial", -0.02, -0.01), "above_trivial", "the model IS WORSE THAN the trivial baseline"),
        (
            ("chance", -0.01, 0.02),
            "above_trivial",
            "the model DOES NOT BEAT its own answers: f1_macro 0.9822 to 0.9772; better by",
        ),
        (
            ("classical", -0.229, -0.082),
            "not_below_classical",
            "the model IS WORSE THAN the classical baseline (LogisticRegression): f1_macro 0.8217 to 0.9772; "
            "worse by 0.1555 [0.082 to 0.229]",
        ),
        (None, "above_trivial", "was not compared with the trivial baseline by f1_macro"),  # not measured is not better
    ],
)
def test_a_model_is_held_against_its_baselines(wrong: tuple[str, float, float] | None, gate: str, words: str) -> None:
    fine = {name: fabricate.beside(name, 0.1, 0.2) for name in ("trivial", "classical", "chance")}
    settings = params.Register()
    assert promotion.verdict(held(settings, fine), None, None, settings)[0]
    rows = fine | {wrong[0]: fabricate.beside(*wrong)} if wrong else {"classical": fine["classical"]}
    found = held(settings, rows)
    assert [each["metric"] for each in found if not each["held"]] == [gate]
    promoted, reason = promotion.verdict(found, None, None, settings)
    assert not promoted
    assert words in reason
    off = settings.model_copy(update={gate: False})
    assert promotion.verdict(held(off, rows), None, None, off) == (
        True,
        f"it passes all gates ({gate} turned off) and there was no champion",
    )


def test_test_examples_that_training_knows_are_a_gate_but_not_where_contents_repeat_anyway() -> None:
    settings = params.Register()
    ids = np.array([f"{number:032x}" for number in range(1000)], "S32")
    apart = promotion.unseen_gate(settings, ids[:200], ids[200:])
    assert (apart["held"], apart["value"], apart["limit"]) == (True, 0.0, "<= 0.1")
    leak = promotion.unseen_gate(settings, ids[:70], np.concatenate([ids[50:70], ids[200:]]))
    assert not leak["held"]
    said = "20 of 70 test examples have the same content as one of training or validation"
    assert leak["reason"].startswith(said)
    assert promotion.verdict([leak], None, None, settings) == (False, leak["reason"])
    few = np.repeat(
        ids[:20], 50
    )  # rows of a few categories: each content is on both sides, by time or by an official split
    open_ = promotion.unseen_gate(settings, few[:200], few)
    assert (open_["held"], open_["limit"], promotion.outcome(open_)) == (
        True,
        "<= 1",
        "not checked",
    )  # a share is no more
    told = "<= 1, since 100 % of the training and validation examples repeat another one"
    assert promotion.asked(open_) == told
    assert promotion.evidence([open_], [None, None], 0.95, "so")[0] == f"- unseen_test {told}: 1.0, **not checked**"
    passed = promotion.verdict([open_], None, None, settings)[1]
    assert passed == "it passes all gates (unseen_test not checked) and there was no champion"
    half = promotion.unseen_gate(settings, few[:200], np.concatenate([few, ids]))
    assert (half["limit"], half["held"], promotion.outcome(half)) == ("<= 0.61", False, "not passed")
    off = promotion.unseen_gate(settings.model_copy(update={"unseen_test": False}), ids, ids)
    assert off["held"] and off["off"]


def test_a_champion_that_guesses_worse_than_chance_is_told() -> None:
    rows = [fabricate.beside("trivial", 0.1, 0.2), fabricate.beside("classical", 0.1, 0.2)]
    trivial = float(rows[0]["value"])
    told = promotion.fallen(rival(0.7, 0.05, other=trivial - 0.2), rows)
    assert told.startswith("the champion is worse than the trivial baseline there (f1_macro ")
    assert not promotion.fallen(rival(0.01, 0.05, other=trivial + 0.01), rows)
    assert not promotion.fallen(None, rows) and not promotion.fallen(promotion.Rival("3", problem="x"), rows)
    error = [row | {"metric": "mae", "value": "2.0"} for row in rows]
    assert promotion.fallen(rival(0.1, 0.05, other=3.0, metric="mae"), error)
    assert not promotion.fallen(rival(0.1, 0.05, other=1.0, metric="mae"), error)


def test_without_a_champion_the_best_version_so_far_still_counts() -> None:
    settings = params.Register()
    assert promotion.verdict([], None, rival(-0.01, 0.005), settings)[0]  # within the margin
    promoted, reason = promotion.verdict([], None, rival(-0.3, 0.05), settings)
    assert not promoted
    assert reason.startswith("there is no champion, but it is worse than the best version so far: against version 3")
    assert "remove its alias `reference`" in reason
    unlike = promotion.Rival("3", problem="its columns are others")
    assert promotion.verdict([], None, unlike, settings) == (True, "it passes all gates and there was no champion")


def held(settings: params.Register, rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return promotion.baseline_gates(settings, [*rows.values()], "f1_macro")


def test_the_classical_model_is_not_held_against_itself() -> None:
    rows = {name: fabricate.beside(name, 0.1, 0.2) for name in ("trivial", "chance")}
    rows["classical"] = fabricate.beside("classical", 0, 0)
    assert [gate["metric"] for gate in held(params.Register(), rows)] == ["above_trivial", "not_below_classical"]
    rows["classical"]["name"] += promotion.ITSELF
    for on in (True, False):
        (gate,) = held(params.Register(not_below_classical=on), rows)
        assert gate["metric"] == "above_trivial"
    assert promotion.verdict([gate], None, None, params.Register())[0]


def rival(better: float, half: float, other: float = 0.9, rows: int = 150, metric: str = "f1_macro") -> promotion.Rival:
    apart = Difference(metric, other + better, other, better, better - half, better + half)
    return promotion.Rival("3", rows, 150, apart)


def decided(champion: promotion.Rival, best: promotion.Rival | None = None, **settings: Any) -> tuple[bool, str]:
    newer = settings.pop("newer", False)
    return promotion.verdict([], champion, best, params.Register(**settings), newer=newer)


@pytest.mark.parametrize(
    ("better", "half", "promoted"),
    [(-0.0126, 0.0046, False), (-0.01, 0.02, False), (-0.0086, 0.0086, True), (0.005, 0.015, True), (0.15, 0.05, True)],
)
def test_within_the_margin_but_surely_worse_is_worse(better: float, half: float, promoted: bool) -> None:
    found, reason = decided(rival(better, half))
    assert found == promoted
    assert ("worse than the champion" in reason) == (not promoted or "not worse" in reason)


def test_many_small_steps_down_end_at_the_best_version_so_far() -> None:
    """Ten challengers, each 0.8 points below the champion, on a test split that shows it to be within the margin."""
    value = reference = 0.986
    for _ in range(10):
        challenger = value - 0.008
        best = rival(challenger - reference, 0.009, reference) if reference != value else None
        promoted, reason = decided(rival(challenger - value, 0.009, value), best)
        if not promoted:
            break
        value = challenger
    assert not promoted
    assert value >= reference - 0.02
    assert "best version so far" in reason
    assert "remove its alias `reference`" in decided(rival(0.0, 0.01), rival(-0.03, 0.005))[1]


def test_a_small_test_split_says_so_and_newer_data_decides() -> None:
    promoted, reason = decided(rival(0.0, 0.03))
    assert not promoted
    assert "150 test examples are too few for a margin of 0.02 (the interval is +-0.03): about 338 would do" in reason
    assert "newer data would decide" in reason
    assert decided(rival(0.0, 0.03), newer=True)[0]
    assert "saw newer data than the champion" in decided(rival(0.0, 0.03), newer=True)[1]
    assert not decided(rival(-0.001, 0.03), newer=True)[0]
    assert not decided(rival(0.0, 0.03), newer=True, when_unsure="keep")[0]
    assert "register.when_unsure is keep" in decided(rival(0.0, 0.03), newer=True, when_unsure="keep")[1]
    assert not decided(rival(0.0, 0.03), rival(-0.021, 0.03), newer=True)[0]  # but not below the best one so far
    assert decided(rival(0.0, 0.03), rival(-0.019, 0.03), newer=True)[0]


def test_the_margin_of_an_error_is_a_share_of_the_champions() -> None:
    assert decided(rival(-15.0, 4.0, 1000.0, metric="mae"))[0] is False  # all of it below 0
    assert decided(rival(-5.0, 14.0, 1000.0, metric="mae"))[0]
    assert not decided(rival(-5.0, 16.0, 1000.0, metric="mae"))[0]
    assert not decided(rival(-0.005, 0.016, 1.0, metric="cost"))[0]


def test_a_comparison_on_some_of_the_examples_says_on_how_many() -> None:
    found = promotion.Rival("3", 60, 150, Difference("f1_macro", 0.9, 0.9, 0.0, -0.01, 0.01))
    assert "on the 60 of 150 test examples that are test for both" in decided(found)[1]
    few = promotion.Rival("3", 4, 150, problem="it cannot be compared")
    assert decided(few) == (False, "it cannot be compared")


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_a_score_that_is_no_metric_is_told_before_the_training(kind: str) -> None:
    task = {"single_label": {"labels": ["a", "b"]}, "multi_label": {"labels": ["a", "b"], "several": True}}
    recipe, section = ("images", task[kind]) if kind in task else ("tabular", {"numeric": ["x"], "targets": ["y"]})
    content = {"name": "a", "recipe": recipe, recipe: section}
    for score in (None, "f1_macro" if kind != "regression" else "r2"):
        promotion.check(params.check(content | {"register": {"score": score}}, Path("params.yaml")))
        content = {"name": "a", "recipe": recipe, recipe: section}
    with pytest.raises(SlipwayError, match=r"register\.score: no such metric 'f1_makro'"):
        promotion.check(params.check(content | {"register": {"score": "f1_makro"}}, Path("params.yaml")))


def test_what_a_gate_asks_for_names_the_end_of_the_interval_and_equal_answers_are_said_so() -> None:
    asked = {name: promotion.asked({"metric": name, "limit": limit}) for name, (_, limit) in promotion.ENDS.items()}
    assert asked["above_trivial"] == "> 0, the interval's low end"
    assert asked["not_below_classical"] == ">= 0, the interval's high end"
    assert promotion.asked({"metric": "accuracy", "limit": ">= 0.9"}) == ">= 0.9"
    rows = {name: fabricate.beside(name, 0.1, 0.2) for name in ("trivial", "classical", "chance")}
    for low, baseline, against in ((0.05, "chance", "its own answers"), (0.02, "trivial", "the trivial baseline")):
        rows[baseline] = fabricate.beside(baseline, low, 0.2)
        trivial, classical = held(params.Register(), rows)  # of two baselines the gate holds the nearer one
        assert (trivial["value"], promotion.asked(trivial)) == (low, f"> 0, the interval's low end against {against}")
        assert promotion.asked(classical) == ">= 0, the interval's high end"
    assert promotion.beside(fabricate.beside("trivial", 0, 0)).endswith("no example tells them apart")
