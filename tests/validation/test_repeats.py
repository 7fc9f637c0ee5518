"""Copies, conflicts and repeated contents, beside a dictionary of the ids as text."""

from collections import Counter
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.dataset import KEY_DIGITS
from components.validation import repeats

KEY = sha256(b"one").hexdigest()[:KEY_DIGITS]
NEAR = KEY[:16] + sha256(b"two").hexdigest()[:16]  # the same first half
ids = st.none() | st.one_of(
    st.sampled_from([KEY, NEAR, KEY.upper(), KEY[:-1], KEY + "0", "", "é" * KEY_DIGITS, "é" + KEY, KEY[:-1] + "é"]),
    st.sampled_from([KEY, NEAR, "x"]).flatmap(
        lambda key: st.sampled_from(["-2", "-3", "-300", "-70000", "-1", "-02", "-0", "-", "-2 ", "-٣", "-" + "9" * 30])
        .map(lambda rest: key + rest)
    ),
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.text(max_size=40),
    st.integers(0, 3).map(lambda at: "long" * 3000 + str(at)),
    st.integers(0, 3).map(lambda at: KEY + "long" * 3000 + str(at)),
)  # fmt: skip
examples = st.lists(st.tuples(ids, st.none() | st.sampled_from(["", "a", "b", "ß"])), max_size=40)


def across(listed: list[tuple[str | None, str | None]], size: int) -> repeats.Everywhere:
    def columns(part: list[tuple[str | None, str | None]]) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        texts = ([each[at] for each in part] for at in (0, 1))
        one, two = (pa.chunked_array([pa.array(text, pa.string())]) for text in texts)
        return one, two

    parts = (listed[at : at + size] for at in range(0, len(listed), size))
    return repeats.across(map(columns, parts), len(listed))


def check(listed: list[tuple[str | None, str | None]], found: repeats.Everywhere) -> None:
    seen: Counter[str] = Counter()
    labels: dict[str, set[str]] = {}
    contents: Counter[str] = Counter()
    copy = []
    for example, label in listed:
        copy.append(seen[example] if example is not None else 0)
        if example is not None:
            seen[example] += 1
            contents[example[:KEY_DIGITS]] += 1
            labels.setdefault(example, set()).update([] if label is None else [label])
    assert found.copy.tolist() == copy
    assert found.conflict.tolist() == [example is not None and len(labels[example]) > 1 for example, _ in listed]
    known = found.labels.to_pylist()
    assert [None if code < 0 else known[code] for code in found.label] == [label for _, label in listed]
    assert found.repeats == (contents.total(), len(contents), max(contents.values(), default=0))


@given(examples, st.integers(1, 9))
def test_any_ids_are_told_apart_as_text_is(listed: list[tuple[str | None, str | None]], size: int) -> None:
    check(listed, across(listed, size))


@pytest.mark.parametrize("different", [1, 7, 900, 10**9])
def test_many_rows_of_few_or_many_ids(different: int) -> None:
    random = np.random.default_rng(different)
    keys = [sha256(str(number).encode()).hexdigest()[:KEY_DIGITS] for number in random.integers(0, different, 3000)]
    rests = random.choice(["", "-2", "-17"], 3000).tolist()
    labels = random.choice(["a", "b"], 3000).tolist()
    listed: list[tuple[str | None, str | None]] = [
        (key + rest, label) for key, rest, label in zip(keys, rests, labels, strict=True)
    ]
    check(listed, across(listed, 700))


def test_a_slice_of_a_column_is_packed_as_its_own_rows() -> None:
    whole = pa.array([NEAR, None, KEY, KEY + "-2", "x"])
    found = [repeats._packed(each, {}) for each in (whole.slice(2, 2), pa.array([KEY, KEY + "-2"]))]
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1].tolist() == found[1][1].tolist() == [0, 2]
    assert found[0][0].tobytes() == bytes.fromhex(KEY) * 2
