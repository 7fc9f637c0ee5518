"""Codes that lost their leading zeros get them back where only one can be meant."""

import pyarrow as pa
import pytest

from components.data import lost_zeros


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        (["01067", "80331"], ["1067", "80331", None, "red", "1067.0"], ["01067", "80331", None, "red", "01067"]),
        (["01067", "1067"], ["1067", "1067.0"], ["1067", "1067.0"]),  # two categories: it may be either
        (["01067", "1067.0"], ["1067"], ["1067"]),
        (["007", "07"], ["7", "07", "007"], ["7", "07", "007"]),
        (["000", "010"], ["0", "10", "010.0"], ["000", "010", "010.0"]),
        (["0007"], ["007", "07", "-7", "+7", "7.5", "7e0"], ["007", "07", "-7", "+7", "7.5", "7e0"]),  # not lost
        (["7", "red"], ["7", "8", "red"], ["7", "8", "red"]),
        ([], ["7"], ["7"]),
    ],
)
def test_a_number_that_is_known_with_zeros_alone_gets_them(
    known: list[str], given: list[str | None], expected: list[str | None]
) -> None:
    codes = lost_zeros.known([pa.array(known[:1], pa.string()), pa.array(known[1:], pa.string())])
    column = pa.chunked_array([pa.array(given[:1], pa.string()), pa.array(given[1:], pa.string())])
    assert codes.read(column).to_pylist() == expected


def test_what_was_read_and_what_may_be_either_is_told() -> None:
    codes = lost_zeros.known([pa.array(["01067", "04109", "4109", "80331"])])
    for _ in range(2):
        codes.read(pa.chunked_array([["1067", "4109", "80331", "1067"]]))
    restored, unclear = codes.told("plz", "the dataset")
    assert restored == "plz: 4 values without the leading zeros that the dataset has, such as '1067': read as '01067'"
    assert unclear.startswith(
        "plz: 2 values, such as '4109', may have lost leading zeros, but the dataset has '04109' and '4109' as "
        "different categories: nothing is changed"
    )
    assert not lost_zeros.known([pa.array(["80331"])]).told("plz", "the dataset")


def test_text_that_is_not_utf_8_is_left_to_those_who_tell_it() -> None:
    broken = pa.array([b"\xff", b"7"]).view(pa.string())
    assert not lost_zeros.may_lack(pa.chunked_array([broken]))
    assert lost_zeros.may_lack(pa.chunked_array([["a", None, "7"]]))
    assert not lost_zeros.may_lack(pa.chunked_array([["a", "07"]]))
