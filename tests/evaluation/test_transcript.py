"""Metrics for transcripts, beside jiwer."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation import bootstrap, metrics, mistakes, slices, tested, transcript
from components.evaluation.bootstrap import resampled
from components.evaluation.examples import Examples
from components.evaluation.metrics import measure
from components.targets import _ctc
from components.targets.transcript import Target

TARGET = Target(tuple(" abcdeäß你"), 60)
WORDS = ("a", "ab", "abc", "bad", "cäde", "ßed", "你", "dead", "e")


def made(pairs: list[tuple[str, str]], target: Target = TARGET, **others: Any) -> Examples:
    """Return examples of labels, and what was answered."""
    labels, answers = zip(*pairs, strict=True)
    return Examples(target.encode(list(labels)), target.certain(target.encode(list(answers))), target, **others)


def drawn(random: np.random.Generator, utterances: int) -> Examples:
    """Draw labels, and answers in which words and characters are changed, left out and put in."""
    pairs = []
    for _ in range(utterances):
        words = random.choice(WORDS, random.integers(1, 7)).tolist()
        heard = [random.choice(WORDS) if random.random() < 0.2 else word for word in words if random.random() > 0.15]
        heard += random.choice(WORDS, random.integers(0, 3)).tolist() if random.random() < 0.3 else []
        text = "".join(symbol for symbol in " ".join(heard) if random.random() > 0.05)
        pairs.append((" ".join(words), TARGET._plain(text)))
    return made(pairs)


def texts(examples: Examples) -> tuple[list[str], list[str]]:
    target = examples.target
    return target.decode(examples.actual), target.answers(examples.outputs, examples.decision)["text"].to_pylist()


@given(st.integers(1, 15), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_transcripts_are_measured_as_jiwer_does(utterances: int, seed: int) -> None:
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed: word error rates are not held against its own")
    random = np.random.default_rng(seed)
    examples = drawn(random, utterances)
    weights = random.integers(0, 4, utterances)
    weights[0] += 1
    for counts in (None, weights):
        measured, _ = measure(examples, None if counts is None else counts[:, None])
        found = {name: value[0] for name, value in measured.items()}
        copies = examples if counts is None else examples.take(np.repeat(np.arange(utterances), counts))
        said, answered = texts(copies)
        whole = jiwer.process_words(said, answered)
        words = whole.hits + whole.substitutions + whole.deletions
        assert found["wer"] == pytest.approx(whole.wer)
        assert found["substitutions"] == pytest.approx(whole.substitutions / words)
        assert found["deletions"] == pytest.approx(whole.deletions / words)
        assert found["insertions"] == pytest.approx(whole.insertions / words)
        assert found["cer"] == pytest.approx(jiwer.cer(said, answered))
        assert found["exact"] == pytest.approx(np.mean([a == b for a, b in zip(said, answered, strict=True)]))
    rates = [jiwer.wer(a, b) for a, b in zip(*texts(examples), strict=True)]
    assert metrics.scores(examples) == pytest.approx([-rate for rate in rates])


def test_transcripts_by_hand() -> None:
    examples = made([("bad ab", "bad ab"), ("abc a bad dead", "abd bad dead e"), ("cäde", ""), ("ab 你", "ab 你 ßed")])
    found, by_name = measure(examples)
    # of 9 words: one is another, one is left out and one put in; then one more left out, and one more put in
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(
        {
            "wer": 5 / 9,
            "substitutions": 1 / 9,
            "deletions": 2 / 9,
            "insertions": 2 / 9,
            "exact": 1 / 4,
            "cer": (0 + 5 + 4 + 4) / (6 + 14 + 4 + 4),
        }
    )
    assert metrics.scores(examples) == pytest.approx([0, -3 / 4, -1, -1 / 2])
    names = TARGET.names
    assert by_name["recall"][0, names.index("你")] == by_name["precision"][0, names.index("你")] == 1
    assert by_name["recall"][0, names.index("ä")] == 0
    assert by_name["precision"][0, names.index("ß")] == 0
    assert by_name["recall"][0, names.index("b")] == 1
    by_name = measure(made([("ab", "ab")]))[1]
    assert np.isnan(by_name["recall"][0, names.index("ä")])
    assert measure(examples, np.zeros((4, 1)))[0]["wer"].tolist() == pytest.approx([np.nan], nan_ok=True)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_symbols_are_right_where_they_stand_in_both_texts(seed: int) -> None:
    examples = drawn(np.random.default_rng(seed), 6)
    _, by_name = measure(examples)
    said, there, both = Counter[str](), Counter[str](), Counter[str]()
    for label, answer in zip(*texts(examples), strict=True):
        there += Counter(label)
        said += Counter(answer)
        both += Counter(label) & Counter(answer)
    for at, name in enumerate(TARGET.names):
        recall, precision = by_name["recall"][0, at], by_name["precision"][0, at]
        if not there[name] + said[name]:
            assert np.isnan(recall) and np.isnan(precision)
        else:  # one number is behind both rates, and it is no more than could be
            assert recall * there[name] == pytest.approx(precision * said[name]) or not (there[name] and said[name])
            assert recall * there[name] <= both[name] + 1e-9


def test_the_same_texts_are_aligned_once_and_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, search = [], _ctc._search

    def counted(*args: Any) -> str:
        asked.append(args)
        return search(*args)

    monkeypatch.setattr(_ctc, "_search", counted)
    monkeypatch.setattr(transcript, "_KNOWN", {})
    examples = made([("ab ab", "ab"), ("bad", "bad")], decision=[0.3, 0.0, _ctc.counted(["ab", "bad"])])
    first = measure(examples)[0]["wer"]
    known = dict(transcript._KNOWN)
    assert len(asked) == 2
    dealt = examples.take(np.array([1, 0, 1])).answered(examples.outputs[[0, 1, 0]], examples.decision)
    assert measure(dealt)[0]["wer"] == pytest.approx((1 + 2 + 1) / 4)
    assert measure(examples.take(np.array([0, 1])))[0]["wer"] == first
    assert len(asked) == 2  # other arrays, but no row that is new
    assert {*known} <= {*transcript._KNOWN} and len(transcript._KNOWN) == len(known) + 1
    examples.outputs[0] = examples.outputs[1]  # the same array, but another text
    assert measure(examples)[0]["wer"] == pytest.approx(2 / 3)
    other = examples.answered(examples.outputs, [0.3, 0.0, _ctc.counted(["ab"])])
    measure(other)
    assert len(asked) == 3  # another model hears for itself, here two rows that are one
    monkeypatch.setattr(transcript, "DECODED", 3)
    for seed in range(3 * transcript.KEPT):
        some = drawn(np.random.default_rng(seed), 2)
        measure(some.answered(some.outputs, other.decision))
    assert len(transcript._KNOWN) <= transcript.KEPT
    assert len(transcript._DECODED) <= 3


def test_intervals_of_transcripts_hold_the_value_and_models_are_compared_in_pairs() -> None:
    random = np.random.default_rng(1)
    examples = drawn(random, 60)
    found, _ = measure(examples)
    samples, by_name = resampled(examples, 1, 200)
    assert {name: len(values) for name, values in samples.items()} == dict.fromkeys(found, 200)
    assert by_name["recall"].shape == (200, len(TARGET.names))
    for name, (value, low, high) in bootstrap.estimates(examples, found, samples, 1, 0.95).items():
        assert low < value < high, name
    worse = examples.outputs.copy()
    worse[::3] = TARGET.certain(np.zeros((1, 60), np.int32))
    better = bootstrap.compared("wer", examples, examples.answered(worse), 1, 200, 0.95)
    assert better is not None
    assert 0 < better.low < better.better < better.high
    alike = examples.take(np.repeat(np.arange(60), 3))
    one, _ = bootstrap.joined(alike, alike)
    assert one.copies is not None and int(one.copies.sum()) == 180 and len(one.outputs) <= 60
    assert measure(one)[0]["wer"] == pytest.approx(measure(alike)[0]["wer"])


def test_what_a_version_answered_is_measured_as_it_stands() -> None:
    examples = drawn(np.random.default_rng(2), 30)
    answers = TARGET.answers(examples.outputs, None)
    found, whole = measure(tested.answered(examples, answers, "wer", TARGET.names))[0], measure(examples)[0]
    assert {name: value[0] for name, value in found.items()} == {name: value[0] for name, value in whole.items()}
    gone = pa.table({"text": pa.array([None] * 10 + answers["text"].to_pylist()[10:], pa.string())})
    partly = measure(tested.answered(examples, gone, "wer", TARGET.names))[0]
    none = measure(tested.answered(examples, gone.drop_columns("text"), "wer", TARGET.names))[0]
    assert none["wer"] == none["cer"] == none["deletions"] == 1
    assert none["exact"] == 0
    assert found["deletions"] < partly["deletions"] < 1


def test_an_explanation_follows_the_text_that_was_answered() -> None:
    examples = made([("ab", "abc"), ("ab", "")])
    path = examples.outputs[0].astype(np.float64)
    less = np.stack([path, path, path])
    less[1, 0] = 0.5 * path[0] + 0.5 * path[1]  # the first symbol may be the second
    less[2] = examples.outputs[1]
    assert transcript.followed(examples, 0, less) == pytest.approx([1, 0.5 ** (1 / 3), 0])
    assert transcript.followed(examples, 1, less) == pytest.approx([0, 0, 1])
    assert transcript.said(examples, 0) == {"actual": "ab", "answer": "abc"}
    assert transcript.said(examples, 1) == {"actual": "ab", "answer": ""}


def test_the_utterances_that_are_shown_are_the_worst_and_of_these_the_surest() -> None:
    examples = made([("ab", "ab"), ("a ab", "a"), ("ab", "a"), ("bad", "e"), ("e", "e a a")])
    outputs = examples.outputs.copy()
    outputs[2] = 0.9 * outputs[2] + 0.1 * outputs[0]
    examples = examples.answered(outputs)
    assert mistakes.worst(examples, 10).tolist() == [4, 3, 2, 1]
    assert transcript.sure(examples)[[0, 3]].tolist() == [1, 1]
    assert 0 < transcript.sure(examples)[2] < 1


def test_the_files_name_the_words_that_were_confused_and_errors_by_length() -> None:
    examples = made([("ab bad", "ab dead"), ("bad", "dead"), ("a ab", "ab"), ("e", "e ß"), ("ab", "a")])
    (name, columns, rows), (other, titles, lengths) = ((a, b, list(c)) for a, b, c in transcript.files(examples))
    assert (name, columns, other, titles) == (
        "words.csv",
        ["said", "answered", "count"],
        "lengths.csv",
        ["words", "utterances", "wer"],
    )
    assert [tuple(row.values()) for row in rows] == [
        ("bad", "dead", 2),
        ("", "ß", 1),
        ("a", "", 1),
        ("ab", "a", 1),
    ]
    assert lengths == [{"words": 1, "utterances": 3, "wer": 1.0}, {"words": 2, "utterances": 2, "wer": 0.5}]


def test_no_more_pairs_of_words_are_listed_than_one_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "PAIRS", 2)
    examples = made([("a ab abc", "e bad dead"), ("a", "e")])
    _, _, rows = next(iter(transcript.files(examples)))
    assert [(row["said"], row["count"]) for row in rows] == [("a", 2), ("ab", 1)]


def test_utterances_are_cut_by_a_column() -> None:
    examples = made([("ab", "ab"), ("ab", "a"), ("bad", "bad"), ("e", "e")])
    rows = slices.measured({"speaker": pa.chunked_array([["x", "x", "y", "y"]])}, examples, 1, 50, 0.95)
    assert [(row["value"], row["wer"]) for row in rows] == [("x", 0.5), ("y", 0.0)]
