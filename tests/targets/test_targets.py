"""What every kind of answer has to offer: found by its name, so that a new one is held to it too."""

import inspect
import math
from dataclasses import replace
from typing import Any, ClassVar, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError, targets
from components.evaluation import bootstrap, metrics
from components.evaluation.examples import Examples
from components.targets import Target, multi_label, regression, single_label

NAMES = ("a", "b", "c")
BOX = {"label": "a", "left": 0.2, "top": 0.1, "right": 0.5, "bottom": 0.3}


def made(kind: str) -> Target:
    few = {"frames": 6} if kind == "transcript" else {}
    return targets.of({"kind": kind, "names": list(NAMES), **few})


def encoded(target: Target, rows: int, seed: int = 0) -> np.ndarray:
    """Labels of any kind, encoded; every class is there."""
    random = np.random.default_rng(seed)
    empty = target.encode([])
    if not target.classes:
        return random.normal(size=(rows, *empty.shape[1:])).astype(empty.dtype)
    codes = np.arange(rows) % len(NAMES)
    if target.kind == "transcript":  # a, bb and ccc
        return np.where(np.arange(empty.shape[1]) <= codes[:, None], codes[:, None] + 1, 0).astype(empty.dtype)
    if target.maps:  # a box in each example, and none in the others of its label
        empty = np.zeros((rows, *empty.shape[1:]), empty.dtype)
        empty[:, :, -1] = -1
        empty[:, 0, :2], empty[:, 0, 2:4], empty[:, 0, -1] = random.random((rows, 2)) / 2, 0.75, codes
        return empty
    return codes.astype(empty.dtype) if empty.ndim == 1 else np.eye(len(NAMES), dtype=empty.dtype)[codes]


@pytest.mark.parametrize("kind", targets.kinds())
def test_a_kind_says_all_that_is_asked_of_it(kind: str) -> None:
    target, evaluated = made(kind), metrics.KINDS[kind]
    for name, hint in get_type_hints(Target).items():
        if get_origin(hint) is ClassVar:
            assert hasattr(target, name), f"targets/{kind}.py lacks {name}"
    for name in (*metrics.Kind.__annotations__, *(n for n, _ in inspect.getmembers(metrics.Kind, inspect.isfunction))):
        if not name.startswith("_"):
            assert hasattr(evaluated, name), f"evaluation/{kind}.py lacks {name}"
    assert target.kind == kind
    assert target.title.startswith(("a ", "an ")) and f" {len(target.names)} " in target.title
    assert targets.of(target.described()) == target


def test_one_is_no_plural() -> None:
    assert [
        target(names).title for target in (regression.Target, multi_label.Target) for names in (("x",), ("x", "y"))
    ] == [
        "a regression model for 1 number",
        "a regression model for 2 numbers",
        "a multi-label classifier with 1 class",
        "a multi-label classifier with 2 classes",
    ]


@pytest.mark.parametrize(("kind", "names"), [*((kind, NAMES) for kind in targets.kinds()), ("regression", ("a",))])
def test_a_column_is_read_as_its_labels_are_encoded_one_by_one(kind: str, names: tuple[str, ...]) -> None:
    target = replace(made(kind), names=names)
    labels = target.decode(encoded(target, 30))
    read = target.read(pa.chunked_array([labels[:7], labels[7:]], target.type))
    if kind in ("multi_label", "boxes", "transcript"):  # one by one it is
        assert read is None
    else:
        assert read is not None
        assert read.dtype == target.encode(labels).dtype
        assert np.array_equal(read, target.encode(labels))
    wrong: dict[str, list[Any]] = {
        "single_label": ["z", "A", ""],
        "transcript": ["", " .", "abz", "aaaa"],
        "boxes": [[None], [{**BOX, "label": "z"}], [{**BOX, "right": math.nan}], [{**BOX, "right": 0.0}]],
        "regression": [math.nan, math.inf]
        if len(names) == 1
        else [[1, 2], [1, 2, 3, 4], [1, None, 3], [1, 2, math.nan]],
    }
    for label in [None, *wrong.get(kind, [])]:
        assert target.read(pa.chunked_array([labels, [label]], target.type)) is None
        assert target.invalid([label]) == [True]


@pytest.mark.parametrize("kind", targets.kinds())
def test_labels_come_back_from_their_encoding_and_from_a_model_that_is_sure(kind: str) -> None:
    target = made(kind)
    actual = encoded(target, 30)
    labels = target.decode(actual)
    assert target.invalid(labels) == [False] * 30
    assert np.array_equal(target.encode(labels), actual)
    sure = np.asarray(target.certain(actual), np.float32)
    assert sure.shape == (30, *target.shape)
    fits, restored, decision = target.restored(target.answers(sure)[target.answer].to_pylist())
    assert fits.all() and np.array_equal(restored, sure)
    assert target.answers(restored, decision) == target.answers(sure)
    if not target.maps:  # a box that was answered has a score
        assert target.answers(sure)[target.answer].to_pylist() == labels
    assert target.invalid([None]) == [True]
    assert target.complaint(None).startswith(("is not ", "is missing", "has a class that is not "))
    assert target.complaint(None)[-1].isalpha()  # the sentence goes on
    held = {name for label in labels for name in target.held(label)}
    assert held == set(target.classes)
    words, answer = target.trivial(actual)
    assert words
    assert answer.shape == target.shape


@pytest.mark.parametrize("kind", targets.kinds())
def test_a_kind_is_measured_compared_and_shown(kind: str) -> None:
    target, evaluated = made(kind), metrics.KINDS[kind]
    actual = encoded(target, 60)
    sure = np.asarray(target.certain(actual), np.float64)
    others = np.roll(sure, 1, axis=0)
    worse = others if target.maps else 0.7 * sure + 0.3 * others + 0.01
    deviation = None if target.classes else np.ones(len(target.names))
    good, bad = (Examples(actual, outputs, target, deviation=deviation) for outputs in (sure, worse))
    found, by_name = metrics.measure(good)
    main = metrics.main(target)
    assert np.isfinite(found[main][0])
    assert metrics.better(main, found[main][0], metrics.measure(bad)[0][main][0]) >= 0
    assert metrics.scores(good).shape == (60,)
    assert (metrics.scores(good) >= metrics.scores(bad)).all()
    missed = metrics.measure(good.answered(evaluated.missed(good.actual, bad)))[0]
    score = metrics.score(target)
    assert metrics.better(score, metrics.measure(bad)[0][score][0], missed[score][0]) >= 0
    assert {*evaluated.OF_OUTPUTS, *evaluated.IN_UNITS} - {"cost", "mase", "mae_scaled"} <= found.keys()
    assert {main, score} <= bootstrap.resampled(good, 1, 100)[0].keys()
    assert set(evaluated.SHOWN) - {"cost", "mase"} <= found.keys()
    assert {column for column, _, _ in evaluated.CARD} <= {*by_name, "rows"}
    assert evaluated.BY_NAME in by_name
    for name, columns, rows in evaluated.files(good):
        assert name.endswith(".csv")
        assert all(set(row) <= set(columns) for row in rows)
    row: dict[str, Any] = evaluated.said(good, 0)
    assert {"actual", "answer"} <= row.keys()
    if target.classes:
        assert target.counted(actual).tolist() == [20] * len(NAMES)


@pytest.mark.parametrize("kind", targets.kinds())
@given(seed=st.integers(0, 10_000), decided=st.booleans())
def test_an_answer_that_is_settled_stays_the_same(kind: str, seed: int, decided: bool) -> None:
    """Also where a decision weighs the outputs: two that are far apart may be a tie for it."""
    target, random, tolerance = made(kind), np.random.default_rng(seed), 0.01
    outputs = target.certain(encoded(target, 50, seed))
    if not target.maps:
        outputs = random.dirichlet(np.ones(target.shape[-1]), (50, *target.shape[:-1]))
    decision = None
    if decided and target.rule == "ngram":
        decision = [0.5, 1.0, {"": dict.fromkeys(NAMES, 1)}]
    elif decided and target.classes:
        decision = (random.random((3, 3)) if target.exclusive else random.random(3)).tolist()
    settled = target.settled(outputs, decision, tolerance)
    assert settled.shape == (50,)
    moved = np.maximum(outputs + random.uniform(-tolerance, tolerance, outputs.shape), 0)
    before, after = (target.answers(o, decision)[target.answer].to_pylist() for o in (outputs, moved))
    assert all(a == b for a, b, sure in zip(before, after, settled, strict=True) if sure)


def test_a_tie_of_a_weighed_answer_is_not_settled() -> None:
    target = single_label.Target(("no", "yes"))
    even = np.array([[0.75, 0.25], [0.9, 0.1]])
    assert target.settled(even, [[0.25, 0.0], [0.0, 0.75]], 1e-5).tolist() == [False, True]
    assert target.settled(even, None, 1e-5).tolist() == [True, True]


def test_a_kind_that_is_none_is_said() -> None:
    with pytest.raises(SlipwayError, match=r"unknown target 'label'.*dvc repro"):
        targets.of({"kind": "label", "names": ["a"]})
