"""Texts that people take for one: joined where they can be nothing else, told where they may be two."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data import spelling


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["cafe\u0301", "caf\u00e9", "bar"], {"cafe\u0301": "caf\u00e9"}),
        (["a b", "a\u00a0b", "a \u2009 b", " a b\t", "\ufeffa b", "a\u200b b"], "a b"),
        (["0", "1", "0.0", "1.0"], {"0.0": "0", "1.0": "1"}),
        (["1.0", "0.", "-1.00"], {"1.0": "1", "0.": "0", "-1.00": "-1"}),
        (["1", "1.0", "1.1"], {}),  # versions
        (["01", "1", "1e0"], {}),  # codes
        (["Yes", "yes"], {}),  # two, and told
        (["\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u062e"], {}),  # a joiner makes another word
        (["\u200b", "a"], {}),
    ],
)
def test_what_can_only_be_one_is_joined(texts: list[str], expected: dict[str, str] | str) -> None:
    wanted = expected if isinstance(expected, dict) else {text: expected for text in texts if text != expected}
    assert spelling.joined(texts) == wanted
    assert spelling.distinct(texts) == len({wanted.get(text, text) for text in texts})


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        (["0", "1"], "1.0", "1"),
        (["0.0", "1.0"], "1", "1.0"),  # as an older version wrote it
        (["cafe\u0301"], "caf\u00e9", "cafe\u0301"),
        (["a", "b"], "a ", "a"),
        (["1", "1.0"], "1.0", "1.0"),  # both are there: nothing is changed
        (["a"], "A", "A"),
    ],
)
def test_a_label_that_the_dataset_has_keeps_its_spelling(known: list[str], text: str, expected: str) -> None:
    assert spelling.joined([text], known).get(text, text) == expected


@pytest.mark.parametrize(
    "group",
    [
        ["Yes", "yes", "YES"],
        ["a", "\uff41"],
        ["Stra\u00dfe", "strasse"],
        ["x\u200dy", "xy"],
        ["1", "1.0", "1.00", "01", "+1", "1e0", "\u0661", "\uff11"],
        ["-2", "\u22122", "-2.0"],
        ["nan", "NaN"],
        ["no", "n\u043e"],  # Cyrillic
        ["A", "\u0391"],  # Greek
    ],
)
def test_what_looks_alike_is_found(group: list[str]) -> None:
    assert spelling.alike([*group, "other"]) == [group]


def test_numbers_that_differ_do_not_look_alike() -> None:
    assert not spelling.alike(["1", "10", "1.1", "-1", "1e9", "9007199254740992", "9007199254740993", "1e999999999"])


@given(st.lists(st.text(max_size=8), max_size=8), st.lists(st.text(max_size=8), max_size=4))
def test_joining_settles_and_never_touches_what_is_known(texts: list[str], known: list[str]) -> None:
    found = spelling.joined(texts, known)
    assert not set(found) & set(known)
    after = [found.get(text, text) for text in texts]
    assert spelling.joined(after, [*known, *after]) == {}
    for text in texts:  # in any form
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text)
            joined = spelling.joined([text, other], known)
            if text not in known and other not in known:
                assert joined.get(text, text) == joined.get(other, other)


@given(st.lists(st.integers(-50, 50), unique=True))
def test_numbers_are_sorted_as_numbers(numbers: list[int]) -> None:
    assert spelling.ordered(map(str, numbers)) == [str(number) for number in sorted(numbers)]
    assert spelling.ordered(["10", "9", "x"]) == ["10", "9", "x"]


@pytest.mark.parametrize("text", ["caf\u00e9", "cafe\u0301", "plain"])
def test_what_is_shown_tells_it_apart(text: str) -> None:
    assert re.fullmatch(r"'.*'( \(.*\\.*\))?", spelling.shown(text))
    assert spelling.shown(text).isascii() == text.isascii()
