import hashlib
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError
from components.data import dataset, row_groups
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


NUMBERS = st.none() | st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf])


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=5, max_size=5)))
def test_columns_of_numbers_are_hashed_together_as_each_by_itself(listed: list[list[float | None]]) -> None:
    arrays = {f"x{at}": pa.array(column, pa.float64()) for at, column in enumerate(listed[:4])}
    arrays |= {"a": pa.array(listed[4], pa.float32(), from_pandas=False), "x1b": pa.array(["é"] * len(listed[0]))}
    table = pa.table(arrays)
    expected = []
    for row in table.to_pylist():
        digest = hashlib.sha256()
        for name in sorted(row):
            digest.update(hashlib.sha256(name.encode()).digest())
            value = row[name]
            if value is None:
                digest.update(b"n")
            elif isinstance(value, float):
                digest.update(b"f" + struct.pack("<d", math.nan if math.isnan(value) else value + 0.0))
            else:
                digest.update(b"b" + struct.pack("<q", len(value.encode())) + value.encode())
        expected.append(digest.hexdigest()[:32])
    assert dataset.ids(table, table.schema) == expected


@given(st.lists(st.tuples(st.none() | st.booleans(), st.sampled_from([None, "", "red", "é"])), min_size=8))
def test_values_that_repeat_are_hashed_as_each_by_itself(listed: list[tuple[bool | None, str | None]]) -> None:
    times = pa.array([None if known is None else int(known) for known, _ in listed], pa.int64())
    table = pa.table({"known": [known for known, _ in listed], "colour": [colour for _, colour in listed]})
    columns = pa.schema({"known": pa.bool_(), "colour": pa.string(), "time": pa.timestamp("us")})
    table = table.append_column("time", times.cast(pa.timestamp("us"))).cast(columns)
    alone = [dataset.ids(table.slice(at, 1), columns)[0] for at in range(len(table))]
    assert dataset.ids(table, columns) == alone


KINDS: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=200),
    pa.bool_(): st.booleans(),
    pa.timestamp("us"): st.integers(-(2**62), 2**62),
    pa.binary(): st.binary(max_size=200),
    pa.list_(pa.float64()): st.lists(st.floats(), max_size=3),
}


@given(st.data())
def test_any_columns_in_any_parts_are_hashed_as_each_value_by_itself(data: st.DataObject) -> None:
    rows, kinds = data.draw(st.integers(0, 7)), data.draw(st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=9))
    columns = pa.schema([(f"{at}é", kind) for at, kind in enumerate(kinds)])
    drawn = [data.draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows)) for kind in kinds]
    plain = [pa.int64() if pa.types.is_timestamp(kind) else kind for kind in kinds]
    table = pa.table([pa.array(*each) for each in zip(drawn, plain, strict=True)], names=columns.names).cast(columns)
    expected = []
    for row in zip(*drawn, strict=True):
        digest = hashlib.sha256()
        for name, value in zip(columns.names, row, strict=True):
            digest.update(hashlib.sha256(name.encode()).digest() + dataset._bytes(value))
        expected.append(digest.hexdigest()[:32])
    cut = data.draw(st.integers(0, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "HASHED", data.draw(st.integers(1, 4)))
        patch.setattr(dataset, "HASHED_ROWS", data.draw(st.integers(1, 4)))
        assert dataset.ids(pa.concat_tables([table.slice(0, cut), table.slice(cut)]), columns) == expected


def test_an_id_is_the_same_for_ever() -> None:
    # written down once: a change here would move examples between the splits of every dataset there is
    assert dataset.ids(pa.table({"image": [b"abc"]}), BYTES) == ["3b38203b9e4d226922107b0bf6ea78c0"]


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    for row in (b"abc", b"def"):
        table = pa.table({"id": dataset.ids(pa.table({"image": [row]}), BYTES), "image": [row], "label": ["a"]})
        (written,) = dataset.write([table], tmp_path / row.decode(), "part")
        written.replace(tmp_path / "part.parquet")
        (tmp_path / row.decode()).rmdir()
        (chunk,) = dataset.chunks(tmp_path, BYTES)
        assert dataset.read(chunk, BYTES)["image"].to_pylist() == [row]


def test_chunks_cover_every_row_once_and_in_order(make: Make) -> None:
    make(rows=230)
    found = dataset.chunks(Path("data"), BYTES)
    assert [(chunk.start, chunk.rows) for chunk in found] == [(0, 50), (50, 50), (100, 50), (150, 50), (200, 30)]
    assert dataset.read(found[0], BYTES).column_names == ["id", "image", "label", "split"]
    assert dataset.read(found[0], BYTES, only=("id",)).column_names == ["id"]


def test_a_large_row_group_is_read_in_parts_and_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROWS", 100)
    columns = pa.schema({"x": pa.float64()})
    table = pa.table({"id": [str(n) for n in range(1050)], "x": np.arange(1050.0), "label": ["a"] * 1050})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=1030)  # one large group and a small one
    opened: list[int] = []
    batches = row_groups._batches

    def counted(path: Path, group: int, names: list[str]) -> Iterator[pa.RecordBatch]:
        opened.append(group)
        yield from batches(path, group, names)

    monkeypatch.setattr(row_groups, "_batches", counted)
    found = dataset.chunks(tmp_path, columns)
    assert [(c.group, c.start, c.rows) for c in found[-3:]] == [(0, 900, 100), (0, 1000, 30), (1, 1030, 20)]
    whole = pa.concat_tables([dataset.read(chunk, columns, only=["x"]) for chunk in found])
    assert whole["x"].to_pylist() == list(range(1050))
    assert len(opened) == 1
    assert [dataset.read(found[at], columns)["id"][0].as_py() for at in (7, 3, 3, 9)] == ["700", "300", "300", "900"]
    pq.write_table(table.set_column(1, "x", pa.array(-table["x"].to_numpy())), tmp_path / "d.parquet")
    assert dataset.read(dataset.chunks(tmp_path, columns)[10], columns)["x"][0].as_py() == -1000  # another file by now


def test_a_chunk_of_large_rows_has_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_BYTES", 10_000)
    table = pa.table({"id": [str(n) for n in range(100)], "image": [bytes([n]) * 1000 for n in range(100)]})
    pq.write_table(table.append_column("label", table["id"]), tmp_path / "d.parquet")
    found = dataset.chunks(tmp_path, BYTES)
    assert max(chunk.rows for chunk in found) <= 10 and sum(chunk.rows for chunk in found) == 100


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
    missing = refusal(data, pa.schema({"x": pa.float64()}))
    assert "column x is missing" in missing and "or ingest anew (`slipway ingest ... --replace`) files that" in missing
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


WORKERS = pytest.param(dataset.MIN_PARALLEL_ROWS, marks=pytest.mark.e2e)


@pytest.mark.parametrize("rows", [10, WORKERS])  # in this process, and in workers
def test_parallel_keeps_the_order_and_passes_errors_on(rows: int) -> None:
    assert list(dataset.parallel(_double, list(range(10)), rows)) == list(range(0, 20, 2))
    with pytest.raises(SlipwayError, match="thirteen"):
        list(dataset.parallel(_double, [1, 13, 2], rows))


@pytest.mark.e2e
def test_workers_are_no_more_than_so_many_results_ahead() -> None:
    class Watched(list[int]):
        taken = 0

        def __iter__(self) -> Iterator[int]:
            for item in super().__iter__():
                self.taken += 1
                yield item

    items = Watched([1] * (2 * dataset.AHEAD))
    for asked, _ in enumerate(dataset.parallel(_double, items, dataset.MIN_PARALLEL_ROWS), start=1):
        assert items.taken <= asked + dataset.AHEAD
    assert asked == len(items)


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
