"""Transcripts: what text is, and what frames of probabilities say, beside all ways to say it by hand."""

from itertools import groupby, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import targets
from components.targets import _ctc
from components.targets.transcript import Target, plain

AB = Target(("a", "b"), 5)
LETTERS = Target(tuple(" abcdefghijklmnopqrstuvwxyz'"), 40)


def every_text(outputs: np.ndarray, names: str = "ab") -> dict[str, float]:
    """Add up the probabilities of all paths `(frames, names + 1)`, by the text that is left of them."""
    found: dict[str, float] = {}
    for path in product(range(len(names) + 1), repeat=len(outputs)):
        text = "".join(names[code - 1] for code, _ in groupby(path) if code)
        found[text] = found.get(text, 0.0) + float(np.prod(outputs[np.arange(len(path)), list(path)]))
    return found


def spoken(target: Target, texts: list[str], random: np.random.Generator, noise: float) -> np.ndarray:
    """Return outputs that know the texts, with that much noise."""
    sure = target.certain(target.encode(texts))
    return np.asarray((1 - noise) * sure + noise * random.dirichlet(np.full(target.shape[1], 0.1), sure.shape[:2]))


@given(st.integers(0, 10**6), st.floats(0.05, 5))
@settings(max_examples=20, deadline=None)
def test_a_texts_probability_is_that_of_all_ways_to_say_it(seed: int, peaked: float) -> None:
    random = np.random.default_rng(seed)
    outputs = random.dirichlet(np.full(3, peaked), 5)
    outputs[random.integers(5), random.integers(3)] = 0  # what cannot be
    by_hand = every_text(outputs)
    assert sum(by_hand.values()) == pytest.approx(np.prod(outputs.sum(axis=1)))
    codes = AB.encode(list(by_hand))
    every = np.repeat(outputs[None], len(codes), axis=0)
    assert np.exp(_ctc.log_probability(every, codes)) == pytest.approx(list(by_hand.values()))
    bounded = every_text(np.maximum(outputs, 1e-7))
    assert AB.loss(every, codes) == pytest.approx([-np.log(bounded[text]) for text in by_hand])


def test_probabilities_do_not_depend_on_how_many_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    texts = ["".join(random.choice(list("ab "), random.integers(0, 15))).strip() for _ in range(30)]
    codes, outputs = LETTERS.encode(texts), random.dirichlet(np.ones(29), (30, 40)).astype(np.float32)
    found = _ctc.log_probability(outputs, codes)
    monkeypatch.setattr(_ctc, "CELLS", 3000)
    assert np.array_equal(_ctc.log_probability(outputs, codes), found)
    alone = [_ctc.log_probability(outputs[at : at + 1], codes[at : at + 1])[0] for at in range(30)]
    assert np.array_equal(alone, found)
    assert _ctc.log_probability(outputs[:0], codes[:0]).shape == (0,)
    silent = np.zeros((1, 40, 29))
    silent[:, :, 0] = 1
    assert _ctc.log_probability(silent, codes[:1])[0] == (0 if not texts[0] else -np.inf)
    assert LETTERS.loss(silent, LETTERS.encode(["abc" * 12])) == pytest.approx(
        [-_ctc.log_probability(np.maximum(silent, 1e-7), LETTERS.encode(["abc" * 12]))[0]]
    )
    assert 400 < LETTERS.loss(silent, LETTERS.encode(["abc" * 12]))[0] < 36 * np.log(1e7)  # no underflow, but a number


@given(st.integers(0, 10**6), st.floats(0.05, 5))
@settings(max_examples=20, deadline=None)
def test_of_all_texts_the_likeliest_is_found_where_none_is_left_out(seed: int, peaked: float) -> None:
    outputs = np.random.default_rng(seed).dirichlet(np.full(3, peaked), 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ctc, "LIKELY", 0.0)
        patch.setattr(_ctc, "WIDTH", 1000)
        patch.setattr(_ctc, "APART", np.inf)
        (found,) = AB.decode(_ctc.beam(outputs[None], AB.names, [0.0, 0.0, {}]))
        by_hand = every_text(outputs)
        assert by_hand[found] == pytest.approx(max(by_hand.values()))
        # and with a language model: its probability, weighed, and a bonus for each symbol
        counts = _ctc.counted(["ab", "abab", "ba"])
        model = _ctc._model([0.5, 0.7, counts], 2)
        scores = {text: np.log(p) + told(model, text, 0.5, 0.7) for text, p in by_hand.items() if p > 0}
        (found,) = AB.decode(_ctc.beam(outputs[None], AB.names, [0.5, 0.7, counts]))
        assert scores[found] == pytest.approx(max(scores.values()))


def told(model: Any, text: str, weight: float, bonus: float, end: str = _ctc.END) -> float:
    """Score a text by a language model alone, symbol by symbol."""
    whole = _ctc.START + text + end
    logs = [np.log(model.probability(whole[max(at - 5, 0) : at], whole[at])) for at in range(1, len(whole))]
    return float(weight * sum(logs) + bonus * len(text))


@given(st.integers(0, 10**6), st.floats(0.0, 0.3))
@settings(max_examples=20, deadline=None)
def test_what_is_left_out_of_the_search_is_hardly_ever_missed(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    outputs = spoken(AB, ["ab", "ba", "bb", "", "a"], random, noise)
    for row, text in enumerate(AB.decode(_ctc.beam(outputs, AB.names, [0.0, 0.0, {}]))):
        by_hand = every_text(outputs[row])
        assert by_hand[text] >= 0.98 * max(by_hand.values())


def searched(outputs: np.ndarray, names: str, decision: Any, width: int) -> str:
    """Search as it is written in Hannun and others 2014: nothing is scaled, and all texts are made longer by all."""
    model = _ctc._model(decision, len(names))
    score = {"": 0.0}
    best = {"": (1.0, 0.0)}
    for blank, *probabilities in outputs.tolist():
        found: dict[str, list[float]] = {}
        for text, (ends, goes) in best.items():
            stays = found.setdefault(text, [0.0, 0.0])
            stays[0] += (ends + goes) * blank
            for symbol, probability in zip(names, probabilities, strict=True):
                longer = found.setdefault(text + symbol, [0.0, 0.0])
                longer[1] += (ends if text.endswith(symbol) else ends + goes) * probability
                score[text + symbol] = told(model, text + symbol, decision[0], decision[1], end="")
                if text.endswith(symbol):
                    stays[1] += goes * probability
        order = sorted(found, key=lambda text: (-np.log(sum(found[text]) or 1e-300) - score[text], text))
        best = {text: (found[text][0], found[text][1]) for text in order[:width]}
    whole = {text: np.log(sum(both)) + told(model, text, decision[0], decision[1]) for text, both in best.items()}
    return min(whole, key=lambda text: (-whole[text], text))


@given(st.integers(0, 10**6), st.floats(0.02, 3), st.sampled_from(_ctc.WEIGHTS), st.sampled_from(_ctc.BONUSES))
@settings(max_examples=30, deadline=None)
def test_the_search_is_the_one_that_was_published(seed: int, peaked: float, weight: float, bonus: float) -> None:
    random = np.random.default_rng(seed)
    outputs = random.dirichlet([4 * peaked, *[peaked] * 3], 12) + 1e-9
    decision = [weight, bonus, _ctc.counted(["abc", "cab", "bbca", "a"])]
    target = Target(("a", "b", "c"), 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ctc, "LIKELY", 0.0)
        patch.setattr(_ctc, "WIDTH", 4)
        patch.setattr(_ctc, "APART", 700.0)
        assert target.decode(target.chosen(outputs[None], decision)) == [searched(outputs, "abc", decision, 4)]


def texts_of(target: Target, most: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(target.names), max_size=most).map(target._plain)


@given(st.lists(texts_of(LETTERS, 20), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_texts_come_back_from_their_codes_and_from_outputs_that_are_certain(texts: list[str]) -> None:
    codes = LETTERS.encode(texts)
    assert codes.shape == (len(texts), 40)
    assert codes.dtype == np.int32
    assert LETTERS.decode(codes) == texts
    sure = LETTERS.certain(codes)
    assert np.array_equal(sure.sum(axis=2), np.ones((len(texts), 40)))
    assert np.array_equal(LETTERS.chosen(sure), codes)
    assert np.array_equal(LETTERS.chosen(sure, [0.0, 0.0, {}]), codes)
    assert LETTERS.chosen(sure).dtype == LETTERS.chosen(sure, [0.0, 0.0, {}]).dtype == np.int32
    assert LETTERS.answers(sure).to_pydict() == {"text": texts, "probability": [1.0] * len(texts)}
    assert LETTERS.loss(sure, codes) == pytest.approx(0)
    assert LETTERS.settled(sure, None, 0.4).all()
    assert not LETTERS.settled(sure, [0.5, 0.0, {}], 1e-5).any()
    fits, restored, decision = LETTERS.restored([*texts, None])
    assert fits.tolist() == [True] * len(texts) + [False]
    assert np.array_equal(restored, sure) and decision is None
    assert np.array_equal(LETTERS.outputs(LETTERS.answers(sure)), sure)


def test_what_goes_on_is_one_symbol_and_a_blank_stands_between_two() -> None:
    path = np.array([[0, 1, 1, 0, 1], [1, 1, 2, 2, 1], [0, 0, 0, 0, 0], [2, 0, 0, 2, 2]])
    outputs = np.full((4, 5, 3), 0.1)
    np.put_along_axis(outputs, path[:, :, None], 0.8, axis=2)
    assert AB.decode(AB.chosen(outputs)) == ["aa", "aba", "", "bb"]


def test_an_answer_is_in_plain_form() -> None:
    target = Target(tuple("a b"), 12)
    for heard, said in {" a": "a", "a ": "a", " a  b  ": "a b", "  ": "", "a b": "a b", "": "", " b a ": "b a"}.items():
        codes = np.zeros((1, 12), np.int32)
        codes[0, : len(heard)] = ["a b".index(symbol) + 1 for symbol in heard]
        assert target.decode(target.chosen(target.certain(codes))) == [said], heard


@given(st.text(max_size=30), st.booleans(), st.booleans())
@settings(max_examples=500)
def test_plain_text_stays_as_it_is(text: str, lower: bool, punctuation: bool) -> None:
    once = plain(text, lower=lower, punctuation=punctuation)
    assert plain(once, lower=lower, punctuation=punctuation) == once
    assert once == " ".join(once.split())


# dashes, marks, apostrophes, controls, and a letter that is two characters in lower case
ODD = "aÄ'\u2019-\u2013!$ \u0308\u0301\u02bc\u00b4\x02\tßİΣ中،"


@given(st.text(st.sampled_from(ODD), max_size=12), st.booleans(), st.booleans())
@settings(max_examples=500)
def test_plain_text_stays_as_it_is_with_marks_and_apostrophes(text: str, lower: bool, punctuation: bool) -> None:
    once = plain(text, lower=lower, punctuation=punctuation)
    assert plain(once, lower=lower, punctuation=punctuation) == once


def test_plain_text_by_hand() -> None:
    for text, expected in {
        "  Hello,\n\tWORLD! ": "hello world",
        "Don\u2019t \u2018stop\u2019 the rock'n'roll: it`s": "don't stop the rock'n'roll it's",
        "the dogs' 'tis": "the dogs tis",
        "twenty-one — or so": "twenty one or so",
        "A\u0308hre, Straße, CAFE\u0301": "ähre straße café",
        "\uff15 € = 100%": "\uff15 100",
        "你好\uff0c世界。": "你好世界",
        "a'!'b": "a b",
        "yes...no and/or 3.5 (ten) U.S.": "yes no and or 3 5 ten u s",
        "so\u00adft \ufeffmark\u200b": "soft mark",
        "\u2764\ufe0f\U0001f469\u200d\U0001f4bb": "",  # a heart in colour, and a woman at a computer
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200c": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "a\x00b\x02": "ab",
        " -!? ": "",
        "नमस्ते": "नमस्ते",  # its vowels are marks
    }.items():
        assert plain(text, lower=True, punctuation=False) == expected
    assert plain("Don\u2019t — STOP, ok?", lower=False, punctuation=True) == "Don\u2019t — STOP, ok?"
    assert plain("Don\u2019t — STOP, ok?", lower=False, punctuation=False) == "Don't STOP ok"


def test_what_is_wrong_with_a_label_is_said() -> None:
    target = Target(tuple(" abc"), 6)
    wrong = {
        None: "is missing",
        "": "has nothing that is said: without punctuation and spaces it is empty",
        " ?!": "has nothing that is said: without punctuation and spaces it is empty",
        "abz": "has the symbol 'z', which is not in speech.symbols of params.yaml",
        "abcabca": "needs 7 steps, a symbol each and one between two alike, and a recording has 6: make speech.seconds "
        "longer or speech.hop_ms shorter",
    }
    for label, why in wrong.items():
        assert target.invalid([label]) == [True]
        assert target.complaint(label).format(section="speech") == why
    assert target.complaint(5) == "is not a text"
    assert target.complaint("aa bb").startswith("needs 7 steps")  # five symbols, of which two are twice
    assert target.invalid(["aabb", "A, b C!", "a bcab"]) == [False] * 3
    kept = Target(tuple(" ab"), 6, punctuation=True)
    assert "LEFT CURLY BRACKET" in kept.complaint("a{b").format(section="speech")
    assert kept.complaint(" ") == "has nothing that is said: without spaces it is empty"
    assert target.held("B, a zzz!") == ["b", " ", "a", "z"]
    assert target.held([]) == []


def test_answers_of_another_version_are_taken_as_far_as_they_can_be_said() -> None:
    target = Target(tuple(" abc"), 6)
    fits, outputs, decision = target.restored(["A, b!", "azb", None, "", "abcabcabc", "aaaaaa"])
    assert fits.tolist() == [True, True, False, True, True, True]
    assert target.answers(outputs, decision)["text"].to_pylist() == ["a b", "ab", "", "abcabc", "aaa"]


def test_texts_are_counted_by_their_symbols_and_the_most_frequent_one_is_known() -> None:
    actual = AB.encode(["ab", "aa", "ab", "b"])
    assert AB.counted(actual).tolist() == [3, 3]
    assert Target(("a", "b", "c"), 5).counted(actual).tolist() == [3, 3, 0]
    assert AB.counted(actual[:0]).tolist() == [0, 0]
    words, outputs = AB.trivial(actual)
    assert words == "the most frequent utterance"
    assert AB.answers(outputs[None])["text"].to_pylist() == ["ab"]


def test_a_target_comes_back_with_its_settings() -> None:
    target = Target(("a", "B"), 7, lower=False, punctuation=True)
    assert targets.of(target.described()) == target
    assert target.shape == (7, 3)
    assert target.title == "a transcriber with 2 symbols"
    assert Target(("a",)).title == "a transcriber with 1 symbol"


def test_counts_are_those_of_every_context() -> None:
    counts = _ctc.counted(["ab", "ab", "b"], order=2)
    start, end = _ctc.START, _ctc.END
    assert counts == {
        "": {"a": 2, "b": 3, end: 3},
        start: {"a": 2, "b": 1},
        "a": {"b": 2},
        "b": {end: 3},
    }
    whole = _ctc.counted(["abcdefgh"])
    assert max(map(len, whole)) == _ctc.ORDER - 1
    assert whole["cdefg"] == {"h": 1} and whole[start + "ab"] == {"c": 1}
    assert list(whole) == sorted(whole)


def test_of_too_many_contexts_the_rarest_of_the_longest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["abc", "abd", "bca"]
    whole = _ctc.counted(texts)
    monkeypatch.setattr(_ctc, "CONTEXTS", 8)
    few = _ctc.counted(texts)
    assert len(few) == 8 < len(whole)
    assert {context for context in whole if len(context) < 2} <= few.keys()
    assert "ab" in few and "ca" not in few
    assert all(few[context] == whole[context] for context in few)


def test_a_language_models_probabilities_are_those_of_witten_and_bell() -> None:
    counts = _ctc.counted(["ab", "ab", "b"], order=2)
    model = _ctc._model([1.0, 0.0, counts], 2)
    # "" has 8 counts of 3 symbols, of 3 there are
    alone = {"a": (2 + 3 / 3) / 11, "b": (3 + 1) / 11, _ctc.END: (3 + 1) / 11}
    assert model.probability("", "a") == pytest.approx(alone["a"])
    assert model.probability("a", "b") == pytest.approx((2 + alone["b"]) / 3)
    assert model.probability("a", "a") == pytest.approx(alone["a"] / 3)
    for context in ("", "a", "b", _ctc.START, "zz"):  # a context that never was tells no more than its end
        assert sum(model.probability(context, symbol) for symbol in ("a", "b", _ctc.END)) == pytest.approx(1)


def test_a_language_model_is_built_once_for_a_decision() -> None:
    decision = [0.5, 1.0, _ctc.counted(["ab"])]
    model = _ctc._model(decision, 2)
    assert _ctc._model(decision, 2) is model
    assert _ctc._model(list(decision), 2) is not model
    for _ in range(3 * _ctc.MODELS):
        _ctc._model([0.1, 1.0, {}], 2)
    assert len(_ctc._BUILT) <= _ctc.MODELS


def confused(texts: list[str], one: str, other: str, by: float) -> np.ndarray:
    """Return outputs in which each `one` sounds a little more like `other`."""
    outputs = np.asarray(LETTERS.certain(LETTERS.encode(texts)), np.float64)
    at, instead = (LETTERS.names.index(name) + 1 for name in (one, other))
    heard = outputs[:, :, at] > 0
    outputs[heard, at], outputs[heard, instead] = 0.5 - by, 0.5 + by
    return outputs


def test_a_language_model_mends_spellings() -> None:
    decision = [0.6, 0.5, _ctc.counted(["the cat sat", "a cat ran", "the rat sat", "the dog sat on a cat"])]
    outputs = confused(["the cat sat on"], "c", "k", 0.2)
    assert LETTERS.answers(outputs)["text"].to_pylist() == ["the kat sat on"]
    assert LETTERS.answers(outputs, decision)["text"].to_pylist() == ["the cat sat on"]
    sure = confused(["the cat sat on"], "c", "k", 0.49999)
    assert LETTERS.answers(sure, decision)["text"].to_pylist() == ["the kat sat on"]  # what was heard well


def test_a_language_model_is_chosen_where_it_surely_helps() -> None:
    random = np.random.default_rng(0)
    words = ["cat", "clock", "duck", "cow", "dog", "rat"]
    texts = [" ".join(random.choice(words, 3)) for _ in range(30)]
    outputs, labels = confused(texts, "c", "k", 0.1), LETTERS.encode(texts)
    counts = _ctc.counted(texts)
    decision = _ctc.choose(outputs, labels, LETTERS, counts)
    assert decision is not None
    weight, bonus, kept = decision
    assert weight in _ctc.WEIGHTS and bonus in _ctc.BONUSES and kept is counts
    errors = [_ctc._errors(LETTERS.chosen(outputs, rule), labels).sum() for rule in (None, decision)]
    assert errors[1] < errors[0] / 4
    assert _ctc.choose(outputs, labels, LETTERS, counts) == decision
    assert _ctc.choose(LETTERS.certain(labels), labels, LETTERS, counts) is None  # nothing is wrong
    assert _ctc.choose(outputs[:0], labels[:0], LETTERS, counts) is None
    one = _ctc.choose(outputs[:1], labels[:1], LETTERS, _ctc.counted(["zzz"]))  # of other texts it knows nothing
    assert one is None


def test_of_many_symbols_the_likeliest_are_followed() -> None:
    names = tuple(map(chr, range(0x4E00, 0x4E00 + 300)))
    target = Target(names, 4)
    even = np.full((1, 4, 301), 1 / 301)
    assert target.answers(even, [0.0, 0.0, {}]).num_rows == 1
    assert all(len(each) == _ctc.SYMBOLS for each in _ctc._followed(even[0], names))
    outputs = 0.9 * target.certain(target.encode(["一丁"])) + 0.1 / 301
    assert target.answers(outputs, [0.0, 0.0, {}])["text"].to_pylist() == ["一丁"]
