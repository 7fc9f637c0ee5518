from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.data import dataset, raw_rows

COLUMNS = pa.schema({"x": pa.float64(), "colour": pa.string()})
ROWS = np.array([1, 2, 6, 7, 13])  # of both files' 14


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of seven rows in groups of three, and a split of five of the rows."""
    folder, test = tmp_path / "data", tmp_path / "arrays" / "test"
    folder.mkdir()
    test.mkdir(parents=True)
    keys = []
    for name in ("a", "b"):
        made = pa.table({"x": np.arange(7.0), "colour": [name] * 7, "label": [f"{name}{n}" for n in range(7)]})
        keys += dataset.ids(made, COLUMNS)
        made = made.append_column("id", pa.array(keys[-7:]))
        pq.write_table(made, folder / f"{name}.parquet", row_group_size=3)
    np.save(test / "row.npy", ROWS)
    np.save(test / "id.npy", np.array(keys, "S32")[ROWS])
    return folder


def read(data: Path, **options) -> Iterator[pa.Table]:
    return raw_rows.read(data, data.parent / "arrays", "test", COLUMNS, **options)


def test_the_raw_rows_of_a_split_are_found_by_their_number_over_all_chunks(data: Path) -> None:
    parts = list(read(data))
    assert [len(part) for part in parts] == [2, 1, 1, 1]  # a chunk at a time, those without any left out
    found = pa.concat_tables(parts)
    assert set(found.column_names) == {"id", "x", "colour", "label", "split"}
    assert found["label"].to_pylist() == ["a1", "a2", "a6", "b0", "b6"]


def test_some_of_them_and_some_columns(data: Path) -> None:
    some = pa.concat_tables(read(data, rows=np.array([0, 3]), only=["x"]))
    assert set(some.column_names) == {"id", "x"}
    assert some["x"].to_pylist() == [1, 0]
    assert list(read(data, rows=np.array([], np.int64))) == []


@pytest.mark.parametrize("change", [slice(0, 6), [0, 1, 2, 3, 4, 6, 5], [6, 5, 4, 3, 2, 1, 0]])
def test_other_rows_in_their_place_are_an_error(data: Path, change) -> None:
    """One row less, and rows in another order."""
    whole = pq.read_table(data / "b.parquet")
    pq.write_table(whole.take(pa.array(np.arange(7)[change])), data / "b.parquet", row_group_size=3)
    with pytest.raises(SlipwayError, match=r"data does not contain the examples of .*arrays/test: run `dvc repro`"):
        list(read(data))
