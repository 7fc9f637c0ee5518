import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError
from components.data import splits

SHARES = (0.2, 0.25)
DAYS = pa.timestamp("us")
Given = list[str | None]


def keyed(keys: list[str], official: Given | None = None, **columns: object) -> pa.Table:
    return pa.table({"id": keys, "split": pa.array(official or [None] * len(keys), pa.string()), **columns})


def hashes(n: int) -> list[str]:
    return [f"{number:032x}" for number in range(n)]


def by_id(table: pa.Table, seed: int = 1) -> np.ndarray:
    return splits.assigned(splits.make("id", None, SHARES, seed, [table]), table)


def by_group(table: pa.Table, seed: int = 1) -> np.ndarray:
    return splits.assigned(splits.make("group", "group", SHARES, seed, [table]), table)


def by_time(table: pa.Table, shares: tuple[float, float] = SHARES, gap: int | None = None) -> np.ndarray:
    return splits.assigned(splits.make("time", "time", shares, 1, [table], gap), table)


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=50), st.integers(0, 2**31 - 1))
def test_an_example_keeps_its_split_when_data_grows(keys: list[str], seed: int) -> None:
    whole = by_id(keyed(keys), seed)
    copies = [f"{key[:32]}-2" if len(key) >= 32 else key for key in keys]
    grown = by_id(keyed(["new", *keys, *copies]), seed)
    assert np.array_equal(grown[1 : 1 + len(keys)], whole)
    assert np.array_equal(grown[1 + len(keys) :], whole)  # copies are on the same side


def test_a_split_by_id_is_the_same_for_ever() -> None:
    # written down once: a change here would move examples between the splits of every dataset there is
    assert "".join(map(str, by_id(keyed(hashes(40))))) == "1110001000010202001001002102000002000000"


def test_the_shares_are_those_asked_for() -> None:
    shares = np.bincount(by_id(keyed(hashes(20_000))), minlength=3) / 20_000
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_another_seed_is_another_split() -> None:
    one, other = (by_id(keyed(hashes(1000)), seed) == 2 for seed in (1, 2))
    assert (one & other).sum() == pytest.approx(40, abs=25)


def test_an_official_split_is_respected() -> None:
    found = by_id(keyed(hashes(3000), ["test", "train", "validation"] * 1000))
    assert set(found[0::3]) == {2}
    assert set(found[2::3]) == {1}
    assert set(found[1::3]) == {0}  # the data has its own validation split, and so train is left whole


def test_validation_takes_its_share_of_an_official_training_split() -> None:
    found = by_id(keyed(hashes(3000), ["test", "train", None] * 1000))
    assert np.bincount(found[1::3], minlength=3)[2] == 0  # no training example is ever tested on
    assert np.mean(found[1::3] == 1) == pytest.approx(0.25, abs=0.04)
    assert np.mean(found[2::3] == 2) == pytest.approx(0.2, abs=0.04)


# --- groups

names = st.sampled_from(["anna", "ben", "caro", "", None, "7", " 7 ", "é", "e\u0301", "x" * 99])
Row = tuple[str | None, int]
rows = st.lists(st.tuples(names, st.integers(0, 10**6)), min_size=1, max_size=80)


def grouped(listed: list[Row], official: Given | None = None) -> pa.Table:
    group = pa.array([name for name, _ in listed], pa.string())
    return keyed([f"{key:032x}" for _, key in listed], official, group=group)


@given(rows, rows, st.integers(0, 2**31 - 1), st.randoms())
def test_a_group_is_on_one_side_in_any_order_and_growth(one: list[Row], more: list[Row], seed: int, random) -> None:
    found = by_group(grouped(one), seed)
    mixed = [*one, *more]
    random.shuffle(mixed)
    grown = by_group(grouped(mixed), seed)
    side: dict[str, int] = {}
    same = {"7": "7", " 7 ": "7", "e\u0301": "é"}
    for (name, key), split in zip([*one, *mixed], [*found, *grown], strict=True):
        who = same.get(name, name) if name else f"alone {key}"
        assert side.setdefault(who, split) == split


def test_the_shares_of_the_groups_are_those_asked_for() -> None:
    found = by_group(grouped([(f"patient {row // 5}", row) for row in range(20_000)]))
    assert np.bincount(found) / len(found) == pytest.approx([0.6, 0.2, 0.2], abs=0.025)


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64(), pa.dictionary(pa.int32(), pa.string())])
def test_a_group_is_the_same_however_it_is_stored(kind: pa.DataType) -> None:
    numbers = pa.array([str(row // 4) for row in range(400)])
    want = by_group(keyed(hashes(400), group=numbers))
    stored = numbers.dictionary_encode() if pa.types.is_dictionary(kind) else numbers.cast(pa.int64()).cast(kind)
    assert np.array_equal(by_group(keyed(hashes(400), group=stored)), want)


def test_a_row_without_a_group_stands_alone() -> None:
    table = grouped([(None, row) for row in range(5000)])
    assert np.array_equal(by_group(table), by_id(table))
    lone = pa.table({"group": pa.array(["a", None, "a", None, None])})
    found = splits.blocks({"by": "group", "column": "group"}, [lone], np.arange(5))
    assert found is not None and len(set(found)) == 4


def test_copies_that_make_the_splits_uneven_are_told_and_drawn_together() -> None:
    few = [f"{key}{copy}" for n, key in enumerate(hashes(40)) for copy in ("", *(f"-{at + 2}" for at in range(n % 9)))]
    table = keyed(few)
    rule = splits.make("id", None, SHARES, 1, [table])
    side = splits.assigned(rule, table)
    first, second = splits.told(rule, [table], [side])
    assert first.startswith(f"{len(few)} examples have only 40 different contents, one of them 9 times;")
    assert (
        f"test {np.mean(side == splits.TEST):.0%} (asked for: 60%, 20%, 20%)" in first and "--split-by group=" in second
    )
    rows = np.flatnonzero(side == splits.TEST)
    blocks = splits.blocks(rule, [table.slice(0, 50), table.slice(50)], rows)
    assert blocks is not None
    names = [few[row][:32] for row in rows]
    for one, other in pairwise(range(len(rows))):
        assert (blocks[one] == blocks[other]) == (names[one] == names[other])
    plain = keyed(hashes(500))
    rule = splits.make("id", None, SHARES, 1, [plain])
    side = splits.assigned(rule, plain)
    assert splits.told(rule, [plain], [side]) == [] and splits.blocks(rule, [plain], np.arange(500)) is None


def test_a_bootstrap_draws_groups() -> None:
    rule = {"by": "group", "column": "group"}
    parts = [grouped([("b", 1), ("a", 2)]), grouped([("a", 3), ("c", 4)])]
    found = splits.blocks(rule, parts, np.array([1, 2, 3]))
    assert found is not None and found.tolist() == [0, 0, 1]


# --- times


def times(values: object, official: Given | None = None, kind: pa.DataType | None = None) -> pa.Table:
    column = pa.array(values, kind)
    return keyed(hashes(len(column)), official, time=column)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.floats(0.05, 0.5),
    st.floats(0.05, 0.5),
    st.integers(0, 3),
)
def test_a_split_by_time_leaves_a_gap_before_each_cut(
    order: list[int], test: float, validation: float, gap: int
) -> None:
    values = np.array(order)
    found = by_time(times(order), (test, validation), gap)
    distinct = np.unique(values)
    place = np.searchsorted(distinct, values)
    for value in distinct:
        assert len(set(found[values == value])) == 1
    for early, late in ((0, 1), (0, 2), (1, 2)):
        before, after = place[found == early], place[found == late]
        if len(before) and len(after):
            assert before.max() + gap < after.min()
    last = np.arange(len(distinct))[len(distinct) - round(len(distinct) * test) :]
    assert (found == 2).sum() == np.isin(place, last).sum()
    if gap == 0:
        assert (found >= 0).all()


@given(st.lists(st.integers(-50, 50) | st.none(), min_size=1, max_size=80), st.sampled_from([pa.int64(), DAYS]))
def test_the_last_rows_are_test_and_equal_times_together(listed: list[int | None], kind: pa.DataType) -> None:
    found = by_time(times(listed, kind=kind))
    known = np.array([value is not None for value in listed])
    assert (found[~known] == splits.LEFT_OUT).all()
    values = np.array([value for value in listed if value is not None])
    found = found[known]
    assert (found >= 0).all()
    sides = found[np.argsort(values, kind="stable")]
    assert (np.diff(sides) >= 0).all()
    assert all(len(set(found[values == value])) == 1 for value in values)
    if len(set(values)) > 1:
        share = [(values >= value).mean() for value in sorted(set(values))[1:]]
        assert abs((found == 2).mean() - 0.2) == pytest.approx(min(abs(np.array(share) - 0.2)))


def test_shares_by_time_are_of_the_rows() -> None:
    growing = np.repeat(np.arange(100), np.arange(100) + 1)  # a row on the first day, a hundred on the last
    assert np.bincount(by_time(times(growing))) / len(growing) == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_an_official_split_goes_before_time() -> None:
    found = by_time(times(range(300), ["train", "test", None] * 100))
    assert set(found[1::3]) == {2}
    assert set(found[0::3]) == {0, 1}  # the last of the training examples are validation
    assert (np.diff(found[0::3]) >= 0).all()
    assert (found[2::3] == 2).sum() == 20


@pytest.mark.parametrize("by", ["id", "group", "time"])
def test_a_dataset_without_rows_is_split_into_nothing(by: str) -> None:
    rule = splits.make(by, None if by == "id" else by, SHARES, 1, [])
    empty = grouped([]).append_column("time", pa.array([], DAYS))
    assert len(splits.assigned(rule, empty)) == 0
    assert len(splits.assigned(splits.make(by, rule["column"], SHARES, 1, [empty]), empty)) == 0


def test_a_column_without_an_order_is_refused() -> None:
    with pytest.raises(SlipwayError, match=r"split.by: column time is string, not a date or a number"):
        by_time(times(["Monday", "Tuesday"]))
    rule = splits.make("time", "time", SHARES, 1, [times(range(10))])
    with pytest.raises(SlipwayError, match=r"column time has dates; the split was made by numbers"):
        splits.in_test(rule, times(range(10), kind=DAYS))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200), st.integers(0, 30))
def test_a_block_is_of_times_that_follow_each_other(listed: list[int], gap: int) -> None:
    found = splits.blocks_of_time(np.array(listed), gap)
    assert len(found) == len(listed) and found.min() == 0
    of_time = dict(zip(listed, found.tolist(), strict=True))
    assert [of_time[time] for time in listed] == found.tolist()  # equal times, such as of two series, are together
    numbers = [of_time[time] for time in sorted(of_time)]
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))
    assert max(numbers.count(number) for number in numbers) <= 2 * gap + 1
    assert len(set(numbers)) >= min(10, len(numbers))


# --- a rule that is kept


@given(
    rows,
    st.sampled_from(["id", "group", "time"]),
    st.lists(st.sampled_from([None, None, "train", "test", "validation"]), min_size=80, max_size=80),
    st.integers(0, 99),
    st.randoms(),
)
def test_a_rule_says_the_same_of_any_rows_when_it_is_read_back(listed, by, official, seed, random) -> None:
    table = grouped(listed, official[: len(listed)])
    table = table.append_column("time", pa.array([None if key % 7 == 0 else key for _, key in listed], DAYS))
    column = None if by == "id" else by
    rule = splits.make(by, column, SHARES, seed, [table], None)
    whole = splits.assigned(rule, table)
    kept = json.loads(json.dumps(rule))
    assert splits.needs(kept) == ([column] if column else [])
    order = list(range(len(listed)))
    random.shuffle(order)
    some = order[: 1 + len(order) // 2]
    asked = table.select(["id", "split", *splits.needs(kept)]).take(pa.array(some))
    assert np.array_equal(splits.in_test(kept, asked), whole[some] == 2)
    alone = [splits.in_test(kept, table.slice(row, 1))[0] for row in range(min(5, len(listed)))]
    assert np.array_equal(alone, whole[: len(alone)] == 2)


def test_a_row_that_came_later_than_a_rule_by_time_is_test_for_it() -> None:
    rule = splits.make("time", "time", SHARES, 1, [times(range(100))])
    assert splits.in_test(rule, times(range(100, 200))).all()
