from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError
from components.data import dataset, splits
from tests.conftest import Make

BYTES = pa.schema({"image": pa.binary()})
MIXED = pa.schema({"x": pa.float64(), "colour": pa.string()})
values = st.tuples(st.none() | st.floats(width=32), st.none() | st.text(max_size=5))


def rows(listed: list[tuple[float | None, str | None]]) -> pa.Table:
    return pa.table({"x": pa.array([x for x, _ in listed], pa.float64()), "colour": [c for _, c in listed]})


@given(st.lists(values, min_size=1, max_size=20))
def test_an_id_depends_on_the_example_alone(listed: list[tuple[float | None, str | None]]) -> None:
    whole = dataset.ids(rows(listed), MIXED)
    assert dataset.ids(rows(listed[::-1]), MIXED) == whole[::-1]
    assert [dataset.ids(rows([one]), MIXED)[0] for one in listed] == whole
    assert all(len(key) == 32 for key in whole)


@given(values, values)
def test_different_examples_have_different_ids(one: tuple[float, str], other: tuple[float, str]) -> None:
    def same(a: object, b: object) -> bool:
        return a == b or (a != a and b != b)  # noqa: PLR0124 - NaN

    ids = dataset.ids(rows([one, other]), MIXED)
    assert (ids[0] == ids[1]) == all(same(a, b) for a, b in zip(one, other, strict=True))


def test_an_id_is_the_same_for_ever() -> None:
    # written down once: a change here would move examples between the splits of every dataset there is
    assert dataset.ids(pa.table({"image": [b"abc"]}), BYTES) == ["3b38203b9e4d226922107b0bf6ea78c0"]


def keyed(keys: list[str], given_: list[str | None] | None = None) -> pa.Table:
    return pa.table({"id": keys, "split": pa.array(given_ or [None] * len(keys), pa.string())})


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=50), st.integers(0, 2**31 - 1))
def test_an_example_keeps_its_split_when_data_grows(keys: list[str], seed: int) -> None:
    whole = splits.assigned(keyed(keys), 0.2, 0.2, seed)
    grown = splits.assigned(keyed(["new", *keys, *keys]), 0.2, 0.2, seed)
    assert np.array_equal(grown[1 : 1 + len(keys)], whole)
    assert np.array_equal(grown[1 + len(keys) :], whole)  # copies stand on the same side


def test_the_shares_are_those_asked_for() -> None:
    found = splits.assigned(keyed([f"{n:032x}" for n in range(20_000)]), 0.2, 0.25, 1)
    shares = np.bincount(found, minlength=3) / len(found)
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_a_given_split_is_respected() -> None:
    keys = [f"{n:032x}" for n in range(3000)]
    found = splits.assigned(keyed(keys, ["test", "train", "validation"] * 1000), 0.2, 0.2, 1)
    assert set(found[0::3]) == {2}
    assert set(found[2::3]) == {1}
    assert np.bincount(found[1::3], minlength=3)[2] == 0  # no training example is ever tested on
    assert np.mean(found[1::3] == 1) == pytest.approx(0.2, abs=0.04)  # but validation takes its share of them


def test_an_official_validation_split_leaves_train_whole() -> None:
    keys = [f"{n:032x}" for n in range(1000)]
    found = splits.assigned(keyed(keys, ["train", "validation"] * 500), 0.2, 0.2, 1, whole_train=True)
    assert set(found[0::2]) == {0}
    assert set(found[1::2]) == {1}


def test_chunks_cover_every_row_once_and_in_order(make: Make) -> None:
    make(rows=230)
    found = dataset.chunks(Path("data"), BYTES)
    assert [(chunk.start, chunk.rows) for chunk in found] == [(0, 50), (50, 50), (100, 50), (150, 50), (200, 30)]
    assert dataset.read(found[0], BYTES).column_names == ["id", "image", "label", "split"]
    assert dataset.read(found[0], BYTES, only=("id",)).column_names == ["id"]


def test_what_write_writes_is_read_back(tmp_path: Path) -> None:
    examples = pa.table({"id": [str(n) for n in range(9000)], "x": np.arange(9000.0), "label": ["a"] * 9000})
    columns = pa.schema({"x": pa.float64()})
    (one,) = dataset.write([examples], tmp_path / "one", "d")
    assert one.name == "d.parquet"
    assert pq.ParquetFile(one).metadata.row_group(0).num_rows == 4096
    many = dataset.write([examples], tmp_path / "many", "d", size=50_000)
    assert [path.name for path in many] == ["d-00000.parquet", "d-00001.parquet", "d-00002.parquet"]
    read = pa.concat_tables(
        dataset.read(chunk, columns, only=("x",)) for chunk in dataset.chunks(tmp_path / "many", columns)
    )
    assert read["x"].to_pylist() == examples["x"].to_pylist()


def refusal(folder: Path, columns: pa.Schema = BYTES) -> str:
    with pytest.raises(SlipwayError) as caught:
        dataset.chunks(folder, columns)
    return str(caught.value)


def test_bad_datasets_are_refused_by_name(make: Make, tmp_path: Path) -> None:
    make()
    data = Path("data")
    assert "no such dataset" in refusal(tmp_path / "nothing")
    assert "column x is missing" in refusal(data, pa.schema({"x": pa.float64()}))
    assert "a.parquet: column label is string, expected double" in refusal(data, pa.schema({"label": pa.float64()}))
    (data / "notes.txt").write_text("hello")
    assert "notes.txt: a dataset may contain only Parquet files" in refusal(data)
    (data / "notes.txt").unlink()
    whole = (data / "a.parquet").read_bytes()
    (data / "a.parquet").write_bytes(whole[: len(whole) // 2])
    assert "a.parquet: not a complete Parquet file" in refusal(data)
    (data / "a.parquet").unlink()
    assert "the dataset is empty" in refusal(data)


def test_damage_in_the_middle_is_found_when_it_is_read(make: Make) -> None:
    make()
    path = Path("data/a.parquet")
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    with pytest.raises(SlipwayError, match=r"a\.parquet: not a complete Parquet file"):
        [dataset.read(chunk, BYTES) for chunk in dataset.chunks(Path("data"), BYTES)]


@pytest.mark.parametrize("listed", [False, True])
def test_text_that_is_none_is_told_with_its_row(tmp_path: Path, listed: bool) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"good"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    label = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), text) if listed else pa.array(["a"] * 3)
    colour = pa.array(["red"] * 3) if listed else text
    whole = pa.table({"id": ["0", "1", "2"], "x": [1.0, 2.0, 3.0], "colour": colour, "label": label})
    pq.write_table(whole, tmp_path / "a.parquet", row_group_size=1)
    columns = MIXED.append(pa.field("label", label.type))
    good, bad, _ = dataset.chunks(tmp_path, columns)
    assert len(dataset.read(good, columns)) == 1
    with pytest.raises(SlipwayError, match=r"a\.parquet: row 1: (label|colour) is not UTF-8 text"):
        dataset.read(bad, columns)


def _double(number: int) -> int:
    if number == 13:
        raise SlipwayError("thirteen")
    return 2 * number


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200), st.integers(0, 30))
def test_a_block_is_of_times_that_follow_each_other(times: list[int], gap: int) -> None:
    order = np.array(times)
    found = splits.blocks(order, gap)
    assert len(found) == len(order) and found.min() == 0
    by_time = dict(zip(times, found.tolist(), strict=True))
    assert [by_time[time] for time in times] == found.tolist()  # equal times, such as of two series, are together
    numbers = [by_time[time] for time in sorted(by_time)]
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))
    assert max(numbers.count(number) for number in numbers) <= 2 * gap + 1
    assert len(set(numbers)) >= min(10, len(numbers))


@pytest.mark.parametrize("rows", [10, dataset.MIN_PARALLEL_ROWS])  # in this process, and in workers
def test_parallel_keeps_the_order_and_passes_errors_on(rows: int) -> None:
    assert list(dataset.parallel(_double, list(range(10)), rows)) == list(range(0, 20, 2))
    with pytest.raises(SlipwayError, match="thirteen"):
        list(dataset.parallel(_double, [1, 13, 2], rows))


lists = st.lists(st.floats(width=32) | st.none(), max_size=4)


@given(lists, lists)
def test_lists_of_numbers_have_ids_too(one: list[float | None], other: list[float | None]) -> None:
    def plain(listed: list[float | None]) -> list[object]:
        return ["gap" if x is None or x != x else x + 0.0 for x in listed]  # noqa: PLR0124 - NaN

    columns = pa.schema({"history": pa.list_(pa.float64())})
    ids = dataset.ids(pa.table({"history": pa.array([one, other], columns.types[0])}), columns)
    assert (ids[0] == ids[1]) == (plain(one) == plain(other))


def test_a_time_that_python_has_no_name_for_has_an_id() -> None:
    far = pa.array([2**62, None, 0], pa.timestamp("us"))
    assert len(set(dataset.ids(pa.table({"time": far}), pa.schema({"time": far.type})))) == 3


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.floats(0.05, 0.5),
    st.floats(0.05, 0.5),
    st.integers(0, 3),
)
def test_a_split_by_time_leaves_a_gap_before_each_cut(
    order: list[int], test: float, validation: float, gap: int
) -> None:
    times = np.array(order)
    found = splits.cuts(times, test, validation, gap)
    distinct = np.unique(times)
    place = np.searchsorted(distinct, times)
    for time in distinct:
        assert len(set(found[times == time])) == 1
    for early, late in ((0, 1), (0, 2), (1, 2)):
        before, after = place[found == early], place[found == late]
        if len(before) and len(after):
            assert before.max() + gap < after.min()
    assert (found == 2).sum() == np.isin(
        place, np.arange(len(distinct))[len(distinct) - round(len(distinct) * test) :]
    ).sum()
    if gap == 0:
        assert (found >= 0).all()
