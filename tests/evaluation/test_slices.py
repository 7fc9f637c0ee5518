import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components import SlipwayError
from components.evaluation import slices
from components.evaluation.examples import Examples
from components.targets import multi_label, regression, single_label


def cut(values: list[object], kind: pa.DataType | None = None) -> dict[str, list[int]]:
    column = pa.chunked_array([pa.array(values, kind)])
    return {name: np.flatnonzero(mask).tolist() for name, mask in slices.cut("x", column).items()}


def test_numbers_are_cut_into_quartiles_and_gaps_stand_apart() -> None:
    assert cut([1.0, 2, 3, 4, 5, 6, 7, 8, None, float("nan")]) == {
        "1 to 2": [0, 1],
        "over 2 to 4": [2, 3],
        "over 4 to 6": [4, 5],
        "over 6 to 8": [6, 7],
        "missing": [8, 9],
    }


def test_a_lowest_value_that_many_rows_have_stands_alone() -> None:
    assert cut([0, 0, 0, 0, 0, 1, 2, 3, 4]) == {"0": [0, 1, 2, 3, 4], "over 0 to 2": [5, 6], "over 2 to 4": [7, 8]}
    assert cut([0, 1, -1, 2, -2, -2]) == {
        "-2": [4, 5],
        "over -2 to -1": [2],
        "over -1 to 0": [0],
        "over 0 to 2": [1, 3],
    }


def test_few_numbers_yes_and_no_and_text_are_cut_by_value() -> None:
    assert cut([0, 1, 1, None]) == {"1": [1, 2], "0": [0], "missing": [3]}
    assert cut([True, False, True]) == {"True": [0, 2], "False": [1]}
    assert cut(["b", "a", "b"]) == {"b": [0, 2], "a": [1]}
    text = [f"{number:02}" for number in range(25)] + ["24"]
    found = cut(list(text))
    assert len(found) == slices.MAX_SLICES + 1
    assert found["24"] == [24, 25]
    assert found["other"] == list(range(19, 24))


def test_values_that_read_alike_are_told_apart_or_put_together() -> None:
    assert cut(["missing", "missing", None, "a"]) == {"missing": [0, 1, 2], "a": [3]}
    text = ["other"] * 3 + [f"{number:02}" for number in range(25)]
    assert cut(list(text))["other"] == [0, 1, 2, *range(22, 28)]
    assert len(cut([1 + step * 1e-9 for step in range(8)])) == 4


def test_dates_are_cut_into_quartiles() -> None:
    days = [datetime.datetime(2020, 1, day) for day in range(1, 9)]
    assert next(iter(cut(list(days), pa.timestamp("us")))) == "2020-01-01 00:00:00 to 2020-01-02 00:00:00"


def test_several_labels_are_cut_by_their_set() -> None:
    found = cut([["a", "b"], ["b", "a"], ["é"], [], None], pa.list_(pa.string()))
    assert found == {'["a", "b"]': [0, 1], "[]": [3], '["é"]': [2], "missing": [4]}


def test_bytes_and_lists_cannot_be_cut() -> None:
    for values in ([b"x"], [[1.0]]):
        with pytest.raises(SlipwayError, match=r"evaluate\.slices: x is"):
            cut(list(values))


@given(
    st.one_of(
        st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1, max_size=60),
        st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=60),
        st.lists(st.one_of(st.none(), st.text("abc", max_size=3)), min_size=1, max_size=60),
    )
)
@example([0.0, 1.0, 2.0, 0.5, -0.0])
def test_every_row_is_in_one_slice(values: list[object]) -> None:
    found = cut(values)
    assert sorted(row for rows in found.values() for row in rows) == list(range(len(values)))
    assert all(found.values())


def test_the_worst_slice_comes_first_and_too_small_a_one_is_not_called_so() -> None:
    actual = np.zeros(104, int)
    right = np.array([1] * 50 + [1, 0] * 25 + [0] * 4)
    outputs = np.stack([right, 1 - right], axis=1).astype(float)
    place = pa.chunked_array([pa.array(["north"] * 50 + ["south"] * 50 + ["sea"] * 4)])
    examples = Examples(actual, outputs, single_label.Target(("a", "b")))
    rows = slices.measured({"place": place}, examples, 1, 200, 0.95)
    assert [row["value"] for row in rows] == ["sea", "south", "north"]
    assert [row["accuracy"] for row in rows] == [0, 0.5, 1]
    assert rows[1]["low"] < 0.5 < rows[1]["high"]
    worst = slices.worst(rows)
    assert worst is not None
    assert worst["value"] == "south"
    assert slices.worst(rows[:1]) is None
    assert slices.worst([]) is None
    errors = Examples(np.zeros((104, 1)), 1.0 - right[:, None], regression.Target(("x",)))
    assert [row["value"] for row in slices.measured({"place": place}, errors, 1, 200, 0.95)] == [
        "sea",
        "south",
        "north",
    ]


def test_a_slice_in_which_no_label_is_there_or_said_is_left_out() -> None:
    held = np.array([[1, 0]] * 5 + [[0, 0]] * 5)
    place = pa.chunked_array([pa.array(["north"] * 5 + ["south"] * 5)])
    examples = Examples(held, held.astype(float), multi_label.Target(("a", "b")))
    rows = slices.measured({"place": place}, examples, 1, 100, 0.95)
    assert [(row["value"], row["f1_macro"]) for row in rows] == [("north", 1)]
